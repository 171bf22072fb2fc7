#!/usr/bin/env bash
# Sanic drops the messages that its handler has not read when the client closes.
#
# Expected: messages that arrived before the close frame are read first, and then recv() reports the
# close, as with websockets, aiohttp, Starlette and trio-websocket.
# What happens: the handler gets CancelledError at the close. A client sends 40 messages, closes and
# gets a clean 1000. A handler that began to read a second later gets none or the first few of them.
# Versions: sanic 25.12.1 with its own server; the client is websockets 17.4.
# Who meets it: a handler that does something before it reads, or between two messages: a query, a
# request to another service. The last messages of a client that says goodbye are lost, and the
# client has a clean close code.
# What to do: let the client wait for an answer of the application before it closes, or serve Sanic as
# an ASGI application under another server.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sanic==25.12.1 websockets==17.4

cd "$work"
cat >server.py <<'EOF'
import asyncio
import sys

from sanic import Sanic

app = Sanic("late")


@app.websocket("/")
async def handler(request, websocket):
    read = 0
    try:
        await asyncio.sleep(1)
        while True:
            await websocket.recv()
            read += 1
    except BaseException as error:
        print("handler", read, type(error).__name__, flush=True)
        raise


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), single_process=True, motd=False, access_log=False)
EOF

venv/bin/python - <<'EOF'
import asyncio
import importlib.metadata as metadata
import socket
import subprocess
import sys

from websockets.asyncio.client import connect

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]


async def opened(uri):
    for _ in range(100):
        try:
            return await connect(uri, proxy=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("the server did not start")


async def main():
    seen = []
    for total in (1, 10, 40):
        websocket = await opened(f"ws://127.0.0.1:{port}/")
        for number in range(total):
            await websocket.send(str(number))
        await websocket.close()
        words = []
        while words[:1] != ["handler"]:
            words = (await asyncio.to_thread(server.stdout.readline)).split()
        _, read, error = words
        print(f"client sent {total}, close code {websocket.close_code}; handler read {read}, then {error}")
        seen.append((total, websocket.close_code, int(read), error))
    return seen


print("sanic", metadata.version("sanic"), "websockets", metadata.version("websockets"))
command = [sys.executable, "server.py", str(port)]
server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
try:
    seen = asyncio.run(main())
finally:
    server.terminate()
    server.wait()
same = all(code == 1000 and read < total and error == "CancelledError" for total, code, read, error in seen)
sys.exit(0 if same else "the behaviour has changed")
EOF
