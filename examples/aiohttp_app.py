"""An aiohttp application whose WebSocket survives a broken network."""

import asyncio

from _visit import order
from aiohttp import web

import reliable_ws

sessions = reliable_ws.Sessions()


async def shop(conn: reliable_ws.Connection) -> None:  # once per session, not per WebSocket
    async for what in conn:
        await conn.send(f"{what}: packed")


async def orders(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(protocols=["reliable-ws.v1"])
    await ws.prepare(request)
    await sessions.handle(ws, shop)
    return ws


app = web.Application()
app.add_routes([web.get("/orders", orders)])


async def main() -> None:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await order("/orders", *runner.addresses[0])
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
