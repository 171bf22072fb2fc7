"""A message between the application's value and what travels."""

from __future__ import annotations

import enum

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliable_ws.protocol.errors import NotSerializable, PayloadError
from reliable_ws.protocol.payload import (
    OVERHEAD,
    MsgpackCodec,
    open_payload,
    seal,
    seal_weight,
)
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY

from .two_sides import connected

CODEC = MsgpackCodec()


class Text(str):
    __slots__ = ()


class Color(enum.Enum):
    RED = 1


scalars = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars | st.integers(-(2**63), 2**64 - 1),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 99), inner),
    max_leaves=20,
)


@given(values)
def test_what_send_accepts_comes_back(value):
    """MSG-3: with its type."""
    payload, weight = seal(value, CODEC)
    back = open_payload(payload, 1, CODEC)
    assert (back, type(back)) == (value, type(value))
    assert weight == seal_weight(payload)


@given(values)
def test_no_message_weighs_less_than_it_takes_on_the_wire(value):
    """WINDOW-2"""
    payload, weight = seal(value, CODEC)
    assert len(msgpack.packb(payload)) <= weight


def test_text_and_bytes_travel_as_they_are():
    """MSG-2"""
    text, data = "text", b"bytes"
    assert seal(text, CODEC) == (text, 4 + OVERHEAD)
    assert seal(data, CODEC) == (data, 5 + OVERHEAD)
    assert seal("ä", CODEC) == ("ä", 2 + OVERHEAD)


def test_other_values_travel_under_one_extension():
    """MSG-3"""
    assert seal([1], CODEC) == (msgpack.ExtType(1, b"\x91\x01"), 2 + OVERHEAD)
    assert open_payload(msgpack.ExtType(1, b"\x91\x01"), 1, CODEC) == [1]


def test_tuples_come_back_as_lists_and_int_keys_as_ints():
    payload, _ = seal({1: (2, 3)}, CODEC)
    assert open_payload(payload, 1, CODEC) == {1: [2, 3]}


def test_what_the_caller_changes_later_is_not_sent():
    data, value = bytearray(b"before"), ["before"]
    payloads = [seal(data, CODEC)[0], seal(memoryview(data), CODEC)[0], seal(value, CODEC)[0]]
    data[:] = b"behind"
    value[0] = "behind"
    assert [open_payload(payload, 1, CODEC) for payload in payloads] == [
        b"before",
        b"before",
        ["before"],
    ]


def test_a_kind_of_text_travels_as_text():
    payload, weight = seal(Text("ä"), CODEC)
    assert (type(payload), payload, weight) == (str, "ä", 2 + OVERHEAD)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        Color.RED,
        2**64,
        "\ud800",
        ["\ud800"],
        {(1, 2): 3},
        msgpack.ExtType(1, b""),
        [msgpack.ExtType(7, b"x")],
    ],
)
def test_what_would_not_arrive_is_refused(value):
    """At send, naming the type."""
    with pytest.raises(NotSerializable, match=f"^{type(value).__name__} cannot"):
        seal(value, CODEC)


def test_what_is_nested_too_deep_is_refused():
    value: list = []
    for _ in range(2000):
        value = [value]
    with pytest.raises(NotSerializable):
        seal(value, CODEC)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91",
        b"\xc0\xc0",
        b"\xa1\xff",
        b"\xd4\x05\x00",
        b"\x81\x90\x01",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\xc7\x0c\xff" + b"\xff" * 12,
    ],
)
def test_what_cannot_be_decoded_is_an_error_with_number_and_bytes(data):
    with pytest.raises(PayloadError) as caught:
        open_payload(msgpack.ExtType(1, data), 7, CODEC)
    assert (caught.value.number, caught.value.raw) == (7, data)
    assert f"message 7 ({len(data)} bytes)" in str(caught.value)


def test_containers_are_bounded():
    """A megabyte of empty maps would become 78 MB of objects."""
    codec = MsgpackCodec(max_items=3)
    assert codec.loads(b"\x93\x01\x02\x03") == [1, 2, 3]
    with pytest.raises(NotSerializable):
        seal([1, 2, 3, 4], codec)
    with pytest.raises(PayloadError):
        open_payload(msgpack.ExtType(1, b"\x84\x01\x01\x02\x02\x03\x03\x04\x04"), 1, codec)


