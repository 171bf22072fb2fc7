"""CALL-47: contexts of calls go before the requests, and others skip them."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.codec import MAX_ELEMENTS, decode, encode
from reliable_ws.protocol.context import MAX_CONTEXT, contexts_of, with_contexts
from reliable_ws.protocol.frames import Ack, Calls, Messages, Piece, Reply, Request

REQUEST = Request("add", None, 0, b"x")
CONTEXT = b"traceparent: 00-1-2-01\n"
LARGE = 1 << 20


def test_a_context_is_found_and_skipped_by_others():
    """CALL-47"""
    frames = [Ack(1, 1), Calls(5, [REQUEST, Reply(2, b"y"), REQUEST])]
    data = with_contexts(encode(frames), {5: CONTEXT, 7: b"seven", 9: b"nine"}, LARGE)
    assert contexts_of(data) == {5: CONTEXT, 7: b"seven"}
    assert decode(data, len(data)) == frames
    first = msgpack.unpackb(data)[0]
    assert first == [0x20, 1, 5, CONTEXT]


def test_many_frames_have_a_longer_header():
    """CALL-47"""
    frames = [*[Ack(n, n) for n in range(1, 15)], Calls(1, [REQUEST])]
    data = with_contexts(encode(frames), {1: CONTEXT}, LARGE)
    assert data[0] == 0xDC
    assert contexts_of(data) == {1: CONTEXT}
    assert decode(data, len(data)) == frames


@pytest.mark.parametrize(
    ("frames", "max_frame"),
    [
        ([Messages(1, [b"x"])], LARGE),
        ([Calls(1, [Piece(b"x")])], LARGE),
        ([Calls(2, [REQUEST])], LARGE),
        ([Calls(1, [REQUEST])], 40),
        ([Calls(1, [REQUEST] * ((MAX_ELEMENTS - 5) // 6))], LARGE),
    ],
)
def test_what_has_no_context_or_no_room_stays_as_it_is(frames, max_frame):
    """CALL-47"""
    data = encode(frames)
    assert with_contexts(data, {1: CONTEXT}, max_frame) == data


@pytest.mark.parametrize(
    "data",
    [
        "text",
        b"\x91\x94\x20\x01",  # cut off
        msgpack.packb([[0x20, 1, 5]]),
        msgpack.packb([[0x20, 1, 5, "text"]]) + b"\x94\x20\x01",
        msgpack.packb([[0x20, 1, 5, "text"], [0x20, 1, "x", b"y"]]),
        msgpack.packb([[0x20, 1, 5, bytes(MAX_CONTEXT + 1)]]),
        msgpack.packb([[0x20, 0, 5, b"of a message"]]),
        msgpack.packb([[0x41, 1, 1]]) + b"\x94\x20\x01",
    ],
)
def test_what_is_no_context_is_none(data):
    """CALL-47"""
    assert contexts_of(data) == {}
