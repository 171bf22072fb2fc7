"""What a link knows of itself besides its frames."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.events import Arrived, Detached
from reliable_ws.protocol.frames import (
    TYPES,
    Ack,
    CallAck,
    Calls,
    Done,
    Finish,
    Hello,
    Messages,
    Part,
    Partial,
    Refuse,
    Stop,
    Void,
    Want,
    Welcome,
)
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import LINK, Phase
from tests.support.calls import session_calls
from tests.support.pair import ID, KEY

from .helpers import (
    NO_CALLS_YET,
    NOW,
    Lone,
    acceptor,
    calls_of,
    counters,
    either_side,
    hello,
    initiator,
    limits,
    position,
    run_of,
    welcome,
)
from .two_sides import connected, said


@either_side
def test_a_link_is_restless_while_it_may_have_something_to_say(side):
    """A driver asks this before it asks for bytes; too often is allowed, too seldom is not."""
    lone = side()
    assert not lone.link.has_output
    lone.session.send("a")
    assert lone.link.has_output
    lone.says()
    assert not lone.link.has_output
    lone.session.want(1)
    assert lone.link.has_output
    lone.says()
    assert not lone.link.has_output
    lone.hears(run_of(1, "x"), Finish(2, 1000, ""))
    assert not lone.link.has_output
    lone.takes(1)
    assert lone.link.has_output
    lone.says()
    lone.session.tick(NOW + 7)
    assert lone.link.has_output
    lone.says()
    lone.hears(Ack(1, 1))
    lone.session.close(NOW)
    assert lone.link.has_output


def test_a_link_is_restless_until_it_has_greeted_and_when_it_is_over():
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    assert lone.link.has_output
    lone.says()
    lone.hears(welcome())
    session.abort(NOW)
    assert lone.link.has_output
    lone.says()


@either_side
def test_a_stop_makes_a_link_restless_until_it_is_told(side):
    lone = side()
    lone.hears(run_of(1, "untaken"))
    lone.says()
    lone.session.close(NOW)
    assert lone.link.has_output
    lone.says()
    assert not lone.link.has_output


@either_side
def test_a_shut_gate_makes_no_difference_but_the_way(side):
    lone = side()
    lone.session.hold_offers()
    assert lone.session.outbox.offer("a") == 0
    assert lone.session.send("a") == 1
    lone.session.resume_offers()
    assert lone.session.outbox.offer("b") == 2


@either_side
def test_a_link_is_at_its_end_when_messages_and_calls_are(side):
    """A driver stops asking for bytes then."""
    lone = side(calls=NO_CALLS_YET)
    assert lone.link.at_end
    lone.session.send("a")
    assert not lone.link.at_end
    lone.says()
    assert lone.link.at_end
    session_calls(lone.session).request("do", "", None, 0)
    assert not lone.link.at_end
    assert lone.link.has_output
    lone.says()
    assert lone.link.at_end
    lone.hears(Stop(counters(1, stopped=True)))
    assert not lone.link.has_output


@either_side
def test_one_event_stands_for_a_whole_run(side):
    lone = side()
    assert lone.hears(run_of(1, *"abc")) == [Arrived(3)]


FRAMES = {
    Welcome: welcome(),
    Messages: run_of(1, "x"),
    Part: Part(1, 0, 9, 0, b"x"),
    Finish: Finish(1, 1000, ""),
    Ack: Ack(1, 1),
    Want: Want(1),
    Partial: Partial(1, 1),
    Calls: calls_of(1, Void()),
    CallAck: CallAck(0),
    Stop: Stop(counters(1, stopped=True)),
    Done: Done(counters(1)),
    Refuse: Refuse(4529, "later", 0, None),
    Hello: hello(attempt=2),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.OVER])
def test_a_link_moves_as_the_table_says(phase, kind):
    """LINK-2, LINK-5: every cell of it, with a frame that is otherwise good."""
    if phase is Phase.DIALING:
        session = Session("initiator", ID, KEY, NOW)
        lone = Lone(session, session.dial(NOW))
        lone.says()
    else:
        side = initiator if phase is Phase.INITIATED else acceptor
        lone = side(calls=NO_CALLS_YET)
        lone.sends("a")
    if kind is Done and phase is Phase.INITIATED:
        lone.hears(Finish(1, 1000, ""))
    assert lone.link.phase is phase
    lone.hears(FRAMES[kind])
    after = LINK[phase].get(kind)
    ended = lone.session.ended
    assert lone.link.phase is (after or Phase.OVER)
    assert (ended is not None and ended.kind is End.VIOLATION) == (after is None)


def test_the_windows_of_the_peer_are_those_of_its_greeting():
    lone = initiator(limits=limits(window_messages=2), position=position(counters()))
    assert lone.session.outbox.peer.window_messages == 2


def test_a_link_dialed_after_the_end_changes_nothing():
    """END-1: whatever it is told."""
    lone = initiator()
    lone.sends("a")
    lone.session.abort(NOW)
    before = lone.outcomes()
    lone.link = lone.session.dial(NOW)
    lone.says()
    lone.hears(welcome(resumed=True, position=position(counters(1, 0, stopped=True))))
    assert lone.outcomes() == before
    lone.link = lone.session.dial(NOW)
    assert lone.session.lost(lone.link, None, "", NOW) == []


@either_side
def test_whether_a_link_is_open_is_known(side):
    lone = side()
    assert lone.session.attached
    lone.session.lost(lone.link, None, "", NOW)
    assert not lone.session.attached


def test_a_link_that_is_dialing_is_not_open():
    session = Session("initiator", ID, KEY, NOW)
    assert not session.attached
    session.dial(NOW)
    assert not session.attached


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1011])
def test_the_end_of_a_websocket_settles_nothing(code):
    """LINK-3, CODE-1."""
    pair = connected()
    pair.client.send("hi")
    pair.pull()
    pair.client_events += pair.client.lost(pair.wire.dialer, code, "", pair.now)
    assert pair.client.ended is None
    assert pair.client.outcome(1) is Outcome.PENDING
    assert Detached(code, "", None) in pair.client_events


def test_a_first_number_and_payloads_behind_it():
    """MSG-1, ACK-1."""
    pair = connected()
    for word in ("a", "b", "c"):
        pair.client.send(word)
    assert said(pair) == [Messages(1, ["a", "b", "c"])]
