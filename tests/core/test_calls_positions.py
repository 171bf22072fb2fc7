"""Positions of calls in greetings: those that are right, and those that cannot be (CALL-4)."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import CallAck, CallPosition, Calls, Item, Reply, Request
from reliable_ws.protocol.stored_session import restore
from tests.support.calls import session_calls
from tests.support.snapshots import snapshot

from .calling import a_request, again, ask, calling, entries_of, heard, opened
from .helpers import (
    Exactly,
    Lone,
    acceptor,
    calls_of,
    counters,
    either_side,
    initiator,
    limits,
    position,
)

LOST = "state lost: calls"
WRONG = {
    "received less than it acked": (CallPosition(1, 2, 1), "received"),
    "received what was never sent": (CallPosition(5, 2, 1), "received"),
    "cannot send what we lack": (CallPosition(3, 4, 4), "sent"),
    "sent less than we have": (CallPosition(3, 1, 1), "sent"),
    "knows of no calls any more": (None, "not known"),
    "begins anew": (CallPosition(0, 0, 1), "received"),
}


def away(side) -> Lone:
    """One side whose WebSocket is lost: of its four calls two are acked, and it has two."""
    lone = calling(side)
    for _ in range(4):
        ask(lone)
    lone.says()
    lone.hears(CallAck(2), calls_of(1, a_request(), a_request()))
    lone.session.lost(lone.link, None, "", lone.now)
    return lone


@pytest.mark.parametrize("name", WRONG)
@either_side
def test_a_peer_that_lost_its_calls(side, name):
    """CALL-21: the session ends before anything is sent again."""
    position, words = WRONG[name]
    lone = away(side)
    again(lone, position)
    ended = lone.session.ended
    assert ended is not None
    assert (ended.code, LOST in ended.reason, words in ended.reason) == (4422, True, True)


@either_side
def test_a_position_that_is_just_right(side):
    """CALL-21: so each wrong one above is wrong for its own reason."""
    lone = away(side)
    again(lone, CallPosition(3, 2, 3))
    assert lone.session.ended is None
    assert lone.says() == [calls_of(4, a_request())]


@pytest.mark.parametrize("position", [CallPosition(1, 0, 1), CallPosition(0, 1, 2)])
def test_a_first_position_that_cannot_be(position):
    """CALL-21: nothing was said yet."""
    lone = initiator(calls=position)
    assert lone.session.ended is not None
    assert lone.session.ended.code == 4422


@either_side
def test_a_peer_without_calls_resumes(side):
    """CALL-20: it had none and has none."""
    lone = side()
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, None)
    assert lone.session.ended is None
    assert lone.says() == []


@either_side
def test_a_peer_that_stopped_may_say_of_calls_what_it_received(side):
    """CALL-37: its position settles what it never got."""
    lone = calling(side)
    for _ in range(3):
        ask(lone)
    lone.says()
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, CallPosition(2, 0, 1), position=position(counters(stopped=True)))
    taken = [session_calls(lone.session).was_taken(number) for number in (1, 2, 3)]
    assert taken == [True, True, False]
    assert set(session_calls(lone.session).open) == {1, 2}
    assert entries_of(lone.says()) == []


@either_side
def test_what_we_do_not_take_any_more_may_be_lost(side):
    """CALL-21: stopped, we do not mind what the peer can send again."""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(), a_request()))
    lone.session.close(lone.now)
    lone.says()
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, CallPosition(0, 9, 9))
    assert lone.session.ended is None


@either_side
def test_answers_of_an_earlier_link_are_acked_by_the_greeting(side):
    """CALL-26: so their requests do not count any more."""
    lone = calling(side, Config(max_requests=1))
    lone.hears(calls_of(1, a_request()))
    session_calls(lone.session).reply(1, "")
    lone.says()
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, CallPosition(1, 1, 2))
    lone.hears(calls_of(2, a_request()))
    assert lone.session.ended is None
    assert session_calls(lone.session).served.keys() == {2}


def test_a_session_that_was_restored_takes_calls():
    """CALL-4: where neither side had used any."""
    pair = opened(Config(max_requests=7))
    pair.cut()
    pair.client = restore(snapshot(pair.client), pair.now, pair.config)
    pair.connect()
    assert session_calls(pair.client).limit == 7
    number = session_calls(pair.client).request("do", "x", None, 0)
    pair.run()
    assert [event.id for event in heard(pair.server_events)] == [number]


def test_what_is_sent_again_is_what_it_was():
    lone = calling(acceptor, limits=limits(max_requests=5))
    lone.hears(calls_of(1, Request("do", 1000, 9, "x")))
    session_calls(lone.session).item(1, "i")
    session_calls(lone.session).reply(1, b"r")
    first = Exactly(frame for frame in lone.says() if isinstance(frame, Calls))
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, CallPosition(0, 1, 1))
    assert [frame for frame in lone.says() if isinstance(frame, Calls)] == first
    assert first == [calls_of(1, Item(1, "i"), Reply(1, b"r"))]
