"""Envelopes with as many elements as fit: bounded while they are unpacked, and never sent."""

from __future__ import annotations

import tracemalloc

import msgpack
import pytest

from reliable_ws.protocol.codec import MAX_ELEMENTS, decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import Violation
from reliable_ws.protocol.frames import Ack, Calls, Code, Finish, Messages, Want
from reliable_ws.protocol.registry import SessionRegistry

from .calling import ask, calling
from .helpers import LARGE, NOW, Exactly, either_side, hello, limits, raw

VALUE = b"\xd4\x01\x00"
"One byte under the extension code of values."


def elements_of(data: bytes) -> int:
    """Count the elements of all arrays of an envelope."""

    def count(item: object) -> int:
        return sum(1 + count(inner) for inner in item) if type(item) is list else 0

    return count(msgpack.unpackb(data))


def array16(count: int) -> bytes:
    return b"\xdc" + count.to_bytes(2, "big")


def bare(*items: object) -> bytes:
    """Items one behind the other, without an array around them."""
    return b"".join(map(msgpack.packb, items))


def test_elements_up_to_the_limit_are_good():
    """FRAME-16: the frames count, their fields, and what is in these."""
    frames = [[78, 1]] * 2730  # three elements each
    assert len(decode(raw(*frames), LARGE)) == 2730
    payloads = ["x"] * 4000
    data = raw([0x4D, 1, payloads], [0x3F, [0] * 4000], [0x3F, *[0] * 183])
    assert elements_of(data) == MAX_ELEMENTS
    assert decode(data, LARGE) == [Messages(1, payloads)]


TOO_MANY = {
    "of small frames": raw(*[[78, 1]] * 2731),
    "of calls": raw([67, 1, [[86]] * 4096]),
    "of empty arrays in a frame that is skipped": raw([0x3F, [[]] * 4000, [[]] * 4000, [[]] * 190]),
    "of arrays that are complete, in some that are not": (
        b"\x91\x94\x3f" + (array16(4096) + b"\x90" * 4095) * 3 + b"\xc0"
    ),
    "of values, in arrays that are not complete": (
        b"\x91\x94\x3f" + (array16(4096) + VALUE * 4095) * 3 + b"\xc0"
    ),
    "of timestamps": raw([0x3F, *[[msgpack.Timestamp(1)] * 4096] * 2]),
}


@pytest.mark.parametrize("data", TOO_MANY.values(), ids=TOO_MANY)
def test_an_envelope_with_too_many_elements_is_malformed(data):
    """FRAME-16: also where no single array has too many."""
    with pytest.raises(Violation, match="within limits") as caught:
        decode(data, LARGE)
    assert caught.value.code == Code.MALFORMED


@pytest.mark.parametrize("padding", [0, 9000])
def test_there_is_no_map_anywhere(padding):
    """FRAME-2: not even an empty one, in a frame that is skipped or in a field to come."""
    for array in ([0x3F, {}], [0x3F, [{}]], [88, 4529, "", 0, None, {}]):
        with pytest.raises(Violation, match="within limits"):
            decode(raw(array, [0x3F, bytes(padding)]), LARGE)


@pytest.mark.parametrize("padding", [0, 9000])
def test_extensions_of_any_kind_may_be_in_a_frame_that_is_skipped(padding):
    """FRAME-13: timestamps and negative codes, too; as payloads they are malformed."""
    for odd in (b"\xd4\xf0\x00", bare(msgpack.Timestamp(1, 5))):
        skipped = b"\x93\x3f" + odd + bare(bytes(padding))
        assert decode(b"\x92" + skipped + raw([65, 0, 0])[1:], LARGE) == [Ack(0, 0)]
        with pytest.raises(Violation):
            decode(b"\x92\x93\x4d\x01\x91" + odd + raw([0x3F, bytes(padding)])[1:], LARGE)


@pytest.mark.parametrize("requests", [700, 3000])
@either_side
def test_a_sender_stays_below_the_limit_whatever_shares_an_envelope(side, requests):
    """FRAME-16: acks, calls, messages, Want and Finish; a Stop with ranges goes alone."""
    config = Config(batch_messages=4096, batch_bytes=900_000)
    lone = calling(side, config, limits=limits(max_requests=3000, window_messages=2**20))
    lone.hears(Messages(1, ["m"]))
    for _ in range(requests):
        ask(lone, payload="x", by=NOW + 60)
    for _ in range(5000):
        lone.session.send("x")
    lone.session.want(4000)
    lone.session.finish(NOW)
    most, frames = 0, Exactly()
    while (data := lone.link.transmit(NOW)) is not None:
        most = max(most, elements_of(data))
        frames += decode(data, LARGE)
    assert most <= MAX_ELEMENTS
    assert {Ack, Calls, Messages, Want, Finish} == set(map(type, frames))


