"""What the adapters of most libraries share: an end that is told once, and limits on the rest.

An adapter of a library with coroutines for its verbs is a subclass of :class:`CoroutineTransport`
that says what the library's three verbs are called. One of a library with callbacks is a subclass
of :class:`~reliable_ws.adapters.callback.CallbackTransport`, which is one too.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal

from reliable_ws.transport import TransportClosed

__all__ = ["CLOSE_TIMEOUT", "CoroutineTransport", "Role", "check"]

Role = Literal["initiator", "acceptor"]

CLOSE_TIMEOUT = 10.0
"""Seconds that a library's closing handshake may take."""

MAX_REASON = 123  # bytes; RFC 6455, 5.5

NO_CODES = (0, 1005, 1006)
"""How libraries say that the peer gave no code."""


def check(*, accepted: bool = True, closed: bool = False, read: bool = False) -> None:
    """Raise ``ValueError`` for a WebSocket that cannot be taken over as it is."""
    if not accepted:
        raise ValueError("the WebSocket is not accepted yet: await its accept() first")
    if closed:
        raise ValueError("the WebSocket is closed")
    if read:
        raise ValueError("another task is receiving from the WebSocket: it must have one reader")


class CoroutineTransport:
    """A library's WebSocket as a :class:`~reliable_ws.transport.Transport`.

    Subclasses translate: :meth:`_recv`, :meth:`_send`, :meth:`_close`, and :meth:`_drop` where the
    library can. Whatever those raise means that the WebSocket is gone; every library has
    exceptions of its own for that, and none of them is worth telling apart.
    """

    def __init__(self, websocket: Any, role: Role | None, max_frame: int | None) -> None:
        self.websocket = websocket
        self.role = role
        self.max_frame = max_frame
        self._end: tuple[int | None, str] | None = None  # what was told, once nothing more comes
        self._gone = False  # nothing can be sent any more
        self._aborted = False
        self._reader: asyncio.Task[Any] | None = None  # while it waits for the library
        self._closer: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ the library's verbs

    async def _recv(self) -> bytes | str:
        """Return the next message. Raises ``TransportClosed`` at the end, or anything else."""
        raise NotImplementedError

    async def _send(self, data: bytes) -> None:
        """Send one binary message. Raises anything if the WebSocket is gone."""
        raise NotImplementedError

    async def _close(self, code: int, reason: str) -> None:
        """Run the closing handshake, as far as the library does. May raise, may take for ever."""
        raise NotImplementedError

    def _drop(self) -> None:
        """Drop the connection without a handshake. May raise.

        By default it is closed, for those that cannot: nobody waits for that, and a server drops
        the connection anyway when the endpoint returns (Daphne and Channels do not).
        """
        # 1000 is the one code of the standard that every library lets us say.
        if self._closer is None and self._end is None:
            loop = asyncio.get_running_loop()
            self._closer = loop.create_task(self._close_within_limits(1000, ""))

    # ------------------------------------------------------------------ ours

    async def recv(self) -> bytes | str:
        """Return the next message; ``TransportClosed`` after the last one."""
        if self._end is None and not self._aborted:
            self._reader = reader = asyncio.current_task()
            before = reader.cancelling() if reader is not None else 0
            try:
                return await self._recv()
            except asyncio.CancelledError:
                if not self._was_aborted(before):
                    raise
            except TransportClosed as end:
                code = None if end.code in NO_CODES else end.code
                self._end = code, end.reason if code is not None else ""
            except Exception:  # noqa: BLE001 - each library has its own, and they mean the same
                self._end = None, ""
                self._reader = None
                if self._closer is None:  # else it drops the connection when it is done
                    self.abort()
            finally:
                self._reader = None
        raise self._over()

    def _was_aborted(self, before: int) -> bool:
        """Whether a cancellation was only :meth:`abort` waking the reader; then it is undone.

        ``before`` is how often the task had been cancelled, and had gone on all the same.
        """
        task = asyncio.current_task()
        return self._aborted and task is not None and task.uncancel() <= before

    async def send(self, data: bytes, /) -> None:
        """Send one binary message; raises ``TransportClosed`` once the end is known.

        Several libraries accept what is sent to a peer that is gone, so it is asked first.
        """
        if self._gone or self._end is not None:
            raise self._over()
        try:
            await self._send(data)
        except Exception as error:
            self.abort()
            raise self._over() from error

    def send_now(self, data: bytes, /) -> bool:  # noqa: ARG002 - the contract's signature
        """Return ``False``: these libraries always want to wait."""
        if self._gone or self._end is not None:
            raise self._over()
        return False

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Run the closing handshake, for 10 seconds at most; then drop the connection.

        Idempotent, never raises. Cancelled, closing goes on. ``reason`` is cut to 123 bytes.
        """
        if self._closer is None and not self._aborted:
            self._gone = True
            words = reason.encode(errors="replace")[:MAX_REASON].decode(errors="ignore")
            self._closer = asyncio.create_task(self._close_within_limits(code, words))
        if self._closer is not None:
            await asyncio.shield(self._closer)

    async def _close_within_limits(self, code: int, reason: str) -> None:
        try:
            if self._end is None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(CLOSE_TIMEOUT):
                        await self._close(code, reason)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once, and wake the reader. Idempotent, never raises."""
        if self._aborted:
            return
        self._gone = self._aborted = True
        with contextlib.suppress(Exception):
            self._drop()
        if self._reader is not None:
            self._reader.cancel()

    def _over(self) -> TransportClosed:
        return TransportClosed(*(self._end or (None, "")))
