"""aiohttp: ``web.WebSocketResponse`` of its server, ``ClientWebSocketResponse`` of its client."""

from __future__ import annotations

from typing import Any

from aiohttp import ClientWebSocketResponse, WSMsgType
from aiohttp.web import WebSocketResponse

from reliable_ws.protocol.session import Role
from reliable_ws.transport import TransportClosed

from .checks import check_open
from .coroutine import CoroutineTransport

__all__ = ["MAX_FRAME", "AiohttpTransport", "adapt"]

MAX_FRAME = 4 * 1024 * 1024 - 1
"""aiohttp takes less than ``max_msg_size`` bytes, which is 4 MiB unless it is set."""


def adapt(ws: Any, *, max_frame: int | None = None) -> AiohttpTransport:
    """Return a transport for a WebSocket of aiohttp, of its server or its client.

    ``max_frame`` is the largest message that it takes, in bytes: one less than ``max_msg_size``.

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is not open, or another task is receiving from it.
    """
    role: Role
    if isinstance(ws, WebSocketResponse):
        role = "acceptor"
        if not ws.prepared:
            raise ValueError("the WebSocket is not open yet: await ws.prepare(request) first")
    elif isinstance(ws, ClientWebSocketResponse):
        role = "initiator"
    else:
        raise TypeError(
            f"not a WebSocket of aiohttp: {type(ws).__name__}. Pass the WebSocketResponse of a "
            "server, or what ws_connect() gives when it is awaited"
        )
    check_open(closed=ws.closed, read=ws._waiting)  # noqa: SLF001 - nothing else tells
    return AiohttpTransport(ws, role, MAX_FRAME if max_frame is None else max_frame)


class AiohttpTransport(CoroutineTransport):
    """A WebSocket of aiohttp as a :class:`~reliable_ws.transport.Transport`; see :func:`adapt`."""

    async def _recv(self) -> bytes | str:
        while True:
            try:
                message = await self.websocket.receive()
            except TimeoutError:  # of receive_timeout or ws_receive, and nothing is lost by it
                continue
            match message.type:
                case WSMsgType.BINARY | WSMsgType.TEXT:
                    data: bytes | str = message.data
                    return data
                case WSMsgType.CLOSE:
                    await self.websocket.close()  # it has done so itself, but for autoclose=False
                    raise TransportClosed(message.data, message.extra or "")
                case WSMsgType.CLOSING:  # by ourselves
                    raise TransportClosed
                case WSMsgType.CLOSED | WSMsgType.ERROR:
                    raise ConnectionResetError

    async def _send(self, data: bytes) -> None:
        await self.websocket.send_bytes(data)

    async def _close(self, code: int, reason: str) -> None:
        await self.websocket.close(code=code, message=reason.encode())

    def _drop(self) -> None:
        # Nothing public drops the connection; closing its response gives it back to the session.
        self.websocket._writer.transport.abort()  # noqa: SLF001
        if self.role == "initiator":
            self.websocket._response.close()  # noqa: SLF001
