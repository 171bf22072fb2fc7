"""For libraries that call back with what arrives, instead of being asked for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from reliable_ws.transport import TransportClosed

from .coroutine import CoroutineTransport, Role

__all__ = ["CallbackTransport"]

FULL = 1024 * 1024
"""Bytes that wait to be received from which on the library is asked to read no more."""


class CallbackTransport(CoroutineTransport):
    """A transport into which the library's callbacks put what arrives.

    A library that can hold back the network is told to by :meth:`_pause` and :meth:`_resume`, or
    awaits :meth:`room` in its callback. What is held is bounded all the same: the peer's link
    sends no more than the session's window.
    """

    def __init__(self, websocket: Any, role: Role | None, max_frame: int | None) -> None:
        super().__init__(websocket, role, max_frame)
        self._arrived: deque[bytes | str] = deque()
        self._waiting = 0  # bytes in it
        self._push: Callable[[bytes], None] | None = None
        self._fed_end: TransportClosed | None = None
        self._change: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._ended = asyncio.Event()

    def feed(self, message: bytes | str) -> None:
        """Take in one whole message; after the end or behind our own close it is dropped."""
        if self._gone:
            return
        if self._push is not None and not self._arrived and isinstance(message, bytes):
            self._push(message)
            return
        self._arrived.append(message)
        self._waiting += len(message)
        if self._waiting >= FULL and self._room.is_set():
            self._room.clear()
            self._pause()
        self._wake()

    def feed_end(self, code: int | None = None, reason: str = "") -> None:
        """Take in that nothing more comes; ``code`` is the peer's, ``None`` if it said none."""
        if self._fed_end is None:
            self._fed_end = TransportClosed(code, reason)
            self._gone = True
            self._room.set()
            self._ended.set()
            self._wake()

    def push_to(self, receiver: Callable[[bytes], None], /) -> None:
        """Hand each message to ``receiver`` as it arrives, from the callback itself."""
        self._push = receiver

    async def room(self) -> None:
        """Return when less than the limit waits to be received, or nobody receives any more."""
        await self._room.wait()

    async def ended(self) -> None:
        """Return when the end has been fed."""
        await self._ended.wait()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """As that of any adapter; what waits to be received does not hold it up."""
        self._make_room()
        await super().close(code, reason)

    def abort(self) -> None:
        """Drop the connection at once, and wake the reader. Idempotent, never raises."""
        self._room.set()
        super().abort()

    def _pause(self) -> None:
        """Read no more from the network."""

    def _resume(self) -> None:
        """Read on."""

    async def _recv(self) -> bytes | str:
        while not self._arrived:
            if self._fed_end is not None:
                raise self._fed_end
            self._change = asyncio.get_running_loop().create_future()
            await self._change
        message = self._arrived.popleft()
        self._waiting -= len(message)
        if self._waiting < FULL:
            self._make_room()
        return message

    def _make_room(self) -> None:
        if not self._room.is_set():
            self._room.set()
            self._resume()

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
