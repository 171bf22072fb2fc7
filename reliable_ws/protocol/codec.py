"""Frames to bytes and back (protocol.md, section 3).

Decoding is the one door for a peer's bytes: whatever comes in becomes frames whose every field
has the right type and range, or a :class:`Violation`. Nothing else escapes (FRAME-5).
Every msgpack encoding of a value is read (FRAME-15).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgpack

from . import fields
from .calls.codec import read_calls, wire_calls
from .config import MIN_FRAME, MIN_MESSAGE
from .errors import Violation
from .fields import MAX_REASON, PAYLOADS
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
    Partial,
    Position,
    Refuse,
    Stop,
    Want,
    Welcome,
    new_unchecked,
)
from .payload import is_codec_name

__all__ = ["MAX_ELEMENTS", "MAX_LIST", "MAX_RANGES", "MAX_REASON", "decode", "encode"]

MAX_LIST = 4096
"""Most frames in one WebSocket message, and most payloads in one run (FRAME-2)."""

MAX_ELEMENTS = 8192
"""Most elements of all arrays of one WebSocket message together (FRAME-16)."""

MAX_RANGES = 64
"""Most ranges in one set of counters (COUNT-6)."""

RAW = 32 * 1024
"""From this size on a lone payload is joined to its header instead of copied by msgpack."""

LARGE_DATA = 80 * 1024
"""From this size on the elements are counted before anything is unpacked. What carries several
messages is smaller, by default: counting takes longer than unpacking."""

GREETINGS = frozenset((Hello, Welcome))

_PACKER = msgpack.Packer(autoreset=True)

_HEADS: dict[type[Frame], tuple[Any, ...]] = {kind: (number,) for kind, number in TYPES.items()}
"""What stands on the wire before the fields of a frame: its type."""


def encode(frames: Sequence[Frame]) -> bytes:
    """Return one WebSocket message that carries these frames (FRAME-1)."""
    last = frames[-1]
    if type(last) is Messages:
        if len(last.payloads) == 1:
            payload = last.payloads[0]
            if type(payload) is bytes and len(payload) >= RAW:
                return _join(frames, (last.first,), b"\x91", payload)
    elif type(last) is Part and len(last.data) >= RAW:
        return _join(frames, last[:-1], b"", last.data)
    items: list[Any] = []
    for frame in frames:  # a loop and no comprehension: that is a call of its own until Python 3.12
        kind = type(frame)
        if kind is Calls:
            items.append(wire_calls(frame))  # type: ignore[arg-type]
        elif kind in GREETINGS:
            *values, codec = frame  # a codec that is not named is left out (HELLO-18)
            items.append((TYPES[kind], *values, *([] if codec is None else [[codec]])))
        else:
            items.append(_HEADS[kind] + frame)
    data: bytes = _PACKER.pack(items)
    return data


def _join(
    frames: Sequence[Frame], fields: tuple[int, ...], within: bytes, payload: bytes | memoryview
) -> bytes:
    """Encode frames that end with one large payload, copying it once.

    ``fields``: of the last frame, those before it. ``within``: the header of the array that the
    payload is in, if it is in one.
    """
    items = [TYPES[type(frames[-1])], *fields]
    pieces: list[bytes | memoryview] = [_PACKER.pack_array_header(len(frames))]
    pieces += [encode([frame])[1:] for frame in frames[:-1]]
    pieces.append(_PACKER.pack_array_header(len(items) + 1))
    pieces += map(_PACKER.pack, items)
    pieces.append(within + b"\xc6" + struct.pack(">I", len(payload)))
    pieces.append(payload)
    return b"".join(pieces)


def decode(data: bytes | str, max_frame: int) -> list[Frame]:
    """Return the frames of one WebSocket message, every field checked.

    Frames of an unknown type without the critical bit are left out (FRAME-13). msgpack's own bound
    of nesting is far above the one that protocol.md promises (FRAME-12).

    Raises:
        Violation: The peer broke a rule. Then no frame has had an effect (FRAME-14).
    """
    # The WebSocket message as a whole: binary, not too large, msgpack, an array.
    if isinstance(data, str):
        raise Violation(Code.MALFORMED, "a text message; frames are binary")
    if len(data) > max_frame:  # FRAME-10
        raise Violation(Code.VIOLATION, "a frame above the announced limit")
    try:
        if len(data) <= MAX_ELEMENTS:  # an element takes a byte at least
            items = msgpack.unpackb(
                data,
                max_array_len=MAX_LIST,
                max_map_len=0,
                ext_hook=_extension,
                object_hook=_refuse_map,
            )
        else:
            if len(data) >= LARGE_DATA:
                _count(data)
            items = _unpack_counted(data)
    except (ValueError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise Violation(Code.MALFORMED, f"not msgpack within limits: {_why(error)}") from None
    if type(items) is not list or not items:
        raise Violation(Code.MALFORMED, "not an array of frames")
    # Each frame by its type; the decoder checks each field.
    frames = []
    for item in items:
        if type(item) is not list or not item or type(kind := item[0]) is not int:
            raise Violation(Code.MALFORMED, "a frame is not an array with a type")
        decoder = _DECODERS.get(kind)
        if decoder is not None:
            frames.append(decoder(item))
        elif kind & CRITICAL or not 0 <= kind <= 0x7F:
            raise Violation(Code.MALFORMED, f"unknown frame type {kind}")
    return frames


def _unpack_counted(data: bytes) -> Any:
    """Unpack what may have too many elements, and stop as soon as it has (FRAME-16).

    The elements of an array are counted when it is complete. Also, each array and each extension
    value counts when it is complete, though the array that it is in is not. What is left are
    scalars of arrays that are open. They cost little, as what is ``LARGE_DATA`` was counted before.
    """
    elements, made = MAX_ELEMENTS, MAX_ELEMENTS + 1  # the envelope is no element

    def array(items: list[Any]) -> list[Any]:
        nonlocal elements, made
        elements -= len(items)
        made -= 1
        if elements < 0 or made < 0:
            raise ValueError
        return items

    def extension(code: int, content: bytes) -> msgpack.ExtType:
        nonlocal made
        made -= 1
        if made < 0:
            raise ValueError
        return new_unchecked(msgpack.ExtType, (code, content))

    return msgpack.unpackb(
        data,
        max_array_len=MAX_LIST,
        max_map_len=0,
        list_hook=array,
        ext_hook=extension,
        object_hook=_refuse_map,
        timestamp=1,  # a float: only a frame that is skipped may hold one
    )


def _sizes() -> list[int]:
    """Return the size of each item of msgpack by its first byte.

    0: an array. Below 0: so many bytes behind the first one say how long the item is.
    """
    sizes = [1] * 256
    sizes[0x90:0xA0] = [0] * 16
    sizes[0xA0:0xC0] = range(1, 33)
    sizes[0xC4:0xC7] = sizes[0xC7:0xCA] = sizes[0xD9:0xDC] = -1, -2, -4
    sizes[0xCA:0xCC] = 5, 9
    sizes[0xCC:0xD0] = sizes[0xD0:0xD4] = 2, 3, 5, 9
    sizes[0xD4:0xD9] = 3, 4, 6, 10, 18
    sizes[0xDC:0xDE] = 0, 0
    return sizes


_SIZES = _sizes()


def _count(data: bytes) -> None:
    """Count the elements of all arrays, and build nothing (FRAME-16).

    What is no msgpack, or a map, is left to be found while unpacking: there is not much before it.

    Raises:
        ValueError: There are too many.
    """
    at, ahead, elements = 0, 1, 0  # items still to come, of all arrays that are open
    end = len(data)
    while ahead and at < end:
        ahead -= 1
        first = data[at]
        size = _SIZES[first]
        if size > 0:
            at += size
        elif size < 0:
            extension = 0xC7 <= first <= 0xC9
            at += 1 - size + extension + int.from_bytes(data[at + 1 : at + 1 - size], "big")
        else:
            size = 0 if first < 0xA0 else 2 if first == 0xDC else 4
            here = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else first & 15
            at += 1 + size
            ahead += here
            elements += here
            if elements > MAX_ELEMENTS:
                raise ValueError


def _extension(code: int, content: bytes) -> msgpack.ExtType:
    """Make an extension value; where it is used its code is compared with the only good one."""
    return new_unchecked(msgpack.ExtType, (code, content))


def _refuse_map(_map: Any) -> Any:
    """Refuse a map, also an empty one, and wherever it is (FRAME-2)."""
    raise ValueError


def _why(error: Exception) -> str:
    """Name the error, without a peer's bytes in it."""
    return type(error).__name__


