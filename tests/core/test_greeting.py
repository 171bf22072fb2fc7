"""Hello and Welcome: how a session begins, and how a link does."""

from __future__ import annotations

import hashlib

import pytest

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Detached, Ended, Opened
from reliable_ws.protocol.frames import (
    SUBPROTOCOL,
    Ack,
    CallPosition,
    Counters,
    Hello,
    Position,
    Refuse,
    Stop,
    Welcome,
)
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Phase
from tests.support.pair import ID, KEY, Pair

from .helpers import LIMITS, NOW, Lone, acceptor, counters, initiator, limits, run_of, welcome
from .two_sides import connected, said


def test_the_first_hello_says_nothing_but_zeros():
    """HELLO-1, HELLO-4, COUNT-1, CALL-4: 0 is a valid counter."""
    session = Session("initiator", ID, KEY, NOW)
    session.send("a")
    lone = Lone(session, session.dial(NOW))
    nothing = Position(Counters(0, 0, 0, False), 0, 1, 0)
    assert lone.says() == [Hello(1, 1, ID, KEY, 1, 0, nothing, LIMITS, CallPosition(0, 0, 1))]


def test_a_greeting_is_built_when_it_is_sent():
    """HELLO-4"""
    pair = Pair()
    pair.connect()
    pair.client.send("a")
    pair.client.send("b")
    pair.run()
    pair.server_take()
    pair.run()
    pair.advance(1)
    pair.cut()
    link = pair.client.dial(pair.now)
    pair.client.send("c")
    (hello,) = decode(link.transmit(pair.now), 2**20)
    assert (hello.attempt, hello.incarnation) == (2, pair.server.incarnation)
    assert (hello.position.sent, hello.position.first) == (2, 3)


def test_nothing_is_said_before_welcome():
    """HELLO-7"""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    session.send("a")
    assert [type(frame) for frame in lone.says()] == [Hello]
    session.want(1)
    session.finish(NOW)
    assert lone.says() == []
    session.tick(NOW + 9)
    assert lone.says() == []
    lone.hears(welcome())
    assert run_of(1, "a") in lone.says()


def test_the_acceptors_welcome_goes_first():
    """HELLO-6, HELLO-7"""
    pair = Pair()
    wire = pair.dial()
    pair.pull()
    pair.deliver_up()
    pair.server.send("early")
    (first, second) = (decode(wire.arrival.link.transmit(NOW), 2**20) for _ in range(2))
    assert [type(frame) for frame in first] == [Welcome]
    assert second == [run_of(1, "early")]


def test_both_sides_are_told_that_the_link_is_open():
    pair = Pair()
    pair.connect()
    assert pair.client_events == pair.server_events == [Opened(resumed=False, replayed=0)]
    assert (pair.client.attached, pair.server.attached) == (True, True)


def test_limits_are_those_of_the_first_greetings():
    """LIMIT-1, LIMIT-2"""
    pair = Pair(Config(window_messages=5), Config(window_messages=7))
    pair.connect()
    assert (pair.client.outbox.peer.window_messages, pair.server.outbox.peer.window_messages) == (
        7,
        5,
    )


def test_a_lost_welcome_leaves_no_orphan():
    """HELLO-2, HELLO-6: the next Hello finds the session that the first one made."""
    pair = Pair()
    pair.dial()
    pair.pull()
    pair.deliver_up()
    pair.server.send("from before")
    pair.pull()
    pair.cut()
    first = pair.server
    pair.connect()
    assert pair.server is first
    assert pair.wire.arrival.fresh is False
    assert pair.client_events[-2:] == [Opened(resumed=False, replayed=0), *pair.client_events[-1:]]
    assert pair.client_take() == ["from before"]


def test_the_acceptor_keeps_only_the_hash_of_the_key():
    """HELLO-16"""
    lone = acceptor()
    assert lone.session.key == hashlib.sha256(KEY).digest()
    kept = [getattr(lone.session, name) for name in Session.__slots__]
    assert KEY not in repr(kept).encode()


def test_each_session_gets_a_fresh_incarnation():
    """HELLO-9"""
    pair = Pair()
    pair.connect()
    pair.client.abort(pair.now)
    pair.run()
    other = Session("initiator", bytes(16), KEY, pair.now)
    pair.client = other
    pair.connect()
    assert other.incarnation == 43


def test_a_session_that_the_acceptor_forgot_is_not_made_anew():
    """HELLO-5, HELLO-9: what was transmitted stays unknown."""
    pair = Pair()
    pair.connect()
    pair.client.send("a")
    pair.pull()
    pair.cut()
    pair.registry._sessions.clear()
    pair.connect()
    assert len(pair.registry) == 0
    assert pair.client.ended is not None
    assert (pair.client.ended.kind, pair.client.ended.code) == (End.REFUSED, 4404)
    assert str(pair.client.report()).startswith("1 sent, 0 confirmed, 1 unknown")


