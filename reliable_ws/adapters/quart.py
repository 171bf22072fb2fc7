"""Quart."""

from __future__ import annotations

from typing import Any

from quart.wrappers import Websocket
from werkzeug.local import LocalProxy

from .asgi import MAX_FRAME
from .coroutine import CoroutineTransport

__all__ = ["QuartTransport", "adapt"]


def adapt(ws: Any, *, max_frame: int = MAX_FRAME) -> QuartTransport:
    """Return a transport for ``quart.websocket``.

    Quart accepts a WebSocket by itself when it is used, and then selects no subprotocol.
    ``max_frame`` is the largest message that the server takes, in bytes (Hypercorn:
    ``websocket_max_message_size``).

    Raises:
        TypeError: ``ws`` is something else.
        RuntimeError: The call is outside of a WebSocket's handler.
    """
    if isinstance(ws, LocalProxy):  # it means something else in every task
        ws = ws._get_current_object()  # noqa: SLF001 - documented, and named like a namedtuple's
    if not isinstance(ws, Websocket):
        raise TypeError(
            f"not a WebSocket of Quart: {type(ws).__name__}. Pass what the endpoint is given"
        )
    return QuartTransport(ws, "acceptor", max_frame)


class QuartTransport(CoroutineTransport):
    """A WebSocket of Quart as a :class:`~reliable_ws.transport.Transport`; see :func:`adapt`.

    Quart cancels the handler at the end of the WebSocket, whatever is unread.
    """

    async def _recv(self) -> bytes | str:
        message: bytes | str | None = await self.websocket.receive()
        return b"" if message is None else message  # that is how it hands out an empty one

    async def _send(self, data: bytes) -> None:
        await self.websocket.send(data)

    async def _close(self, code: int, reason: str) -> None:
        await self.websocket.close(code, reason)
