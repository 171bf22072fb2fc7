"""Calls and the end: what finish and stop mean for requests that are open (CALL-10)."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Cancelled, Eased, PeerFinished, Replied, Settled
from reliable_ws.protocol.frames import (
    CallAck,
    Calls,
    Cancel,
    Credit,
    Finish,
    Piece,
    Reply,
    Stop,
    Void,
)
from reliable_ws.protocol.report import End
from tests.support.calls import session_calls

from .calling import a_request, ask, calling, entries_of, heard, opened
from .helpers import calls_of, counters, either_side, limits, run_of

STOPPED = Stop(counters(stopped=True))


@either_side
@pytest.mark.parametrize("end", ["close", "abort"])
def test_half_a_call_is_forgotten_at_the_end(side, end):
    """Nobody is there to put it together."""
    lone = calling(side)
    lone.hears(calls_of(1, Piece(b"x" * 3000)))
    assert session_calls(lone.session).held == 3000
    getattr(lone.session, end)(lone.now)
    assert session_calls(lone.session).held == 0


# ------------------------------------------------------------------ finish


@either_side
def test_finish_waits_for_the_answers_that_are_owed(side):
    """CALL-10: nothing may come behind it. Messages do not wait."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(), a_request()))
    lone.session.send("last")
    lone.session.finish(lone.now)
    assert lone.says() == [CallAck(2), run_of(1, "last")]
    session_calls(lone.session).reply(2, "b")
    assert entries_of(lone.says()) == [Reply(2, "b")]
    session_calls(lone.session).reply(1, "a")
    frames = lone.says()
    assert frames == [calls_of(2, Reply(1, "a")), Finish(2, 1000, "")]
    assert not lone.link.has_output


@either_side
def test_finish_rides_with_the_last_answer(side):
    lone = calling(side)
    lone.hears(calls_of(1, a_request()))
    session_calls(lone.session).reply(1, "a")
    lone.session.send("last")
    lone.session.finish(lone.now)
    assert lone.says() == [
        CallAck(1),
        calls_of(1, Reply(1, "a")),
        run_of(1, "last"),
        Finish(2, 1000, ""),
    ]


@either_side
def test_no_answer_goes_behind_finish(side):
    """CALL-34, CALL-35: to what came later. But a stream that is read goes on, and can be left."""
    lone = calling(side)
    number = ask(lone, credit=9)
    lone.session.finish(lone.now)
    assert lone.says() == [calls_of(1, a_request(credit=9)), Finish(1, 1000, "")]
    assert not session_calls(lone.session).has_room
    lone.hears(CallAck(1), calls_of(1, a_request()))
    session_calls(lone.session).reply(1, "too late")
    assert entries_of(lone.says()) == []
    assert session_calls(lone.session).held == 0
    lone.session.grant(number, 1000)
    assert lone.session.cancel(number) is False
    assert entries_of(lone.says()) == [Credit(number, 1000), Cancel(number)]


@either_side
def test_answers_still_come_to_a_side_that_has_finished(side):
    """CALL-10: half-close."""
    lone = calling(side)
    number = ask(lone)
    lone.session.finish(lone.now)
    lone.says()
    assert lone.hears(calls_of(1, Reply(number, "yes"))) == [Replied(number, "yes")]


def test_a_stream_goes_on_though_its_reader_has_finished():
    """CALL-7, CALL-34: with all the credit that it needs, over several links."""
    pair = opened(Config(max_frame=4096))
    number = session_calls(pair.client).request("count", "", None, 5000)
    pair.client.finish(pair.now)
    pair.run()
    granted = got = 5000
    for turn in range(1, 20):
        session_calls(pair.server).item(number, "x" * 4990)
        pair.run()
        got += len(heard(pair.client_events))
        granted += 5000
        pair.client.grant(number, granted)
        if turn % 3 == 0:
            pair.pull()
            pair.cut()
            pair.connect()
    pair.run()
    assert got == 5000 + 19
    pair.client.cancel(number)
    pair.run()
    assert heard(pair.server_events)[-1] == Cancelled(number)
    pair.server.fault(number, "cancelled", "")
    pair.server.finish(pair.now)
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED


def test_finish_is_said_again_behind_the_calls():
    """CALL-10: on the next link, too."""
    pair = opened(Config(max_frame=4096))
    numbers = [session_calls(pair.client).request("do", "x" * 3000, None, 0) for _ in range(5)]
    pair.client.finish(pair.now)
    pair.pull()
    pair.cut()
    pair.connect()
    assert [event.id for event in heard(pair.server_events)] == numbers
    assert pair.server.ended is None
    pair.cut()
    pair.connect()
    session_calls(pair.server).reply(1, "still")
    pair.server.finish(pair.now)
    pair.run()
    assert pair.client.inbox.finish is None
    for number in numbers:
        session_calls(pair.server).reply(number, "yes")
    pair.run()
    answers = [event.id for event in pair.client_events if isinstance(event, Replied)]
    assert answers == numbers
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED


@either_side
def test_when_the_peer_has_finished_no_answer_can_come(side):
    """CALL-38: what was not sent is taken back, what was is cancelled."""
    lone = calling(side)
    sent = ask(lone)
    lone.says()
    unsent = ask(lone)
    assert lone.hears(Finish(1, 1000, "")) == [PeerFinished(1000, "")]
    calls = session_calls(lone.session)
    assert (calls.was_taken(sent), calls.was_taken(unsent)) == (None, False)
    assert calls.cancel(unsent) is True
    assert entries_of(lone.says()) == [Void(), Cancel(sent)]
    lone.hears(CallAck(3))
    assert calls.was_taken(sent) is True


