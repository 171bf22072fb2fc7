"""A picows server whose WebSocket survives a broken network."""

import asyncio

from _visit import order
from picows import WSUpgradeRequest, WSUpgradeResponseWithListener, ws_create_server

import reliable_ws
from reliable_ws.adapters.picows import PicowsTransport, accepted

sessions = reliable_ws.Sessions()


async def shop(conn: reliable_ws.Connection) -> None:  # once per session, not per WebSocket
    async for what in conn:
        await conn.send(f"{what}: packed")


def route(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
    return accepted(request, PicowsTransport(lambda ws: sessions.handle(ws, shop)))


async def main() -> None:
    server = await ws_create_server(route, "127.0.0.1", 0)
    await order("/orders", *server.sockets[0].getsockname())
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
