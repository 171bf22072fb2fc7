"""The other end of ``make bench-js``: plain websockets and sessions, in one process.

It prints a line of JSON: where both listen, and the versions. It ends with its stdin. What a
connection is for stands in its path: ``/sink`` takes messages, ``/source`` sends those that are
asked for, ``/echo`` sends everything back.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from importlib.metadata import version

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as plain_serve

import reliable_ws


async def plain(ws: ServerConnection) -> None:
    """Serve a plain WebSocket. An empty message at the sink is answered: all were taken."""
    path = ws.request.path if ws.request else ""
    if path == "/sink":
        async for message in ws:
            if not message:
                await ws.send("")
    elif path == "/echo":
        async for message in ws:
            await ws.send(message)
    else:
        async for message in ws:
            order = json.loads(message)
            text = "x" * order["size"]
            for _ in range(order["count"]):
                await ws.send(text)


async def reliable(conn: reliable_ws.Connection) -> None:
    """Serve a session. Taking a message confirms it."""
    if conn.websocket.request.path == "/sink":
        async for _message in conn:
            pass
    else:
        async for message in conn:
            order = json.loads(message)
            text = "x" * order["size"]
            for _ in range(order["count"]):
                await conn.send(text)


async def main() -> None:
    """Serve until stdin ends."""
    async with (
        plain_serve(plain, "127.0.0.1", 0, compression=None, ping_interval=None) as simple,
        reliable_ws.serve(reliable, "127.0.0.1", 0, drain_timeout=1) as server,
    ):
        port = next(iter(simple.sockets)).getsockname()[1]
        ready = {
            "plain": f"ws://127.0.0.1:{port}",
            "reliable": f"ws://127.0.0.1:{server.port}",
            "versions": f"Python {platform.python_version()}, websockets {version('websockets')}",
        }
        print(json.dumps(ready), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
