"""When an Ack goes: at once if it is due, riding with others, or a little later."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import Ack, Finish, Messages, Want
from tests.support.pair import Pair

from .helpers import (
    NOW,
    SMALL,
    acceptor,
    counters,
    either_side,
    hello,
    initiator,
    position,
    run_of,
)
from .two_sides import MAX_FRAME, connected, said


@either_side
def test_news_that_nobody_waits_for_is_told_after_a_short_delay(side):
    """ACK-4: arrival first, then what was taken meanwhile."""
    lone = side()
    lone.hears(run_of(1, "a", "b"))
    assert lone.says() == []
    lone.takes(1)
    assert lone.says() == []
    assert lone.session.deadline == pytest.approx(NOW + 0.025)
    lone.now = lone.session.deadline
    lone.session.tick(lone.now)
    assert lone.says() == [Ack(2, 1)]
    assert lone.session.deadline > lone.now + 1


@either_side
def test_an_ack_rides_first_with_what_goes_anyway(side):
    """ACK-2"""
    lone = side()
    lone.hears(run_of(1, "a"))
    assert lone.sends("x") == [Ack(1, 0), run_of(1, "x")]
    lone.takes(1)
    assert lone.sends("y") == [Ack(1, 1), run_of(2, "y")]
    assert lone.sends("z") == [run_of(3, "z")]
    lone.session.tick(lone.now + 1)
    assert lone.says() == []


@either_side
def test_an_ack_is_due_at_a_quarter_of_the_window(side):
    """ACK-3"""
    lone = side(Config(window_messages=8))
    lone.hears(run_of(1, *"abcd"))
    lone.takes(1)
    assert lone.says() == []
    lone.takes(1)
    assert lone.says() == [Ack(4, 2)]
    lone.takes(1)
    assert lone.says() == []
    lone.takes(1)
    assert lone.says() == [Ack(4, 4)]


@either_side
def test_an_ack_is_due_at_a_quarter_of_the_window_in_bytes(side):
    """ACK-3"""
    lone = side(Config(window_bytes=4000))
    lone.hears(run_of(1, b"x" * 600))
    lone.takes(1)
    assert lone.says() == []
    lone.hears(run_of(2, b"x" * 600, b"y"))
    lone.takes(1)
    assert lone.says() == []
    lone.takes(1)
    assert lone.says() == [Ack(3, 3)]


@either_side
def test_who_wants_to_know_is_told_at_once(side):
    """ACK-5, ACK-3"""
    lone = side()
    lone.hears(Want(2), run_of(1, "a", "b", "c"))
    lone.takes(1)
    assert lone.says() == []
    lone.takes(1)
    assert lone.says() == [Ack(3, 2)]
    lone.takes(1)
    assert lone.says() == []


@either_side
def test_a_want_of_what_is_taken_already_is_answered_at_once(side):
    """ACK-5"""
    lone = side()
    lone.hears(run_of(1, "a"))
    lone.takes(1)
    lone.hears(Want(1))
    assert lone.says() == [Ack(1, 1)]
    lone.hears(Want(1))
    assert lone.says() == []  # it was told on this link


@either_side
def test_only_the_highest_want_counts(side):
    """ACK-5"""
    lone = side()
    lone.hears(run_of(1, "a", "b", "c"))
    lone.hears(Want(3))
    lone.hears(Want(1))
    lone.takes(2)
    assert lone.says() == []
    lone.takes(1)
    assert lone.says() == [Ack(3, 3)]


@either_side
def test_the_peers_finish_is_confirmed_at_once(side):
    """ACK-3, CLOSE-1: when everything before it is taken."""
    lone = side()
    lone.hears(run_of(1, "a"), Finish(2, 1000, ""))
    assert lone.says() == []
    lone.takes(1)
    assert lone.says() == [Ack(2, 2)]


@either_side
def test_our_want_goes_once_with_its_message(side):
    """ACK-9"""
    lone = side()
    lone.session.want(2)
    assert lone.sends("a") == [run_of(1, "a")]
    assert lone.sends("b") == [Want(2), run_of(2, "b")]
    lone.session.want(2)
    lone.session.want(1)
    assert lone.says() == []


@either_side
def test_our_want_may_come_after_its_message(side):
    """ACK-5"""
    lone = side()
    lone.sends("a")
    lone.session.want(1)
    assert lone.says() == [Want(1)]


@either_side
def test_what_is_confirmed_is_not_wanted(side):
    lone = side()
    lone.sends("a")
    lone.hears(Ack(1, 1))
    lone.session.want(1)
    assert lone.says() == []


def test_want_is_said_again_on_the_next_link():
    """ACK-9: while it still matters."""
    lone = initiator()
    lone.session.want(1)
    lone.sends("a")
    lone.session.lost(lone.link, None, "", NOW)
    lone.dials(position=position(counters(1, 0)))
    assert lone.says() == [Want(1)]
    lone.session.lost(lone.link, None, "", NOW)
    lone.dials(position=position(counters(1)))
    assert lone.says() == []


@either_side
def test_want_of_finish_is_within_the_smallest_window(side):
    """ACK-10: an honest peer may want to know of Finish too."""
    pair = Pair(Config(window_messages=1))
    pair.connect()
    first, second = (pair.client, pair.server) if side is initiator else (pair.server, pair.client)
    first.send("a")
    first.finish(pair.now)
    first.want(2)
    pair.run()
    assert second.ended is None
    pair.client_take()
    pair.server_take()
    pair.run()
    assert first.outbox.confirmed == 2


@either_side
def test_no_ack_is_acked(side):
    """ACK-8: heartbeats too, unless one of ours is nearly due (LIVE-9)."""
    lone = side()
    lone.sends("a")
    lone.hears(Ack(1, 0))
    lone.hears(Ack(1, 1))
    lone.hears(Ack(1, 1))
    assert lone.says() == []
    assert lone.session.deadline > NOW + 1


@either_side
def test_an_ack_tells_two_things_and_only_one_releases(side):
    """ACK-1"""
    lone = side()
    lone.sends("a", "b")
    lone.hears(Ack(2, 0))
    assert (len(lone.session.outbox), lone.session.outbox.acked) == (2, 2)
    lone.hears(Ack(2, 1))
    assert len(lone.session.outbox) == 1


def test_the_greeting_tells_what_an_ack_would():
    """HELLO-4: so nothing is told twice."""
    lone = acceptor()
    lone.hears(run_of(1, "a"))
    lone.takes(1)
    lone.session.lost(lone.link, None, "", NOW)
    arrival = lone.registry.arrive(NOW)
    arrival.receive(encode([hello(attempt=2, position=position(sent=1))]), NOW)
    lone.link = arrival.link
    (welcome,) = lone.says()
    assert welcome.position.counters == counters(1)
    lone.session.tick(NOW + 1)
    assert lone.says() == []


def test_a_stream_does_not_pay_an_ack_per_message():
    """ACK-3"""
    pair = Pair()
    pair.connect()
    acks = 0
    for number in range(1000):
        pair.client.send(number)
        pair.pull()
        pair.deliver_up()
        pair.server_take()
        pair.pull()
        while pair.wire.down:
            acks += 1
            pair.deliver_down()
    assert acks == 0
    pair.advance(0.03)
    assert pair.client.outbox.confirmed == 1000


def test_acks_keep_the_smallest_window_going():
    """WINDOW-1: one message at a time, without any timer."""
    pair = Pair(SMALL)
    pair.connect()
    began = pair.now
    taken = []
    for number in range(4):
        pair.client.send(number)
    for _ in range(10):
        pair.run()
        taken += pair.server_take()
    assert len(taken) == 4
    pair.run()
    assert (pair.client.outbox.confirmed, pair.now) == (4, began)


def test_only_confirmed_releases():
    """ACK-1, ACK-4: what nobody waits for is told after a short delay."""
    pair = connected()
    pair.client.send("hi")
    pair.run()
    pair.advance(0.03)
    assert pair.client.outbox.acked == 1
    assert len(pair.client.outbox) == 1
    pair.server_take()
    pair.run()
    assert len(pair.client.outbox) == 1, "it is not due"
    pair.advance(0.03)
    assert len(pair.client.outbox) == 0


def test_an_ack_rides_first():
    """ACK-2."""
    pair = connected()
    pair.client.send("question")
    pair.run()
    pair.server_take()
    pair.server.send("answer")
    assert said(pair, "server") == [Ack(1, 1), Messages(1, ["answer"])]


def test_a_confirmed_send_takes_one_round_trip():
    """ACK-5, ACK-8: one Ack, and nothing because of it."""
    pair = connected()
    pair.client.want(pair.client.send("hi"))
    pair.pull()
    pair.deliver_up()
    pair.server_take()
    pair.pull()
    assert [decode(data, MAX_FRAME) for data in pair.wire.down] == [[Ack(1, 1)]]
    pair.deliver_down()
    assert said(pair) == []
    pair.advance(1)
    assert said(pair) == []
