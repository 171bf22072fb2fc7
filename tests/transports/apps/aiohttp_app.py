"""aiohttp: ``web.WebSocketResponse``."""

from __future__ import annotations

from aiohttp import web

from reliable_ws.protocol.frames import SUBPROTOCOL

from . import ENDPOINTS, prepare


async def endpoint(request):
    ws = web.WebSocketResponse(protocols=[SUBPROTOCOL])
    await ws.prepare(request)
    await ENDPOINTS.paths[request.path](ws)
    return ws


async def starting(_app) -> None:
    prepare()


def run(port: int) -> None:
    app = web.Application()
    app.add_routes([web.get(path, endpoint) for path in ENDPOINTS.paths])
    app.on_startup.append(starting)
    web.run_app(app, host="127.0.0.1", port=port, print=None)
