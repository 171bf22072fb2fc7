"""Requests, replies, streams: what honest sides do with them on one link."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.call_pieces import LARGEST_ENTRY
from reliable_ws.protocol.calls import CallLedger
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import MIN_FRAME, Config
from reliable_ws.protocol.cursor import HEADROOM
from reliable_ws.protocol.errors import MessageTooLarge
from reliable_ws.protocol.events import (
    Cancelled,
    Eased,
    Ended,
    Faulted,
    Granted,
    Itemized,
    Replied,
    Requested,
)
from reliable_ws.protocol.frames import (
    ENTRIES,
    EXT_VALUE,
    MAX_NUMBER,
    Ack,
    CallAck,
    Calls,
    Cancel,
    Credit,
    Fault,
    Finish,
    Frame,
    Item,
    Messages,
    Part,
    Piece,
    Reply,
    Request,
    Stop,
    Void,
    Want,
)
from reliable_ws.protocol.report import End
from tests.support.pair import Pair

from .helpers import (
    NO_CALLS_YET,
    SIDES,
    Exactly,
    Lone,
    calls_of,
    counters,
    either_side,
    limits,
    run_of,
)

CALLS = (Requested, Replied, Faulted, Itemized, Cancelled, Granted, Eased)


def calling(side, config=None, **changes) -> Lone:
    """One side whose peer, played by hand, takes calls."""
    return side(config, calls=NO_CALLS_YET, **changes)


def opened(config: Config | None = None, server_config: Config | None = None) -> Pair:
    pair = Pair(config, server_config)
    pair.connect()
    return pair


def heard(events: list) -> list:
    """Take what calls say out of a list of events."""
    found = Exactly(event for event in events if isinstance(event, CALLS))
    events.clear()
    return found


def ask(lone: Lone, method: str = "do", payload="", by=None, credit: int = 0) -> int:
    assert lone.session.calls.has_room
    return lone.session.calls.request(method, payload, by, credit)


def entries_of(frames: list[Frame]) -> list:
    return Exactly(entry for frame in frames if isinstance(frame, Calls) for entry in frame.entries)


def a_request(payload="", timeout=None, credit=0) -> Request:
    return Request("do", timeout, credit, payload)


# ------------------------------------------------------------------ numbers and acks


@either_side
def test_a_request_and_its_answer(side):
    """CALL-1, CALL-2: both have numbers, and the request's is its id."""
    lone = calling(side)
    number = ask(lone, "add", "1 2")
    assert number == 1
    assert lone.says() == [calls_of(1, Request("add", None, 0, "1 2"))]
    events = lone.hears(CallAck(1), calls_of(1, Reply(1, "3")))
    assert events == [Replied(1, "3")]
    assert lone.session.calls.open == {}


@either_side
def test_calls_have_numbers_of_their_own(side):
    """CALL-1: a message that nobody takes holds back no call, and the other way round."""
    lone = calling(side)
    lone.hears(run_of(1, "untaken"), calls_of(1, a_request("x")))
    lone.session.calls.reply(1, "y")
    lone.session.send("z")
    assert lone.says() == [Ack(1, 0), CallAck(1), calls_of(1, Reply(1, "y")), run_of(1, "z")]
    assert lone.session.inbox.confirmed == 0


@either_side
def test_what_is_queued_in_one_turn_is_one_run(side):
    """CALL-2"""
    lone = calling(side)
    assert [ask(lone), ask(lone), ask(lone)] == [1, 2, 3]
    assert lone.says() == [calls_of(1, a_request(), a_request(), a_request())]
    assert not lone.link.restless


@either_side
def test_any_payload_travels(side):
    lone = calling(side)
    value = msgpack.ExtType(EXT_VALUE, msgpack.packb([1, None]))
    for payload in ("text", b"bytes", value, ""):
        ask(lone, payload=payload)
    assert [entry.payload for entry in entries_of(lone.says())] == ["text", b"bytes", value, ""]


@either_side
def test_a_fault_carries_code_message_and_data(side):
    """CALL-11"""
    lone = calling(side)
    ask(lone)
    lone.says()
    (event,) = lone.hears(calls_of(1, Fault(1, "invalid-params", "two are needed", b"")))
    assert event == Faulted(1, "invalid-params", "two are needed", b"")
    lone.hears(calls_of(2, a_request()))
    lone.session.calls.fault(2, "method-not-found", "no such thing", "data")
    assert entries_of(lone.says()) == [Fault(2, "method-not-found", "no such thing", "data")]