def test_a_greeting_may_say_stop():
    """CLOSE-3: what was closed without a link is told by the next Hello; once."""
    pair = Pair()
    pair.connect()
    pair.server.send("untaken")
    pair.run()
    pair.cut()
    pair.client.close(pair.now)
    pair.dial()
    pair.pull()
    (hello,) = decode(pair.wire.up[0], 2**20)
    assert hello.position.counters == counters(1, 0, stopped=True)
    pair.deliver_up()
    assert pair.server.report().undelivered[0].outcome.value == "not taken"
    pair.pull()
    pair.deliver_down()
    frames = []
    while (data := pair.wire.dialer.transmit(pair.now)) is not None:
        frames += decode(data, 2**20)
    assert not any(isinstance(frame, Stop) for frame in frames)


def test_welcome_may_say_stop():
    """CLOSE-3"""
    pair = Pair()
    pair.connect()
    pair.client.send("untaken")
    pair.run()
    pair.cut()
    pair.server.close(pair.now)
    pair.connect()
    assert pair.client.report().undelivered[0].outcome.value == "not taken"


def test_a_close_between_hello_and_welcome_is_told_after_it():
    """CLOSE-3"""
    pair = Pair()
    pair.dial()
    pair.pull()
    pair.client_events += pair.client.close(pair.now)
    pair.run()
    pair._server_said(pair.server.close(pair.now))
    pair.run()
    assert (str(pair.client.ended), str(pair.server.ended)) == ("finished (1000)",) * 2


def test_a_link_shows_where_it_stands():
    lone = initiator()
    lone.sends("a")
    assert repr(lone.link) == "<Link initiated cursor=2>"
    assert repr(lone.session).startswith("<Session 30313233 initiator sending=open")
    assert KEY.hex() not in repr(lone.session)


def test_a_welcome_repeats_what_has_arrived():
    """HELLO-4, HELLO-6"""
    lone = initiator(limits=limits(max_requests=3))
    assert lone.session.outbox.peer.max_requests == 3
    assert lone.link.phase is Phase.INITIATED
    assert lone.events == [Opened(resumed=False, replayed=0)]


def test_an_abort_while_dialing_says_nothing():
    """END-5: an initiator that has not been welcomed just closes."""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    (ended,) = session.abort(NOW)
    assert isinstance(ended, Ended)
    assert lone.says() == []
    assert lone.link.close_action is not None
    assert lone.hears(Ack(0, 0)) == []


@pytest.mark.parametrize("code", [4409, 4404, 4426])
def test_a_refuse_is_the_end_of_a_first_attempt(code):
    """REFUSE-1, REFUSE-2"""
    session = Session("initiator", ID, KEY, NOW)
    session.send("a")
    lone = Lone(session, session.dial(NOW))
    lone.says()
    (ended,) = lone.hears(Refuse(code, "no", 0, None))
    assert ended.ending.kind is (End.SUPERSEDED if code == 4409 else End.REFUSED)
    assert str(session.report()).startswith("1 sent, 0 confirmed, 1 not taken")


def test_the_subprotocol_has_this_name():
    """LINK-1."""
    assert SUBPROTOCOL == "reliable-ws.v1"


def test_id_and_key_are_the_initiators_and_a_greeting_can_be_repeated():
    """HELLO-2: a lost Welcome leaves no orphan."""
    pair = Pair()
    wire = pair.dial()
    pair.pull()
    pair.deliver_up()
    pair.cut(wire)
    pair.connect()
    assert len(pair.registry) == 1
    assert pair.client.attached
    assert (pair.server.id, pair.client.key) == (ID, KEY)


def test_a_greeting_is_built_when_it_is_sent_of_two_sides():
    """HELLO-4, RESUME-5."""
    pair = connected()
    pair.client.send("a")
    pair.client.send("b")
    pair.run()
    pair.server.send("c")
    pair.run()
    pair.cut()
    pair.dial()
    pair.client_take()
    (hello,) = said(pair)
    assert isinstance(hello, Hello)
    assert hello.attempt == 2
    assert hello.incarnation == pair.server.incarnation
    assert hello.position.counters[:4] == (1, 1, 1, False)
    assert (hello.position.sent, hello.position.first, hello.position.partial) == (2, 1, 0)


def test_limits_are_those_of_the_first_greetings_of_two_sides():
    """LIMIT-2."""
    pair = connected()
    pair.cut()
    pair.registry.config = pair.server.config = Config(window_messages=7, max_frame=8192)
    pair.connect()
    assert pair.client.outbox.peer.window_messages == Config().window_messages
    assert pair.client.frame_size.limit == 8192


@pytest.mark.parametrize("code", [1001, 1012, 4508, 4529])
def test_a_refuse_that_means_later(code):
    """REFUSE-1, REFUSE-4."""
    pair = Pair()
    wire = pair.dial()
    pair.pull()
    wire.arrival.refuse(code, "come again")
    pair.run()
    assert pair.client.ended is None
    retry = 1.0 if code >= 4500 else 0.0
    assert pair.client_events == [Detached(code, "come again", retry)]


@pytest.mark.parametrize("code", [4401, 4404, 4409, 4426])
def test_a_refuse_that_is_final(code):
    """REFUSE-2: what was transmitted stays unknown."""
    pair = connected()
    pair.client.send("hi")
    pair.pull()
    pair.cut()
    pair.client.send("never transmitted")
    wire = pair.dial()
    wire.arrival.refuse(code, "no")
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.code == code
    assert pair.client.outcome(1) is Outcome.UNKNOWN
    assert pair.client.outcome(2) is Outcome.NOT_TAKEN
