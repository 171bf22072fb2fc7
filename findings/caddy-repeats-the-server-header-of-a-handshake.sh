#!/usr/bin/env bash
# Behind Caddy the answer to a WebSocket handshake has two Server headers; websockets raises for that.
#
# Expected: a proxy hands on the Server header of the server behind it, or replaces it, as nginx,
# haproxy, lighttpd and apache do; so response.headers.get("Server") is a string, or None.
# What happens: Caddy's reverse_proxy adds "Server: Caddy" and hands on the other one too. In the
# client of websockets, headers["Server"] and headers.get("Server") then raise MultipleValuesError,
# though the connection is open and works.
# Versions: Caddy 2.6.2 (Debian); websockets 17.4 at both ends.
# Who meets it: code that looks at the headers of the handshake, to log them or to tell proxies
# apart. It works behind the other proxies.
# What to do: headers.get_all("Server"). ("header_down -Server" in reverse_proxy changes nothing.)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v caddy >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends caddy >/dev/null
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check websockets==17.4

cd "$work"
venv/bin/python - <<'PYTHON'
import asyncio
import importlib.metadata as metadata
import os
import socket
import subprocess
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.datastructures import MultipleValuesError

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


async def opened(uri):
    for _ in range(100):
        try:
            return await connect(uri, proxy=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("Caddy did not start")


async def main():
    async with serve(echo, "127.0.0.1", 0) as server:
        backend = server.sockets[0].getsockname()[1]
        with open("Caddyfile", "w", encoding="utf-8") as file:
            file.write(f"{{\n admin off\n}}\nhttp://127.0.0.1:{port} {{\n reverse_proxy 127.0.0.1:{backend}\n}}\n")
        command = ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
        environment = os.environ | {"HOME": os.getcwd()}
        proxy = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
        try:
            uri = f"ws://127.0.0.1:{port}/"
            websocket = await opened(uri)
            await websocket.send("works")
            assert await websocket.recv() == "works"
            headers = websocket.response.headers
            names = [one.split()[0] for one in headers.get_all("Server")]
            print("Server headers:", names)
            try:
                headers.get("Server")
                raised = False
            except MultipleValuesError as error:
                raised = True
                print("websockets: headers.get('Server') raises", type(error).__name__)
            await websocket.close()
            return names[0], len(names), raised
        finally:
            proxy.terminate()
            proxy.wait()


version = subprocess.run(["caddy", "version"], capture_output=True, text=True).stdout.split()
print("Caddy", *version, "; websockets", metadata.version("websockets"))
sys.exit(0 if asyncio.run(main()) == ("Caddy", 2, True) else "the behaviour has changed")
PYTHON
