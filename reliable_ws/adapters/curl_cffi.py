"""curl_cffi, the client: an ``AsyncWebSocket``."""

from __future__ import annotations

from typing import Any

from curl_cffi import AsyncWebSocket
from curl_cffi.const import CurlWsFlag

from reliable_ws.transport import TransportClosed

from .checks import check_open
from .close_frame import code_of
from .coroutine import CoroutineTransport

__all__ = ["MAX_FRAME", "CurlTransport", "adapt"]

MAX_FRAME = 4 * 1024 * 1024
"""Bytes; the ``max_message_size`` of ``ws_connect`` unless it is set."""


def adapt(ws: Any, *, max_frame: int | None = None) -> CurlTransport:
    """Return a transport for an ``AsyncWebSocket`` of curl_cffi.

    ``max_frame`` is the ``max_message_size`` that it was opened with, in bytes: nothing tells that
    later. What has arrived when the network breaks is delivered (``drain_on_error`` is set).

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is closed.
    """
    if not isinstance(ws, AsyncWebSocket):
        raise TypeError(
            f"not an AsyncWebSocket of curl_cffi: {type(ws).__name__}. Pass what "
            "AsyncSession.ws_connect() gives when it is awaited"
        )
    check_open(closed=ws.closed)
    ws.drain_on_error = True
    return CurlTransport(ws, "initiator", MAX_FRAME if max_frame is None else max_frame)


class CurlTransport(CoroutineTransport):
    """A WebSocket of curl_cffi as a :class:`~reliable_ws.transport.Transport`.

    See :func:`adapt`.
    """

    async def _recv(self) -> bytes | str:
        data, flags = await self.websocket.recv()
        if flags & CurlWsFlag.CLOSE:  # the peer's close frame, as a message
            raise TransportClosed(self.websocket.close_code, self.websocket.close_reason or "")
        return data.decode(errors="replace") if flags & CurlWsFlag.TEXT else bytes(data)

    async def _send(self, data: bytes) -> None:
        await self.websocket.send(data, CurlWsFlag.BINARY)

    async def _close(self, code: int, reason: str) -> None:
        await self.websocket.close(code_of(code), reason)

    def _drop(self) -> None:
        self.websocket.terminate()
