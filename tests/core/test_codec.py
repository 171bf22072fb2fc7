"""Frames to bytes and back."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.codec import MAX_LIST, MAX_RANGES, MAX_REASON, RAW, decode, encode
from reliable_ws.protocol.frames import (
    CRITICAL,
    ENTRIES,
    MAX_NUMBER,
    TYPES,
    Ack,
    CallAck,
    CallPosition,
    Calls,
    Cancel,
    Counters,
    Credit,
    Done,
    Fault,
    Finish,
    Frame,
    Item,
    Messages,
    Part,
    Partial,
    Piece,
    Refuse,
    Reply,
    Request,
    Stop,
    Void,
    Want,
    may_resume,
)

from .helpers import LARGE, counters, hello, raw, welcome

FROZEN = counters(9, 3, 5, stopped=True, ranges=((5, 6), (8, 8)))
EVERY: list[Frame] = [
    hello(),
    hello(incarnation=MAX_NUMBER, attempt=MAX_NUMBER),
    hello(calls=CallPosition(3, 2, 1)),
    welcome(resumed=True),
    welcome(calls=CallPosition(0, MAX_NUMBER, MAX_NUMBER)),
    Refuse(4410, "over", 0, FROZEN),
    Refuse(4529, "", MAX_NUMBER, None),
    Messages(1, ["text", b"bytes", msgpack.ExtType(1, b"\x93\x01\x02\x03")]),
    Messages(MAX_NUMBER, [""]),
    Part(3, 0, 10, 0, b"0123"),
    Part(3, 4, 10, 2, b"456789"),
    Finish(7, 1000, "x" * MAX_REASON),
    Ack(0, 0),
    Ack(MAX_NUMBER, 7),
    Want(1),
    Partial(1, 1),
    Calls(1, [Request("add", None, 0, "x"), Request("é" * 127, 5000, 9, None), Piece(b"xyz")]),
    Calls(4, [Reply(1, msgpack.ExtType(1, b"\xc0")), Reply(1, None), Item(2, b""), Void()]),
    Calls(MAX_NUMBER, [Fault(2, "e" * 255, "m" * 1000, b""), Fault(2, "", "", None)]),
    Calls(1, [Cancel(1), Credit(2, MAX_NUMBER)]),
    CallAck(0),
    CallAck(MAX_NUMBER),
    Stop(FROZEN),
    Done(counters(4)),
]


def test_every_frame_comes_back_as_it_went():
    """FRAME-1: one WebSocket message is one array of frames."""
    for frame in EVERY:
        assert decode(encode([frame]), LARGE) == [frame]
    assert decode(encode(EVERY), LARGE) == EVERY


def test_frames_come_back_as_their_own_types():
    assert [type(frame) for frame in decode(encode(EVERY), LARGE)] == list(map(type, EVERY))


def test_types_are_capital_letters_and_critical():
    """FRAME-3, FRAME-4: a hex dump can be read. One frame may be skipped, and has a sign."""
    assert TYPES[Partial] == ord("%")
    assert not TYPES[Partial] & CRITICAL
    for types in ({**TYPES, Partial: ord("Z")}, ENTRIES):
        letters = {chr(number) for number in types.values()}
        assert len(letters) == len(types)
        assert all("A" <= letter <= "Z" and ord(letter) & CRITICAL for letter in letters)


@pytest.mark.parametrize("size", [RAW - 1, RAW, RAW + 1, 70_000])
@pytest.mark.parametrize("before", [[], [Ack(1, 1)], [Want(4), Ack(2**40, 1)]])
def test_a_large_payload_is_joined_to_its_header_without_a_difference(size, before):
    frames = [*before, Messages(2**33, [b"x" * size])]
    packed = msgpack.packb([(TYPES[type(frame)], *frame) for frame in frames])
    assert decode(encode(frames), LARGE) == decode(packed, LARGE) == frames


def test_two_large_payloads_are_packed_as_they_are():
    frames = [Messages(1, [b"x" * RAW, b"y" * RAW])]
    assert decode(encode(frames), LARGE) == frames
    assert decode(encode([Messages(1, ["x" * RAW])]), LARGE) == [Messages(1, ["x" * RAW])]


def test_an_unknown_frame_without_the_critical_bit_is_skipped():
    """FRAME-3, FRAME-13: a later version may say more to who understands it."""
    assert decode(raw([0x21, None, [1]], [65, 2, 1], [0x3F]), LARGE) == [Ack(2, 1)]
    assert decode(raw([0]), LARGE) == []


def test_greetings_may_have_grown():
    """FRAME-6: fields behind those of this version are left out."""
    for frame in (hello(), welcome(), Refuse(4410, "", 0, FROZEN)):
        grown = [TYPES[type(frame)], *frame, "more", 17]
        assert decode(raw(grown), LARGE) == [frame]
    calls = hello(calls=CallPosition(3, 2, 1))
    grown = [72, *calls[:-2], [3, 2, 1, "more"], "more"]
    assert decode(raw(grown), LARGE) == [calls]
    limits_grown = [*hello()[:7], [*hello().limits, 99]]
    assert decode(raw([72, *limits_grown]), LARGE) == [hello()]


def test_the_repr_of_a_hello_has_no_key():
    """HELLO-17: it is a secret, and reprs end in logs."""
    shown = repr(hello())
    assert hello().session.hex() in shown
    assert repr(hello().key) not in shown
    assert hello().key.hex() not in shown


def test_which_codes_allow_another_link():
    """CODE-2: 44xx is the end, whatever else is not."""
    assert not any(map(may_resume, (4400, 4401, 4404, 4409, 4410, 4422, 4426, 4499)))
    assert all(map(may_resume, (None, 1000, 1001, 1006, 1009, 1012, 4399, 4500, 4508, 4529)))


def test_lists_up_to_their_limit_are_good():
    """FRAME-2, COUNT-6: the limits themselves are allowed."""
    many = Messages(1, ["x"] * MAX_LIST)
    assert decode(encode([many]), LARGE) == [many]
    pairs = tuple((2 * n, 2 * n) for n in range(1, MAX_RANGES + 1))
    stop = Stop(Counters(999, 0, 0, True, pairs))
    assert decode(encode([stop]), LARGE) == [stop]