# ------------------------------------------------------------------------------- arrays inside


def _counters(value: Any) -> Counters:
    received, confirmed, handed, stopped, ranges = fields.array(value, 5, "counters")
    fields.numbers((received, confirmed, handed), "counters")
    if confirmed > received or (handed > received and stopped is not True):  # COUNT-2
        raise fields.bad("counters: confirmed and handed are at most received")
    if type(ranges) is not list or len(ranges) > MAX_RANGES:
        raise fields.bad("ranges")
    pairs: list[tuple[int, int]] = []
    low = confirmed + 2  # confirmed + 1 would belong to the confirmed run (COUNT-3)
    for pair in ranges:
        first, last = fields.numbers(fields.array(pair, 2, "range"), "range")
        if not low <= first <= last <= received:
            raise fields.bad("range")
        pairs.append((first, last))
        low = last + 2
    return Counters(received, confirmed, handed, fields.flag(stopped, "stopped"), tuple(pairs))


def _position(value: Any) -> Position:
    counters, sent, first, partial = fields.array(value, 4, "position")
    return Position(
        _counters(counters),
        fields.number(sent, 0, "sent"),
        fields.number(first, 1, "first"),
        fields.number(partial, 0, "partial"),
    )


def _limits(value: Any) -> Limits:
    limits = Limits._make(
        fields.numbers(fields.grown(value, len(Limits._fields), "limits"), "limits")
    )
    if 0 in limits:
        raise fields.bad("limits: each is above 0")
    if limits.max_frame < MIN_FRAME:  # there would be no room for content (LIMIT-1)
        raise fields.bad("limits: frames too small")
    if limits.max_message < MIN_MESSAGE:
        raise fields.bad("limits: messages too small")
    return limits


