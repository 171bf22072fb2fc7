"""Quart."""

from __future__ import annotations

from quart import Quart, websocket

from . import ENDPOINTS, prepare, selected

app = Quart(__name__)


@app.before_serving
async def starting() -> None:
    prepare()


@app.websocket("/<name>")
async def endpoint(name) -> None:
    await websocket.accept(subprotocol=selected(websocket.requested_subprotocols))
    await ENDPOINTS.paths[f"/{name}"](websocket)
