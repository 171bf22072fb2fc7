#!/usr/bin/env bash
# Three ASGI servers end a WebSocket in three ways when the application returns without closing it.
#
# Expected: when the handler is done, the server closes with 1000, as the handlers of websockets and
# aiohttp do. At least it is the same everywhere, since ASGI is a standard.
# What happens: the last message arrives, and then uvicorn drops the TCP connection without a close
# frame (1006 at the client), hypercorn closes with 1011, an internal error, and granian sends a
# close frame without a code (1005). Only granian's end looks orderly to the client.
# Versions: uvicorn 0.54.0 (websockets 17.4), hypercorn 0.18.0, granian 2.8.9.
# Who meets it: an endpoint that sends its result and returns. Its clients take success for a fault
# and reconnect, and a change of the server changes what they do.
# What to do: end each endpoint with {"type": "websocket.close", "code": 1000}, also in frameworks.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.9 websockets==17.4

cd "$work"
cat >application.py <<'EOF'
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "result"})
    if scope["path"] == "/closes":
        await send({"type": "websocket.close", "code": 1000})
EOF

venv/bin/python - <<'EOF'
import asyncio
import importlib.metadata as metadata
import socket
import subprocess
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

COMMANDS = {
    "uvicorn": ["--log-level", "error", "--port", "PORT"],
    "hypercorn": ["--log-level", "error", "--bind", "127.0.0.1:PORT"],
    "granian": ["--interface", "asgi", "--log-level", "error", "--port", "PORT"],
}


async def opened(uri):
    for _ in range(100):
        try:
            return await connect(uri, proxy=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("the server did not start")


async def ended(uri):
    websocket = await opened(uri)
    message = await websocket.recv()
    try:
        await websocket.recv()
    except ConnectionClosed as error:
        return message, websocket.close_code, error.rcvd is not None
    sys.exit("a second message")


async def run(name):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [word.replace("PORT", str(port)) for word in COMMANDS[name]]
    server = subprocess.Popen([sys.executable, "-m", name, *command, "application:app"])
    try:
        seen = [await ended(f"ws://127.0.0.1:{port}/{path}") for path in ("returns", "closes")]
    finally:
        server.terminate()
        server.wait()
    for path, (message, code, framed) in zip(("returns", "closes"), seen):
        print(f"{name}: application {path}: {message!r}, then {code}, {'a' if framed else 'no'} close frame")
    return [(code, framed) for _, code, framed in seen]


names = (*COMMANDS, "websockets")
print(*(f"{name} {metadata.version(name)}" for name in names), flush=True)
expected = {"uvicorn": (1006, False), "hypercorn": (1011, True), "granian": (1005, True)}
results = {name: asyncio.run(run(name)) for name in COMMANDS}
same = results == {name: [end, (1000, True)] for name, end in expected.items()}
sys.exit(0 if same else "the behaviour has changed")
EOF
