#!/usr/bin/env bash
# recv() of a curl_cffi WebSocket returns the peer's close frame as if it were a message.
#
# Expected: recv() returns messages, and raises when the peer has closed, as other libraries do.
# What happens: recv() returns the payload of the close frame once: two bytes of code, then the
# reason. Only the flags tell it from a binary message (8 for a close, 2 for binary, 1 for text).
# The next recv() raises WebSocketClosed. recv_str() raises at the close frame already, and
# "async for" ends there.
# Versions: curl_cffi 0.17.0; the server is websockets 17.4.
# Who meets it: a client that unpacks data and flags from recv() and ignores the flags, because its
# peer sends binary only. The last "message" that it gives to its decoder is the close frame.
# What to do: test flags & curl_cffi.CurlWsFlag.CLOSE, or use recv_str() or "async for".
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check curl_cffi==0.17.0 websockets==17.4

"$work/venv/bin/python" - <<'EOF'
import asyncio
import importlib.metadata as metadata
import sys

import curl_cffi
from websockets.asyncio.server import serve


async def handler(websocket):
    await websocket.send(b"data")
    await websocket.close(4002, "bye")


async def main():
    seen = []
    async with serve(handler, "127.0.0.1", 0) as server, curl_cffi.AsyncSession() as session:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        websocket = await session.ws_connect(uri)
        for _ in range(3):
            try:
                seen.append(await websocket.recv())
            except curl_cffi.WebSocketClosed as error:
                seen.append((type(error).__name__, int(error.code)))
        print("recv() three times:", *seen)

        websocket = await session.ws_connect(uri)
        await websocket.recv()
        try:
            seen.append(await websocket.recv_str())
        except curl_cffi.WebSocketError as error:
            seen.append(str(error))
        print("recv_str() at the close raises:", seen[-1])

        websocket = await session.ws_connect(uri)
        seen.append([message async for message in websocket])
        print("async for:", seen[-1])
    return seen


print("curl_cffi", metadata.version("curl_cffi"), "websockets", metadata.version("websockets"))
binary, close = int(curl_cffi.CurlWsFlag.BINARY), int(curl_cffi.CurlWsFlag.CLOSE)
print("flags: BINARY", binary, "CLOSE", close)
expected = [
    (b"data", binary),
    (b"\x0f\xa2bye", close),
    ("WebSocketClosed", 4002),
    "Received close frame: 4002 bye",
    [b"data"],
]
sys.exit(0 if asyncio.run(main()) == expected else "the behaviour has changed")
EOF
