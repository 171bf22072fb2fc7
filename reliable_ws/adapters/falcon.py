"""Falcon: the ``WebSocket`` of its ASGI side, and the simulated client for tests."""

from __future__ import annotations

from typing import Any

from falcon import PayloadTypeError, WebSocketDisconnected
from falcon.asgi import WebSocket

from reliable_ws.transport import TransportClosed

from .asgi import MAX_FRAME
from .checks import check_open
from .coroutine import CoroutineTransport

__all__ = ["FalconTransport", "adapt"]


def adapt(ws: Any, *, max_frame: int = MAX_FRAME) -> FalconTransport:
    """Return a transport for a ``WebSocket`` of Falcon, or for what ``simulate_ws()`` gives.

    ``max_frame`` is the largest message that the server takes, in bytes (uvicorn:
    ``--ws-max-size``).

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is not accepted, it is closed, or another task is receiving
            from it.
    """
    if type(ws).__name__ == "ASGIWebSocketSimulator":  # servers need not import falcon.testing
        check_open(accepted=ws.ready or ws.closed, closed=ws.closed)
        return FalconTransport(ws, "initiator", max_frame)
    if not isinstance(ws, WebSocket):
        raise TypeError(
            f"not a WebSocket of Falcon: {type(ws).__name__}. Pass what the endpoint is given"
        )
    receiver = getattr(ws, "_buffered_receiver", None)  # nothing else tells
    check_open(
        accepted=not ws.unaccepted,
        closed=ws.closed,
        read=getattr(receiver, "_pop_message_waiter", None) is not None,
    )
    return FalconTransport(ws, "acceptor", max_frame)


class FalconTransport(CoroutineTransport):
    """A WebSocket of Falcon as a :class:`~reliable_ws.transport.Transport`; see :func:`adapt`.

    Falcon has to be told whether text or bytes are wanted, and the other kind is lost. It comes
    as an empty text: the protocol has no texts, so one is never taken for a message.
    """

    async def _recv(self) -> bytes | str:
        try:
            data: bytes = await self.websocket.receive_data()
        except PayloadTypeError:
            return ""
        except WebSocketDisconnected as error:
            raise TransportClosed(error.code) from None
        return data

    async def _send(self, data: bytes) -> None:
        await self.websocket.send_data(data)

    async def _close(self, code: int, reason: str) -> None:
        await self.websocket.close(code, reason)
