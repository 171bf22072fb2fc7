"""A WebSocket without a network, for threads: two connected transports, and scissors."""

from __future__ import annotations

import threading
from collections import deque

from reliable_ws.transport import TransportClosed


class Pipe:
    """One end. What it sends has arrived when ``send`` returns, unless it is frozen."""

    def __init__(self, role: str, change: threading.Condition) -> None:
        self.role = role
        self.max_frame = 2**20
        self.websocket = self
        self.peer: Pipe = self
        self.sent = 0
        "Messages that went from here."
        self._change = change  # of either end
        self._inbox: deque[bytes] = deque()
        self._end: tuple[int | None, str] | None = None
        self._frozen = False

    def send(self, data: bytes) -> None:
        """Send; while frozen, wait for ``thaw``."""
        with self._change:
            self._change.wait_for(lambda: not self._frozen or self._end)
            if self._end:
                raise TransportClosed(*self._end)
            self.sent += 1
            self.peer._inbox.append(data)
            self._change.notify_all()

    def recv(self) -> bytes:
        """Return the next message, or raise at the end."""
        with self._change:
            self._change.wait_for(lambda: self._inbox or self._end)
            if self._inbox:
                return self._inbox.popleft()
            raise TransportClosed(*(self._end or ()))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End both directions; the peer learns the code."""
        with self._change:
            self.peer._end = self.peer._end or (code, reason)
            self._end = self._end or (None, "")
            self._change.notify_all()

    def abort(self) -> None:
        """End both directions without a word."""
        with self._change:
            for end in (self, self.peer):
                end._end = end._end or (None, "")
            self._change.notify_all()

    cut = abort

    def freeze(self) -> None:
        """Let nothing out."""
        self._frozen = True

    def thaw(self) -> None:
        """Let everything out."""
        with self._change:
            self._frozen = False
            self._change.notify_all()


class EagerPipe(Pipe):
    """One that can tell whether it has room."""

    def send_now(self, data: bytes) -> bool:
        """Send, unless frozen."""
        if self._frozen:
            return False
        self.send(data)
        return True


def pipe(kind: type[Pipe] = EagerPipe) -> tuple[Pipe, Pipe]:
    """Return two connected ends: the initiator's and the acceptor's."""
    change = threading.Condition()
    near, far = kind("initiator", change), kind("acceptor", change)
    near.peer, far.peer = far, near
    return near, far
