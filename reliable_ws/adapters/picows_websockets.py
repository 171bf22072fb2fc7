"""picows.websockets: picows behind the interface of websockets, both sides."""

from __future__ import annotations

from typing import Any

from picows.websockets import ClientConnection, ConnectionClosed, ServerConnection, State

from reliable_ws.protocol.session import Role
from reliable_ws.transport import TransportClosed

from .coroutine import CoroutineTransport

__all__ = ["MAX_FRAME", "PicowsWebsocketsTransport", "adapt"]

MAX_FRAME = 1024 * 1024
"""Bytes; the ``max_size`` of picows.websockets unless it is set."""

REFUSED = {1002, 1007, 1009}
"""After a frame that it refuses with one of these codes, picows hands over what follows: a gap."""


def adapt(ws: Any, *, max_frame: int | None = None) -> PicowsWebsocketsTransport:
    """Return a transport for a connection of picows.websockets, client or server.

    ``max_frame`` is the ``max_size`` that it was opened with, in bytes. That another task is
    receiving from it cannot be seen: then this one learns at once that it is over.

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The connection is not open.
    """
    role: Role
    if isinstance(ws, ClientConnection):
        role = "initiator"
    elif isinstance(ws, ServerConnection):
        role = "acceptor"
    else:
        raise TypeError(
            f"a {type(ws).__name__} of picows does not keep what arrives. Let the listener be a "
            "reliable_ws.adapters.picows.PicowsTransport and pass that, or open the WebSocket "
            "with picows.websockets and pass its connection"
        )
    if ws.state is not State.OPEN:
        raise ValueError(f"the WebSocket is not open but {ws.state.name}: pass one that is open")
    return PicowsWebsocketsTransport(ws, role, MAX_FRAME if max_frame is None else max_frame)


class PicowsWebsocketsTransport(CoroutineTransport):
    """A connection of picows.websockets as a :class:`~reliable_ws.transport.Transport`.

    See :func:`adapt`.
    """

    async def _recv(self) -> bytes | str:
        ws = self.websocket
        try:
            while True:
                message: bytes | str = await ws.recv()
                if ws.close_code not in REFUSED:
                    return message
        except ConnectionClosed as error:
            await ws.wait_closed()  # asks why picows closed it, or asyncio logs that nobody did
            close = error.rcvd
            raise TransportClosed(close and close.code, (close and close.reason) or "") from error

    async def _send(self, data: bytes) -> None:
        await self.websocket.send(data)

    async def _close(self, code: int, reason: str) -> None:
        await self.websocket.close(code, reason)
