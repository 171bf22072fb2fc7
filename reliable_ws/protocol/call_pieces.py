"""Payloads of calls that are too large for one entry, cut and put together again (CALL-5)."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack

from . import check
from .errors import Violation
from .frames import OVERHEAD, Code, Entry, Fault, Item, Payload, Piece, Reply, Request
from .payload import seal_weight

__all__ = ["LARGEST_ENTRY", "VOID", "Pieces", "cut", "size_of"]

LARGEST_ENTRY = 3_808
"""Bytes of an entry; so every one fits, alone, any frame that a greeting may ask for."""

PIECE = LARGEST_ENTRY - 8

VOID = 24
"""Bytes of an entry without text or payload, at most."""


def size_of(entry: Entry) -> int:
    """Return how many bytes an entry takes at most."""
    match entry:
        case Reply() | Item():
            return 16 + _weight(entry.payload)
        case Request():
            return 32 + _length(entry.method) + _weight(entry.payload)
        case Piece():
            return len(entry.data) + 8
        case Fault():
            words = _length(entry.code) + _length(entry.message)
            return 32 + words + _weight(entry.payload)
        case _:
            return VOID


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _weight(payload: Payload | None) -> int:
    return 0 if payload is None else seal_weight(payload)


def cut(payload: Payload) -> Iterator[Piece]:
    """Return the slices of a payload, packed."""
    packed: bytes = msgpack.packb(payload)
    for offset in range(0, len(packed), PIECE):
        yield Piece(packed[offset : offset + PIECE])


class Pieces:
    """The peer's pieces, until the entry comes that they belong to."""

    __slots__ = ("_held", "_most")

    def __init__(self, max_message: int) -> None:
        self._held = bytearray()
        self._most = max_message + OVERHEAD

    def __len__(self) -> int:
        """Bytes held."""
        return len(self._held)

    def add(self, data: bytes) -> None:
        """Keep a slice. Raises :class:`Violation`."""
        if len(self._held) + len(data) > self._most:
            raise Violation(Code.VIOLATION, "a call above the announced limit")
        self._held += data

    def drop(self) -> None:
        """Forget them: their request was taken back (CALL-8)."""
        self._held.clear()

    def whole(self, payload: Payload | None) -> Payload:
        """Return an entry's payload. Raises :class:`Violation`."""
        if payload is not None:
            if self._held:
                raise Violation(Code.VIOLATION, "pieces that belong to nothing")
            return payload
        data = bytes(self._held)
        self._held.clear()
        try:
            return check.payload(msgpack.unpackb(data, max_map_len=0, max_array_len=0))
        except Exception:  # noqa: BLE001 - whatever is wrong, the peer sent it
            raise Violation(Code.MALFORMED, "pieces that make no payload") from None
