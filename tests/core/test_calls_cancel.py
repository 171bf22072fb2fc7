"""Calls that nobody waits for any more: cancelled, or past their deadline."""

from __future__ import annotations

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Cancelled, Replied, Requested
from reliable_ws.protocol.frames import CallAck, Cancel, Fault, Finish, Item, Piece, Reply, Void
from tests.support.calls import session_calls

from .calling import a_request, ask, calling, entries_of, heard, opened
from .helpers import calls_of, either_side

# ------------------------------------------------------------------ cancelling


@either_side
def test_a_request_that_has_not_gone_is_taken_back(side):
    """CALL-8: nothing has its number, and nobody runs it."""
    lone = calling(side)
    assert [ask(lone), ask(lone), ask(lone)] == [1, 2, 3]
    assert lone.session.cancel(2) is True
    assert lone.session.cancel(2) is False
    assert set(session_calls(lone.session).open) == {1, 3}
    assert lone.says() == [calls_of(1, a_request(), Void(), a_request())]


@either_side
def test_a_large_request_is_taken_back_with_its_pieces(side):
    """CALL-8: they need not be sent; those that were are dropped by the receiver."""
    lone = calling(side)
    number = ask(lone, payload="x" * 9000)
    assert lone.session.cancel(number)
    assert lone.says() == [calls_of(1, *[Void()] * 4)]
    assert lone.session.call_queue.weight == 0


def test_a_void_drops_the_pieces_before_it():
    """CALL-8"""
    pair = opened(Config(max_frame=4096))
    number = session_calls(pair.client).request("do", "x" * 9000, None, 0)
    data = pair.wire.dialer.transmit(pair.now)
    assert data is not None
    pair.wire.up.append(data)
    assert pair.client.cancel(number)
    again = session_calls(pair.client).request("do", "y" * 9000, None, 0)
    pair.run()
    assert heard(pair.server_events) == [Requested(again, "do", "y" * 9000, None, 0)]


@either_side
def test_a_request_that_has_gone_is_cancelled(side):
    """CALL-30: once, and its place is free when the peer has answered."""
    lone = calling(side)
    number = ask(lone)
    lone.says()
    assert lone.session.cancel(number) is False
    assert lone.session.cancel(number) is False
    assert lone.session.cancel(77) is False
    assert lone.says() == [calls_of(2, Cancel(number))]
    calls = session_calls(lone.session)
    assert (list(calls.open), list(calls._given_up)) == ([number], [number])
    assert lone.hears(calls_of(1, Reply(number, "late"))) == []
    assert session_calls(lone.session).open == {}


@either_side
def test_answers_that_nobody_waits_for_are_ignored(side):
    """CALL-32: late ones, second ones, and items behind a Cancel."""
    lone = calling(side)
    streamed, faulted, twice = ask(lone, credit=9), ask(lone), ask(lone)
    lone.says()
    for number in (streamed, faulted):
        lone.session.cancel(number)
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
    assert session_calls(lone.session).open == {}


@either_side
def test_a_handler_is_told_that_nobody_waits(side):
    """CALL-30, CALL-32: while it runs; a Cancel that crossed the answer means nothing."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(), a_request()))
    assert lone.hears(calls_of(3, Cancel(2))) == [Cancelled(2)]
    lone.session.fault(2, "cancelled", "")
    session_calls(lone.session).reply(1, "")
    assert lone.hears(calls_of(4, Cancel(1), Cancel(2), Cancel(99))) == []
    assert lone.session.ended is None


@either_side
def test_an_answer_too_many_is_dropped(side):
    """CALL-16: each request gets one."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request()))
    calls = session_calls(lone.session)
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
    """CALL-33"""
    lone = calling(side)
    (event,) = lone.hears(calls_of(1, a_request(timeout=1500)))
    assert event.by == lone.now + 1.5


@either_side
def test_an_expired_request_is_not_sent(side):
    """CALL-9: taken back when it would go; then it was not taken, also when the void is acked."""
    lone = calling(side)
    calls = session_calls(lone.session)
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
    numbers = [session_calls(pair.client).request("do", "x" * 3000, None, 0) for _ in range(5)]
    pair.client.finish(pair.now)
    pair.run()
    assert [event.id for event in heard(pair.server_events)] == numbers
    assert pair.server.inbox.finish == Finish(1, 1000, "")
    assert pair.server.ended is None
