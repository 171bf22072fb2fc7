"""Frames to bytes and back (protocol.md, section 3).

Decoding is the one door for a peer's bytes: whatever comes in becomes frames whose every field
has the right type and range, or a :class:`Violation`. Nothing else escapes (FRAME-5).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from .config import MIN_FRAME
from .errors import Violation
from .frames import (
    CRITICAL,
    EXT_VALUE,
    MAX_NUMBER,
    TYPES,
    Ack,
    Code,
    Counters,
    Done,
    Finish,
    Frame,
    Hello,
    Limits,
    Messages,
    Part,
    Position,
    Refuse,
    Stop,
    Want,
    Welcome,
)

__all__ = ["MAX_LIST", "MAX_RANGES", "MAX_REASON", "decode", "encode"]

MAX_LIST = 4096
"""Most frames in one WebSocket message, and most payloads in one run (FRAME-2)."""

MAX_RANGES = 64
"""Most ranges in one set of counters (COUNT-3)."""

MAX_REASON = 123
"""Most bytes of a reason, as in a WebSocket close frame (RFC 6455, 5.5.1)."""

RAW = 32 * 1024
"""From this size on a lone payload is joined to its header instead of copied by msgpack."""

_PACKER = msgpack.Packer(autoreset=True)
_PAYLOADS = frozenset((str, bytes, msgpack.ExtType))


def encode(frames: Sequence[Frame]) -> bytes:
    """Return one WebSocket message that carries these frames (FRAME-1)."""
    last = frames[-1]
    if type(last) is Messages and len(last.payloads) == 1:
        payload = last.payloads[0]
        if type(payload) is bytes and len(payload) >= RAW:
            return _join(frames, last.first, payload)
    data: bytes = _PACKER.pack([(TYPES[type(frame)], *frame) for frame in frames])
    return data


def _join(frames: Sequence[Frame], first: int, payload: bytes) -> bytes:
    """Encode frames that end with one large payload, copying it once."""
    pieces = [_PACKER.pack_array_header(len(frames))]
    pieces += [_PACKER.pack((TYPES[type(frame)], *frame)) for frame in frames[:-1]]
    pieces.append(b"\x93" + _PACKER.pack(TYPES[Messages]) + _PACKER.pack(first))
    pieces.append(b"\x91\xc6" + struct.pack(">I", len(payload)))
    pieces.append(payload)
    return b"".join(pieces)


def decode(data: bytes | str, max_frame: int) -> list[Frame]:
    """Return the frames of one WebSocket message, every field checked.

    Raises :class:`Violation`. Frames of an unknown type without the critical bit are left out.
    """
    if isinstance(data, str):
        raise Violation(Code.MALFORMED, "a text message; frames are binary")
    if len(data) > max_frame:
        raise Violation(Code.VIOLATION, "a frame above the announced limit")
    try:
        items = msgpack.unpackb(
            data, max_array_len=MAX_LIST, max_map_len=0, ext_hook=msgpack.ExtType
        )
    except (ValueError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise Violation(Code.MALFORMED, f"not msgpack within limits: {_why(error)}") from None
    if type(items) is not list or not items:
        raise Violation(Code.MALFORMED, "not an array of frames")
    frames = []
    for item in items:
        if type(item) is not list or not item or type(item[0]) is not int:
            raise Violation(Code.MALFORMED, "a frame is not an array with a type")
        decoder = _DECODERS.get(item[0])
        if decoder is not None:
            frames.append(decoder(item))
        elif item[0] & CRITICAL or not 0 <= item[0] <= 0x7F:
            raise Violation(Code.MALFORMED, f"unknown frame type {item[0]}")
    return frames


def _why(error: Exception) -> str:
    """Name the error, without a peer's bytes in it."""
    return type(error).__name__


# ------------------------------------------------------------------------------- fields


def _bad(what: str) -> Violation:
    return Violation(Code.MALFORMED, f"bad {what}")


def _number(value: Any, low: int, what: str) -> int:
    """Return an integer in range; ``True`` and 5.0 are none (FRAME-8)."""
    if type(value) is not int or not low <= value <= MAX_NUMBER:
        raise _bad(what)
    return value


def _numbers(values: Sequence[Any], what: str) -> tuple[int, ...]:
    return tuple(_number(value, 0, what) for value in values)


def _bytes(value: Any, length: int, what: str) -> bytes:
    if type(value) is not bytes or len(value) != length:
        raise _bad(what)
    return value


def _fields(item: Any, count: int, what: str) -> list[Any]:
    """Return exactly ``count`` fields of a frame, or of an array inside one."""
    if type(item) is not list or len(item) != count:
        raise _bad(what)
    return item


def _grown(item: Any, count: int, what: str) -> list[Any]:
    """Return ``count`` fields where a later version may have more (FRAME-6)."""
    if type(item) is not list or len(item) < count:
        raise _bad(what)
    return item[:count]


def _reason(value: Any) -> str:
    if type(value) is not str or len(value.encode()) > MAX_REASON:
        raise _bad("reason")
    return value


def _code(value: Any) -> int:
    if type(value) is not int or not 1000 <= value <= 4999:
        raise _bad("code")
    return value


def _flag(value: Any, what: str) -> bool:
    if type(value) is not bool:
        raise _bad(what)
    return value


