"""Sanic's own server: the ``Websocket`` of a handler.

Under an ASGI server Sanic hands out another object; there, mount the application of
:mod:`reliable_ws.adapters.asgi` beside Sanic's.
"""

from __future__ import annotations

import codecs
import contextlib
from typing import Any

from sanic import Websocket
from sanic.exceptions import RequestCancelled
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import State

from reliable_ws.transport import TransportClosed

from .callback import CallbackTransport
from .checks import check_open

__all__ = ["SanicTransport", "adapt"]

UTF8Decoder = codecs.getincrementaldecoder("utf-8")


def adapt(ws: Any, *, max_frame: int | None = None) -> SanicTransport:
    """Return a transport for the WebSocket that Sanic's server gave to a handler.

    ``max_frame`` is the largest message that it takes, in bytes: by default what Sanic was told
    (``app.config.WEBSOCKET_MAX_SIZE``, else 1 MiB).

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is closed, or another task is receiving from it.
    """
    if not isinstance(ws, Websocket):
        raise TypeError(
            f"not a WebSocket of Sanic's own server: {type(ws).__name__}. Pass what the endpoint "
            "is given"
        )
    check_open(closed=ws.ws_proto.state is not State.OPEN, read=ws.recv_lock.locked())
    limit = getattr(ws.io_proto, "websocket_max_size", None)
    return SanicTransport(ws, limit if max_frame is None else max_frame)


class SanicTransport(CallbackTransport):
    """A WebSocket of Sanic as a :class:`~reliable_ws.transport.Transport`; see :func:`adapt`.

    It takes the place of what assembles messages there. ``recv()`` of Sanic loses messages when
    it is cancelled or the peer closes, and the order of those that come while an answer to a ping
    has to wait for room.
    """

    def __init__(self, ws: Any, max_frame: int | None) -> None:
        super().__init__(ws, "acceptor", max_frame)
        before, ws.assembler = ws.assembler, self
        self._chunks: list[Any] = before.chunks  # str if there is a decoder, else bytes
        self._decoder = before.decoder
        if before.message_complete.is_set():
            self._join()
            before.message_fetched.set()  # its put() returns; the next one will be ours
        self._connection_lost = ws.connection_lost
        ws.connection_lost = self._lost
        ws.async_data_received = self._data_received

    async def put(self, frame: Frame) -> None:
        """Take in one frame of a message; bounded by the protocol below, which is websockets'."""
        if frame.opcode not in DATA_OPCODES:
            return
        if frame.opcode is not Opcode.CONT:
            self._decoder = UTF8Decoder() if frame.opcode is Opcode.TEXT else None
        try:
            data = self._decoder.decode(frame.data, frame.fin) if self._decoder else frame.data
        except UnicodeDecodeError:
            self.feed_end()
            self.websocket.fail_connection(1007)
            return
        if data:  # or frames with nothing in them would add up
            self._chunks.append(data)
        if frame.fin:
            self._join()

    def _join(self) -> None:
        chunks, self._chunks = self._chunks, []
        joiner: Any = b"" if self._decoder is None else ""
        self.feed(joiner.join(chunks))

    async def _data_received(self, to_send: Any, events: Any) -> None:
        """Take in what arrived, and only then answer it: answers may have to wait."""
        await self.websocket.process_events(events)
        close = self.websocket.ws_proto.close_rcvd
        if close is not None:
            self.feed_end(close.code, close.reason)
        await self.websocket.send_data(to_send)

    def _lost(self, error: Exception | None) -> None:
        self.feed_end()
        self._connection_lost(error)

    async def _send(self, data: bytes) -> None:
        try:
            await self.websocket.send(data)
        except RequestCancelled as error:  # a CancelledError, although nobody was cancelled
            raise TransportClosed from error

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(RequestCancelled):
            await self.websocket.close(code, reason)
            await self.ended()

    def _drop(self) -> None:
        self.websocket.io_proto.transport.abort()

    def _pause(self) -> None:
        self.websocket.io_proto.transport.pause_reading()

    def _resume(self) -> None:
        if not self.websocket.io_proto.transport.is_closing():
            self.websocket.io_proto.transport.resume_reading()