def array32(count: int, items: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + items


def map32(count: int, items: bytes) -> bytes:
    return b"\xdf" + count.to_bytes(4, "big") + items


def timestamp(number: int) -> bytes:
    return b"\xd6\xff" + number.to_bytes(4, "big")


DENSE = {
    "empty lists": array32(9_000, b"\x90" * 9_000),
    "empty lists in lists that are open": array32(400, b"\x90" * 399) * 25 + b"\x90",
    "maps": array32(5_000, b"\x81\xa0\x80" * 5_000),
    "a map whose keys are all the same": map32(10_000, b"\xa0\x90" * 10_000),
    "many lists": array32(100, array32(100, b"\xc0" * 100) * 100),
    "timestamps as keys": map32(50, b"".join(timestamp(n) + b"\xc0" for n in range(50))),
    "numbers as keys": map32(
        8_193, b"".join(b"\xcd%c%c\xc0" % divmod(n, 256) for n in range(8_193))
    ),
    "lists that are not there": array32(2_000, b"") * 1000,
    "a key that is a list": map32(100, b"\x90\xc0" * 100),
}


@pytest.mark.parametrize("data", DENSE.values(), ids=DENSE)
def test_a_value_that_would_take_long_is_refused(data):
    """MSG-6: for all containers together, and while it is unpacked."""
    with pytest.raises(PayloadError):
        open_payload(msgpack.ExtType(1, data), 1, MsgpackCodec(max_items=8_000))


def test_items_are_counted_in_all_containers():
    """A container is an item, too, and a map has one for each key; the outermost is none."""
    codec = MsgpackCodec(max_items=304)
    value = [[], [1, 2], {"a": ["x" * 300]}] + [None] * 297
    payload, _ = seal(value, codec)
    assert open_payload(payload, 1, codec) == value
    with pytest.raises(NotSerializable, match="too many items"):
        seal([*value, None], codec)
    with pytest.raises(PayloadError, match="too many items"):
        open_payload(seal([*value, None], CODEC)[0], 1, codec)
    only_lists = [[[] for _ in range(9)] for _ in range(30)] + [[], [], [], []]
    assert open_payload(seal(only_lists, codec)[0], 1, codec) == only_lists


def test_values_are_bounded_in_bytes():
    """MSG-6: one of 16 MB would take an event loop seconds to unpack."""
    codec = MsgpackCodec(max_size=400)
    fits = ["x" * 396]  # and two headers
    payload, _ = seal(fits, codec)
    assert open_payload(payload, 1, codec) == fits
    with pytest.raises(NotSerializable, match=r"401 bytes, more than MsgpackCodec\(max_size=400\)"):
        seal(["x" * 397], codec)
    with pytest.raises(PayloadError, match=r"max_size=400"):
        open_payload(seal(["x" * 397], CODEC)[0], 1, codec)
    default = MsgpackCodec()
    with pytest.raises(NotSerializable):
        seal([bytes(1024 * 1024)], default)


def test_timestamps_are_counted_before_they_are_made():
    """MSG-6: they cost the most; also where the bytes only look like many of them."""
    codec = MsgpackCodec(max_items=1000)
    for nested in (b"\xc0", array32(900, timestamp(2) * 900)):
        many = array32(900, timestamp(1) * 899 + nested)
        assert (len(nested) == 1) is (len(many) < 6000)
        if len(nested) == 1:
            assert codec.loads(many)[0] == msgpack.Timestamp(1)
        else:
            with pytest.raises(ValueError, match="too many items"):
                codec.loads(many)
    alike = [b"\xd6\xff" * 4000, msgpack.Timestamp(5)]
    assert codec.loads(codec.dumps(alike)) == alike


@pytest.mark.parametrize("count", [3, 300])
def test_keys_may_be_scalars_of_any_kind(count):
    """As long as there are few of them in a value: their hashes can be foreseen."""
    for key in (True, None, 1.5, b"b"):
        value = {key: 1, **dict.fromkeys(map(str, range(count)))}
        assert open_payload(seal(value, CODEC)[0], 1, CODEC) == value
    numbers = {n: [{n: n}, {"text": n}] for n in range(count)}
    assert open_payload(seal(numbers, CODEC)[0], 1, CODEC) == numbers
    with pytest.raises(NotSerializable, match="keys that are neither text nor bytes"):
        seal([dict.fromkeys(range(3000))] * 3, CODEC)


def test_what_cannot_be_decoded_again_is_reported_as_it_travels():
    """A codec may pack what it does not unpack; a report is still a report."""

    class OneWay:
        def dumps(self, value, /):
            return b"packed"

        def loads(self, data, /):
            raise ValueError("never")

    session = Session("initiator", ID, KEY, 0.0, codec=OneWay())
    session.send([1])
    session.send("text")
    session.abort(0.0)
    assert [entry.message for entry in session.report().undelivered] == [b"packed", "text"]


def test_a_payload_that_cannot_be_decoded_counts_as_taken():
    """MSG-4."""
    pair = connected()
    pair.client.send_sealed(msgpack.ExtType(1, b"\xc1"), 7)
    pair.client.send("next")
    pair.run()
    payload = pair.server.inbox.take()
    with pytest.raises(PayloadError):
        open_payload(payload, 1, MsgpackCodec())
    assert pair.server.inbox.confirmed == 1
    assert pair.server_take() == ["next"]


@pytest.mark.parametrize("packed", ["text", bytearray(b"bytes"), None])
def test_what_a_codec_packs_is_bytes(packed):
    class Codec:
        def dumps(self, value, /):
            return packed

        def loads(self, data, /):
            return data

    with pytest.raises(NotSerializable, match=f"gave {type(packed).__name__}, not bytes"):
        seal([1], Codec())
