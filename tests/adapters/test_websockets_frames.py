"""Frames of websockets: the short way of the usual ones, beside the library's own way.

Both get the same bytes, cut in the same places. Whatever comes, they have to say the same.
"""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from reliable_ws.adapters.websockets.frames import MASKED, FrameReader, framed

MAX_SIZE = 5000
SIDES = ("client", "server")


class Library:
    """A connection of the library, without a network."""

    def __init__(self, side: str, *, max_size: int | None = MAX_SIZE) -> None:
        options = {"state": State.OPEN, "max_size": max_size}
        if side == "server":
            self.protocol: Protocol = ServerProtocol(**options)
        else:
            self.protocol = ClientProtocol(parse_uri("ws://example.com"), **options)
        self.others: list[object] = []

    def process_event(self, event: object) -> None:
        self.others.append(event)


class Reader(FrameReader, Library):
    """Reads frames by itself, unless it may not."""

    def __init__(self, side: str, *, alone: bool = True, **options: int | None) -> None:
        super().__init__(side, **options)
        self.alone = alone
        self.passed = 0
        self.came: list[bytes | str] = []
        self.push = self.came.append

    def pass_on(self, data: bytes) -> None:
        self.passed += len(data)
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            self.process_event(event)

    def receive(self, data: bytes) -> None:
        is_alone = self.alone and (self.takes_frames or self.takes_over())
        (self.take_frames if is_alone else self.pass_on)(data)

    def result(self) -> tuple[object, ...]:
        protocol = self.protocol
        closing = (protocol.state, protocol.close_rcvd, protocol.close_sent)
        exc = protocol.parser_exc
        # What is sent by a client is masked at random.
        answers = list(map(len, protocol.data_to_send()))
        return self.came, self.others, closing, (type(exc), str(exc)), answers


def both(side: str, chunks: list[bytes]) -> Reader:
    """Give them to both; return the one that reads by itself."""
    ours, librarys = Reader(side), Reader(side, alone=False)
    for reader in (ours, librarys):
        for chunk in chunks:
            reader.receive(chunk)
    assert ours.result() == librarys.result()
    return ours


def frame(side: str, opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a frame for that side."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=side == "server")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at places."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


payloads = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([125, 126, 127, 2047, 2048, 4999, 5000, 5001]).map(bytes),
)
usual = st.tuples(st.just(2), payloads, st.just(True))
frames = st.one_of(
    usual,
    usual,
    st.tuples(st.sampled_from([0, 1, 2]), payloads, st.booleans()),
    st.tuples(st.sampled_from([9, 10]), st.binary(max_size=125), st.just(True)),
    st.just((8, Close(1000, "done").serialize(), True)),
)
faults = st.sampled_from(
    [b"", b"\x83\x00", b"\xc2\x00", b"\x82\x00", b"\x82\x80", b"\x82\xff" + b"\xff" * 8]
)


@pytest.mark.parametrize("side", SIDES)
@given(
    sent=st.lists(frames, max_size=8),
    fault=faults,
    more=st.lists(frames, max_size=2),
    places=st.lists(st.integers(0, 2**20), max_size=8),
)
def test_both_ways_say_the_same(side, sent, fault, more, places):
    data = b"".join(frame(side, *one[:2], fin=one[2]) for one in sent)
    if fault:
        data += fault + bytes(14)  # a longest header is whole: the library looks at each part
    data += b"".join(frame(side, *one[:2], fin=one[2]) for one in more)
    both(side, cut(data, places))


@pytest.mark.parametrize("side", SIDES)
def test_the_library_sees_no_usual_frame(side):
    messages = [bytes([number]) * size for number, size in enumerate((0, 1, 126, 5000))]
    data = b"".join(frame(side, 2, message) for message in messages)
    for chunks in ([data], [data[at : at + 1] for at in range(len(data))]):
        reader = both(side, chunks)
        assert (reader.came, reader.passed) == (messages, 0)


@pytest.mark.parametrize("side", SIDES)
def test_the_library_keeps_its_fragments_and_what_comes_between(side):
    fragments = frame(side, 2, b"one ", fin=False), frame(side, 0, b"two")
    between = frame(side, 9, b"ping"), frame(side, 2, b"a whole one")
    reader = both(side, [fragments[0], between[0], fragments[1], between[1]])
    assert reader.came == [b"one two", b"a whole one"]
    reader = both(side, [fragments[0] + between[1]])
    assert reader.protocol.close_sent is not None  # which is against the rules


@pytest.mark.parametrize("side", SIDES)
def test_it_takes_over_only_where_a_frame_begins(side):
    reader = Reader(side)
    one, two = frame(side, 2, b"one"), frame(side, 2, b"two")
    for at in range(1, len(one)):
        reader.pass_on(one[:at])
        assert reader.takes_over() is False
        reader.pass_on(one[at:])
        assert reader.takes_over() is True
    reader.pass_on(frame(side, 2, b"a part", fin=False))
    assert reader.takes_over() is False
    reader.pass_on(frame(side, 0, b"the rest"))
    reader.receive(two)
    assert reader.came == [b"one"] * (len(one) - 1) + [b"a partthe rest", b"two"]


def test_it_takes_nothing_that_the_library_has_to_see():
    compressed, logged, closing = (Reader("server") for _ in range(3))
    compressed.protocol.extensions = [PerMessageDeflate(False, False, 15, 15)]
    logged.protocol.debug = True
    logged.protocol.logger = logging.getLogger("frames")
    closing.protocol.send_close(1000)
    for reader in (compressed, logged, closing):
        assert reader.takes_over() is False


def test_after_the_end_was_said_the_library_decides():
    """What comes before the peer's close frame is still read."""
    for alone in (True, False):
        reader = Reader("server", alone=alone)
        reader.receive(frame("server", 2, b"one"))
        reader.protocol.send_close(1000)
        reader.receive(frame("server", 2, b"two"))
        reader.receive(frame("server", 8, Close(1000, "").serialize()))
        assert reader.came == [b"one", b"two"]
        assert reader.protocol.close_rcvd is not None


def test_without_a_receiver_messages_go_to_the_library():
    reader = Reader("server")
    reader.receive(frame("server", 2, b"one"))
    reader.push = None
    reader.receive(frame("server", 2, b"two"))
    assert reader.came == [b"one"]
    assert [event.data for event in reader.others] == [b"two"]


@pytest.mark.parametrize("limit", [None, 10])
def test_the_limit_is_that_of_the_connection(limit):
    reader = Reader("server", max_size=limit)
    assert reader.takes_over()
    reader.receive(frame("server", 2, b"x" * 11))
    assert reader.came == ([] if limit else [b"x" * 11])
    assert (reader.protocol.close_sent is not None) is bool(limit)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_what_is_sent_is_what_the_library_sends(size):
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    librarys = Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert b"".join(framed(payload, 0)) == librarys
    reader = Reader("server", alone=False, max_size=None)
    reader.receive(b"".join(framed(payload, MASKED)))
    assert reader.came == [payload]


def test_each_mask_is_another():
    assert len({framed(b"x", MASKED)[0] for _ in range(50)}) > 40