# ------------------------------------------------------------------------------- frames


def _messages(item: list[Any]) -> Messages:
    if len(item) != 3:
        raise fields.bad("Messages")
    _type, first, payloads = item
    if type(first) is not int or not 1 <= first <= MAX_NUMBER:
        raise fields.bad("number")
    if type(payloads) is not list or not payloads:
        raise fields.bad("payloads")
    kinds = set(map(type, payloads))
    if not kinds <= PAYLOADS:
        raise fields.bad("payload type")
    if msgpack.ExtType in kinds:
        for payload in payloads:
            if type(payload) is msgpack.ExtType and payload.code != EXT_VALUE:
                raise fields.bad("extension code")
    return new_unchecked(Messages, (first, payloads))


def _part(item: list[Any]) -> Part:
    _type, number, offset, total, kind, data = fields.array(item, 6, "Part")
    fields.number(number, 1, "number")
    fields.number(offset, 0, "offset")
    fields.number(total, 1, "total")
    if type(kind) is not int or kind not in (0, 1, 2):
        raise fields.bad("kind")
    if type(data) is not bytes or not data or offset + len(data) > total:  # PART-9
        raise fields.bad("part")
    return Part(number, offset, total, kind, data)


def _finish(item: list[Any]) -> Finish:
    _type, number, code, reason = fields.array(item, 4, "Finish")
    return Finish(fields.number(number, 1, "number"), fields.code(code), fields.reason(reason))


