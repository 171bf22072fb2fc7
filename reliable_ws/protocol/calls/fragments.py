"""Payloads of calls that are too large for one entry, cut and put together again (CALL-5)."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack

from reliable_ws.protocol import fields
from reliable_ws.protocol.errors import Violation
from reliable_ws.protocol.frames import OVERHEAD, Code, Payload, Piece

__all__ = ["LARGEST_ENTRY", "PIECE_HEADER", "Pieces", "cut", "whole"]

LARGEST_ENTRY = 3_808
"""Most bytes of an entry; so every one fits, alone, any frame that a greeting may ask for."""

PIECE_HEADER = 8
"""Most bytes of a piece besides its data."""


def cut(payload: Payload) -> Iterator[Piece]:
    """Return the slices of a payload, packed."""
    packed: bytes = msgpack.packb(payload)
    length = LARGEST_ENTRY - PIECE_HEADER
    for offset in range(0, len(packed), length):
        yield Piece(packed[offset : offset + length])


class Pieces:
    """The peer's pieces, until the entry comes that they belong to."""

    __slots__ = ("_most", "data", "stood_still")

    def __init__(self, max_message: int) -> None:
        self.data = bytearray()
        "Bytes held."
        self.stood_still = False
        "Whether it did until the last link ended (CALL-46)."
        self._most = max_message + OVERHEAD

    def add(self, data: bytes) -> None:
        """Keep a slice (CALL-25).

        Raises:
            Violation: The whole is larger than we announced.
        """
        if len(self.data) + len(data) > self._most:
            raise Violation(Code.VIOLATION, "a call above the announced limit")
        self.data += data


def whole(payload: Payload | None, pieces: Pieces | None) -> Payload:
    """Return the payload of an entry with these pieces before it (CALL-24).

    Raises:
        Violation: There are pieces before a payload, or the pieces make no payload.
    """
    if payload is not None:
        if pieces is not None:
            raise Violation(Code.VIOLATION, "pieces that belong to nothing")
        return payload
    data = b"" if pieces is None else bytes(pieces.data)
    try:
        return fields.payload(msgpack.unpackb(data, max_map_len=0, max_array_len=0))
    except Exception:  # noqa: BLE001 - whatever is wrong, the peer sent it (CALL-42)
        raise Violation(Code.MALFORMED, "pieces that make no payload") from None
