"""Our entries of calls that the peer has not received: kept by number, sent again when lost.

Calls have numbers of their own beside the messages, because they are confirmed by arriving: an
unread message holds back no reply, no reply holds back a message, and a full window can deadlock
nothing (CALL-1, CALL-13). What we ask and what we answer share one numbering, and so one queue.
``acked <= transmitted <= last``, as in the outbox of messages.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import MessageTooLarge
from reliable_ws.protocol.frames import (
    BEYOND,
    MAX_NUMBER,
    OVERHEAD,
    Calls,
    Cancel,
    Credit,
    Entry,
    Fault,
    Piece,
    Reply,
    Request,
    Void,
    new_unchecked,
)
from reliable_ws.protocol.unused import UNUSED

from .codec import read_calls, wire_calls
from .fragments import LARGEST_ENTRY, PIECE_HEADER, cut

__all__ = [
    "BEHIND_FINISH",
    "ENTRY_WEIGHT",
    "LAST_REQUEST",
    "REQUESTS_WINDOW",
    "SMALL_ENTRY",
    "CallQueue",
]

SMALL_ENTRY = 24
"""Bytes of an entry without text or payload, at most."""

ENTRY_WEIGHT = 128
"""Bytes of memory of an entry besides its texts and its payload, about."""

LEAST_ANSWERS = 64 * 1024
"""Bytes of entries that there is always room for."""

REQUESTS_WINDOW = 16
"""Bytes of open requests that the side which runs them takes, in windows of messages (CALL-44)."""

BEHIND_FINISH = frozenset((Cancel, Credit))
"""A side that has finished may still read a stream, or leave it (CALL-34)."""

ANSWERS = frozenset((Reply, Fault))
"""Entries that end a request."""

LAST_REQUEST = MAX_NUMBER - 2**32
"""Highest number of a request. The numbers above it are left for what is said of the requests that
are open; no session reaches them (CALL-43)."""

TAKEN_BACK = (Void(), 0, None)
"""What is kept in the place of an entry that was taken back."""

Refresh = Callable[[int, Request, float | None, float], Entry]
"""Returns what goes for the request of this number, with the time when it is up, now."""


class CallQueue:
    """Entries in order of their numbers, each until the peer has received it."""

    __slots__ = (
        "_kept",
        "acked",
        "answers",
        "blocked",
        "eased",
        "finished",
        "last",
        "max_there",
        "most_held",
        "stored",
        "taken_back",
        "transmitted",
        "weight",
    )

    def __init__(self, config: Config) -> None:
        self._kept: dict[int, tuple[Entry, int, float | None]] = UNUSED  # its bytes; its time is up
        self.most_held = config.outbox_bytes or config.window_bytes
        "Bytes of entries above which items of streams, and new handlers, wait (CALL-29, CALL-45)."
        self.weight = 0
        "Bytes of all entries."
        self.last = 0
        "Highest number accepted."
        self.transmitted = 0
        "Highest number ever handed to a link."
        self.stored = BEYOND
        "With a store: entries up to here are kept, and no others are transmitted (CALL-12)."
        self.taken_back = BEYOND
        "With a store: entries up to here are what they were when the last change was taken."
        self.acked = 0
        "Highest number that the peer has received, as far as it told."
        self.answers: list[int] | tuple[()] = ()
        "Numbers of replies and faults that the peer has not received."
        self.max_there = config.max_message
        "Longest payload that the peer takes; until the first greeting, a guess from ours."
        self.finished = False
        "Whether our Finish has been transmitted: what may come behind it is little."
        self.blocked = False
        "Whether nothing can be sent any more."
        self.eased = False
        "Set when there is room for items again (see :attr:`crowded`)."

    @property
    def held(self) -> int:
        """Bytes of memory of all entries, about."""
        return self.weight + ENTRY_WEIGHT * len(self._kept)

    @property
    def most_answers(self) -> int:
        """Bytes of entries above which there is no room for an answer (CALL-45)."""
        return max(2 * REQUESTS_WINDOW * self.most_held, LEAST_ANSWERS)

    @property
    def crowded(self) -> bool:
        """Whether so much waits to be received that items of streams wait too (CALL-29)."""
        return self.weight >= self.most_held

    # ------------------------------------------------------------------ accepted

    def put(self, entry: Entry, size: int, weight: int = 0, by: float | None = None) -> int:
        """Queue an entry and return its number; 0 if the peer could not take it any more.

        ``size``: its bytes, at most; ``weight``: those of its payload, if it has any; ``by``:
        when a request's time is up.

        Raises:
            MessageTooLarge: The payload is larger than the peer's ``max_message``.
        """
        if size > self.max_there and weight - OVERHEAD > self.max_there:
            raise MessageTooLarge(
                f"{weight - OVERHEAD} bytes are above the peer's limit of "
                f"{self.max_there} (Config.max_message there)"
            )
        if self.blocked or (self.finished and type(entry) not in BEHIND_FINISH):
            return 0
        if size > LARGEST_ENTRY:  # its payload goes before it, in pieces
            for piece in cut(entry.payload):  # type: ignore[union-attr,arg-type]
                self._append(piece, len(piece.data) + PIECE_HEADER, None)
            entry = entry._replace(payload=None)  # type: ignore[call-arg]
            size -= weight
        number = self.last = self.last + 1  # as `_append`, without a call
        if self._kept is UNUSED:
            self._kept = {}
        self._kept[number] = (entry, size, by)
        self.weight += size
        if type(entry) in ANSWERS:
            if self.answers:
                self.answers.append(number)
            else:
                self.answers = [number]
        return number

    def _append(self, entry: Entry, size: int, by: float | None) -> int:
        number = self.last = self.last + 1
        if self._kept is UNUSED:
            self._kept = {}
        self._kept[number] = (entry, size, by)
        self.weight += size
        return number

    def take_back(self, request: int) -> None:
        """Put nothing in a request's place, and in that of the pieces before it (CALL-8)."""
        crowded = self.crowded
        kept, number = self._kept, request
        while number == request or (number in kept and type(kept[number][0]) is Piece):
            self.weight -= kept[number][1]
            kept[number] = TAKEN_BACK
            number -= 1
        # With a store, no link says that they were taken back before it is kept.
        self.taken_back = min(self.taken_back, number)
        if self.stored < BEYOND:
            self.stored = min(self.stored, number)
        self.eased |= crowded and not self.crowded

    # ------------------------------------------------------------------ sent, and received there

    def run(
        self, number: int, count: int, room: int, refresh: Refresh, now: float
    ) -> tuple[list[Entry], int]:
        """Return entries from ``number`` on, at most so many in so many bytes, and their size.

        The first one goes in any case, but for one that has just been taken back, where a store has
        to keep that before. ``refresh`` says what goes in the place of a request that
        has a time, or went before.
        """
        kept, last, before = self._kept, self.last, self.transmitted
        if self.stored < last:  # noqa: PLR1730 - without a call
            last = self.stored
        entries: list[Entry] = []
        used = 0
        while number <= last and len(entries) < count:
            entry, size, by = kept[number]
            if type(entry) is Request and (by is not None or number <= before):
                entry = refresh(number, entry, by, now)
                if number > self.stored:  # it was taken back just now, which is not kept
                    break
                size = kept[number][1]
            size = size or SMALL_ENTRY
            if used + size > room and entries:
                break
            entries.append(entry)
            used += size
            number += 1
        if number > before:
            self.transmitted = number - 1
        return entries, used

    def lone(self, number: int) -> tuple[Entry, int] | None:
        """Return this entry and its size, if nothing is behind it and nothing is to be looked at.

        So it is with nearly every request, and its answer: it has no time, and did not go before.
        """
        if self.transmitted < number == self.last:
            entry, size, by = self._kept[number]
            if by is None:
                self.transmitted = number
                return entry, size or SMALL_ENTRY
        return None

    def release(self, received: int) -> None:
        """Forget what the peer has received (CALL-3). ``received`` is above ``acked``."""
        crowded = self.weight >= self.most_held
        kept = self._kept
        for number in range(self.acked + 1, received + 1):
            self.weight -= kept.pop(number)[1]
        self.acked = received
        answers = self.answers
        if answers and answers[-1] <= received:
            self.answers = ()
        elif answers and answers[0] <= received:
            del answers[: bisect_right(answers, received)]
        if crowded and self.weight < self.most_held:
            self.eased = True

    def clear(self) -> None:
        """Forget everything: nothing is sent any more."""
        self.blocked = True
        self._kept.clear()
        self.weight = 0
        self.answers = ()

    # ------------------------------------------------------------------ a crash

    def snapshot(self) -> dict[str, Any]:
        """Return what must survive a crash, as plain values (CALL-12)."""
        return {"max_there": self.max_there, "acked": self.acked, "last": self.last}

    def entries(self, first: int) -> list[tuple[Any, int]]:
        """Return the entries from a number on as plain values, each with its size (CALL-12)."""
        kept = [self._kept[number] for number in range(first, self.last + 1) if self._kept]
        items = wire_calls(new_unchecked(Calls, (0, [entry for entry, _size, _by in kept])))[-1]
        return list(zip(items, [size for _entry, size, _by in kept], strict=True))

    def restore(self, values: dict[str, Any], entries: list[tuple[Any, int]]) -> None:
        """Go on with what :meth:`snapshot` and :meth:`entries` gave.

        All of it counts as transmitted. What was taken back after it had been kept does not go.
        """
        self.max_there = values["max_there"]
        self.finished = values["finished"]
        self.acked = self.last = values["acked"]
        open_ = {request for request, _waited in values["open"]}
        items = [list(entry) for entry, _size in entries]
        read = read_calls([0, 1, items]).entries if items else []
        for entry, (_entry, size) in zip(read, entries, strict=True):
            number = self._append(entry, size, None)
            if type(entry) in ANSWERS:
                self.answers = [*self.answers, number]
            elif type(entry) is Request and number not in open_:
                self.take_back(number)
        self.last = self.transmitted = values["last"]  # no entries are left where all was cleared
