"""picows.websockets: connections go in as they are."""

from __future__ import annotations

import asyncio

from picows.websockets import serve

from reliable_ws.protocol.frames import SUBPROTOCOL

from . import ENDPOINTS, drained


async def endpoint(ws) -> None:
    await ENDPOINTS.paths[ws.request.path](ws)


async def main(port: int) -> None:
    async with serve(endpoint, "127.0.0.1", port, subprotocols=[SUBPROTOCOL]) as server:
        await drained()
        server.close()


def run(port: int) -> None:
    asyncio.run(main(port))