@either_side
def test_an_ack_of_calls_rides(side):
    """CALL-3: and goes before the run it rides with."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request()))
    lone.session.calls.reply(1, "y")
    assert lone.says() == [CallAck(1), calls_of(1, Reply(1, "y"))]
    lone.hears(calls_of(2, Void()))
    lone.session.send("message")
    assert lone.says() == [CallAck(2), run_of(1, "message")]


@either_side
def test_an_ack_of_calls_that_cannot_ride_goes_soon(side):
    """CALL-3"""
    lone = calling(side)
    lone.hears(calls_of(1, a_request()))
    assert lone.says() == []
    assert lone.session.deadline == pytest.approx(lone.now + 0.025)
    lone.now += 0.01
    lone.hears(calls_of(2, Void()))
    lone.session.tick(lone.now)
    assert lone.says() == []
    lone.now += 0.016
    lone.session.tick(lone.now)
    assert lone.says() == [CallAck(2)]
    lone.now += 1
    lone.session.tick(lone.now)
    assert lone.says() == []


@either_side
def test_an_ack_of_many_calls_goes_at_once(side):
    """CALL-3"""
    lone = calling(side)
    lone.hears(calls_of(1, *[Void()] * 255))
    assert lone.says() == []
    lone.hears(calls_of(256, Void()))
    assert lone.says() == [CallAck(256)]


@either_side
def test_an_ack_is_never_acked_and_one_that_goes_back_is_ignored(side):
    """CALL-3"""
    lone = calling(side)
    ask(lone), ask(lone)
    lone.says()
    assert lone.hears(CallAck(2), CallAck(1), CallAck(0)) == []
    assert lone.says() == []
    assert lone.session.calls.outbox.acked == 2


@either_side
def test_what_is_acked_is_forgotten(side):
    """CALL-3: memory."""
    lone = calling(side)
    calls = lone.session.calls
    for n in range(10):
        ask(lone, payload="x" * 100, by=lone.now + 9, credit=5)
        lone.hears(calls_of(n + 1, a_request("y")))
        calls.reply(n + 1, "y" * 100)
    assert calls.held > 2000
    assert lone.session.held >= calls.held
    lone.says()
    lone.hears(CallAck(20))
    assert calls.held == 0
    assert (calls.outbox._entries, calls.outbox._sizes, calls._deadlines) == ({}, {}, {})
    assert not calls._answers
    assert len(calls.open) == 10
    answers = [Reply(number, "") for number in calls.open]
    assert len(lone.hears(calls_of(11, *answers))) == 10
    assert (calls.open, calls._streams._granted, calls.served) == ({}, {}, set())


@either_side
def test_an_answer_acks_its_request(side):
    """CALL-3: who answers has received it, with everything before."""
    lone = calling(side)
    ask(lone), ask(lone), ask(lone)
    lone.says()
    lone.hears(calls_of(1, Reply(2, "x")))
    assert lone.session.calls.outbox.acked == 2
    assert lone.session.calls.was_taken(1) is True
    assert lone.session.calls.was_taken(3) is None
    lone.hears(CallAck(3))
    assert lone.session.calls.held == 0


def test_two_sides_call_each_other():
    """CALL-1: both directions at once, ids of one direction mean nothing in the other."""
    pair = opened()
    first = pair.client.calls.request("there", "a", None, 0)
    second = pair.server.calls.request("here", "b", None, 0)
    assert first == second == 1
    pair.run()
    assert heard(pair.server_events) == [Requested(1, "there", "a", None, 0)]
    assert heard(pair.client_events) == [Requested(1, "here", "b", None, 0)]
    pair.client.calls.reply(1, "B")
    pair.server.calls.fault(1, "internal", "no")
    pair.run()
    assert heard(pair.server_events) == [Replied(1, "B")]
    assert heard(pair.client_events) == [Faulted(1, "internal", "no", b"")]
    pair.advance(1)
    for session in (pair.client, pair.server):
        assert session.calls.held == 0


def test_calls_pass_a_window_that_is_full():
    """CALL-1: nothing can deadlock behind messages that nobody takes."""
    pair = opened(Config(window_messages=2, window_bytes=100))
    for session in (pair.client, pair.server):
        session.send("a" * 88)
        session.send("")
    pair.run()
    number = pair.client.calls.request("do", "x" * 500, None, 0)
    pair.run()
    assert [event.id for event in heard(pair.server_events)] == [number]
    pair.server.calls.reply(number, "y" * 500)
    pair.run()
    assert Replied(number, "y" * 500) in heard(pair.client_events)
    assert len(pair.server.inbox) == 2


# ------------------------------------------------------------------ room


@either_side
def test_no_more_requests_are_open_than_the_peer_takes(side):
    """CALL-6: the limit is the peer's, and an answer makes room."""
    lone = calling(side, limits=limits(max_requests=2))
    assert [ask(lone), ask(lone)] == [1, 2]
    assert not lone.session.calls.has_room
    lone.says()
    lone.hears(CallAck(2))
    assert not lone.session.calls.has_room
    lone.hears(calls_of(1, Reply(2, "")))
    assert ask(lone) == 3
    assert not lone.session.calls.has_room
    lone.session.calls.cancel(1)
    assert not lone.session.calls.has_room, "a cancelled request is open until it is answered"
    lone.says()
    lone.hears(calls_of(2, Fault(1, "cancelled", "", b"")))
    assert lone.session.calls.has_room


