"""Frames to bytes and back (protocol.md, section 3).

Decoding is the one door for a peer's bytes: whatever comes in becomes frames whose every field
has the right type and range, or a :class:`Violation`. Nothing else escapes (FRAME-5).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from . import check
from .call_codec import read_calls, wire_calls
from .check import MAX_REASON, PAYLOADS
from .config import MIN_FRAME
from .errors import Violation
from .frames import (
    CRITICAL,
    EXT_VALUE,
    MAX_NUMBER,
    TYPES,
    Ack,
    CallAck,
    CallPosition,
    Calls,
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
    make,
)

__all__ = ["MAX_LIST", "MAX_RANGES", "MAX_REASON", "decode", "encode"]

MAX_LIST = 4096
"""Most frames in one WebSocket message, and most payloads in one run (FRAME-2)."""

MAX_RANGES = 64
"""Most ranges in one set of counters (COUNT-6)."""

RAW = 32 * 1024
"""From this size on a lone payload is joined to its header instead of copied by msgpack."""

_PACKER = msgpack.Packer(autoreset=True)


def encode(frames: Sequence[Frame]) -> bytes:
    """Return one WebSocket message that carries these frames (FRAME-1)."""
    last = frames[-1]
    if type(last) is Messages and len(last.payloads) == 1:
        payload = last.payloads[0]
        if type(payload) is bytes and len(payload) >= RAW:
            return _join(frames, last.first, payload)
    data: bytes = _PACKER.pack(
        [
            wire_calls(frame) if type(frame) is Calls else (TYPES[type(frame)], *frame)
            for frame in frames
        ]
    )
    return data


def _join(frames: Sequence[Frame], first: int, payload: bytes) -> bytes:
    """Encode frames that end with one large payload, copying it once."""
    pieces = [_PACKER.pack_array_header(len(frames))]
    pieces += [encode([frame])[1:] for frame in frames[:-1]]
    pieces.append(b"\x93" + _PACKER.pack(TYPES[Messages]) + _PACKER.pack(first))
    pieces.append(b"\x91\xc6" + struct.pack(">I", len(payload)))
    pieces.append(payload)
    return b"".join(pieces)


def decode(data: bytes | str, max_frame: int) -> list[Frame]:
    """Return the frames of one WebSocket message, every field checked.

    Raises :class:`Violation`: then no frame has had an effect (FRAME-14). Frames of an unknown
    type without the critical bit are left out (FRAME-13); msgpack's own bound of nesting is far
    above the one that is promised (FRAME-12).
    """
    if isinstance(data, str):
        raise Violation(Code.MALFORMED, "a text message; frames are binary")
    if len(data) > max_frame:  # FRAME-10
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


# ------------------------------------------------------------------------------- arrays inside


def _counters(value: Any) -> Counters:
    received, confirmed, handed, stopped, ranges = check.array(value, 5, "counters")
    check.numbers((received, confirmed, handed), "counters")
    if confirmed > received or (handed > received and stopped is not True):  # COUNT-2
        raise check.bad("counters: confirmed and handed are at most received")
    if type(ranges) is not list or len(ranges) > MAX_RANGES:
        raise check.bad("ranges")
    pairs: list[tuple[int, int]] = []
    low = confirmed + 2  # confirmed + 1 would belong to the confirmed run (COUNT-3)
    for pair in ranges:
        first, last = check.numbers(check.array(pair, 2, "range"), "range")
        if not low <= first <= last <= received:
            raise check.bad("range")
        pairs.append((first, last))
        low = last + 2
    return Counters(received, confirmed, handed, check.flag(stopped, "stopped"), tuple(pairs))


def _position(value: Any) -> Position:
    counters, sent, first, partial = check.array(value, 4, "position")
    return Position(
        _counters(counters),
        check.number(sent, 0, "sent"),
        check.number(first, 1, "first"),
        check.number(partial, 0, "partial"),
    )


def _limits(value: Any) -> Limits:
    limits = Limits._make(
        check.numbers(check.grown(value, len(Limits._fields), "limits"), "limits")
    )
    if 0 in limits:
        raise check.bad("limits: each is above 0")
    if limits.max_frame < MIN_FRAME:  # there would be no room for content (LIMIT-1)
        raise check.bad("limits: frames too small")
    return limits


# ------------------------------------------------------------------------------- frames


def _messages(item: list[Any]) -> Messages:
    if len(item) != 3:
        raise check.bad("Messages")
    _type, first, payloads = item
    if type(first) is not int or not 1 <= first <= MAX_NUMBER:
        raise check.bad("number")
    if type(payloads) is not list or not payloads:
        raise check.bad("payloads")
    kinds = set(map(type, payloads))
    if not kinds <= PAYLOADS:
        raise check.bad("payload type")
    if msgpack.ExtType in kinds:
        for payload in payloads:
            if type(payload) is msgpack.ExtType and payload.code != EXT_VALUE:
                raise check.bad("extension code")
    return make(Messages, (first, payloads))


def _part(item: list[Any]) -> Part:
    _type, number, offset, total, kind, data = check.array(item, 6, "Part")
    check.number(number, 1, "number")
    check.number(offset, 0, "offset")
    check.number(total, 1, "total")
    if type(kind) is not int or kind not in (0, 1, 2):
        raise check.bad("kind")
    if type(data) is not bytes or not data or offset + len(data) > total:  # PART-9
        raise check.bad("part")
    return Part(number, offset, total, kind, data)


def _finish(item: list[Any]) -> Finish:
    _type, number, code, reason = check.array(item, 4, "Finish")
    return Finish(check.number(number, 1, "number"), check.code(code), check.reason(reason))


def _ack(item: list[Any]) -> Ack:
    if len(item) != 3:
        raise check.bad("Ack")
    _type, received, confirmed = item
    if type(received) is not int or type(confirmed) is not int or received > MAX_NUMBER:
        raise check.bad("Ack")
    if not 0 <= confirmed <= received:
        raise check.bad("Ack: confirmed is at most received")
    return make(Ack, (received, confirmed))


def _want(item: list[Any]) -> Want:
    if len(item) != 2:
        raise check.bad("Want")
    return make(Want, (check.number(item[1], 1, "number"),))


def _stop(item: list[Any]) -> Stop:
    counters = _counters(check.array(item, 2, "Stop")[1])
    if not counters.stopped:
        raise check.bad("Stop: its counters are frozen")
    return Stop(counters)


def _done(item: list[Any]) -> Done:
    return Done(_counters(check.array(item, 2, "Done")[1]))


def _refuse(item: list[Any]) -> Refuse:
    _type, code, reason, retry_ms, counters = check.grown(item, 5, "Refuse")
    return Refuse(
        check.code(code),
        check.reason(reason),
        check.number(retry_ms, 0, "retry"),
        None if counters is None else _counters(counters),
    )


def _hello(item: list[Any]) -> Hello:
    fields = check.grown(item, 9, "Hello")[1:]
    low, high, session, key, attempt, incarnation, position, limits = fields
    check.number(low, 1, "version")
    check.number(high, low, "version")  # HELLO-10
    return Hello(
        low,
        high,
        check.octets(session, 16, "session id"),
        check.octets(key, 32, "key"),
        check.number(attempt, 1, "attempt"),
        check.number(incarnation, 0, "incarnation"),
        _position(position),
        _limits(limits),
        _call_position(item, 9),
    )


def _welcome(item: list[Any]) -> Welcome:
    version, resumed, incarnation, position, limits = check.grown(item, 6, "Welcome")[1:]
    return Welcome(
        check.number(version, 1, "version"),
        check.flag(resumed, "resumed"),
        check.number(incarnation, 1, "incarnation"),
        _position(position),
        _limits(limits),
        _call_position(item, 6),
    )


def _call_ack(item: list[Any]) -> CallAck:
    if len(item) != 2:
        raise check.bad("CallAck")
    return make(CallAck, (check.number(item[1], 0, "CallAck"),))


def _call_position(item: list[Any], index: int) -> CallPosition | None:
    """Return a field that came later than its frame: absent means that there are no calls."""
    if len(item) <= index or item[index] is None:
        return None
    received, sent, first = check.grown(item[index], 3, "calls")
    return CallPosition(
        check.number(received, 0, "calls"),
        check.number(sent, 0, "calls"),
        check.number(first, 1, "calls"),
    )


_DECODERS: dict[int, Callable[[list[Any]], Frame]] = {
    TYPES[Ack]: _ack,
    TYPES[CallAck]: _call_ack,
    TYPES[Calls]: read_calls,
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