def _counters(value: Any) -> Counters:
    received, confirmed, handed, stopped, ranges = _fields(value, 5, "counters")
    _numbers((received, confirmed, handed), "counters")
    if confirmed > received or (handed > received and stopped is not True):  # COUNT-2
        raise _bad("counters: confirmed and handed are at most received")
    if type(ranges) is not list or len(ranges) > MAX_RANGES:
        raise _bad("ranges")
    pairs: list[tuple[int, int]] = []
    low = confirmed + 2  # confirmed + 1 would belong to the confirmed run (COUNT-3)
    for pair in ranges:
        first, last = _numbers(_fields(pair, 2, "range"), "range")
        if not low <= first <= last <= received:
            raise _bad("range")
        pairs.append((first, last))
        low = last + 2
    return Counters(received, confirmed, handed, _flag(stopped, "stopped"), tuple(pairs))


def _position(value: Any) -> Position:
    counters, sent, first, partial = _fields(value, 4, "position")
    return Position(
        _counters(counters),
        _number(sent, 0, "sent"),
        _number(first, 1, "first"),
        _number(partial, 0, "partial"),
    )


def _limits(value: Any) -> Limits:
    limits = Limits._make(_numbers(_grown(value, len(Limits._fields), "limits"), "limits"))
    if 0 in limits:
        raise _bad("limits: each is above 0")
    if limits.max_frame < MIN_FRAME:  # there would be no room for content (PART-6)
        raise _bad("limits: frames too small")
    return limits


# ------------------------------------------------------------------------------- frames


def _messages(item: list[Any]) -> Messages:
    if len(item) != 3:
        raise _bad("Messages")
    _type, first, payloads = item
    if type(first) is not int or not 1 <= first <= MAX_NUMBER:
        raise _bad("number")
    if type(payloads) is not list or not payloads:
        raise _bad("payloads")
    kinds = set(map(type, payloads))
    if not kinds <= _PAYLOADS:
        raise _bad("payload type")
    if msgpack.ExtType in kinds:
        for payload in payloads:
            if type(payload) is msgpack.ExtType and payload.code != EXT_VALUE:
                raise _bad("extension code")
    return Messages(first, payloads)


def _part(item: list[Any]) -> Part:
    _type, number, offset, total, kind, data = _fields(item, 6, "Part")
    _number(number, 1, "number")
    _number(offset, 0, "offset")
    _number(total, 1, "total")
    if type(kind) is not int or kind not in (0, 1, 2):
        raise _bad("kind")
    if type(data) is not bytes or not data or offset + len(data) > total:
        raise _bad("part")
    return Part(number, offset, total, kind, data)


def _finish(item: list[Any]) -> Finish:
    _type, number, code, reason = _fields(item, 4, "Finish")
    return Finish(_number(number, 1, "number"), _code(code), _reason(reason))


def _ack(item: list[Any]) -> Ack:
    _type, received, confirmed = _fields(item, 3, "Ack")
    if type(received) is not int or type(confirmed) is not int or received > MAX_NUMBER:
        raise _bad("Ack")
    if not 0 <= confirmed <= received:
        raise _bad("Ack: confirmed is at most received")
    return Ack(received, confirmed)


def _want(item: list[Any]) -> Want:
    _type, number = _fields(item, 2, "Want")
    return Want(_number(number, 1, "number"))


def _stop(item: list[Any]) -> Stop:
    counters = _counters(_fields(item, 2, "Stop")[1])
    if not counters.stopped:
        raise _bad("Stop: its counters are frozen")
    return Stop(counters)


def _done(item: list[Any]) -> Done:
    return Done(_counters(_fields(item, 2, "Done")[1]))


def _refuse(item: list[Any]) -> Refuse:
    _type, code, reason, retry_ms, counters = _grown(item, 5, "Refuse")
    return Refuse(
        _code(code),
        _reason(reason),
        _number(retry_ms, 0, "retry"),
        None if counters is None else _counters(counters),
    )


def _hello(item: list[Any]) -> Hello:
    fields = _grown(item, 9, "Hello")[1:]
    low, high, session, key, attempt, incarnation, position, limits = fields
    _number(low, 1, "version")
    _number(high, low, "version")
    return Hello(
        low,
        high,
        _bytes(session, 16, "session id"),
        _bytes(key, 32, "key"),
        _number(attempt, 1, "attempt"),
        _number(incarnation, 0, "incarnation"),
        _position(position),
        _limits(limits),
    )


def _welcome(item: list[Any]) -> Welcome:
    version, resumed, incarnation, position, limits = _grown(item, 6, "Welcome")[1:]
    return Welcome(
        _number(version, 1, "version"),
        _flag(resumed, "resumed"),
        _number(incarnation, 1, "incarnation"),
        _position(position),
        _limits(limits),
    )


_DECODERS: dict[int, Callable[[list[Any]], Frame]] = {
    TYPES[Ack]: _ack,
    TYPES[Done]: _done,
    TYPES[Finish]: _finish,
    TYPES[Hello]: _hello,
    TYPES[Messages]: _messages,
    TYPES[Part]: _part,
    TYPES[Refuse]: _refuse,
    TYPES[Stop]: _stop,
    TYPES[Want]: _want,
    TYPES[Welcome]: _welcome,
}
