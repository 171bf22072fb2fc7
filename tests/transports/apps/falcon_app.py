"""Falcon."""

from __future__ import annotations

import falcon.asgi

from . import ENDPOINTS, prepare, selected


class Resource:
    async def on_websocket(self, _req, ws, name) -> None:
        await ws.accept(selected(ws.subprotocols))
        await ENDPOINTS.paths[f"/{name}"](ws)


class Lifespan:
    async def process_startup(self, _scope, _event) -> None:
        prepare()


app = falcon.asgi.App(middleware=[Lifespan()])
app.add_route("/{name}", Resource())
