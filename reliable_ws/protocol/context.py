"""The frame Context: where a trace of a call comes from (CALL-47). Only who traces looks at it."""

from __future__ import annotations

from collections.abc import Mapping

import msgpack

from .codec import decode
from .errors import Violation
from .frames import Calls, Request

__all__ = ["MARK", "MAX_CONTEXT", "contexts_of", "with_contexts"]

CONTEXT = 0x20
"""The type of the frame: the critical bit is clear, so others skip it (FRAME-3)."""

OF_CALLS = 1
"""Says that the number is one of calls; 0 would be messages."""

MAX_CONTEXT = 512
"""Most bytes of a context. A longer one is not sent, and not looked at."""

MARK = bytes((0x94, CONTEXT, OF_CALLS))
"""How such a frame begins in the shortest encoding: looked for before anything is unpacked."""


def contexts_of(data: bytes | str) -> dict[int, bytes]:
    """Return the contexts of calls in a WebSocket message, by number. Never raises.

    What is no message of this protocol has none: the session finds out what is wrong.
    """
    if isinstance(data, str) or MARK not in data:
        return {}
    try:
        decode(data, len(data))  # bounds what unpacking it may cost (FRAME-16)
        frames = msgpack.unpackb(data, strict_map_key=False, unicode_errors="replace")
    except (Violation, ValueError):
        return {}
    return {
        frame[2]: frame[3]
        for frame in frames
        if len(frame) == 4
        and frame[:2] == [CONTEXT, OF_CALLS]
        and type(frame[2]) is int
        and type(frame[3]) is bytes
        and len(frame[3]) <= MAX_CONTEXT
    }


def with_contexts(data: bytes, contexts: Mapping[int, bytes], max_frame: int) -> bytes:
    """Return a WebSocket message of ours with the contexts of its requests in front.

    They are left out where it would be above the peer's ``max_frame``, or above what one message
    may hold (FRAME-2, FRAME-16).
    """
    found: list[bytes] = []
    frames = decode(data, len(data))
    for frame in frames:
        if isinstance(frame, Calls):
            for number, entry in enumerate(frame.entries, frame.first):
                context = contexts.get(number)
                if context is not None and type(entry) is Request:
                    found.append(msgpack.packb([CONTEXT, OF_CALLS, number, context]))
    if not found:
        return data
    packer = msgpack.Packer()
    rest = data[len(packer.pack_array_header(len(frames))) :]
    joined = b"".join((packer.pack_array_header(len(frames) + len(found)), *found, rest))
    try:
        decode(joined, max_frame)
    except Violation:
        return data
    return joined
