"""The ledger of what we send: one queue, and positions in it.

``confirmed <= acked <= transmitted <= last``. Losing a link moves no data: the next link
starts its own cursor at what the peer has received. Nothing here is an object per message but
the payload itself: two lists, compacted now and then, so that a message costs the same
whether ten or a million wait.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from .frames import MAX_NUMBER, OVERHEAD, Finish, Payload

__all__ = ["Outbox"]


class Outbox:
    """Accepted messages that are not yet confirmed, in order, and the Finish behind them."""

    __slots__ = (
        "_base",
        "_ends",
        "_pause_at",
        "_pause_total",
        "_payloads",
        "_total_upto",
        "_upto",
        "acked",
        "blocked",
        "confirmed",
        "finish",
        "gate",
        "last",
        "max_bytes",
        "max_messages",
        "released",
        "total",
        "transmitted",
    )

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self._payloads: list[Payload | None] = []
        self._ends: list[int] = []  # total weight up to and including each entry
        self._base = 0  # number of the entry before the first in the lists
        self.last = 0
        "Highest number accepted, Finish included."
        self.transmitted = 0
        "Highest number ever handed to a link, whole."
        self.acked = 0
        "The peer's ``received``, as far as it told."
        self.confirmed = 0
        "The peer's ``confirmed``, as far as it told."
        self.total = 0
        "Weight of everything ever accepted."
        self.released = 0
        "Weight of everything confirmed."
        self._pause_at = MAX_NUMBER - 1
        self._pause_total = 2**62
        self._upto = max_messages  # numbers and total weights for which there is room
        self._total_upto = max_bytes
        self.gate = -1
        "Heaviest message that :meth:`offer` lets in; nothing passes a gate below 0."
        self.blocked = False
        "Whether links may take nothing sequenced any more, calls included (CLOSE-5)."
        self.finish: Finish | None = None
        "Our last word, once queued. Its number is ``last``."

    def __len__(self) -> int:
        """Messages accepted and not confirmed."""
        if self.confirmed == self.last:
            return 0
        return self.last - self.confirmed - (self.finish is not None)

    @property
    def held(self) -> int:
        """Weight of the messages accepted and not confirmed, in bytes."""
        return self.total - self.released

    @property
    def messages(self) -> int:
        """Messages ever accepted: the numbers without Finish."""
        return self.last - (self.finish is not None)

    def has_room(self, weight: int) -> bool:
        """Whether a message of this weight may be accepted; a lone one always may (G5)."""
        waiting = self.last - self.confirmed
        return waiting == 0 or (
            waiting < self.max_messages and self.held + weight <= self.max_bytes
        )

    def offer(self, message: object) -> int:
        """Accept plain ``bytes`` or ASCII ``str`` if nothing stands against it; else return 0.

        The way of nearly every message, kept short. Whoever gets 0 calls ``Session.send``,
        which finds out why.
        """
        kind = type(message)
        if kind is bytes or (kind is str and message.isascii()):  # type: ignore[attr-defined]
            weight = len(message) + OVERHEAD  # type: ignore[arg-type]
            total = self.total + weight
            number = self.last + 1
            if weight <= self.gate and number <= self._upto and total <= self._total_upto:
                self.total = total
                self.last = number
                self._payloads.append(message)  # type: ignore[arg-type]
                self._ends.append(total)
                return number
        return 0

    def allow(self, count: int, weight: int) -> None:
        """Let :meth:`offer` accept so much more, then 0: time to send, or to let others run."""
        pause_at = self.last + count
        if pause_at == self._pause_at:
            return  # as it was: nothing has been accepted since
        if pause_at >= MAX_NUMBER:
            pause_at = MAX_NUMBER - 1
        room = self.confirmed + self.max_messages
        self._pause_at = pause_at
        self._upto = pause_at if pause_at < room else room  # noqa: FURB136 - min() costs a call
        self.allow_weight(weight)

    def allow_weight(self, weight: int) -> None:
        """Let :meth:`offer` accept so many more bytes: what was there is sent."""
        pause_total = self._pause_total = self.total + weight
        room = self.released + self.max_bytes
        self._total_upto = pause_total if pause_total < room else room  # noqa: FURB136

    @property
    def crowded(self) -> bool:
        """Whether enough is queued to send it at once."""
        return self.total >= self._pause_total

    @property
    def rested(self) -> bool:
        """Whether it is not time to let others run."""
        return self.last < self._pause_at

    def append(self, payload: Payload, weight: int) -> int:
        """Accept one message, whatever the room, and return its number (NUM-1)."""
        if self.last >= MAX_NUMBER - 1:  # the highest is left for Finish (NUM-3)
            raise OverflowError("the session has used all its sequence numbers")
        self.total += weight
        self.last += 1
        self._payloads.append(payload)
        self._ends.append(self.total)
        return self.last

    def restore(self, confirmed: int, messages: Iterable[tuple[Payload, int]]) -> None:
        """Begin where a store left off; everything counts as transmitted."""
        self._base = self.acked = self.confirmed = self.last = confirmed
        for payload, weight in messages:
            self.append(payload, weight)
        self.transmitted = self.last
        self.allow(MAX_NUMBER, self.max_bytes)

    def close(self, code: int, reason: str) -> None:
        """Queue Finish behind the last message; it weighs nothing (CLOSE-1)."""
        self.last += 1
        self.finish = Finish(self.last, code, reason)

    def confirm(self, number: int) -> None:
        """Release everything up to ``number``, which is above ``confirmed``."""
        since = self.confirmed - self._base
        self.confirmed = number
        number = min(number, self.messages)
        self.released = self.end_of(number)
        self._total_upto = min(self._pause_total, self.released + self.max_bytes)
        self._upto = min(self._pause_at, number + self.max_messages)
        drop = number - self._base
        if drop * 2 >= len(self._payloads):
            del self._payloads[:drop]
            del self._ends[:drop]
            self._base = number
        else:  # the payloads go now, their places in one go later: constant cost per message
            self._payloads[since:drop] = [None] * (drop - since)

    def end_of(self, number: int) -> int:
        """Total weight of everything up to ``number``, which is not below the last release."""
        index = number - self._base - 1
        if index < 0:
            return self.released
        return self._ends[index] if index < len(self._ends) else self.total

    def run(self, cursor: int, count: int, end: int) -> list[Payload]:
        """Return messages from number ``cursor`` on: at most ``count``, up to a total weight."""
        start = cursor - self._base - 1
        stop = min(start + count, len(self._payloads))
        stop = bisect_right(self._ends, end, start, stop)
        return self._payloads[start:stop]  # type: ignore[return-value]  # None only below

    def payload(self, number: int) -> Payload:
        """Return one unconfirmed message."""
        return self._payloads[number - self._base - 1]  # type: ignore[return-value]

    def unconfirmed(self) -> Iterator[tuple[int, Payload]]:
        """Every message above ``confirmed``, with its number."""
        for number in range(self.confirmed + 1, self.messages + 1):
            yield number, self.payload(number)
