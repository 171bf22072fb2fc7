"""picows, the fast path: a listener that is a transport.

A client gives the class to ``ws_connect`` and wraps the listener that comes back::

    _, ws = await ws_connect(PicowsTransport, "ws://127.0.0.1:9001")
    async with reliable_ws.wrap(ws) as conn: ...

A server returns one from its listener factory, with what shall serve it::

    def route(request):
        return accepted(request, PicowsTransport(lambda ws: sessions.handle(ws, handler)))

    server = await ws_create_server(route, "127.0.0.1", 9001)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.transport import TransportClosed

from .callback import CallbackTransport

__all__ = ["MAX_FRAME", "PicowsTransport", "accepted"]

MAX_FRAME = 10 * 1024 * 1024
"""Bytes; the ``max_frame_size`` of picows unless it is set."""

WRITE_LIMIT = 256 * 1024
"""``send_now`` refuses once the write buffer holds this many bytes."""

BINARY, TEXT, CONTINUATION, CLOSE = (
    WSMsgType.BINARY,
    WSMsgType.TEXT,
    WSMsgType.CONTINUATION,
    WSMsgType.CLOSE,
)


def accepted(request: WSUpgradeRequest, listener: PicowsTransport) -> WSUpgradeResponseWithListener:
    """Return what a listener factory returns: ``reliable-ws.v1`` is selected if it is offered."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    selected = SUBPROTOCOL in (name.strip() for name in offered)
    headers = {"Sec-WebSocket-Protocol": SUBPROTOCOL} if selected else None
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), listener)


class PicowsTransport(WSListener, CallbackTransport):
    """A listener of picows, client or server, as a :class:`~reliable_ws.transport.Transport`.

    ``serve`` is called with it once it is connected and runs in a task; when that returns, the
    connection is dropped. ``max_frame`` is the largest message that it takes, in bytes, however
    many frames it comes in: not above ``max_frame_size`` of ``ws_connect`` or
    ``ws_create_server``. ``websocket`` is the ``WSTransport``.
    """

    def __init__(
        self,
        serve: Callable[[PicowsTransport], Coroutine[Any, Any, object]] | None = None,
        *,
        max_frame: int = MAX_FRAME,
    ) -> None:
        CallbackTransport.__init__(self, None, None, max_frame)
        self._most = max_frame
        self._serve = serve
        self._tasks: set[asyncio.Task[object]] = set()
        self._kind: WSMsgType | None = None  # of the message whose frames are coming
        self._partial = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def remote_address(self) -> Any:
        """The peer's address."""
        return self.websocket.underlying_transport.get_extra_info("peername")

    @property
    def local_address(self) -> Any:
        """This end's address."""
        return self.websocket.underlying_transport.get_extra_info("sockname")

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was selected, or ``None``."""
        name: str | None = self.websocket.response.headers.get("Sec-WebSocket-Protocol")
        return name

    # ------------------------------------------------------------------ what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin."""
        self.websocket = transport
        self.role = "initiator" if transport.is_client_side else "acceptor"
        transport.underlying_transport.set_write_buffer_limits(WRITE_LIMIT)
        if self._serve is not None:
            self._start(self._run(self._serve))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take in one frame; what it points to is overwritten afterwards."""
        kind = frame.msg_type
        if kind == BINARY and frame.fin and self._kind is None:
            payload = frame.get_payload_as_bytes()
            if len(payload) > self._most:  # picows has noticed, and still hands it over
                raise self._refused(WSCloseCode.MESSAGE_TOO_BIG, "message too big")
            self.feed(payload)
        elif kind in (BINARY, TEXT, CONTINUATION):
            self._join(kind, frame)
        elif kind == CLOSE:
            code: Any = frame.get_close_code()  # an int, of which NO_INFO is 0
            self.feed_end(int(code), frame.get_close_reason() or "")
            transport.send_close(code or WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End."""
        self.feed_end()
        self._writable.set()
        self._start(self._forget(transport))

    def pause_writing(self) -> None:
        """The write buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """There is room in it."""
        self._writable.set()

    # ------------------------------------------------------------------ what the driver calls

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message, or return ``False`` while the write buffer is full."""
        if self._gone:
            raise self._over()
        if not self._writable.is_set():
            return False
        self.websocket.send(BINARY, data)
        return True

    async def _send(self, data: bytes) -> None:
        await self._writable.wait()
        if self._gone:
            raise TransportClosed
        self.websocket.send(BINARY, data)

    async def _close(self, code: int, reason: str) -> None:
        self.websocket.send_close(WSCloseCode(code), reason.encode())
        await self.ended()

    def _drop(self) -> None:
        self.websocket.disconnect(graceful=False)

    def _pause(self) -> None:
        self.websocket.underlying_transport.pause_reading()

    def _resume(self) -> None:
        if not self.websocket.underlying_transport.is_closing():
            self.websocket.underlying_transport.resume_reading()

    # ------------------------------------------------------------------ inside

    def _join(self, kind: WSMsgType, frame: WSFrame) -> None:
        if (kind == CONTINUATION) == (self._kind is None):
            raise self._refused(WSCloseCode.PROTOCOL_ERROR, "a frame out of sequence")
        if kind != CONTINUATION:
            self._kind = kind
        if len(self._partial) + frame.payload_size > self._most:
            raise self._refused(WSCloseCode.MESSAGE_TOO_BIG, "message too big")
        self._partial += frame.get_payload_as_memoryview()
        if frame.fin:
            message, binary = bytes(self._partial), self._kind == BINARY
            self._kind, self._partial = None, bytearray()
            try:
                self.feed(message if binary else message.decode())
            except UnicodeDecodeError as error:
                raise self._refused(WSCloseCode.INVALID_TEXT, "not UTF-8") from error

    def _refused(self, code: WSCloseCode, reason: str) -> WSProtocolError:
        """End; picows closes the connection for it, but goes on with the next frame."""
        self.feed_end()
        return WSProtocolError(code, reason)

    def _start(self, doing: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, serve: Callable[[PicowsTransport], Coroutine[Any, Any, object]]) -> None:
        try:
            await serve(self)
        finally:
            self.abort()

    @staticmethod
    async def _forget(transport: WSTransport) -> None:
        with contextlib.suppress(Exception):  # why picows disconnected; it has logged it
            await transport.wait_disconnected()
