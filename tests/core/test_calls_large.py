"""Calls that are large, and as large as may be; how they share envelopes."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.calls.fragments import LARGEST_ENTRY
from reliable_ws.protocol.calls.queue import LAST_REQUEST
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import MIN_FRAME, Config
from reliable_ws.protocol.cursor import HEADROOM
from reliable_ws.protocol.errors import MessageTooLarge
from reliable_ws.protocol.events import Ended, Faulted, Itemized, Replied, Requested
from reliable_ws.protocol.frames import (
    ENTRIES,
    EXT_VALUE,
    MAX_NUMBER,
    Ack,
    CallAck,
    Calls,
    Fault,
    Finish,
    Messages,
    Part,
    Piece,
    Reply,
    Request,
    Stop,
    Want,
)
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from tests.support.calls import session_calls
from tests.support.pair import ID, KEY

from .calling import a_request, ask, calling, entries_of, heard, opened
from .helpers import SIDES, calls_of, counters, either_side, limits

LARGE = [
    "x" * 100_000,
    "é€😀" * 9000,
    bytes(range(256)) * 100,
    msgpack.ExtType(EXT_VALUE, msgpack.packb(list(range(9000)))),
    "x" * 3_790,
    "x" * 3_802,
]


@pytest.mark.parametrize("payload", LARGE, ids=range(len(LARGE)))
@pytest.mark.parametrize("max_frame", [4096, 65_536])
def test_large_calls_go_in_pieces(payload, max_frame):
    """CALL-5: every entry fits a frame, and everything arrives as it was."""
    pair = opened(Config(max_frame=max_frame))
    session_calls(pair.client).request("m" * 255, payload, None, 5)
    pair.run()
    assert heard(pair.server_events) == [
        Requested(1_000, "m", payload, None, 5)._replace(
            id=pair.client.call_queue.last, method="m" * 255
        )
    ]
    number = pair.client.call_queue.last
    session_calls(pair.server).item(number, payload)
    pair.server.fault(number, "e" * 255, "é" * 500, payload)
    pair.run()
    assert heard(pair.client_events) == [
        Itemized(number, payload),
        Faulted(number, "e" * 255, "é" * 500, payload),
    ]
    assert pair.server.ended is None
    pair.advance(1)
    assert session_calls(pair.client).held == session_calls(pair.server).held == 0


@either_side
def test_pieces_and_their_entry(side):
    """CALL-5: each piece has a number; the entry's is the id, its payload nil."""
    lone = calling(side)
    number = ask(lone, payload="x" * 9000)
    assert number == 4
    entries = entries_of(lone.says())
    assert [type(entry) for entry in entries] == [Piece, Piece, Piece, Request]
    assert entries[3].payload is None
    packed = b"".join(entry.data for entry in entries[:3])
    assert msgpack.unpackb(packed) == "x" * 9000
    half = len(packed) // 2
    reply = [Piece(packed[:half]), Piece(packed[half:]), Reply(number, None)]
    assert lone.hears(calls_of(1, *reply)) == [Replied(number, "x" * 9000)]


@either_side
def test_the_peers_largest_message_is_the_limit_of_calls(side):
    """CALL-25: also where ours is larger; nothing was queued."""
    lone = calling(side, limits=limits(max_message=5000))
    ask(lone, payload="x" * 5000)
    last = lone.session.call_queue.last
    for payload in ("x" * 5001, b"x" * 70_000_000):
        with pytest.raises(MessageTooLarge, match=r"limit of 5000 \(Config\.max_message there\)"):
            ask(lone, payload=payload)
    lone.hears(calls_of(1, a_request(credit=9)))
    for answer in (session_calls(lone.session).reply, session_calls(lone.session).item):
        with pytest.raises(MessageTooLarge):
            answer(1, "x" * 5001)
    assert lone.session.call_queue.last == last
    assert session_calls(lone.session).served.keys() == {1}
    tiny = calling(side, limits=limits(max_message=1000))
    with pytest.raises(MessageTooLarge):
        ask(tiny, payload="x" * 1001)


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "\ud800", "😀" * 64])
@either_side
def test_a_name_that_cannot_be_said(side, name):
    """CALL-14: a mistake of the caller's; nothing was queued."""
    lone = calling(side)
    with pytest.raises(ValueError, match="at most 255 bytes"):
        ask(lone, name)
    assert lone.session.call_queue.last == 0
    assert session_calls(lone.session).open == {}
    ask(lone, "😀" * 63 + "x" * 3)


