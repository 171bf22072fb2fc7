"""A FastAPI application whose WebSocket survives a broken network."""

import asyncio

import fastapi
from _visit import visit

import reliable_ws

app = fastapi.FastAPI()
sessions = reliable_ws.Sessions()


async def shop(conn: reliable_ws.Connection) -> None:  # once per session, not per WebSocket
    async for order in conn:
        await conn.send(f"{order}: packed")


@app.websocket("/orders")
async def orders(websocket: fastapi.WebSocket) -> None:
    await websocket.accept(reliable_ws.select_subprotocol(websocket.scope["subprotocols"]))
    await sessions.handle(websocket, shop)


if __name__ == "__main__":
    asyncio.run(visit(app, "/orders"))
