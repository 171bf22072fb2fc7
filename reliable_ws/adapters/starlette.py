"""Starlette, and FastAPI, which hands out the same object."""

from __future__ import annotations

from typing import Any

from starlette.websockets import WebSocket, WebSocketState

from .asgi import MAX_FRAME, ASGITransport
from .checks import check_open

__all__ = ["adapt"]


def adapt(ws: Any, *, max_frame: int = MAX_FRAME) -> ASGITransport:
    """Return a transport for a ``WebSocket`` of Starlette or FastAPI.

    ``max_frame`` is the largest message that the server takes, in bytes (uvicorn:
    ``--ws-max-size``).

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is not accepted, or it is closed.
    """
    if not isinstance(ws, WebSocket):
        raise TypeError(
            f"not a WebSocket of Starlette: {type(ws).__name__}. Pass what the endpoint is given"
        )
    connecting, over = WebSocketState.CONNECTING, WebSocketState.DISCONNECTED
    check_open(
        accepted=ws.application_state is not connecting,
        closed=over in (ws.application_state, ws.client_state),
    )
    return ASGITransport(ws.receive, ws.send, ws, max_frame=max_frame)