@either_side
def test_there_is_no_room_at_a_peer_without_calls(side):
    """CALL-4: it says no position; nothing of calls is said to it, not even at the end."""
    lone = side()
    calls = lone.session.calls
    assert (calls.limit, calls.has_room) == (0, False)
    lone.hears(run_of(1, "untaken"))
    lone.session.send("a")
    lone.session.close(lone.now)
    names = {type(frame).__name__ for frame in lone.says()}
    assert names <= {"Ack", "Stop", "Messages", "Finish"}


def test_there_is_no_room_before_the_greeting():
    """CALL-4, CALL-6"""
    pair = Pair()
    assert not pair.client.calls.has_room
    pair.connect()
    assert pair.client.calls.has_room


@either_side
def test_an_honest_requester_acks_answers_before_it_asks_again(side):
    """CALL-6: so a peer may count a request as open until its answer was acked."""
    lone = calling(side, limits=limits(max_requests=1))
    for number in range(1, 20, 1):
        assert ask(lone) == number
        acks = [CallAck(number - 1)] if number > 1 else []
        assert lone.says() == [*acks, calls_of(number, a_request())]
        lone.hears(calls_of(number, Reply(number, "")))


def test_requests_up_to_the_limit_again_and_again():
    """CALL-6: two honest sides never find the other above it, whatever is on its way."""
    pair = opened(Config(max_requests=3))
    done = 0
    calls = {"client": pair.client.calls, "server": pair.server.calls}
    for _ in range(200):
        for mine in calls.values():
            while mine.has_room:
                mine.request("do", "", None, 0)
        pair.pull()
        pair.deliver_up(), pair.deliver_down()
        for who, events in (("client", pair.client_events), ("server", pair.server_events)):
            for event in heard(events):
                if isinstance(event, Requested):
                    calls[who].reply(event.id, "")
                else:
                    done += 1
    assert done > 300
    assert pair.client.ended is None
    assert pair.server.ended is None


