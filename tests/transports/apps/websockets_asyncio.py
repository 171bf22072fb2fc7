"""The library websockets, its asyncio implementation: connections go in as they are."""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import serve

from . import ENDPOINTS, drained, selected


async def endpoint(ws) -> None:
    await ENDPOINTS.paths[ws.request.path](ws)


async def main(port: int) -> None:
    async with serve(
        endpoint,
        "127.0.0.1",
        port,
        compression=None,
        select_subprotocol=lambda _, offered: selected(offered),
    ) as server:
        await drained()
        server.close()


def run(port: int) -> None:
    asyncio.run(main(port))
