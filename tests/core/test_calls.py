"""Requests and replies: what honest sides do with them on one link."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Faulted, Replied, Requested
from reliable_ws.protocol.frames import EXT_VALUE, Ack, CallAck, Fault, Reply, Request, Void
from tests.support.calls import session_calls
from tests.support.pair import Pair

from .calling import a_request, ask, calling, entries_of, heard, opened
from .helpers import calls_of, either_side, limits, run_of

# ------------------------------------------------------------------ numbers and acks


@either_side
def test_a_request_and_its_answer(side):
    """CALL-1, CALL-2, CALL-15: both have numbers, and the request's is its id."""
    lone = calling(side)
    number = ask(lone, "add", "1 2")
    assert number == 1
    assert lone.says() == [calls_of(1, Request("add", None, 0, "1 2"))]
    events = lone.hears(CallAck(1), calls_of(1, Reply(1, "3")))
    assert events == [Replied(1, "3")]
    assert session_calls(lone.session).open == {}


@either_side
def test_calls_have_numbers_of_their_own(side):
    """CALL-1, CALL-13: a message that nobody takes holds back no call, and the other way round."""
    lone = calling(side)
    lone.hears(run_of(1, "untaken"), calls_of(1, a_request("x")))
    session_calls(lone.session).reply(1, "y")
    lone.session.send("z")
    assert lone.says() == [Ack(1, 0), CallAck(1), calls_of(1, Reply(1, "y")), run_of(1, "z")]
    assert lone.session.inbox.confirmed == 0


@either_side
def test_what_is_queued_in_one_turn_is_one_run(side):
    """CALL-2"""
    lone = calling(side)
    assert [ask(lone), ask(lone), ask(lone)] == [1, 2, 3]
    assert lone.says() == [calls_of(1, a_request(), a_request(), a_request())]
    assert not lone.link.has_output


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
    lone.session.fault(2, "method-not-found", "no such thing", "data")
    assert entries_of(lone.says()) == [Fault(2, "method-not-found", "no such thing", "data")]


@either_side
def test_an_ack_of_calls_rides(side):
    """CALL-17: and goes before the run it rides with."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request()))
    session_calls(lone.session).reply(1, "y")
    assert lone.says() == [CallAck(1), calls_of(1, Reply(1, "y"))]
    lone.hears(calls_of(2, Void()))
    lone.session.send("message")
    assert lone.says() == [CallAck(2), run_of(1, "message")]


@either_side
def test_an_ack_of_calls_that_cannot_ride_goes_soon(side):
    """CALL-17"""
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
    """CALL-17"""
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
    assert lone.session.call_queue.acked == 2


@either_side
def test_what_is_acked_is_forgotten(side):
    """CALL-3: memory."""
    lone = calling(side)
    calls = session_calls(lone.session)
    for n in range(10):
        ask(lone, payload="x" * 100, by=lone.now + 9, credit=5)
        lone.hears(calls_of(n + 1, a_request("y")))
        calls.reply(n + 1, "y" * 100)
    assert calls.held > 2000
    assert lone.session.held >= calls.held
    lone.says()
    lone.hears(CallAck(20))
    assert calls.held == 0
    assert not calls.queue._kept
    assert not calls.answers
    assert len(calls.open) == 10
    answers = [Reply(number, "") for number in calls.open]
    assert len(lone.hears(calls_of(11, *answers))) == 10
    assert (calls.open, calls._streams._granted, calls.served) == ({}, {}, {})


@either_side
def test_an_answer_acks_its_request(side):
    """CALL-18: who answers has received it, with everything before."""
    lone = calling(side)
    ask(lone), ask(lone), ask(lone)
    lone.says()
    lone.hears(calls_of(1, Reply(2, "x")))
    assert lone.session.call_queue.acked == 2
    assert session_calls(lone.session).was_taken(1) is True
    assert session_calls(lone.session).was_taken(3) is None
    lone.hears(CallAck(3))
    assert session_calls(lone.session).held == 0


def test_two_sides_call_each_other():
    """CALL-1, CALL-15: both directions at once, ids of one direction mean nothing in the other."""
    pair = opened()
    first = session_calls(pair.client).request("there", "a", None, 0)
    second = session_calls(pair.server).request("here", "b", None, 0)
    assert first == second == 1
    pair.run()
    assert heard(pair.server_events) == [Requested(1, "there", "a", None, 0)]
    assert heard(pair.client_events) == [Requested(1, "here", "b", None, 0)]
    session_calls(pair.client).reply(1, "B")
    pair.server.fault(1, "internal", "no")
    pair.run()
    assert heard(pair.server_events) == [Replied(1, "B")]
    assert heard(pair.client_events) == [Faulted(1, "internal", "no", b"")]
    pair.advance(1)
    for session in (pair.client, pair.server):
        assert session_calls(session).held == 0


def test_calls_pass_a_window_that_is_full():
    """CALL-13: nothing can deadlock behind messages that nobody takes."""
    pair = opened(Config(window_messages=2, window_bytes=100))
    for session in (pair.client, pair.server):
        session.send("a" * 88)
        session.send("")
    pair.run()
    number = session_calls(pair.client).request("do", "x" * 500, None, 0)
    pair.run()
    assert [event.id for event in heard(pair.server_events)] == [number]
    session_calls(pair.server).reply(number, "y" * 500)
    pair.run()
    assert Replied(number, "y" * 500) in heard(pair.client_events)
    assert len(pair.server.inbox) == 2


# ------------------------------------------------------------------ room


@either_side
def test_no_more_requests_are_open_than_the_peer_takes(side):
    """CALL-6: the limit is the peer's, and an answer makes room."""
    lone = calling(side, limits=limits(max_requests=2))
    assert [ask(lone), ask(lone)] == [1, 2]
    assert not session_calls(lone.session).has_room
    lone.says()
    lone.hears(CallAck(2))
    assert not session_calls(lone.session).has_room
    lone.hears(calls_of(1, Reply(2, "")))
    assert ask(lone) == 3
    assert not session_calls(lone.session).has_room
    lone.session.cancel(1)
    assert not session_calls(lone.session).has_room, (
        "a cancelled request is open until it is answered"
    )
    lone.says()
    lone.hears(calls_of(2, Fault(1, "cancelled", "", b"")))
    assert session_calls(lone.session).has_room


@either_side
def test_there_is_no_room_at_a_peer_without_calls(side):
    """CALL-20: it says no position; nothing of calls is said to it, not even at the end."""
    lone = side()
    calls = session_calls(lone.session)
    assert (calls.limit, calls.has_room) == (0, False)
    lone.hears(run_of(1, "untaken"))
    lone.session.send("a")
    lone.session.close(lone.now)
    names = {type(frame).__name__ for frame in lone.says()}
    assert names <= {"Ack", "Stop", "Messages", "Finish"}


def test_there_is_no_room_before_the_greeting():
    """CALL-20, CALL-6"""
    pair = Pair()
    assert not session_calls(pair.client).has_room
    pair.connect()
    assert session_calls(pair.client).has_room


@either_side
def test_an_honest_requester_acks_answers_before_it_asks_again(side):
    """CALL-26: so a peer may count a request as open until its answer was acked."""
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
    calls = {"client": session_calls(pair.client), "server": session_calls(pair.server)}
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