# ------------------------------------------------------------------ large ones


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
    pair.client.calls.request("m" * 255, payload, None, 5)
    pair.run()
    assert heard(pair.server_events) == [
        Requested(1_000, "m", payload, None, 5)._replace(
            id=pair.client.calls.outbox.last, method="m" * 255
        )
    ]
    number = pair.client.calls.outbox.last
    pair.server.calls.item(number, payload)
    pair.server.calls.fault(number, "e" * 255, "é" * 500, payload)
    pair.run()
    assert heard(pair.client_events) == [
        Itemized(number, payload),
        Faulted(number, "e" * 255, "é" * 500, payload),
    ]
    assert pair.server.ended is None
    pair.advance(1)
    assert pair.client.calls.held == pair.server.calls.held == 0


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
    """CALL-5: also where ours is larger; nothing was queued."""
    lone = calling(side, limits=limits(max_message=5000))
    ask(lone, payload="x" * 5000)
    last = lone.session.calls.outbox.last
    for payload in ("x" * 5001, b"x" * 70_000_000):
        with pytest.raises(MessageTooLarge, match=r"limit of 5000 \(Config\.max_message there\)"):
            ask(lone, payload=payload)
    lone.hears(calls_of(1, a_request(credit=9)))
    for answer in (lone.session.calls.reply, lone.session.calls.item):
        with pytest.raises(MessageTooLarge):
            answer(1, "x" * 5001)
    assert lone.session.calls.outbox.last == last
    assert lone.session.calls.served == {1}
    tiny = calling(side, limits=limits(max_message=10))
    with pytest.raises(MessageTooLarge):
        ask(tiny, payload="x" * 11)


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "\ud800", "😀" * 64])
@either_side
def test_a_name_that_cannot_be_said(side, name):
    """CALL-2: a mistake of the caller's; nothing was queued."""
    lone = calling(side)
    with pytest.raises(ValueError, match="at most 255 bytes"):
        ask(lone, name)
    assert lone.session.calls.outbox.last == 0
    assert lone.session.calls.open == {}
    ask(lone, "😀" * 63 + "x" * 3)


@either_side
def test_a_fault_says_as_much_as_may_be_said(side):
    """CALL-2: never more than the peer would take, and nothing that is no text."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(), a_request()))
    lone.session.calls.fault(1, "😀" * 999, "é" * 999)
    lone.session.calls.fault(2, "\udc80", "a\ud800b")
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
            session.calls.request("😀" * 63, "z" * size, pair.now + 1e9, 2**50)
            session.calls.request("do", "v", None, 0)
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
                    session.calls.fault(event.id, "😀" * 99, "é" * 999, event.payload)
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
    calls = CallLedger(Config())
    calls.outbox.last = calls.outbox.transmitted = calls.outbox.acked = first = most - 100
    calls.served = {most, most - 1, most - 2}
    calls.request("😀" * 63, b"x" * 2000, None, most)
    calls.item(most, msgpack.ExtType(EXT_VALUE, b"x" * 2000))
    calls.fault(most, "é" * 127, "😀" * 250, b"x" * 2000)
    calls.reply(most - 1, "é" * 1000)
    calls.reply(most - 2, b"x" * 9000)  # in three pieces
    asked = calls.request("m", b"", None, most - 1)
    calls.grant(asked, most)
    taken_back = calls.request("m" * 255, b"", None, 0)
    calls.cancel(taken_back)
    calls.outbox.transmitted = asked
    calls.cancel(asked)
    kinds = set()
    for number in range(first + 1, calls.outbox.last + 1):
        (entry,), used = calls.outbox.run(number, 1, 0, None)
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


# ------------------------------------------------------------------ streams


def test_a_stream():
    """CALL-7: items, then the reply that ends it."""
    pair = opened()
    number = pair.client.calls.request("count", "", None, 100)
    pair.run()
    assert heard(pair.server_events) == [Requested(number, "count", "", None, 100)]
    for item in ("a", b"b"):
        pair.server.calls.item(number, item)
    pair.server.calls.reply(number, "end")
    pair.server.calls.item(number, "too late")
    pair.run()
    assert heard(pair.client_events) == [
        Itemized(number, "a"),
        Itemized(number, b"b"),
        Replied(number, "end"),
    ]
    assert pair.server.calls.outbox.last == 3


@either_side
def test_an_item_goes_while_what_went_before_is_below_the_credit(side):
    """CALL-7: so the last one may be above it, and one always gets through."""
    lone = calling(side)
    number = ask(lone, credit=10)
    lone.says()
    (event,) = lone.hears(calls_of(1, Item(number, "x" * 3)))  # weighs 9
    assert event == Itemized(number, "x" * 3)
    assert lone.hears(calls_of(2, Item(number, "x" * 500))) == [Itemized(number, "x" * 500)]
    lone.session.calls.grant(number, 600)
    assert entries_of(lone.says()) == [Credit(number, 600)]
    assert len(lone.hears(calls_of(3, Item(number, "x" * 500)))) == 1
    assert lone.session.ended is None


@either_side
def test_credit_is_told_to_who_serves_the_stream(side):
    """CALL-7: and after the answer it means nothing."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(credit=10)))
    assert lone.hears(calls_of(2, Credit(1, 500))) == [Granted(1, 500)]
    lone.session.calls.reply(1, "")
    assert lone.hears(calls_of(3, Credit(1, 900))) == []
    assert lone.session.ended is None


