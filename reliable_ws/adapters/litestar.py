"""Litestar."""

from __future__ import annotations

from typing import Any

from litestar import WebSocket

from .asgi import MAX_FRAME, ASGITransport
from .checks import check_open

__all__ = ["adapt"]


def adapt(ws: Any, *, max_frame: int = MAX_FRAME) -> ASGITransport:
    """Return a transport for a ``WebSocket`` of Litestar.

    ``max_frame`` is the largest message that the server takes, in bytes (uvicorn:
    ``--ws-max-size``).

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is not accepted, or it is closed.
    """
    if not isinstance(ws, WebSocket):
        raise TypeError(
            f"not a WebSocket of Litestar: {type(ws).__name__}. Pass what the endpoint is given"
        )
    check_open(accepted=ws.connection_state != "init", closed=ws.connection_state == "disconnect")
    return ASGITransport(ws.receive, ws.send, ws, max_frame=max_frame)
