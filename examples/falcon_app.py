"""A Falcon application whose WebSocket survives a broken network."""

import asyncio

import falcon.asgi
from _visit import visit

import reliable_ws

sessions = reliable_ws.Sessions()


async def shop(conn: reliable_ws.Connection) -> None:  # once per session, not per WebSocket
    async for order in conn:
        await conn.send(f"{order}: packed")


class Orders:
    async def on_websocket(self, _req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        await ws.accept(reliable_ws.select_subprotocol(ws.subprotocols))
        await sessions.handle(ws, shop)


app = falcon.asgi.App()
app.add_route("/orders", Orders())


if __name__ == "__main__":
    asyncio.run(visit(app, "/orders"))
