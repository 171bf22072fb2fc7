"""The chat of chat.py in a FastAPI application: python examples/browser/fastapi_chat.py."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator

import fastapi
import uvicorn
from chat import PAGE, Cables, chat, methods
from fastapi.responses import FileResponse, PlainTextResponse

import reliable_ws
from reliable_ws import browser

sessions = reliable_ws.Sessions(methods=methods)


@contextlib.asynccontextmanager
async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
    """Have cables while the application runs."""
    async with contextlib.AsyncExitStack() as stack:
        app.state.cables = Cables(stack, app.state.port)
        yield


app = fastapi.FastAPI(lifespan=lifespan)


@app.get("/")
async def page() -> FileResponse:
    """Return the page."""
    return FileResponse(PAGE)


@app.get("/reliable-ws.js")
async def client() -> FileResponse:
    """Return the JavaScript client, which the Python package has in it."""
    return FileResponse(browser.path(), media_type="text/javascript")


@app.get("/cable")
async def cable(name: str, do: str = "") -> PlainTextResponse:
    """Cut or mend somebody's cable."""
    return PlainTextResponse(await app.state.cables.handle(name, do))


@app.websocket("/chat")
async def live(websocket: fastapi.WebSocket) -> None:
    """Carry a session over this WebSocket."""
    await websocket.accept(reliable_ws.select_subprotocol(websocket.scope["subprotocols"]))
    await sessions.handle(websocket, chat)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a chat in the browser that loses nothing")
    parser.add_argument("--port", type=int, default=8765)
    app.state.port = parser.parse_args().port
    print(f"open http://127.0.0.1:{app.state.port}/ in two windows", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=app.state.port, log_level="warning")
