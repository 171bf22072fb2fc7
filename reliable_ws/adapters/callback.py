"""The base of adapters for asyncio: the library puts in what arrives, the driver takes it out.

What arrives waits in a queue until it is received. Once the driver has asked for it
(:meth:`CallbackTransport.push_to`), it goes straight to the driver. The end is kept apart: ``recv``
raises it when the queue is empty, and from then on each time. A send fails as soon as the end is
known.

For a library that calls back, write a subclass of :class:`CallbackTransport`. For one with
coroutines, write a subclass of :class:`~reliable_ws.adapters.coroutine.CoroutineTransport`, which
has a task of its own that receives and feeds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from reliable_ws.protocol.session import Role
from reliable_ws.transport import TransportClosed

from .close_frame import reason_of, told

__all__ = ["HANDSHAKE_TIMEOUT", "CallbackTransport"]

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a library's closing handshake may take."""

RECEIVE_LIMIT = 1024 * 1024
"""Bytes that wait to be received from which on the library is asked to read no more."""


class CallbackTransport:
    """A :class:`~reliable_ws.transport.Transport` into which callbacks put what arrives.

    A subclass calls :meth:`feed` with each message and :meth:`feed_end` at the end, and translates
    :meth:`_send`, :meth:`_close` and, where the library can, :meth:`_drop`. Whatever those raise
    means that the WebSocket is gone: every library has exceptions of its own for that, and the
    driver treats them alike.

    A library that can hold back the network is told to by :meth:`_pause` and :meth:`_resume`, or
    awaits :meth:`room` in its callback. What is held without that is bounded too: the peer's link
    sends no more than the session's window.

    ``websocket`` is the library's object, ``role`` which side of the WebSocket this is (``None`` if
    that is not known), ``max_frame`` the largest message that this end receives, in bytes
    (``None`` if not known).
    """

    def __init__(self, websocket: Any, role: Role | None, max_frame: int | None) -> None:
        self.websocket = websocket
        self.role: Role | None = role
        self.max_frame = max_frame
        self._arrived: deque[bytes | str] = deque()
        self._waiting = 0  # bytes in it
        self._push: Callable[[bytes], None] | None = None
        self._end: tuple[int | None, str] | None = None  # code and reason, once no more arrives
        self._failure: Exception | None = None  # what the receiver of a push raised
        self._gone = False  # nothing can be sent any more
        self._aborted = False
        self._closer: asyncio.Task[None] | None = None
        self._change: asyncio.Future[None] | None = None  # recv() waits for it
        self._room = asyncio.Event()
        self._room.set()
        self._ended = asyncio.Event()

    # ------------------------------------------------------------------ the library's verbs

    async def _send(self, data: bytes) -> None:
        """Send one binary message.

        Raises:
            Exception: Anything means that the WebSocket is gone.
        """
        raise NotImplementedError

    async def _close(self, code: int, reason: str) -> None:
        """Run the closing handshake, as far as the library does. May raise, may take for ever.

        Not called once the end was fed.
        """
        raise NotImplementedError

    def _drop(self) -> None:
        """Drop the connection without a handshake. May raise.

        By default it is closed, for libraries that cannot drop: nobody waits for that, and a server
        drops the connection anyway when the endpoint returns (Daphne and Channels do not).
        """
        # 1000 is the one code of the standard that every library lets us say.
        if self._closer is None and self._end is None:
            loop = asyncio.get_running_loop()
            self._closer = loop.create_task(self._close_within_limits(1000, ""))

    def _pause(self) -> None:
        """Read no more from the network. Does nothing by default."""

    def _resume(self) -> None:
        """Read on. Does nothing by default."""

    # ------------------------------------------------------------------ for the library's callbacks

    def feed(self, message: bytes | str) -> None:
        """Take in one whole message; after the end or behind our own close it is dropped."""
        if self._gone:
            return
        if self._push is not None and not self._arrived and isinstance(message, bytes):
            self._push(message)
            return
        self._arrived.append(message)
        self._waiting += len(message)
        if self._waiting >= RECEIVE_LIMIT and self._room.is_set():
            self._room.clear()
            self._pause()
        self._wake()

    def feed_end(self, code: int | None = None, reason: str = "") -> None:
        """Take in that nothing more comes; ``code`` is the peer's, ``None`` if it said none.

        What was fed before is received first. Only the first call counts.
        """
        if self._end is None:
            self._end = told(code, reason)
            self._gone = True
            self._room.set()
            self._ended.set()
            self._wake()

    async def room(self) -> None:
        """Return when less than the limit waits to be received, or nobody receives any more."""
        await self._room.wait()

    async def ended(self) -> None:
        """Return when the end has been fed."""
        await self._ended.wait()

    # ------------------------------------------------------------------ for the driver

    def push_to(self, receiver: Callable[[bytes], None], /) -> None:
        """Hand each message to ``receiver`` as it arrives, from the callback itself."""
        self._push = receiver

    async def recv(self) -> bytes | str:
        """Return the next message. When it is cancelled, it has taken nothing.

        Raises:
            TransportClosed: There are no more messages.
        """
        while not self._arrived:
            if self._failure is not None:
                raise self._failure
            if self._end is not None or self._aborted:
                raise self._over()
            self._change = asyncio.get_running_loop().create_future()
            await self._change
        message = self._arrived.popleft()
        self._waiting -= len(message)
        if self._waiting < RECEIVE_LIMIT:
            self._make_room()
        return message

    async def send(self, data: bytes, /) -> None:
        """Send one binary message.

        Several libraries accept what is sent to a peer that is gone, so the end is looked at first.

        Raises:
            TransportClosed: The end is known.
        """
        if self._gone:
            raise self._over()
        try:
            await self._send(data)
        except Exception as error:
            self._let_go()
            raise self._over() from error

    def send_now(self, data: bytes, /) -> bool:  # noqa: ARG002 - the contract's signature
        """Return ``False``: most libraries cannot write without waiting.

        Raises:
            TransportClosed: The end is known.
        """
        if self._gone:
            raise self._over()
        return False

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Run the closing handshake, for 10 seconds at most; then drop the connection.

        Idempotent, never raises. When it is cancelled, closing goes on. ``reason`` is cut to 123
        bytes.
        """
        self._make_room()  # what waits to be received must not hold up the peer's close frame
        if self._closer is None and not self._aborted:
            self._gone = True
            self._closer = asyncio.create_task(self._close_within_limits(code, reason_of(reason)))
        if self._closer is not None:
            await asyncio.shield(self._closer)

    def abort(self) -> None:
        """Drop the connection at once, and wake the reader. Idempotent, never raises.

        What has arrived and was not received is dropped as well.
        """
        self._arrived.clear()
        self._let_go()

    # ------------------------------------------------------------------ inside

    def _let_go(self) -> None:
        """Drop the connection; what has arrived can still be received."""
        if self._aborted:
            return
        self._gone = self._aborted = True
        self._room.set()
        with contextlib.suppress(Exception):
            self._drop()
        self._wake()

    async def _close_within_limits(self, code: int, reason: str) -> None:
        try:
            if self._end is None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                        await self._close(code, reason)
        finally:
            self.abort()

    def _make_room(self) -> None:
        if not self._room.is_set():
            self._room.set()
            self._resume()

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def _over(self) -> TransportClosed:
        return TransportClosed(*(self._end or (None, "")))
