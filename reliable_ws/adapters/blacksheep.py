"""BlackSheep."""

from __future__ import annotations

from typing import Any

from blacksheep import WebSocket
from blacksheep.server.websocket import WebSocketDisconnectError, WebSocketState

from reliable_ws.transport import TransportClosed

from .asgi import MAX_FRAME, ASGITransport
from .checks import check_open

__all__ = ["BlackSheepTransport", "adapt"]


def adapt(ws: Any, *, max_frame: int = MAX_FRAME) -> BlackSheepTransport:
    """Return a transport for a ``WebSocket`` of BlackSheep.

    ``max_frame`` is the largest message that the server takes, in bytes (uvicorn:
    ``--ws-max-size``).

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is not accepted, or it is closed.
    """
    if not isinstance(ws, WebSocket):
        raise TypeError(
            f"not a WebSocket of BlackSheep: {type(ws).__name__}. Pass what the endpoint is given"
        )
    over = WebSocketState.DISCONNECTED
    check_open(accepted=ws.accepted, closed=over in (ws.application_state, ws.client_state))
    # Its public verbs take one kind of message each; the callables of the server are private.
    return BlackSheepTransport(ws._receive, ws._send, ws, max_frame=max_frame)  # noqa: SLF001


class BlackSheepTransport(ASGITransport):
    """A WebSocket of BlackSheep as a :class:`~reliable_ws.transport.Transport`."""

    async def _recv(self) -> bytes | str:
        try:
            return await super()._recv()
        except WebSocketDisconnectError as end:
            raise TransportClosed(end.code) from None
