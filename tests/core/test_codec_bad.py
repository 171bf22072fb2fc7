"""Bytes that are no frames: whatever is wrong with a field is found here."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.codec import MAX_REASON, decode
from reliable_ws.protocol.errors import Violation
from reliable_ws.protocol.frames import Ack, Code

from .helpers import LARGE, hello, raw

GOOD_COUNTERS = [9, 3, 5, True, [[5, 6], [8, 8]]]
GOOD_POSITION = [[0, 0, 0, False, []], 0, 1, 0]
GOOD_LIMITS = list(hello().limits)
GOOD_HELLO = [72, 1, 1, b"i" * 16, b"k" * 32, 1, 0, GOOD_POSITION, GOOD_LIMITS]
GOOD_WELCOME = [87, 1, False, 1, GOOD_POSITION, GOOD_LIMITS]


def changed(array, index, value):
    return [*array[:index], value, *array[index + 1 :]]


NOT_A_NUMBER = [True, False, None, -1, 1.0, 2**53, 2**64 - 1, -(2**63), "1", b"1", [], [1]]
BAD = {
    "no array": 7,
    "no array but a map": {},
    "a frame that is no array": [7],
    "a frame without a type": [[]],
    "a type that is no int": [["A", 0, 0]],
    "a type that is bool": [[True]],
    "an unknown critical type": [[0x5A]],
    "an unknown critical type with a low bit": [[0x40]],
    "a negative type": [[-1]],
    "a type beyond seven bits": [[0x80]],
    "a huge type": [[2**62]],
    "Ack too short": [[65, 1]],
    "Ack too long": [[65, 1, 1, 1]],
    "Ack with confirmed above received": [[65, 1, 2]],
    "Want too short": [[78]],
    "Want of nothing": [[78, 0]],
    "Partial too short": [[37, 1]],
    "Partial of nothing": [[37, 0, 1]],
    "Partial of no bytes": [[37, 1, 0]],
    "Messages from 0": [[77, 0, ["a"]]],
    "Messages too short": [[77, 1]],
    "Messages without a list": [[77, 1, "a"]],
    "Messages without messages": [[77, 1, []]],
    "Messages with an int": [[77, 1, ["a", 1]]],
    "Messages with None": [[77, 1, [None]]],
    "Messages with a list": [[77, 1, [["a"]]]],
    "Messages with a float": [[77, 1, [1.5]]],
    "Messages with a bool": [[77, 1, [True]]],
    "a foreign extension": [[77, 1, [msgpack.ExtType(2, b"")]]],
    "a foreign extension behind a good one": [
        [77, 1, [msgpack.ExtType(1, b"\xc0"), msgpack.ExtType(0, b"")]]
    ],
    "a timestamp": [[77, 1, [msgpack.Timestamp(1, 2)]]],
    "a timestamp as type": [[msgpack.Timestamp(1, 2)]],
    "Part too short": [[80, 1, 0, 1, 0]],
    "Part 0": [[80, 0, 0, 1, 0, b"a"]],
    "Part at a negative offset": [[80, 1, -1, 1, 0, b"a"]],
    "Part of nothing": [[80, 1, 0, 0, 0, b""]],
    "Part without content": [[80, 1, 0, 5, 0, b""]],
    "Part beyond its total": [[80, 1, 1, 2, 0, b"ab"]],
    "Part of an unknown kind": [[80, 1, 0, 1, 3, b"a"]],
    "Part of kind True": [[80, 1, 0, 1, True, b"a"]],
    "Part of text": [[80, 1, 0, 1, 1, "a"]],
    "Finish 0": [[70, 0, 1000, ""]],
    "Finish too short": [[70, 1, 1000]],
    "Finish with a low code": [[70, 1, 999, ""]],
    "Finish with a high code": [[70, 1, 5000, ""]],
    "Finish with a bool code": [[70, 1, True, ""]],
    "Finish with bytes for a reason": [[70, 1, 1000, b""]],
    "Finish with too long a reason": [[70, 1, 1000, "x" * 124]],
    "Finish with too many bytes of reason": [[70, 1, 1000, "ä" * 62]],
    "Stop that is not frozen": [[83, changed(GOOD_COUNTERS, 3, False)]],
    "Stop without counters": [[83, None]],
    "Stop too short": [[83]],
    "Done without counters": [[68, None]],
    "Done too long": [[68, GOOD_COUNTERS, 1]],
    "counters too short": [[83, GOOD_COUNTERS[:4]]],
    "counters too long": [[83, [*GOOD_COUNTERS, 1]]],
    "confirmed above received": [[83, [2, 3, 0, True, []]]],
    "handed above received": [[68, [2, 1, 3, False, []]]],
    "stopped is no bool": [[83, changed(GOOD_COUNTERS, 3, 1)]],
    "ranges is no list": [[83, changed(GOOD_COUNTERS, 4, None)]],
    "a range is no pair": [[83, changed(GOOD_COUNTERS, 4, [5])]],
    "a range of three": [[83, changed(GOOD_COUNTERS, 4, [[5, 5, 5]])]],
    "a range at confirmed + 1": [[83, changed(GOOD_COUNTERS, 4, [[4, 5]])]],
    "a range backwards": [[83, changed(GOOD_COUNTERS, 4, [[6, 5]])]],
    "a range above received": [[83, changed(GOOD_COUNTERS, 4, [[9, 10]])]],
    "ranges that touch": [[83, changed(GOOD_COUNTERS, 4, [[5, 5], [6, 6]])]],
    "ranges out of order": [[83, changed(GOOD_COUNTERS, 4, [[8, 8], [5, 5]])]],
    "too many ranges": [[83, [999, 0, 0, True, [[2 * n, 2 * n] for n in range(1, 66)]]]],
    "Refuse too short": [[88, 4410, "", 0]],
    "Refuse with a bad code": [[88, 0, "", 0, None]],
    "Refuse with a negative retry": [[88, 4410, "", -1, None]],
    "Refuse with bad counters": [[88, 4410, "", 0, []]],
    "Hello too short": [GOOD_HELLO[:8]],
    "Hello with versions crossed": [changed(changed(GOOD_HELLO, 1, 2), 2, 1)],
    "Hello with version 0": [changed(GOOD_HELLO, 1, 0)],
    "Hello with a short id": [changed(GOOD_HELLO, 3, b"i" * 15)],
    "Hello with an id in text": [changed(GOOD_HELLO, 3, "i" * 16)],
    "Hello with a long key": [changed(GOOD_HELLO, 4, b"k" * 33)],
    "Hello with attempt 0": [changed(GOOD_HELLO, 5, 0)],
    "Hello with a negative incarnation": [changed(GOOD_HELLO, 6, -1)],
    "Hello without position": [changed(GOOD_HELLO, 7, None)],
    "Hello with first 0": [changed(GOOD_HELLO, 7, changed(GOOD_POSITION, 2, 0))],
    "Hello with a bool position": [changed(GOOD_HELLO, 7, changed(GOOD_POSITION, 1, True))],
    "Hello with too few limits": [changed(GOOD_HELLO, 8, GOOD_LIMITS[:6])],
    "Hello with a limit of 0": [changed(GOOD_HELLO, 8, changed(GOOD_LIMITS, 0, 0))],
    "Hello with frames too small": [changed(GOOD_HELLO, 8, changed(GOOD_LIMITS, 2, 4095))],
    "Hello with messages too small": [changed(GOOD_HELLO, 8, changed(GOOD_LIMITS, 3, 999))],
    "Hello with a position of two calls": [[*GOOD_HELLO, [0, 0]]],
    "Hello with calls that are no array": [[*GOOD_HELLO, 0]],
    "Hello with calls from 0": [[*GOOD_HELLO, [0, 0, 0]]],
    "Hello with calls received that are no number": [[*GOOD_HELLO, [None, 0, 1]]],
    "Hello with calls sent that are no number": [[*GOOD_HELLO, [0, -1, 1]]],
    "Welcome with calls that are true": [[*GOOD_WELCOME, True]],
    "CallAck without a number": [[75]],
    "CallAck too long": [[75, 1, 1]],
    "CallAck of text": [[75, "1"]],
    "Calls too short": [[67, 1]],
    "Calls too long": [[67, 1, [[86]], 0]],
    "Calls from 0": [[67, 0, [[86]]]],
    "Calls without a list": [[67, 1, "V"]],
    "Calls without calls": [[67, 1, []]],
    "an entry that is no array": [[67, 1, [86]]],
    "an entry without a type": [[67, 1, [[]]]],
    "an entry with a type of text": [[67, 1, [["V"]]]],
    "an entry with a type that is bool": [[67, 1, [[True]]]],
    "an entry of an unknown type": [[67, 1, [[65]]]],
    "an entry of an unknown type that is not critical": [[67, 1, [[1]]]],
    "a bad entry behind a good one": [[67, 1, [[86], [67, 0]]]],
    "Request too short": [[67, 1, [[81, "add", None, 0]]]],
    "Request too long": [[67, 1, [[81, "add", None, 0, "x", 1]]]],
    "Request with bytes for a method": [[67, 1, [[81, b"add", None, 0, "x"]]]],
    "Request with too long a method": [[67, 1, [[81, "a" * 256, None, 0, "x"]]]],
    "Request with too many bytes of method": [[67, 1, [[81, "é" * 128, None, 0, "x"]]]],
    "Request with a float for a timeout": [[67, 1, [[81, "add", 1.0, 0, "x"]]]],
    "Request with a negative timeout": [[67, 1, [[81, "add", -1, 0, "x"]]]],
    "Request with a bool for credit": [[67, 1, [[81, "add", None, False, "x"]]]],
    "Request with an int for a payload": [[67, 1, [[81, "add", None, 0, 5]]]],
    "Request with a foreign extension": [[67, 1, [[81, "add", None, 0, msgpack.ExtType(2, b"")]]]],
    "Reply to 0": [[67, 1, [[82, 0, "x"]]]],
    "Reply too short": [[67, 1, [[82, 1]]]],
    "Reply with an array for a payload": [[67, 1, [[82, 1, ["x"]]]]],
    "Item of 0": [[67, 1, [[73, 0, "x"]]]],
    "Item too long": [[67, 1, [[73, 1, "x", 0]]]],
    "Item with true for a payload": [[67, 1, [[73, 1, True]]]],
    "Fault of 0": [[67, 1, [[69, 0, "code", "", b""]]]],
    "Fault too short": [[67, 1, [[69, 1, "code", b""]]]],
    "Fault with an int for a code": [[67, 1, [[69, 1, 404, "", b""]]]],
    "Fault with too long a code": [[67, 1, [[69, 1, "e" * 256, "", b""]]]],
    "Fault with too long a message": [[67, 1, [[69, 1, "e", "m" * 1001, b""]]]],
    "Fault with too many bytes of message": [[67, 1, [[69, 1, "e", "é" * 501, b""]]]],
    "Fault with a float for a payload": [[67, 1, [[69, 1, "e", "", 0.5]]]],
    "Cancel of 0": [[67, 1, [[67, 0]]]],
    "Cancel too long": [[67, 1, [[67, 1, 1]]]],
    "Credit for 0": [[67, 1, [[71, 0, 5]]]],
    "Credit too short": [[67, 1, [[71, 1]]]],
    "Credit of less than nothing": [[67, 1, [[71, 1, -1]]]],
    "Piece of nothing": [[67, 1, [[80, b""]]]],
    "Piece of text": [[67, 1, [[80, "x"]]]],
    "Piece too long": [[67, 1, [[80, b"x", 1]]]],
    "Void too long": [[67, 1, [[86, None]]]],
    "Welcome too short": [GOOD_WELCOME[:5]],
    "Welcome with version 0": [changed(GOOD_WELCOME, 1, 0)],
    "Welcome with resumed 1": [changed(GOOD_WELCOME, 2, 1)],
    "Welcome with incarnation 0": [changed(GOOD_WELCOME, 3, 0)],
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_frame_is_malformed(name):
    """FRAME-5, FRAME-8: it becomes good frames, or a violation; nothing else escapes."""
    with pytest.raises(Violation) as caught:
        decode(msgpack.packb(BAD[name]), LARGE)
    assert caught.value.code == Code.MALFORMED
    assert len(caught.value.reason.encode()) <= MAX_REASON


@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_a_number_is_an_int_from_0_to_the_highest(value):
    """NUM-3, FRAME-8: exact in every language; True is not 1."""
    for array in ([65, value, 0], [65, 2**53 - 1, value], [78, value], [70, value, 1000, ""]):
        with pytest.raises(Violation):
            decode(raw(array), LARGE)


def test_the_good_arrays_of_these_tests_are_good():
    """So each bad one is bad for its own reason."""
    assert len(decode(raw(GOOD_HELLO, GOOD_WELCOME, [83, GOOD_COUNTERS]), LARGE)) == 3


@pytest.mark.parametrize(
    "data",
    {
        "nothing": b"",
        "nil": b"\xc0",
        "an empty array": b"\x90",
        "truncated": b"\x91\x93\x41\x01",
        "trailing bytes": raw([65, 0, 0]) + b"\x00",
        "the byte that is never used": b"\x91\xc1",
        "2^32 - 1 frames declared": b"\xdd\xff\xff\xff\xff",
        "2^32 - 1 bytes declared": b"\x91\x93\x4d\x01\x91\xc6\xff\xff\xff\xff",
        "2^32 - 1 characters declared": b"\x91\x93\x4d\x01\x91\xdb\xff\xff\xff\xff",
        "2^32 - 1 bytes of extension declared": b"\x91\x93\x4d\x01\x91\xc9\xff\xff\xff\xff\x01",
        "a map of 2^32 - 1": b"\x91\xdf\xff\xff\xff\xff",
        "a map of one": b"\x91\x81\x01\x02",
        "nested 100,000 deep": b"\x91" * 100_000,
        "nested bombs": b"\xdc\x0f\xff" * 400,
        "more than 4096 in one list": b"\xdc\x10\x01" + b"\xc0" * 4097,
        "invalid UTF-8": b"\x91\x93\x4d\x01\x91\xa1\xff",
        "a surrogate": b"\x91\x93\x4d\x01\x91\xa3\xed\xa0\x80",
        "a timestamp out of range": b"\x91\xc7\x0c\xff\xff\xff\xff\xff" + b"\x7f" * 8,
        "a timestamp of a bad length": b"\x91\xd4\xff\x00",
        "a float": b"\xcb" + bytes(8),
    }.items(),
    ids=lambda item: item[0],
)
def test_bytes_that_are_no_frames_are_malformed(data):
    """FRAME-2, FRAME-5: cheap to refuse, whatever they declare."""
    with pytest.raises(Violation) as caught:
        decode(data[1], LARGE)
    assert caught.value.code == Code.MALFORMED


def test_a_text_message_is_malformed():
    """FRAME-1"""
    with pytest.raises(Violation, match="text"):
        decode("[]", LARGE)


def test_a_message_above_the_announced_limit_is_not_even_unpacked():
    data = raw([65, 1, 1])
    assert decode(data, len(data)) == [Ack(1, 1)]
    with pytest.raises(Violation, match="limit") as caught:
        decode(b"\xc1" * 10, 9)
    assert caught.value.code == Code.VIOLATION
