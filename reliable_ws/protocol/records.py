"""What travels, as plain values that JSON can write. No payload and no key is shown."""

from __future__ import annotations

from typing import Any

import msgpack

from .codec import decode
from .errors import Violation
from .frames import Calls, Messages, Payload

__all__ = ["records_of"]

HIDDEN = frozenset(("key", "message"))
"""Fields that are left out: the key of a session, and the words of an application's fault."""

CONTENT = frozenset(("payload", "data"))
"""Fields that are given by their size."""


def records_of(data: bytes | str) -> list[dict[str, Any]]:
    """Return one record for each frame of a WebSocket message: its name, and its fields.

    ``bytes`` stands for the size of what the application has sent.
    """
    try:
        frames = decode(data, len(data))
    except Violation as fault:
        return [{"frame": "invalid", "reason": fault.reason}]
    records: list[dict[str, Any]] = []
    for frame in frames:
        record: dict[str, Any] = {"frame": type(frame).__name__}
        if isinstance(frame, Messages):
            size = sum(map(_size, frame.payloads))
            record |= {"first": frame.first, "count": len(frame.payloads), "bytes": size}
        elif isinstance(frame, Calls):
            entries = [{"entry": type(one).__name__, **_fields(one)} for one in frame.entries]
            record |= {"first": frame.first, "entries": entries}
        else:
            record |= _fields(frame)
        records.append(record)
    return records


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a frame, an entry, or a part of one."""
    fields: dict[str, Any] = {}
    for name, field in value._asdict().items():
        if name in CONTENT:
            if field is not None:  # else it is in the pieces before it
                fields["bytes"] = _size(field)
        elif name not in HIDDEN:
            fields[name] = _plain(field)
    return fields


def _plain(field: Any) -> Any:
    if isinstance(field, bytes):
        return field.hex()
    if hasattr(field, "_asdict"):
        return _fields(field)
    return field


def _size(payload: Payload) -> int:
    if isinstance(payload, msgpack.ExtType):
        return len(payload.data)
    return len(payload.encode()) if isinstance(payload, str) else len(payload)
