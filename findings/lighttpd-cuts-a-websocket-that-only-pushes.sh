#!/usr/bin/env bash
# lighttpd cuts a proxied WebSocket on which only the server speaks, although data flows.
#
# Expected: an idle timeout of a proxy counts silence: any byte of either direction restarts it, as
# with nginx (proxy_read_timeout), haproxy (timeout tunnel) and apache.
# What happens: server.max-read-idle (60 s by default, 3 s here) counts what the client sends. A
# server that sends a message every half second is cut, without a close frame (1006). A client that
# sends something once a second keeps the connection, and so do the pongs that answer pings.
# Versions: lighttpd 1.4 (run with 1.4.69); websockets 17.4 at both ends.
# Who meets it: feeds, dashboards and notifications, where the page only listens. Browsers send no
# pings of their own, and several server libraries send none by default.
# What to do: let the server send pings at an interval below max-read-idle, or raise max-read-idle.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v lighttpd >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends lighttpd >/dev/null
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check websockets==17.4

cd "$work"
venv/bin/python - <<'EOF'
import asyncio
import importlib.metadata as metadata
import os
import socket
import subprocess
import sys
import time

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

IDLE, WATCHED = 3, 9

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]


async def push(websocket):
    try:
        while True:
            await websocket.send("tick")
            await asyncio.sleep(0.5)
    except ConnectionClosed:
        pass


async def opened(uri):
    for _ in range(100):
        try:
            return await connect(uri, proxy=None, ping_interval=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("lighttpd did not start")


async def speak(websocket):
    while True:
        await websocket.send("here")
        await asyncio.sleep(1)


async def watch(name, uri, speaks):
    websocket = await opened(uri)
    task = asyncio.create_task(speak(websocket)) if speaks else None
    began, received, ended = time.monotonic(), 0, None
    try:
        async with asyncio.timeout(WATCHED):
            while True:
                await websocket.recv()
                received += 1
    except ConnectionClosed:
        ended = websocket.close_code
    except TimeoutError:
        pass
    if task:
        task.cancel()
    took = time.monotonic() - began
    print(f"{name}: {received} messages in {took:.1f} s,", f"then {ended}" if ended else "still open")
    await websocket.close()
    return ended


async def main():
    async with (
        serve(push, "127.0.0.1", 0, ping_interval=None) as server,
        serve(push, "127.0.0.1", 0, ping_interval=1) as pinging,
    ):
        backend, with_pings = (each.sockets[0].getsockname()[1] for each in (server, pinging))
        with open("lighttpd.conf", "w", encoding="utf-8") as file:
            file.write(
                f'server.document-root = "{os.getcwd()}"\n'
                f'server.bind = "127.0.0.1"\nserver.port = {port}\n'
                f'server.modules = ("mod_proxy")\nserver.max-read-idle = {IDLE}\n'
                f'proxy.server = ("/pings" => (("host" => "127.0.0.1", "port" => {with_pings})),'
                f' "/" => (("host" => "127.0.0.1", "port" => {backend})))\n'
                'proxy.header = ("upgrade" => "enable")\n'
            )
        command = ["lighttpd", "-D", "-f", "lighttpd.conf"]
        proxy = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            uri = f"ws://127.0.0.1:{port}/"
            return [
                await watch("only the server speaks", uri, speaks=False),
                await watch("both speak", uri, speaks=True),
                await watch("only the server speaks, and sends pings", uri + "pings", speaks=False),
            ]
        finally:
            proxy.terminate()
            proxy.wait()


version = subprocess.run(["lighttpd", "-v"], capture_output=True, text=True).stdout.strip()
print(version, "; websockets", metadata.version("websockets"), f"; max-read-idle {IDLE} s")
sys.exit(0 if asyncio.run(main()) == [1006, None, None] else "the behaviour has changed")
EOF
