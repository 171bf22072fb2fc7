"""Calls to arrays and back (protocol.md, CALL-2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from reliable_ws.protocol import fields
from reliable_ws.protocol.frames import (
    ENTRIES,
    EXT_VALUE,
    LONGEST_NAME,
    LONGEST_WORDS,
    MAX_NUMBER,
    TYPES,
    Calls,
    Cancel,
    Credit,
    Entry,
    Fault,
    Item,
    Payload,
    Piece,
    Reply,
    Request,
    Void,
    new_unchecked,
)

__all__ = ["clipped", "read_calls", "wire_calls"]

_HEADS: dict[type[Entry], tuple[Any, ...]] = {kind: (number,) for kind, number in ENTRIES.items()}
"""What stands on the wire before the fields of an entry: its type."""

VALID_AS_IS = frozenset((bytes, str, type(None)))
"""Payloads that need no look; ``None`` stands for the pieces before the entry."""


VOID = Void()
"""Every Void that comes: it has no fields."""


def clipped(text: str, longest: int) -> str:
    """Return as much of a text of ours as fits so many bytes."""
    return text.encode(errors="replace")[:longest].decode(errors="ignore")


def wire_calls(frame: Calls) -> tuple[Any, ...]:
    """Return what is packed for a run of entries."""
    first, entries = frame
    items = []
    for entry in entries:  # a loop and no comprehension: that is a call of its own
        items.append(_HEADS[type(entry)] + entry)  # noqa: PERF401
    return (TYPES[Calls], first, items)


def read_calls(item: list[Any]) -> Calls:
    """Return a run of entries, every field checked; of any size (CALL-23).

    Raises:
        Violation: A field is wrong.
    """
    if len(item) != 3:
        raise fields.bad("Calls")
    _type, first, items = item
    if type(first) is not int or not 1 <= first <= MAX_NUMBER:
        raise fields.bad("number")
    if type(items) is not list or not items:
        raise fields.bad("entries")
    entries = []
    for values in items:
        if type(values) is not list or not values or type(values[0]) is not int:
            raise fields.bad("entry")
        reader = _READERS.get(values[0])
        if reader is None:
            raise fields.bad("entry type")
        entries.append(reader(values))
    return new_unchecked(Calls, (first, entries))


def _request(item: list[Any]) -> Request:
    if len(item) != 5:
        raise fields.bad("Request")
    _type, method, timeout_ms, credit, payload = item
    if type(method) is not str or not method.isascii() or len(method) > LONGEST_NAME:
        fields.text(method, LONGEST_NAME, "method")
    if timeout_ms is not None:
        fields.number(timeout_ms, 0, "timeout")
    if type(credit) is not int or not 0 <= credit <= MAX_NUMBER:
        raise fields.bad("credit")
    kind = type(payload)
    if kind not in VALID_AS_IS and (kind is not msgpack.ExtType or payload.code != EXT_VALUE):
        fields.payload(payload)
    return new_unchecked(Request, (method, timeout_ms, credit, payload))


def _reply(item: list[Any]) -> Reply:
    if len(item) != 3:
        raise fields.bad("Reply")
    _type, request, payload = item
    if type(request) is not int or not 1 <= request <= MAX_NUMBER:
        raise fields.bad("request")
    kind = type(payload)
    if kind not in VALID_AS_IS and (kind is not msgpack.ExtType or payload.code != EXT_VALUE):
        fields.payload(payload)
    return new_unchecked(Reply, (request, payload))


def _fault(item: list[Any]) -> Fault:
    _type, request, code, message, payload = fields.array(item, 5, "Fault")
    return Fault(
        fields.number(request, 1, "request"),
        fields.text(code, LONGEST_NAME, "fault"),
        fields.text(message, LONGEST_WORDS, "fault"),
        _payload(payload),
    )


def _payload(value: Any) -> Payload | None:
    return value if type(value) in VALID_AS_IS else fields.payload(value)


def _item(item: list[Any]) -> Item:
    _type, request, payload = fields.array(item, 3, "Item")
    return Item(fields.number(request, 1, "request"), _payload(payload))


def _cancel(item: list[Any]) -> Cancel:
    if len(item) != 2:
        raise fields.bad("Cancel")
    request = item[1]
    if type(request) is not int or not 1 <= request <= MAX_NUMBER:
        raise fields.bad("request")
    return new_unchecked(Cancel, (request,))


def _credit(item: list[Any]) -> Credit:
    _type, request, total = fields.array(item, 3, "Credit")
    return Credit(fields.number(request, 1, "request"), fields.number(total, 0, "credit"))


def _piece(item: list[Any]) -> Piece:
    data = fields.array(item, 2, "Piece")[1]
    if type(data) is not bytes or not data:
        raise fields.bad("piece")
    return Piece(data)


def _void(item: list[Any]) -> Void:
    if len(item) != 1:
        raise fields.bad("Void")
    return VOID


_READERS: dict[int, Callable[[list[Any]], Entry]] = {
    ENTRIES[Cancel]: _cancel,
    ENTRIES[Credit]: _credit,
    ENTRIES[Fault]: _fault,
    ENTRIES[Item]: _item,
    ENTRIES[Piece]: _piece,
    ENTRIES[Reply]: _reply,
    ENTRIES[Request]: _request,
    ENTRIES[Void]: _void,
}
