#!/usr/bin/env bash
# Granian loses the WebSocket message that a cancelled ASGI receive() was about to return.
#
# Expected: a cancelled receive() takes nothing. The next one gets the message, as with uvicorn.
# What happens: receive() takes a waiting message before the caller's task sees it. When the call is
# cancelled at that moment, the message is gone, without an error. Here every second receive() is
# given up after asyncio.wait(timeout=0), with 40 messages waiting: half of them are lost.
# Besides, receive() returns an awaitable that is no coroutine: asyncio.create_task(receive()) raises
# TypeError with Granian; asyncio.ensure_future(receive()) works with both.
# Versions: granian 2.8.9, uvicorn 0.54.0 (websockets 17.4), CPython 3.11.
# Who meets it: an application that waits for its client and for its own events at once, with
# asyncio.wait(..., return_when=FIRST_COMPLETED), and cancels what is pending; it loses a message
# now and then, under load. A look whether a message is there loses one each time.
# What to do: keep the pending receive() for the next turn, or read in one task into a queue.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  granian==2.8.9 uvicorn==0.54.0 websockets==17.4

cd "$work"
cat >application.py <<'EOF'
import asyncio


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/kind":
        try:
            asyncio.create_task(receive()).cancel()
            kind = "works"
        except TypeError:
            kind = "TypeError"
        await send({"type": "websocket.send", "text": kind})
        await send({"type": "websocket.close", "code": 1000})
        return
    await asyncio.sleep(0.5)  # until all messages are there
    received, turn = 0, 0
    while True:
        turn += 1
        incoming = asyncio.ensure_future(receive())
        if scope["path"] == "/cancel" and turn % 2:
            await asyncio.wait({incoming}, timeout=0)
            if not incoming.done():
                incoming.cancel()
                continue
        event = await incoming
        if event["type"] == "websocket.disconnect":
            return
        if event["text"] == "end":
            await send({"type": "websocket.send", "text": str(received)})
        else:
            received += 1
EOF

venv/bin/python - <<'EOF'
import asyncio
import importlib.metadata as metadata
import socket
import subprocess
import sys

from websockets.asyncio.client import connect

TOTAL = 40


async def opened(uri):
    for _ in range(100):
        try:
            return await connect(uri, proxy=None)
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("the server did not start")


async def ask_kind(uri):
    websocket = await opened(uri)
    kind = await websocket.recv()
    await websocket.close()
    return kind


async def count(uri):
    websocket = await opened(uri)
    for number in range(TOTAL):
        await websocket.send(str(number))
    await asyncio.sleep(1)
    reply = asyncio.ensure_future(websocket.recv())
    while not reply.done():  # "end" may be lost as well
        await websocket.send("end")
        await asyncio.wait({reply}, timeout=0.5)
    await websocket.close()
    return int(reply.result())


async def run(name, command):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", name, *command, "--port", str(port), "application:app"])
    try:
        kind = await ask_kind(f"ws://127.0.0.1:{port}/kind")
        cancelled = await count(f"ws://127.0.0.1:{port}/cancel")
        kept = await count(f"ws://127.0.0.1:{port}/keep")
    finally:
        server.terminate()
        server.wait()
    print(f"{name}: create_task(receive()): {kind}")
    print(f"{name}: of {TOTAL} messages {cancelled} arrive with cancellation, {kept} without")
    return kind, cancelled, kept


names = ("granian", "uvicorn", "websockets")
print(*(f"{name} {metadata.version(name)}" for name in names), flush=True)
quiet = ["--log-level", "error"]
kind, cancelled, kept = asyncio.run(run("granian", ["--interface", "asgi", *quiet]))
same = kind == "TypeError" and cancelled < TOTAL and kept == TOTAL
same = asyncio.run(run("uvicorn", quiet)) == ("works", TOTAL, TOTAL) and same
sys.exit(0 if same else "the behaviour has changed")
EOF