def _ack(item: list[Any]) -> Ack:
    if len(item) != 3:
        raise fields.bad("Ack")
    _type, received, confirmed = item
    if type(received) is not int or type(confirmed) is not int or received > MAX_NUMBER:
        raise fields.bad("Ack")
    if not 0 <= confirmed <= received:
        raise fields.bad("Ack: confirmed is at most received")
    return new_unchecked(Ack, (received, confirmed))


def _want(item: list[Any]) -> Want:
    if len(item) != 2:
        raise fields.bad("Want")
    number = item[1]
    if type(number) is not int or not 1 <= number <= MAX_NUMBER:
        raise fields.bad("number")
    return new_unchecked(Want, (number,))


def _partial(item: list[Any]) -> Partial:
    _type, number, held = fields.array(item, 3, "Partial")
    return Partial(fields.number(number, 1, "number"), fields.number(held, 1, "held"))


def _stop(item: list[Any]) -> Stop:
    counters = _counters(fields.array(item, 2, "Stop")[1])
    if not counters.stopped:
        raise fields.bad("Stop: its counters are frozen")
    return Stop(counters)


def _done(item: list[Any]) -> Done:
    return Done(_counters(fields.array(item, 2, "Done")[1]))


def _refuse(item: list[Any]) -> Refuse:
    _type, code, reason, retry_ms, counters = fields.grown(item, 5, "Refuse")
    return Refuse(
        fields.code(code),
        fields.reason(reason),
        fields.number(retry_ms, 0, "retry"),
        None if counters is None else _counters(counters),
    )


def _hello(item: list[Any]) -> Hello:
    values = fields.grown(item, 9, "Hello")[1:]
    low, high, session, key, attempt, incarnation, position, limits = values
    fields.number(low, 1, "version")
    fields.number(high, low, "version")  # HELLO-10
    return Hello(
        low,
        high,
        fields.octets(session, 16, "session id"),
        fields.octets(key, 32, "key"),
        fields.number(attempt, 1, "attempt"),
        fields.number(incarnation, 0, "incarnation"),
        _position(position),
        _limits(limits),
        _call_position(item, 9),
        _codec_name(item[10]) if len(item) > 10 else None,
    )


def _welcome(item: list[Any]) -> Welcome:
    version, resumed, incarnation, position, limits = fields.grown(item, 6, "Welcome")[1:]
    return Welcome(
        fields.number(version, 1, "version"),
        fields.flag(resumed, "resumed"),
        fields.number(incarnation, 1, "incarnation"),
        _position(position),
        _limits(limits),
        _call_position(item, 6),
        _codec_name(item[7]) if len(item) > 7 else None,
    )


def _codec_name(field: Any) -> str | None:
    """Return the name of the payload codec; anything but an array is no such field (HELLO-18)."""
    if type(field) is not list:
        return None
    name: Any = fields.grown(field, 1, "codec")[0]
    if not is_codec_name(name):
        raise fields.bad("codec name")
    return cast("str", name)


def _call_ack(item: list[Any]) -> CallAck:
    if len(item) != 2:
        raise fields.bad("CallAck")
    received = item[1]
    if type(received) is not int or not 0 <= received <= MAX_NUMBER:
        raise fields.bad("CallAck")
    return new_unchecked(CallAck, (received,))


def _call_position(item: list[Any], index: int) -> CallPosition | None:
    """Return a field that came later than its frame: absent means that there are no calls."""
    if len(item) <= index or item[index] is None:
        return None
    received, sent, first = fields.grown(item[index], 3, "calls")
    return CallPosition(
        fields.number(received, 0, "calls"),
        fields.number(sent, 0, "calls"),
        fields.number(first, 1, "calls"),
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
    TYPES[Partial]: _partial,
    TYPES[Refuse]: _refuse,
    TYPES[Stop]: _stop,
    TYPES[Want]: _want,
    TYPES[Welcome]: _welcome,
}