@pytest.mark.parametrize("size", [4096, 4097])
def test_a_first_envelope_is_short(size):
    """FRAME-17: what is larger is not even unpacked."""
    registry = SessionRegistry(1)
    arrival = registry.arrive(NOW)
    length = len(raw([72, *hello(), bytes(256)])) - 256
    data = raw([72, *hello(), bytes(size - length)])
    assert len(data) == size
    arrival.receive(data, NOW)
    if size <= 4096:
        assert arrival.session is not None
    else:
        assert arrival.close_action is not None
        assert arrival.close_action.code == Code.VIOLATION
        assert len(registry) == 0


SCALARS = {
    "numbers": b"\x01",
    "texts": b"\xa2xy",
    "longer texts": b"\xd9\x02xy",
    "bytes": b"\xc4\x01x",
    "values": b"\xd4\x01x",
    "longer values": b"\xc7\x03\x01xyz",
    "wide numbers": b"\xcf" + bytes(8),
    "arrays": b"\x90",
}


@pytest.mark.parametrize("scalar", SCALARS.values(), ids=SCALARS)
@pytest.mark.parametrize("kind", [0x3F, 0x4D], ids=["skipped", "known"])
def test_of_what_is_large_nothing_is_built_before_it_was_counted(kind, scalar):
    """FRAME-16: not even what is in arrays that do not end."""
    arrays = 1_000_000 // (3 + 4095 * len(scalar))
    data = b"\x91\x92" + bytes([kind]) + (array16(4096) + scalar * 4095) * arrays + b"\x90"
    tracemalloc.start()
    try:
        with pytest.raises(Violation, match="within limits") as caught:
            decode(data, LARGE)
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()
    assert caught.value.code == Code.MALFORMED


LARGE_AND_BAD = {
    "a map": raw([0x3F, bytes(100_000), {}]),
    "a large map": raw([0x3F, bytes(100_000)])[:-100_000] + b"\xde\x00\x00" + bytes(100_000),
    "an array that is too long": raw([0x3F, bytes(100_000)], [0x3F, [0] * 4097]),
    "an array of 32 bits": b"\x92\x3f" + bytes(1) + b"\xdd\xff\xff\xff\xff" + bytes(100_000),
    "cut in a scalar": raw([0x3F, bytes(100_000)])[:-1],
    "cut in a length": b"\x92" + raw([0x3F, bytes(100_000)])[1:] + b"\xc6\x00",
    "a byte that is no msgpack": b"\x92" + raw([0x3F, bytes(100_000)])[1:] + b"\xc1",
    "bytes behind it": raw([0x3F, bytes(100_000)]) + b"\x00",
}


@pytest.mark.parametrize("data", LARGE_AND_BAD.values(), ids=LARGE_AND_BAD)
def test_what_is_large_keeps_the_other_rules_as_well(data):
    """FRAME-2, FRAME-1"""
    with pytest.raises(Violation) as caught:
        decode(data, LARGE)
    assert caught.value.code == Code.MALFORMED


def test_every_type_of_msgpack_may_be_in_a_large_frame_that_is_skipped():
    """FRAME-13, FRAME-15: each encoding of it."""
    sizes = [0, 1, 2, 31, 32, 255, 256, 65_535, 65_536]
    items = [
        *[None, True, False, -1, -32, -33, -129, -32_769, -(2**31) - 1, -(2**63), 1.5],
        *[0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64 - 1],
        *["x" * size for size in sizes],
        *[b"x" * size for size in sizes],
        *[msgpack.ExtType(5, b"x" * size) for size in [*sizes, 1, 2, 4, 8, 16]],
        *[[0] * size for size in [0, 15, 16, 300]],
        msgpack.Timestamp(1),
        msgpack.Timestamp(2**40, 5),
    ]
    data = msgpack.packb([[0x3F, *items], [65, 0, 0]])
    floats = b"\x93\x3f\xca" + bytes(4) + b"\xdd" + bytes(4)
    assert decode(data, LARGE) == [Ack(0, 0)]
    assert decode(b"\x93" + floats + data[1:], LARGE) == [Ack(0, 0)]


def test_the_limit_holds_for_what_is_large_as_well():
    """FRAME-16: exactly."""
    payloads = [bytes(20)] * 4096
    good = raw([0x4D, 1, payloads], [0x3F, [0] * 4000], [0x3F, *[0] * 87])
    assert elements_of(good) == MAX_ELEMENTS
    assert decode(good, LARGE) == [Messages(1, payloads)]
    with pytest.raises(Violation, match="within limits"):
        decode(raw([0x4D, 1, payloads], [0x3F, [0] * 4000], [0x3F, *[0] * 88]), LARGE)
