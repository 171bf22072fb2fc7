"""The streams that we read: items that came, and credit for more (CALL-7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .errors import Violation
from .frames import Code, Credit

__all__ = ["CREDITS", "Streams"]

CREDITS = 64
"""Most credits on their way; the rest wait, so that a peer that acks nothing holds us to this."""


class Streams:
    """Our open requests that items may come for."""

    __slots__ = ("_got", "_granted", "_sent", "owed")

    def __init__(self) -> None:
        self._granted: dict[int, int] = {}  # request -> bytes of items in all
        self._got: dict[int, int] = {}
        self._sent: deque[int] | tuple[()] = ()  # numbers of credits not received yet
        self.owed: dict[int, None] = {}
        "Requests whose credit waits, in order."

    def begin(self, request: int, credit: int) -> None:
        """Let items come."""
        self._granted[request] = credit
        self._got[request] = 0

    def end(self, request: int) -> None:
        """Forget a request."""
        if self._granted.pop(request, None) is not None:
            del self._got[request]
            self.owed.pop(request, None)

    def grant(self, request: int, total: int) -> None:
        """Owe the peer credit for so many bytes in all."""
        if total > self._granted.get(request, total):
            self._granted[request] = total
            self.owed[request] = None

    def count(self, request: int, weight: int) -> None:
        """Count an item. Raises :class:`Violation` where there was no credit for it."""
        if self._got.get(request, 0) >= self._granted.get(request, 0):
            raise Violation(Code.VIOLATION, "more items than the credit")
        self._got[request] += weight

    def credits(self) -> Iterator[Credit]:
        """What is owed and may be sent now; say :meth:`sent` of each."""
        while self.owed and len(self._sent) < CREDITS:
            request = next(iter(self.owed))
            del self.owed[request]
            yield Credit(request, self._granted[request])

    def sent(self, number: int) -> None:
        """Note the number of a credit."""
        if isinstance(self._sent, tuple):  # an empty deque takes 0.7 KiB, and most need none
            self._sent = deque()
        self._sent.append(number)

    def release(self, received: int) -> None:
        """Note what the peer has received."""
        while self._sent and self._sent[0] <= received:
            self._sent.popleft()

    def stop(self) -> None:
        """Send no more credit."""
        self.owed.clear()
        self._sent = ()
