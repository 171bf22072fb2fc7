"""BlackSheep."""

from __future__ import annotations

from blacksheep import Application, WebSocket

from . import ENDPOINTS, prepare, selected

app = Application()


@app.on_start
async def starting(_app) -> None:
    prepare()


@app.router.ws("/{name}")
async def endpoint(websocket: WebSocket, name: str) -> None:
    await websocket.accept(subprotocol=selected(websocket.scope["subprotocols"]))
    await ENDPOINTS.paths[f"/{name}"](websocket)
