"""Our entries of calls that the peer has not received: kept by number, sent again when lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .call_pieces import PIECE_HEADER, cut
from .frames import Entry, Piece, Request, Void

__all__ = ["VOID", "CallOutbox"]

VOID = 24
"""Bytes of an entry without text or payload, at most."""


class CallOutbox:
    """``acked <= transmitted <= last``, as in the outbox of messages."""

    __slots__ = ("_entries", "_sizes", "acked", "last", "transmitted", "weight")

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._sizes: dict[int, int] = {}  # of them, in bytes
        self.weight = 0
        "In all."
        self.last = 0
        "Highest number accepted."
        self.transmitted = 0
        "Highest number ever handed to a link."
        self.acked = 0
        "Highest number that the peer has received, as far as it told."

    def append(self, entry: Entry, size: int) -> int:
        """Accept an entry and return its number."""
        number = self.last = self.last + 1
        self._entries[number] = entry
        self._sizes[number] = size
        self.weight += size
        return number

    def append_cut(self, entry: Any, rest: int) -> int:
        """Accept an entry whose payload goes before it in pieces; ``rest``: its other bytes."""
        for piece in cut(entry.payload):
            self.append(piece, len(piece.data) + PIECE_HEADER)
        return self.append(entry._replace(payload=None), rest)

    def take_back(self, request: int) -> None:
        """Put nothing in a request's place, and in that of the pieces before it (CALL-8)."""
        number = request
        while number == request or type(self._entries.get(number)) is Piece:
            self._entries[number] = Void()
            self.weight -= self._sizes[number]
            self._sizes[number] = 0
            number -= 1

    def run(
        self, number: int, count: int, room: int, judge: Callable[[int, Request], Entry] | None
    ) -> tuple[list[Entry], int]:
        """Return entries from ``number`` on, at most so many in so many bytes, and their size.

        The first one goes in any case. ``judge`` says what goes in a request's place.
        """
        kept, sizes, last = self._entries, self._sizes, self.last
        entries: list[Entry] = []
        used = 0
        while number <= last and len(entries) < count:
            entry = kept[number]
            if judge is not None and type(entry) is Request:
                entry = judge(number, entry)
            size = sizes[number] or VOID
            if used + size > room and entries:
                break
            entries.append(entry)
            used += size
            number += 1
        if number > self.transmitted:
            self.transmitted = number - 1
        return entries, used

    def release(self, received: int) -> None:
        """Forget what the peer has received (CALL-3)."""
        entries, sizes = self._entries, self._sizes
        for number in range(self.acked + 1, received + 1):
            del entries[number]
            self.weight -= sizes.pop(number)
        self.acked = received

    def clear(self) -> None:
        """Forget everything: nothing is sent any more."""
        self._entries.clear()
        self._sizes.clear()
        self.weight = 0
