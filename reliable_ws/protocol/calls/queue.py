"""Our entries of calls that the peer has not received: kept by number, sent again when lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reliable_ws.protocol.frames import Entry, Piece, Request, Void

from .fragments import PIECE_HEADER, cut

__all__ = ["VOID", "CallOutbox"]

VOID = 24
"""Bytes of an entry without text or payload, at most."""

NOTHING = (Void(), 0, None)
"""What is kept in the place of an entry that was taken back."""

Refresh = Callable[[int, Request, float | None, float], Entry]
"""Returns what goes for the request of this number, with the time when it is up, now."""


class CallOutbox:
    """``acked <= transmitted <= last``, as in the outbox of messages."""

    __slots__ = ("_kept", "acked", "last", "transmitted", "weight")

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Entry, int, float | None]] = {}  # its bytes; its time is up
        self.weight = 0
        "Bytes of all entries."
        self.last = 0
        "Highest number accepted."
        self.transmitted = 0
        "Highest number ever handed to a link."
        self.acked = 0
        "Highest number that the peer has received, as far as it told."

    def append(self, entry: Entry, size: int, by: float | None = None) -> int:
        """Accept an entry and return its number. ``by``: when a request's time is up."""
        number = self.last = self.last + 1
        self._kept[number] = (entry, size, by)
        self.weight += size
        return number

    def append_cut(self, entry: Any, rest: int, by: float | None) -> int:
        """Accept an entry whose payload goes before it in pieces; ``rest``: its other bytes."""
        for piece in cut(entry.payload):
            self.append(piece, len(piece.data) + PIECE_HEADER)
        return self.append(entry._replace(payload=None), rest, by)

    def take_back(self, request: int) -> None:
        """Put nothing in a request's place, and in that of the pieces before it (CALL-8)."""
        kept, number = self._kept, request
        while number == request or (number in kept and type(kept[number][0]) is Piece):
            self.weight -= kept[number][1]
            kept[number] = NOTHING
            number -= 1

    def run(
        self, number: int, count: int, room: int, refresh: Refresh, now: float
    ) -> tuple[list[Entry], int]:
        """Return entries from ``number`` on, at most so many in so many bytes, and their size.

        The first one goes in any case. ``refresh`` says what goes in the place of a request that
        has a time, or went before.
        """
        kept, last, before = self._kept, self.last, self.transmitted
        entries: list[Entry] = []
        used = 0
        while number <= last and len(entries) < count:
            entry, size, by = kept[number]
            if type(entry) is Request and (by is not None or number <= before):
                entry = refresh(number, entry, by, now)
                size = kept[number][1]
            size = size or VOID
            if used + size > room and entries:
                break
            entries.append(entry)
            used += size
            number += 1
        if number > before:
            self.transmitted = number - 1
        return entries, used

    def release(self, received: int) -> None:
        """Forget what the peer has received (CALL-3)."""
        kept = self._kept
        for number in range(self.acked + 1, received + 1):
            self.weight -= kept.pop(number)[1]
        self.acked = received

    def unacked(self) -> tuple[list[Entry], list[int]]:
        """Return what the peer has not received, and how many bytes each takes."""
        kept = self._kept.values()
        return [entry for entry, _, _ in kept], [size for _, size, _ in kept]

    def restore(self, acked: int, last: int, entries: list[Entry], sizes: list[int]) -> None:
        """Go on with what :meth:`unacked` gave; all up to ``last`` counts as transmitted."""
        self.acked = self.last = acked
        for entry, size in zip(entries, sizes, strict=True):
            self.append(entry, size)
        self.last = self.transmitted = last  # there are no entries where all was cleared

    def clear(self) -> None:
        """Forget everything: nothing is sent any more."""
        self._kept.clear()
        self.weight = 0
