"""The streams that we read: items that came, and credit for more (CALL-7).

Theory of operation. The window of messages does not bound items of streams: each stream has a
credit of its own, in bytes. A request for a stream grants the first credit. The driver grants more
as the application reads (:meth:`Streams.grant` has the total since the beginning, so a credit that
comes twice does no harm). The peer may send items while what it has sent is below the total. So it
can exceed the credit by one item, and :meth:`Streams.count` accepts that.

Credits are entries in the queue of calls, and the peer acks them like all entries. At most
``CREDITS`` of them are unacked. The others wait in ``owed``, one for each stream: a newer total
replaces an older one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from reliable_ws.protocol.frames import Credit

__all__ = ["CREDITS", "Streams"]

CREDITS = 64
"""Most credits on their way. The rest wait, so a peer that acks nothing cannot make them grow."""


class Streams:
    """Our open requests that items may come for."""

    __slots__ = ("_first", "_got", "_granted", "_sent", "owed")

    def __init__(self) -> None:
        self._granted: dict[int, int] = {}  # request -> bytes of items in all; never falls
        self._got: dict[int, int] = {}  # request -> bytes of items that came; same keys
        self._first: dict[int, int] = {}  # request -> its first credit; same keys
        self._sent: list[int] = []  # numbers of credits not received yet, ascending
        self.owed: dict[int, None] = {}
        "Requests whose credit waits, in order."

    def begin(self, request: int, credit: int) -> None:
        """Let items come."""
        self._granted[request] = self._first[request] = credit
        self._got[request] = 0

    def end(self, request: int) -> None:
        """Forget a request."""
        if self._granted.pop(request, None) is not None:
            del self._got[request], self._first[request]
            self.owed.pop(request, None)

    def grant(self, request: int, total: int) -> None:
        """Owe the peer credit for so many bytes in all."""
        if total > self._granted.get(request, total):
            self._granted[request] = total
            self.owed[request] = None

    def count(self, request: int, weight: int) -> bool:
        """Count an item; ``False`` if there was no credit for it."""
        if self._got.get(request, 0) >= self._granted.get(request, 0):
            return False
        self._got[request] += weight
        return True

    @property
    def held(self) -> int:
        """Bytes of items that are not taken, at most: credit is granted as they are taken."""
        taken = ((request, self._granted[request] - self._first[request]) for request in self._got)
        return sum(max(0, self._got[request] - bytes_taken) for request, bytes_taken in taken)

    def credits(self) -> Iterator[Credit]:
        """What is owed and may be sent now; say :meth:`sent` of each."""
        while self.owed and len(self._sent) < CREDITS:
            request = next(iter(self.owed))
            del self.owed[request]
            yield Credit(request, self._granted[request])

    def sent(self, number: int) -> None:
        """Note the number of a credit."""
        self._sent.append(number)

    def release(self, received: int) -> None:
        """Note what the peer has received."""
        del self._sent[: bisect_right(self._sent, received)]

    def room(self) -> list[tuple[int, int]]:
        """Return each request with the credit that is left of what it was granted."""
        return [(request, total - self._got[request]) for request, total in self._granted.items()]

    def stop(self) -> None:
        """Send no more credit."""
        self.owed.clear()
        self._sent.clear()
