#!/usr/bin/env bash
# websockets answers no ping while more than 16 messages are unread, so a keepalive ends the connection.
#
# Expected: pings are answered by the library, whatever the application does, as long as the event
# loop runs. A slow application is no dead peer.
# What happens: with more than max_queue (16) unread frames websockets stops reading the socket, and
# a ping behind them is not seen. The peer's keepalive closes with 1011 "keepalive ping timeout". With
# 16 unread messages everything goes on. An application that sleeps for 4 s is enough here, with a
# keepalive of one second; the defaults are 20 s for the interval and 20 s for the timeout.
# Versions: websockets 17.4 at both ends.
# Who meets it: a consumer that spends 40 s on a message (a model, a report, a database) while small
# messages go on arriving. It looks like a network fault, and it comes with load only.
# What to do: read in a task of its own into a queue that you bound, or raise max_queue above what
# the peer may have in flight, or let the peer wait for confirmations.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check websockets==17.4

"$work/venv/bin/python" - <<'EOF'
import asyncio
import importlib.metadata as metadata
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

BUSY = 4


async def run(total, max_queue):
    outcome = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        await asyncio.sleep(BUSY)
        read = 0
        try:
            while read < total:
                await websocket.recv()
                read += 1
            await websocket.send("thanks")
            outcome.set_result((read, None))
        except ConnectionClosedError as error:
            outcome.set_result((read, error.rcvd.code))

    async with serve(handler, "127.0.0.1", 0, ping_interval=None, max_queue=max_queue) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(uri, proxy=None, ping_interval=1, ping_timeout=1) as websocket:
            for _ in range(total):
                await websocket.send("work")
            try:
                reply = await websocket.recv()
            except (ConnectionClosedError, ConnectionClosedOK) as error:
                reply = f"{error.sent.code} {error.sent.reason}"
            read, code = await outcome
    print(f"{total} messages, max_queue {max_queue}: the client gets {reply!r}; the handler read {read}")
    return reply


async def main():
    return [await run(16, 16), await run(17, 16), await run(40, 16), await run(40, 64)]


print("websockets", metadata.version("websockets"))
cut = "1011 keepalive ping timeout"
sys.exit(0 if asyncio.run(main()) == ["thanks", cut, cut, "thanks"] else "the behaviour has changed")
EOF
