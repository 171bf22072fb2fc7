"""The library websockets, its legacy implementation: connections go in as they are."""

from __future__ import annotations

import asyncio

from websockets.legacy.server import serve

from reliable_ws.protocol.frames import SUBPROTOCOL

from . import ENDPOINTS, drained


async def endpoint(ws) -> None:
    await ENDPOINTS.paths[ws.path](ws)


async def main(port: int) -> None:
    async with serve(
        endpoint,
        "127.0.0.1",
        port,
        compression=None,
        subprotocols=[SUBPROTOCOL],
    ) as server:
        await drained()
        server.close()


def run(port: int) -> None:
    asyncio.run(main(port))
