#!/usr/bin/env bash
# Daphne does not send empty WebSocket messages, text or binary; the other ASGI servers do.
#
# Expected: an empty message is a message. RFC 6455 allows it, and ASGI asks for bytes or text that
# is not None.
# What happens: {"type": "websocket.send", "bytes": b""} and the same with text "" are accepted, and
# nothing is sent. The other direction works: an empty message of the client reaches the application.
# Versions: daphne 4.2.3; uvicorn 0.54.0 (websockets 17.4) for comparison.
# Who meets it: protocols that use an empty message as a heartbeat or as the end of a batch, and
# whatever serialises "nothing" to no bytes (an empty Protocol Buffers message). It works with the
# development server and not with Daphne.
# What to do: never give an empty message a meaning; send one byte for a type.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  daphne==4.2.3 uvicorn==0.54.0 websockets==17.4

cd "$work"
cat >application.py <<'EOF'
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    event = await receive()
    for value in (b"a", b"", b"c"):
        await send({"type": "websocket.send", "bytes": value})
    for value in ("a", "", "c"):
        await send({"type": "websocket.send", "text": value})
    await send({"type": "websocket.send", "text": f"received {event.get('bytes')!r}"})
    await send({"type": "websocket.close", "code": 1000})
EOF

venv/bin/python - <<'EOF'
import asyncio
import importlib.metadata as metadata
import socket
import subprocess
import sys

from websockets.asyncio.client import connect


async def opened(uri):
    for _ in range(100):
        try:
            return await connect(uri, proxy=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("the server did not start")


async def run(name, quiet):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen([f"venv/bin/{name}", *quiet, "--port", str(port), "application:app"])
    try:
        websocket = await opened(f"ws://127.0.0.1:{port}/")
        await websocket.send(b"")
        messages = [message async for message in websocket]
    finally:
        server.terminate()
        server.wait()
    print(f"{name}: {messages}", flush=True)
    return messages


names = ("daphne", "uvicorn", "websockets")
print(*(f"{name} {metadata.version(name)}" for name in names), flush=True)
daphne = asyncio.run(run("daphne", ["--verbosity", "0"]))
uvicorn = asyncio.run(run("uvicorn", ["--log-level", "error"]))
same = daphne == [b"a", b"c", "a", "c", "received b''"]
same = same and uvicorn == [b"a", b"", b"c", "a", "", "c", "received b''"]
sys.exit(0 if same else "the behaviour has changed")
EOF