# ------------------------------------------------------------------ stop


@either_side
def test_the_last_ack_of_calls_goes_before_stop(side):
    """CALL-37: so the peer knows of each request whether it arrived."""
    lone = calling(side)
    lone.hears(run_of(1, "untaken"), calls_of(1, a_request(), a_request()))
    lone.session.close(lone.now)
    frames = lone.says()
    assert frames == [CallAck(2), Stop(counters(1, 0, stopped=True))]
    for number in (1, 2):
        lone.session.fault(number, "closing", "")
    frames = lone.says()
    assert [type(frame) for frame in frames] == [Calls, Finish]


@either_side
def test_calls_behind_our_stop_are_dropped(side):
    """CALL-36: not counted, not acked, not run; whatever their numbers."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request()))
    lone.hears(run_of(1, "untaken"))
    lone.session.close(lone.now)
    lone.says()
    assert lone.hears(calls_of(2, a_request()), calls_of(9, Reply(77, ""))) == []
    assert session_calls(lone.session).received == 1
    assert lone.says() == []
    assert lone.session.ended is None


@either_side
def test_requests_that_the_peer_had_not_received_when_it_stopped(side):
    """CALL-37, CALL-39: exact: the last ack says it."""
    lone = calling(side)
    for _ in range(3):
        ask(lone)
    lone.says()
    unsent = ask(lone, payload="x" * 9000)
    assert lone.hears(CallAck(2), STOPPED) == [Settled()]
    calls = session_calls(lone.session)
    assert [calls.was_taken(n) for n in (1, 2, 3, unsent)] == [True, True, False, False]
    assert set(calls.open) == {1, 2}
    assert calls.held == 0
    assert lone.hears(calls_of(1, Reply(2, "still"))) == [Replied(2, "still")]
    assert not calls.has_room
    assert calls.cancel(3) is True
    assert calls.cancel(1) is False
    assert entries_of(lone.says()) == []
    assert lone.hears(STOPPED) == []


@either_side
def test_answers_are_not_kept_for_a_peer_that_has_stopped(side):
    """CALL-37"""
    lone = calling(side, Config(window_bytes=1000))
    lone.hears(calls_of(1, a_request(credit=5), a_request(credit=2**50)))
    while not session_calls(lone.session).crowded:
        session_calls(lone.session).item(1, "x" * 100)
    assert lone.hears(STOPPED) == [Settled(), Eased()]
    session_calls(lone.session).item(2, "x")
    session_calls(lone.session).reply(1, "x")
    lone.session.fault(2, "e", "")
    assert session_calls(lone.session).served == {}
    assert session_calls(lone.session).held == 0
    assert not any(isinstance(frame, Calls) for frame in lone.says())


@either_side
def test_what_is_queued_in_the_turn_of_a_close_is_not_sent(side):
    """CALL-38: nobody could take its answer; what was sent is cancelled."""
    lone = calling(side)
    sent = ask(lone)
    lone.says()
    unsent = ask(lone)
    lone.hears(run_of(1, "untaken"))
    lone.session.close(lone.now)
    calls = session_calls(lone.session)
    assert (calls.was_taken(sent), calls.was_taken(unsent)) == (None, False)
    assert entries_of(lone.says()) == [Void(), Cancel(sent)]
    assert (list(calls.open), list(calls._given_up)) == ([sent], [sent])


def test_a_lost_request_is_not_run_after_the_close_of_its_asker():
    """CALL-31, CALL-38: nobody waits for it, so it does not go again."""
    pair = opened()
    pair.server.send("untaken")
    pair.run()
    session_calls(pair.client).request("do", "", None, 0)
    pair.pull()
    pair.cut()
    pair.client.close(pair.now)
    assert session_calls(pair.client).was_taken(1) is None
    pair.connect()
    assert heard(pair.server_events) == []
    pair.advance(1)
    assert session_calls(pair.client).was_taken(1) is False
    assert session_calls(pair.client).held == 0


def test_a_stop_that_is_said_in_a_greeting():
    """CALL-37: the position of calls beside it is the last ack."""
    pair = opened()
    for payload in "ab":
        session_calls(pair.client).request("do", payload, None, 0)
    pair.run()
    session_calls(pair.client).request("do", "lost", None, 0)
    pair.client.send("untaken")
    pair.run()
    session_calls(pair.client).request("do", "lost as well", None, 0)
    pair.pull()
    pair.cut()
    pair.server.close(pair.now)
    pair.connect()
    taken = [session_calls(pair.client).was_taken(number) for number in (1, 2, 3, 4)]
    assert taken == [True, True, True, False]


@either_side
def test_calls_in_a_frame_that_has_no_room_beside_the_ranges(side):
    """FRAME-7: a Stop with many ranges goes alone."""
    lone = calling(side, Config(max_frame=4096), limits=limits(max_frame=4096))
    lone.hears(run_of(1, *"x" * 200), calls_of(1, a_request()))
    inbox = lone.session.inbox
    numbers = [inbox.deliver()[0] for _ in range(200)]
    for number in numbers[2::2]:
        inbox.confirm(number)
    session_calls(lone.session).reply(1, "y" * 3000)
    lone.session.close(lone.now)
    first = lone.link.transmit(lone.now)
    assert first is not None
    assert len(first) < 4096
    assert b"y" * 100 not in first
    assert entries_of(lone.says()) == [Reply(1, "y" * 3000)]
