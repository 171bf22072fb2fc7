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
