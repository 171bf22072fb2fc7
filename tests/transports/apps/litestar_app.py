"""Litestar."""

from __future__ import annotations

from litestar import Litestar, WebSocket, websocket

from . import ENDPOINTS, prepare, selected


@websocket("/{name:str}")
async def endpoint(socket: WebSocket, name: str) -> None:
    await socket.accept(selected(socket.scope["subprotocols"]))
    await ENDPOINTS.paths[f"/{name}"](socket)


app = Litestar([endpoint], on_startup=[prepare])
