"""Streams of items, and their credit."""

from __future__ import annotations

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Eased, Granted, Itemized, Replied, Requested
from reliable_ws.protocol.frames import CallAck, Credit, Item, Reply, Void
from tests.support.calls import session_calls

from .calling import a_request, ask, calling, entries_of, heard, opened
from .helpers import calls_of, either_side


def test_a_stream():
    """CALL-7: items, then the reply that ends it."""
    pair = opened()
    number = session_calls(pair.client).request("count", "", None, 100)
    pair.run()
    assert heard(pair.server_events) == [Requested(number, "count", "", None, 100)]
    for item in ("a", b"b"):
        session_calls(pair.server).item(number, item)
    session_calls(pair.server).reply(number, "end")
    session_calls(pair.server).item(number, "too late")
    pair.run()
    assert heard(pair.client_events) == [
        Itemized(number, "a"),
        Itemized(number, b"b"),
        Replied(number, "end"),
    ]
    assert pair.server.call_queue.last == 3


@either_side
def test_an_item_goes_while_what_went_before_is_below_the_credit(side):
    """CALL-7: so the last one may be above it, and one always gets through."""
    lone = calling(side)
    number = ask(lone, credit=10)
    lone.says()
    (event,) = lone.hears(calls_of(1, Item(number, "x" * 3)))  # weighs 9
    assert event == Itemized(number, "x" * 3)
    assert lone.hears(calls_of(2, Item(number, "x" * 500))) == [Itemized(number, "x" * 500)]
    lone.session.grant(number, 600)
    assert entries_of(lone.says()) == [Credit(number, 600)]
    assert len(lone.hears(calls_of(3, Item(number, "x" * 500)))) == 1
    assert lone.session.ended is None


@either_side
def test_credit_is_told_to_who_serves_the_stream(side):
    """CALL-7, CALL-32: and after the answer it means nothing."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(credit=10)))
    assert lone.hears(calls_of(2, Credit(1, 500))) == [Granted(1, 500)]
    session_calls(lone.session).reply(1, "")
    assert lone.hears(calls_of(3, Credit(1, 900))) == []
    assert lone.session.ended is None


@either_side
def test_a_grant_for_what_has_ended_says_nothing(side):
    lone = calling(side)
    lone.session.grant(1, 1000)
    number, plain = ask(lone, credit=10), ask(lone)
    lone.says()
    lone.hears(calls_of(1, Reply(number, "")))
    for request in (number, plain, 77):
        lone.session.grant(request, 1000)
    assert entries_of(lone.says()) == []


@either_side
def test_few_credits_are_on_their_way_at_once(side):
    """CALL-29: who never acks holds us to 64 entries; the newest totals go when it does."""
    lone = calling(side)
    streams = [ask(lone, credit=10) for _ in range(3)]
    lone.says()
    lone.hears(CallAck(3))
    for total in range(11, 1000):
        for number in streams:
            lone.session.grant(number, total)
    assert len(entries_of(lone.says())) == 64
    assert len(lone.session.call_queue._kept) == 64
    lone.hears(calls_of(1, Reply(streams[1], "")))
    lone.hears(CallAck(67))
    assert entries_of(lone.says()) == [Credit(3, 999), Credit(1, 999)]


@either_side
def test_items_wait_while_too_much_waits_for_the_peer(side):
    """CALL-29: a peer that grants without end and acks nothing does not fill our memory."""
    lone = calling(side, Config(window_bytes=1000))
    lone.hears(calls_of(1, a_request(credit=2**53 - 1)))
    calls = session_calls(lone.session)
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
    """CALL-29, CALL-8: the stream hears of it with the next ack."""
    lone = calling(side, Config(window_bytes=1000))
    lone.hears(calls_of(1, a_request(credit=2**53 - 1)))
    calls = session_calls(lone.session)
    number = ask(lone, payload="x" * 1000)
    assert calls.crowded
    assert calls.cancel(number)
    assert not calls.crowded
    assert entries_of(lone.says()) == [Void()]
    assert heard(lone.hears(CallAck(1))) == [Eased()]