@either_side
def test_a_grant_for_what_has_ended_says_nothing(side):
    lone = calling(side)
    number, plain = ask(lone, credit=10), ask(lone)
    lone.says()
    lone.hears(calls_of(1, Reply(number, "")))
    for request in (number, plain, 77):
        lone.session.calls.grant(request, 1000)
    assert entries_of(lone.says()) == []


@either_side
def test_few_credits_are_on_their_way_at_once(side):
    """CALL-7: who never acks holds us to 64 entries; the newest totals go when it does."""
    lone = calling(side)
    streams = [ask(lone, credit=10) for _ in range(3)]
    lone.says()
    lone.hears(CallAck(3))
    for total in range(11, 1000):
        for number in streams:
            lone.session.calls.grant(number, total)
    assert len(entries_of(lone.says())) == 64
    assert len(lone.session.calls.outbox._entries) == 64
    lone.hears(calls_of(1, Reply(streams[1], "")))
    lone.hears(CallAck(67))
    assert entries_of(lone.says()) == [Credit(3, 999), Credit(1, 999)]


@either_side
def test_items_wait_while_too_much_waits_for_the_peer(side):
    """CALL-7: a peer that grants without end and acks nothing does not fill our memory."""
    lone = calling(side, Config(window_bytes=1000))
    lone.hears(calls_of(1, a_request(credit=2**53 - 1)))
    calls = lone.session.calls
    count = 0
    while not calls.crowded:
        calls.item(1, "x" * 100)
        count += 1
    assert count == 9
    lone.says()
    assert heard(lone.hears(CallAck(1))) == [Eased()]
    assert not calls.crowded
    assert heard(lone.hears(CallAck(count))) == []


@either_side
def test_items_go_on_when_what_was_in_their_way_is_taken_back(side):
    """CALL-7, CALL-8: the stream hears of it with the next ack."""
    lone = calling(side, Config(window_bytes=1000))
    lone.hears(calls_of(1, a_request(credit=2**53 - 1)))
    calls = lone.session.calls
    number = ask(lone, payload="x" * 1000)
    assert calls.crowded
    assert calls.cancel(number)
    assert not calls.crowded
    assert entries_of(lone.says()) == [Void()]
    assert heard(lone.hears(CallAck(1))) == [Eased()]


# ------------------------------------------------------------------ cancelling


@either_side
def test_a_request_that_has_not_gone_is_taken_back(side):
    """CALL-8: nothing has its number, and nobody runs it."""
    lone = calling(side)
    assert [ask(lone), ask(lone), ask(lone)] == [1, 2, 3]
    assert lone.session.calls.cancel(2) is True
    assert lone.session.calls.cancel(2) is False
    assert set(lone.session.calls.open) == {1, 3}
    assert lone.says() == [calls_of(1, a_request(), Void(), a_request())]


@either_side
def test_a_large_request_is_taken_back_with_its_pieces(side):
    """CALL-8: they need not be sent; those that were are dropped by the receiver."""
    lone = calling(side)
    number = ask(lone, payload="x" * 9000)
    assert lone.session.calls.cancel(number)
    assert lone.says() == [calls_of(1, *[Void()] * 4)]
    assert lone.session.calls.outbox.weight == 0


def test_a_void_drops_the_pieces_before_it():
    """CALL-8"""
    pair = opened(Config(max_frame=4096))
    number = pair.client.calls.request("do", "x" * 9000, None, 0)
    data = pair.wire.dialer.transmit(pair.now)
    assert data is not None
    pair.wire.up.append(data)
    assert pair.client.calls.cancel(number)
    again = pair.client.calls.request("do", "y" * 9000, None, 0)
    pair.run()
    assert heard(pair.server_events) == [Requested(again, "do", "y" * 9000, None, 0)]


