"""A WebSocket without a network: two connected transports in one process, and scissors.

For tests of whatever runs over a :class:`~reliable_ws.transport.Transport`. No sockets, no clock,
no chance: what one end sends has reached the other when ``send`` returns, unless it was told to
be late or lost. Runs on any asyncio event loop; made outside of one as well::

    near, far = pair()
    await near.send(b"hello")
    assert await far.recv() == b"hello"

What can go wrong, on purpose:

``cut()``
    The network breaks: both ends see ``TransportClosed`` with no code, after what had already
    arrived. What was held back by ``freeze`` is lost.
``reset()``
    The same, and what had arrived but was not received is lost too.
``freeze()``, ``thaw()``
    This end's outgoing direction hangs (freeze both ends for a network that is half open): it
    takes messages, up to the limit, and nothing arrives until ``thaw``, close frames included.
``drop(count)``
    The next messages from this end vanish, as with a library that loses what is unread.
``inject(message)``
    The other end receives anything: a text, an empty message, rubbish.
``abort()``
    This end is gone at once: the other sees ``TransportClosed`` with no code.
"""

# ruff: noqa: SLF001 - the two ends of a pair know each other

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from reliable_ws.protocol.session import Role
from reliable_ws.transport import TransportClosed

__all__ = ["MemoryTransport", "pair"]

LIMIT = 64 * 1024
"""Bytes on their way from which on a sender waits."""

MAX_FRAME = 1024 * 1024
"""Bytes; the largest message that a transport in memory takes unless it is told another."""


def pair(
    *,
    limit: int = LIMIT,
    max_frame: int | tuple[int | None, int | None] | None = MAX_FRAME,
) -> tuple[MemoryTransport, MemoryTransport]:
    """Return two connected ends: the initiator's and the acceptor's.

    ``limit``: ``send`` waits while more bytes than this, sent by its end, have not been received;
    ``send_now`` refuses from this many on. ``max_frame``: the largest message in bytes that the
    two ends receive (a pair of numbers: one for each), ``None`` for any. A larger one ends the
    connection; its sender sees the code 1009.
    """
    first, second = max_frame if isinstance(max_frame, tuple) else (max_frame, max_frame)
    initiator = MemoryTransport("initiator", limit, first)
    acceptor = MemoryTransport("acceptor", limit, second)
    initiator._peer, acceptor._peer = acceptor, initiator
    return initiator, acceptor


@dataclass(frozen=True, slots=True)
class _End:
    """What an end learns last: the peer's close frame, or (code ``None``) that there is none."""

    code: int | None = None
    reason: str = ""


class MemoryTransport:
    """One end of a :func:`pair`.

    Stricter than a library: two ``recv`` or two ``send`` at a time raise ``RuntimeError``.
    """

    def __init__(self, role: Role, limit: int, max_frame: int | None) -> None:
        self.role: Role = role
        self.max_frame = max_frame
        self._limit = limit
        self._peer: MemoryTransport
        self._inbox: deque[bytes | str] = deque()  # arrived here, not yet received
        self._end: _End | None = None  # arrived here; comes after the inbox
        self._held: deque[bytes | str | _End] = deque()  # sent from here, held back
        self._frozen = False
        self._to_drop = 0
        self._pending = 0  # bytes sent from here that the peer has not received
        self._gone = False  # nothing can be sent from here any more
        self._sending = self._receiving = False
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def websocket(self) -> object:
        """This object: there is nothing below it."""
        return self

    @property
    def peer(self) -> MemoryTransport:
        """The other end."""
        return self._peer

    async def send(self, data: bytes, /) -> None:
        """Send one binary message, then wait until no more than the limit is not received.

        Raises ``TransportClosed``, also if the end comes while it waits.
        """
        if self._sending:
            raise RuntimeError("send() is called while another send() waits")
        self._write(data)
        self._sending = True
        try:
            while self._pending > self._limit:
                await self._change()
                if self._gone:
                    raise self._closed()
        finally:
            self._sending = False

    def send_now(self, data: bytes, /) -> bool:
        """Send one binary message, or return ``False`` if the limit is reached.

        Raises ``TransportClosed``.
        """
        if self._gone:
            raise self._closed()
        if self._pending >= self._limit:
            return False
        self._write(data)
        return True

    async def recv(self) -> bytes | str:
        """Return the next message; ``TransportClosed`` after the last one."""
        if self._receiving:
            raise RuntimeError("recv() is called while another recv() waits")
        self._receiving = True
        try:
            while not self._inbox:
                if self._end is not None:
                    raise self._closed()
                await self._change()
        finally:
            self._receiving = False
        message = self._inbox.popleft()
        self._peer._pending -= _size(message)
        self._peer._changed()
        return message

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float = 0) -> None:
        """Send a close frame and wait for the peer's, which answers by itself.

        Returns at once unless a direction is frozen; then it waits for ``thaw``, ``cut`` or
        ``abort``. Idempotent, never raises. ``timeout`` is ignored: there is no time here.
        """
        del timeout
        if not self._gone:
            self._gone = True
            self._post(_End(code, reason))
        while self._end is None:
            await self._change()

    def abort(self) -> None:
        """Be gone at once, dropping what is held back. Idempotent, never raises."""
        if self._end is None:
            self._lose()
            self._finish(_End())
            self._post(_End())

    def cut(self) -> None:
        """Break the connection: both ends see it end, and what is held back is lost."""
        for end in (self, self._peer):
            end._lose()
            if end._end is None:
                end._finish(_End())

    def reset(self) -> None:
        """Break the connection, and lose what was not received."""
        for end in (self, self._peer):
            end._inbox.clear()
        self.cut()

    def freeze(self) -> None:
        """Hold back all that this end sends, its close frame included, until :meth:`thaw`."""
        self._frozen = True

    def thaw(self) -> None:
        """Let go of all that was held back, in order."""
        self._frozen = False
        while self._held and not self._frozen:
            self._peer._arrive(self._held.popleft())

    def drop(self, count: int = 1) -> None:
        """Lose the next ``count`` messages that this end sends (in all, if called again)."""
        self._to_drop = count

    def inject(self, message: bytes | str) -> None:
        """Send anything, whatever the limits and even after the end, as a broken peer might."""
        self._pending += _size(message)
        self._post(message)

    def _write(self, data: bytes) -> None:
        if self._gone:
            raise self._closed()
        if not isinstance(data, bytes):
            raise TypeError(f"a message must be bytes, not {type(data).__name__}")
        if self._to_drop > 0:
            self._to_drop -= 1
        else:
            self.inject(data)

    def _post(self, item: bytes | str | _End) -> None:
        if self._frozen:
            self._held.append(item)
        else:
            self._peer._arrive(item)

    def _arrive(self, item: bytes | str | _End) -> None:
        if self._end is not None:
            return  # too late: nobody will receive it
        if isinstance(item, _End):
            answers = not self._gone and item.code is not None
            self._finish(item)
            if answers:
                self._post(item)
        elif self.max_frame is not None and _size(item) > self.max_frame:
            self._finish(_End())
            self._post(_End(1009))
        else:
            self._inbox.append(item)
            self._changed()

    def _lose(self) -> None:
        """Lose what was sent from here and has not arrived."""
        self._held.clear()

    def _finish(self, end: _End) -> None:
        self._end = end
        self._gone = True
        self._changed()

    def _closed(self) -> TransportClosed:
        end = self._end or _End()
        return TransportClosed(end.code, end.reason)

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _changed(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _size(message: bytes | str) -> int:
    return len(message if isinstance(message, bytes) else message.encode())
