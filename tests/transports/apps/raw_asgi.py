"""ASGI without a framework."""

from __future__ import annotations

from reliable_ws.adapters.asgi import ASGITransport

from . import ENDPOINTS, prepare, selected


async def app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        prepare()
        await receive()
        await send({"type": "websocket.accept", "subprotocol": selected(scope["subprotocols"])})
        await ENDPOINTS.paths[scope["path"]](ASGITransport(receive, send))


async def lifespan(receive, send) -> None:
    await receive()
    prepare()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("lifespan.shutdown", flush=True)
    await send({"type": "lifespan.shutdown.complete"})