@either_side
def test_a_request_that_has_gone_is_cancelled(side):
    """CALL-8: once, and its place is free when the peer has answered."""
    lone = calling(side)
    number = ask(lone)
    lone.says()
    assert lone.session.calls.cancel(number) is False
    assert lone.session.calls.cancel(number) is False
    assert lone.session.calls.cancel(77) is False
    assert lone.says() == [calls_of(2, Cancel(number))]
    assert lone.session.calls.open == {number: False}
    assert lone.hears(calls_of(1, Reply(number, "late"))) == []
    assert lone.session.calls.open == {}


@either_side
def test_answers_that_nobody_waits_for_are_ignored(side):
    """CALL-8: late ones, second ones, and items behind a Cancel."""
    lone = calling(side)
    streamed, faulted, twice = ask(lone, credit=9), ask(lone), ask(lone)
    lone.says()
    for number in (streamed, faulted):
        lone.session.calls.cancel(number)
    late = [Item(streamed, "x"), Fault(faulted, "cancelled", "", b""), Reply(twice, "yes")]
    second = [
        Reply(twice, "no"),
        Item(twice, "x"),
        Reply(streamed, ""),
        Fault(streamed, "", "", ""),
    ]
    assert lone.hears(calls_of(1, *late)) == [Replied(twice, "yes")]
    assert lone.hears(calls_of(4, *second)) == []
    assert lone.session.ended is None
    assert lone.session.calls.open == {}


@either_side
def test_a_handler_is_told_that_nobody_waits(side):
    """CALL-8: while it runs; a Cancel that crossed the answer means nothing."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(), a_request()))
    assert lone.hears(calls_of(3, Cancel(2))) == [Cancelled(2)]
    lone.session.calls.fault(2, "cancelled", "")
    lone.session.calls.reply(1, "")
    assert lone.hears(calls_of(4, Cancel(1), Cancel(2), Cancel(99))) == []
    assert lone.session.ended is None


@either_side
def test_an_answer_too_many_is_dropped(side):
    """CALL-2: each request gets one."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request()))
    calls = lone.session.calls
    calls.reply(1, "yes")
    calls.reply(1, "no")
    calls.fault(1, "internal", "no")
    calls.reply(5, "never asked")
    assert entries_of(lone.says()) == [Reply(1, "yes")]


# ------------------------------------------------------------------ deadlines


@either_side
def test_what_is_left_of_a_deadline_travels(side):
    """CALL-9: waiting to be sent is part of it."""
    lone = calling(side)
    ask(lone, by=lone.now + 5)
    ask(lone)
    lone.now += 2
    assert [entry.timeout_ms for entry in entries_of(lone.says())] == [3000, None]


@either_side
def test_a_deadline_is_kept_by_the_clock_of_who_runs_it(side):
    """CALL-9"""
    lone = calling(side)
    (event,) = lone.hears(calls_of(1, a_request(timeout=1500)))
    assert event.by == lone.now + 1.5


@either_side
def test_an_expired_request_is_not_sent(side):
    """CALL-9: taken back when it would go; then it was not taken, also when the void is acked."""
    lone = calling(side)
    calls = lone.session.calls
    number = ask(lone, by=lone.now + 5)
    other = ask(lone, payload="x" * 9000, by=lone.now + 5)
    lone.now += 5
    assert [type(entry) for entry in entries_of(lone.says())] == [Void, Piece, Piece, Piece, Void]
    lone.hears(CallAck(5))
    assert calls.open == {}
    assert calls.was_taken(number) is False
    assert calls.was_taken(other) is False
    assert calls.cancel(number) is True
    assert calls.cancel(number) is False
    assert lone.says() == []


@either_side
def test_less_than_a_millisecond_is_none_left(side):
    """CALL-9: it still travels; who gets it judges."""
    lone = calling(side)
    ask(lone, by=lone.now + 0.0004)
    assert [entry.timeout_ms for entry in entries_of(lone.says())] == [0]


def test_finish_goes_behind_the_last_call():
    """CALL-10: also where the calls do not fit one frame."""
    pair = opened(Config(max_frame=4096))
    numbers = [pair.client.calls.request("do", "x" * 3000, None, 0) for _ in range(5)]
    pair.client.finish(pair.now)
    pair.run()
    assert [event.id for event in heard(pair.server_events)] == numbers
    assert pair.server.inbox.finish == Finish(1, 1000, "")
    assert pair.server.ended is None
