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
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.transport import TransportClosed

from .callback import HANDSHAKE_TIMEOUT, CallbackTransport
from .picows_reader import BoundedReader

__all__ = ["MAX_FRAME", "PicowsTransport", "accepted"]

MAX_FRAME = 10 * 1024 * 1024
"""Bytes; the ``max_frame_size`` of picows unless it is set."""

WRITE_LIMIT = 256 * 1024
"""``send_now`` refuses once the write buffer holds this many bytes."""

BINARY, TEXT, CONTINUATION, CLOSE, PING = (
    WSMsgType.BINARY,
    WSMsgType.TEXT,
    WSMsgType.CONTINUATION,
    WSMsgType.CLOSE,
    WSMsgType.PING,
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
    ``ws_create_server``. ``max_first`` is how many bytes may come before the first message is
    whole, ``None`` for any number. ``websocket`` is the ``WSTransport``.

    With ``enable_auto_pong=False`` it answers pings itself: while the peer reads less than is
    written, only the answer to its last ping is kept. picows keeps all.
    """

    _reader: BoundedReader  # since the connection is open

    def __init__(
        self,
        serve: Callable[[PicowsTransport], Coroutine[Any, Any, object]] | None = None,
        *,
        max_frame: int = MAX_FRAME,
        max_first: int | None = None,
    ) -> None:
        CallbackTransport.__init__(self, None, None, max_frame)
        self._max_first = max_first
        self._most = max_frame
        self._serve = serve
        self._tasks: set[asyncio.Task[object]] = set()
        self._kind: WSMsgType | None = None  # of the message whose frames are coming
        self._partial = bytearray()
        self._pong: bytes | None = None  # the last of those that wait for room
        self._drop_timer: asyncio.TimerHandle | None = None
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
        self._reader = BoundedReader(
            transport, self._look_for_a_fault, self._refuse, self._max_first
        )
        if self._serve is not None:
            self._start(self._run(self._serve))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take in one frame; what it points to is overwritten afterwards."""
        kind = frame.msg_type
        if kind == BINARY and frame.fin and self._kind is None:
            payload = frame.get_payload_as_bytes()
            if len(payload) > self._most:
                self._refuse(WSCloseCode.MESSAGE_TOO_BIG, "message too big")
                return
            self._reader.left = None
            self.feed(payload)
        elif self._end is not None:  # what comes behind the end counts no more
            return
        elif kind in (BINARY, TEXT, CONTINUATION):
            self._join(kind, frame)
        elif kind == PING:
            self._pong = frame.get_payload_as_bytes()
            self._send_pong()
        elif kind == CLOSE:
            code: Any = frame.get_close_code()  # an int, of which NO_INFO is 0
            self.feed_end(int(code), frame.get_close_reason() or "")
            transport.send_close(code or WSCloseCode.OK)
            self._disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End."""
        self.feed_end()
        self._writable.set()
        if self._drop_timer is not None:
            self._drop_timer.cancel()
        self._start(self._forget(transport))

    def pause_writing(self) -> None:
        """The write buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """There is room in it."""
        self._writable.set()
        if self._pong is not None:
            # TLS may call this in the middle of a frame that is written in two pieces.
            asyncio.get_running_loop().call_soon(self._send_pong)

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
        self._reader.set_full(full=True)

    def _resume(self) -> None:
        self._reader.set_full(full=False)

    # ------------------------------------------------------------------ inside

    def _join(self, kind: WSMsgType, frame: WSFrame) -> None:
        """Take in a fragment, or a text."""
        if (kind == CONTINUATION) == (self._kind is None):
            self._refuse(WSCloseCode.PROTOCOL_ERROR, "a frame out of sequence")
            return
        if kind != CONTINUATION:
            self._kind = kind
        if len(self._partial) + frame.payload_size > self._most:
            self._refuse(WSCloseCode.MESSAGE_TOO_BIG, "message too big")
            return
        self._partial += frame.get_payload_as_memoryview()
        if frame.fin:
            message, binary = bytes(self._partial), self._kind == BINARY
            self._kind, self._partial = None, bytearray()
            self._reader.left = None
            try:
                self.feed(message if binary else message.decode())
            except UnicodeDecodeError:
                self._refuse(WSCloseCode.INVALID_TEXT, "not UTF-8")

    def _send_pong(self) -> None:
        """Answer the last ping, or wait until there is room.

        A peer could send pings and read nothing, and have all their answers kept. One is enough for
        all of them (RFC 6455, 5.5.3).
        """
        if self._pong is not None and self._writable.is_set() and not self._gone:
            pong, self._pong = self._pong, None
            # A transport that has failed tells it a turn later, and asyncio would log each write.
            if not self.websocket.underlying_transport.is_closing():
                self.websocket.send_pong(pong)

    def _refuse(self, code: WSCloseCode, reason: str) -> None:
        """End, and tell the peer why: what it says is a fault."""
        self.feed_end()
        self._reader.stop()
        self.websocket.send_close(code, reason)
        self._disconnect()

    def _look_for_a_fault(self) -> None:
        """Take in no more if picows has found a fault: it closes the connection after 10 ms."""
        if not self._gone:
            self._reader.stop()
            self._limit_the_close()

    def _disconnect(self) -> None:
        """Let go of the connection once all is written."""
        self.websocket.disconnect()
        self._limit_the_close()

    def _limit_the_close(self) -> None:
        """Drop the connection of a peer that does not read what is written before it closes."""
        if self._drop_timer is None and not self.websocket.is_disconnected:
            loop = asyncio.get_running_loop()
            self._drop_timer = loop.call_later(HANDSHAKE_TIMEOUT, self.abort)

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
