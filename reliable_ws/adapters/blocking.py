"""The base of adapters for libraries whose methods block: an end that is told once.

One thread receives, another sends, and any thread may close or abort meanwhile. A receive holds a
lock, because most libraries must have one reader: the thread that closes takes over from the one
that received before. Sends need no lock: the driver never sends twice at the same time.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from reliable_ws.protocol.session import Role
from reliable_ws.transport import TransportClosed

from .close_frame import reason_of, told

__all__ = ["BlockingTransport"]


class BlockingTransport:
    """A library's WebSocket whose methods block, as a ``SyncTransport``.

    Subclasses translate :meth:`_recv`, :meth:`_send`, :meth:`_close`, :meth:`_drop`, and
    :meth:`_free` where something is left to free. Whatever those raise means that the WebSocket is
    gone. A library that can tell whether a write would block gets a ``send_now`` as well (see
    :class:`~reliable_ws.transport.EagerTransport`).

    ``websocket`` is the library's object, ``role`` which side of the WebSocket this is (``None`` if
    that is not known), ``max_frame`` the largest message that this end receives, in bytes
    (``None`` if not known).
    """

    def __init__(self, websocket: Any, role: Role | None, max_frame: int | None) -> None:
        self.websocket = websocket
        self.role = role
        self.max_frame = max_frame
        self._end: tuple[int | None, str] | None = None  # code and reason, once told
        self._gone = False  # nothing can be sent any more
        self._freed = False  # an object that its user has opened again must not be closed again
        self._receiving = threading.Lock()
        self._closing = threading.Lock()

    # ------------------------------------------------------------------ the library's verbs

    def _recv(self) -> bytes | str:
        """Return the next message.

        Two threads never call it at the same time, and nobody calls it after the end.

        Raises:
            TransportClosed: There are no more messages. Any other exception means the same.
        """
        raise NotImplementedError

    def _send(self, data: bytes) -> None:
        """Send one binary message.

        It must not hold up :meth:`_recv` while it waits for room. If the library writes and reads
        under one lock, give it small pieces (see :mod:`.write_room`).

        Raises:
            Exception: Anything means that the WebSocket is gone.
        """
        raise NotImplementedError

    def _close(self, code: int, reason: str) -> None:
        """Run the closing handshake. May raise, may take for ever: an abort ends it.

        Called once, not after the end. To wait for the peer's close frame where the library does
        not, call :meth:`drain`.
        """
        raise NotImplementedError

    def _drop(self) -> None:
        """Drop the connection, so that :meth:`_recv` and :meth:`_send` in other threads end.

        Closing a socket does not wake a thread that waits for it: shut it down. May raise.
        """
        raise NotImplementedError

    def _free(self) -> None:
        """Close what :meth:`_drop` left open; nobody uses it any more. Called once, may raise."""

    # ------------------------------------------------------------------ for the driver

    def recv(self) -> bytes | str:
        """Return the next message.

        Raises:
            TransportClosed: There are no more messages.
        """
        with self._receiving:
            if self._end is None:
                try:
                    return self._recv()
                except TransportClosed as end:
                    self._end = told(end.code, end.reason)
                except Exception:  # noqa: BLE001 - whatever it is, nothing more comes
                    self._end = told(None, "")
                self._gone = True
                self._free_once()
            raise self._over()

    def send(self, data: bytes, /) -> None:
        """Send one binary message.

        Raises:
            TransportClosed: The end is known.
        """
        if self._gone:
            raise self._over()
        try:
            self._send(data)
        except Exception as exc:
            self.abort()
            raise self._over() from exc

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Run the closing handshake, then drop the connection. Idempotent, never raises.

        A second caller returns when the first is done. ``reason`` is cut to 123 bytes.
        """
        with self._closing:
            was_gone, self._gone = self._gone, True
            if not was_gone:
                with contextlib.suppress(Exception):
                    self._close(code, reason_of(reason))
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once, and wake the reader. Idempotent, never raises."""
        self._gone = True
        with contextlib.suppress(Exception):
            self._drop()
        if self._receiving.acquire(blocking=False):  # else the reader frees it
            try:
                self._free_once()
            finally:
                self._receiving.release()

    def drain(self) -> None:
        """Receive until the end, in turns with a reader; what comes is dropped."""
        with contextlib.suppress(TransportClosed):
            while True:
                self.recv()

    # ------------------------------------------------------------------ inside

    def _free_once(self) -> None:
        if not self._freed:
            self._freed = True
            with contextlib.suppress(Exception):
                self._free()

    def _over(self) -> TransportClosed:
        return TransportClosed(*(self._end or (None, "")))
