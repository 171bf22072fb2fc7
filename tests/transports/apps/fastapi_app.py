"""FastAPI: the ``WebSocket`` that it has from Starlette."""

from __future__ import annotations

import contextlib

from fastapi import FastAPI, WebSocket

from . import ENDPOINTS, prepare, selected


@contextlib.asynccontextmanager
async def lifespan(_app):
    prepare()
    yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/{name}")
async def endpoint(websocket: WebSocket, name: str) -> None:
    await websocket.accept(selected(websocket.scope["subprotocols"]))
    await ENDPOINTS.paths[f"/{name}"](websocket)
