"""Room in a socket's buffer, for libraries that hold a lock while they write.

Were such a write to wait for the peer, whatever else needs the lock would wait too: a library that
reads or answers pings under it would receive nothing meanwhile, and two ends that only send would
wait for each other. So nothing is written before the socket has room for it, and never more.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable, Iterator

__all__ = ["Room"]

MIN_WRITABLE = 2 * 1024
"""Bytes for which a socket that calls itself writable has room, however small its buffer."""

BOOKKEEPING = 4 * 1024
"""Bytes of the buffer that a write may take besides what it writes."""

CLOSED_CHECK_INTERVAL = 1.0
"""Seconds between two looks at a socket that has no room: it may have been closed meanwhile."""


class Room:
    """How much may be written to a socket without waiting."""

    __slots__ = ("_is_there", "_left", "small")

    def __init__(self, sock: socket.socket) -> None:
        # Linux calls a socket writable when a third of its buffer is free; its bookkeeping is in
        # there, too. Others do when about MIN_WRITABLE is free.
        buffer = 0
        self._is_there: Callable[[float], object] = lambda _timeout: True
        try:
            buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            self._is_there = _writable(sock)
        except (OSError, ValueError):  # it is closed already: a write raises what it has to
            pass
        self.small = max(MIN_WRITABLE, buffer // 6) if sys.platform == "linux" else MIN_WRITABLE
        "As much as may be written at once when there is room."
        self._left = 0  # of the room that was there at the last look, so much was not used since

    def has(self, size: int) -> bool:
        """Whether so much may be written now; then it is written.

        A look at the socket is a system call, in which the interpreter goes on with another thread.
        So it is done once for as much as may be written at once.
        """
        left = self._left - size - BOOKKEEPING
        if left < 0:
            if size > self.small or not self._is_there(0):
                return False
            left = self.small - size - BOOKKEEPING
        self._left = left
        return True

    def pieces(self, data: bytes, is_gone: Callable[[], bool]) -> Iterator[bytes]:
        """Cut ``data`` to pieces, each handed out when there is room for it.

        Goes on at once when ``is_gone()``: then a write raises what it has to.
        """
        self._left = 0
        for start in range(0, len(data) or 1, self.small):
            while not self._is_there(CLOSED_CHECK_INTERVAL) and not is_gone():
                pass
            yield data[start : start + self.small]


def _writable(sock: socket.socket) -> Callable[[float], object]:
    """Return what waits for room, so many seconds, and tells whether there is some."""
    if not hasattr(select, "poll"):  # Windows
        return lambda timeout: sock.fileno() < 0 or select.select([], [sock], [], timeout)[1]
    room = select.poll()
    room.register(sock, select.POLLOUT)
    return lambda timeout: room.poll(timeout * 1000)