@either_side
def test_a_fault_says_as_much_as_may_be_said(side):
    """CALL-14: never more than the peer would take, and nothing that is no text."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(), a_request()))
    lone.session.fault(1, "😀" * 999, "é" * 999)
    lone.session.fault(2, "\udc80", "a\ud800b")
    first, second = entries_of(lone.says())
    assert first == Fault(1, "😀" * 63, "é" * 500, b"")
    assert second == Fault(2, "?", "a?b", b"")


@pytest.mark.parametrize("max_frame", [4096, 8192, 1024 * 1024])
def test_no_envelope_is_above_the_limit_whatever_rides_in_it(max_frame):
    """FRAME-7: calls, messages, parts, acks, a Stop and the longest Finish together."""
    config = Config(max_frame=max_frame, window_bytes=2**26)
    pair = opened(config)
    shapes = [3000, 1, 3700, 4000, 500, 100_000, 3780, 3799, 3800, 3801, 2000, 20]
    for size in shapes:
        for session in (pair.client, pair.server):
            session.send("x" * size)
            session.send(b"y" * (max_frame - 300))
            session_calls(session).request("😀" * 63, "z" * size, pair.now + 1e9, 2**50)
            session_calls(session).request("do", "v", None, 0)
            session.want(session.outbox.last)
    pair.client.finish(pair.now, 4999, "r" * 123)
    asked = 0
    for step in range(10_000):
        if step == 20:
            pair.server.close(pair.now, 4998, "s" * 123)
        said = [wire_end.transmit(pair.now) for wire_end in (pair.wire.dialer, pair.wire.listener)]
        if said == [None, None]:
            break
        for data, line in zip(said, (pair.wire.up, pair.wire.down), strict=True):
            if data is not None:
                assert len(data) <= max_frame
                line.append(data)
        pair.deliver_up(), pair.deliver_down()
        for session, events in (
            (pair.client, pair.client_events),
            (pair.server, pair.server_events),
        ):
            for event in events:
                assert not isinstance(event, Ended) or event.ending.kind is End.FINISHED
                if isinstance(event, Requested):
                    asked += 1
                    session.fault(event.id, "😀" * 99, "é" * 999, event.payload)
            events.clear()
        if step < 15:
            pair.client_take(), pair.server_take()
    assert asked > 5


def test_every_rider_has_its_place_beside_the_largest_entry():
    """FRAME-7: the headroom is enough for all that may ride, as long as it can be."""
    most = MAX_NUMBER
    riders = [
        Ack(most, most),
        CallAck(most),
        Stop(counters(most, stopped=True)),
        Want(most),
        Calls(most, []),
        Messages(most, []),
        Finish(most, 4999, "r" * 123),
    ]
    runs_of_many = 2 * 2  # their headers may be two bytes longer each
    assert len(encode(riders)) + runs_of_many <= HEADROOM
    assert HEADROOM + LARGEST_ENTRY <= MIN_FRAME


def test_no_entry_takes_more_than_it_is_counted_for():
    """FRAME-7: as large as they can be, with numbers as high as they can be."""
    most = MAX_NUMBER
    calls = session_calls(Session("initiator", ID, KEY, 0.0))
    calls.queue.last = calls.queue.transmitted = calls.queue.acked = first = LAST_REQUEST - 100
    calls.incoming.served = dict.fromkeys((most, most - 1, most - 2), (0, 0))
    calls.request("😀" * 63, b"x" * 2000, None, most)
    calls.item(most, msgpack.ExtType(EXT_VALUE, b"x" * 2000))
    calls.session.fault(most, "é" * 127, "😀" * 250, b"x" * 2000)
    calls.reply(most - 1, "é" * 1000)
    calls.reply(most - 2, b"x" * 9000)  # in three pieces
    asked = calls.request("m", b"", None, most - 1)
    calls.session.grant(asked, most)
    taken_back = calls.request("m" * 255, b"", None, 0)
    calls.session.cancel(taken_back)
    calls.queue.transmitted = asked
    calls.session.cancel(asked)
    kinds = set()
    for number in range(first + 1, calls.queue.last + 1):
        (entry,), used = calls.queue.run(number, 1, 0, lambda _number, entry, *_: entry, 0.0)
        alone = len(encode([calls_of(1, entry)])) - len(encode([Calls(1, [])]))
        assert alone <= used <= LARGEST_ENTRY, entry
        kinds.add(type(entry))
    assert kinds == set(ENTRIES)


def test_calls_and_messages_take_turns():
    """FRAME-7: neither waits for the last of the other, and no message is cut up for calls."""
    lone = calling(SIDES[0], Config(max_frame=4096), limits=limits(max_frame=4096))
    for n in range(10):
        lone.session.send(f"{n}".ljust(2500))
        ask(lone, payload=f"{n}".ljust(2500))
    kinds = []
    while (data := lone.link.transmit(lone.now)) is not None:
        assert len(data) <= 4096
        kinds.append([type(frame) for frame in decode(data, 4096)])
    assert kinds == [[Calls], [Messages]] * 10


def test_parts_and_calls_take_turns():
    """PART-1: no part is smaller for the calls beside it."""
    lone = calling(SIDES[0], Config(max_frame=4096), limits=limits(max_frame=4096))
    lone.session.send(b"x" * 12_000)
    for _ in range(3):
        ask(lone, payload="y" * 2500)
    said = []
    while (data := lone.link.transmit(lone.now)) is not None:
        said += decode(data, 4096)
    assert [type(frame) for frame in said] == [Calls, Part, Calls, Part, Calls, Part, Part]
    assert [len(part.data) for part in said if isinstance(part, Part)] == [3840, 3840, 3840, 480]


@either_side
def test_many_calls_need_many_frames(side):
    """FRAME-2: at most so many in one, about half a batch of bytes."""
    lone = calling(side, limits=limits(max_requests=5000))
    for _ in range(2500):
        ask(lone)
    runs = [frame.entries for frame in lone.says()]
    assert [len(run) for run in runs[:2]] == [1024, 1024] or len(runs) > 2
    assert sum(map(len, runs)) == 2500
    assert max(len(encode([calls_of(1, *run)])) for run in runs) <= 32 * 1024
