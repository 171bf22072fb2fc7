"""Other ends: abort, no contact, a close that is given up."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Ended
from reliable_ws.protocol.frames import Ack, Code, Finish, Partial, Refuse
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY, Pair

from .closing import do, either, ended, opened, other, outcomes
from .helpers import CONFIRMED, NOT_TAKEN, NOW, UNKNOWN, acceptor, counters, initiator, position
from .two_sides import connected, said


@either
def test_abort_settles_what_the_peer_had_sent(who):
    """END-1, END-2"""
    pair = opened()
    aborter, peer = getattr(pair, who), getattr(pair, other(who))
    peer.send("taken")
    peer.send("untaken")
    aborter.send("who knows")
    pair.run()
    assert aborter.inbox.take() == "taken"
    aborter.send("never sent")
    do(pair, who, "abort", 4499, "enough")
    pair.run()
    assert outcomes(aborter) == [UNKNOWN, NOT_TAKEN]
    assert outcomes(peer) == [CONFIRMED, NOT_TAKEN]
    assert aborter.ended == (End.ABORTED, 4499, "enough")
    assert peer.ended == (End.REFUSED, 4499, "enough")


@either
def test_abort_of_a_side_that_is_done_finishes(who):
    """CLOSE-6: no ending changes that it ended as agreed."""
    pair = opened()
    do(pair, who, "finish")
    do(pair, other(who), "finish")
    pair.run()
    assert ended(pair)
    lone = initiator()
    lone.session.close(NOW)
    lone.says()
    lone.hears(Ack(1, 1))
    (end,) = lone.session.abort(NOW)
    assert end.ending == (End.FINISHED, 1000, "")
    assert lone.says() == [Refuse(4410, "", 0, counters(stopped=True))]


@either
def test_without_contact_a_session_ends_at_its_ttl(who):
    """END-4, END-3: on each side for itself."""
    pair = opened()
    session = getattr(pair, who)
    session.send("a")
    pair.run()
    session.send("b")
    pair.cut()
    pair.advance(119)
    assert session.ended is None
    pair.advance(2)
    assert session.ended == (End.EXPIRED, 4410, "no contact with the peer")
    assert outcomes(session) == [UNKNOWN, NOT_TAKEN]


def test_the_end_for_want_of_contact_says_why_there_was_none():
    """END-4: what the driver knows of its attempts is in the words, and is the cause."""
    pair = opened()
    pair.client.send("a")
    pair.cut()
    error = OSError("no route")
    pair.client.obstacle = ("no route", error)
    pair.advance(121)
    assert pair.client.ended == (
        End.EXPIRED,
        4410,
        "no contact with the peer; last attempt: no route",
    )
    assert pair.client.error().__cause__ is error


def test_an_obstacle_that_is_overcome_is_forgotten():
    pair = opened()
    pair.cut()
    pair.client.obstacle = ("no route", OSError())
    pair.connect()
    assert pair.client.attached
    assert pair.client.obstacle is None


def test_an_acceptor_that_expired_still_tells_what_it_took():
    """TOMB-4, END-1: the initiator comes late and hears the truth."""
    pair = Pair(Config(session_ttl=200), Config(session_ttl=50))
    pair.connect()
    pair.client.send("taken")
    pair.client.send("untaken")
    pair.run()
    assert pair.server.inbox.take() == "taken"
    pair.cut()
    pair.advance(60)
    assert pair.server.ended is not None
    pair.connect()
    assert pair.client.ended == (End.REFUSED, 4410, "this session has ended")
    assert outcomes(pair.client) == [CONFIRMED, NOT_TAKEN]


@either
def test_close_gives_up_without_progress(who):
    """CLOSE-10"""
    pair = opened()
    session = getattr(pair, who)
    session.send("never taken")
    pair.run()
    do(pair, who, "close")
    pair.run()
    pair.advance(29)
    assert session.ended is None
    pair.advance(2)
    assert session.ended == (End.EXPIRED, 4410, "no progress while closing")
    assert outcomes(session) == [UNKNOWN]
    assert getattr(pair, other(who)).ended is not None


def test_close_goes_on_while_there_is_progress_until_the_hard_limit():
    """CLOSE-10, CLOSE-21"""
    pair = opened(Config(close_timeout=100))
    for number in range(200):
        pair.client.send(number)
    pair.run()
    do(pair, "client", "close")
    for _ in range(9):
        pair.advance(10)
        pair.server.inbox.take()
    assert pair.client.ended is None
    pair.advance(11)
    assert pair.client.ended == (End.EXPIRED, 4410, "close() took too long")
    assert outcomes(pair.client).count(CONFIRMED) == 9


def test_close_takes_a_timeout_and_the_shortest_counts():
    """CLOSE-10"""
    lone = initiator()
    lone.session.send("a")
    lone.session.close(NOW, timeout=10)
    lone.session.close(NOW, timeout=15)
    assert lone.session.tick(NOW + 9.9) == []
    assert lone.session.closing
    assert [type(event) for event in lone.session.tick(NOW + 10)] == [Ended]


def test_close_is_bounded_when_the_peer_never_answered():
    """CLOSE-10, G6"""
    session = Session("initiator", ID, KEY, NOW)
    session.send("a")
    session.close(NOW)
    session.dial(NOW)
    now = NOW
    while session.ended is None:
        now = session.deadline
        session.tick(now)
    assert now == NOW + 30
    assert outcomes(session) == [NOT_TAKEN]


def test_parts_that_go_are_progress():
    """CLOSE-21"""
    lone = initiator()
    lone.session.send(b"x" * 2_000_000)
    lone.session.close(NOW)
    for _ in range(7):
        assert lone.link.transmit(lone.now)
        lone.now += 15
        lone.hears(Ack(0, 0))
        lone.session.tick(lone.now)
    assert lone.session.ended is None


def test_the_ending_says_the_peers_last_word():
    """CLOSE-16"""
    lone = acceptor()
    lone.session.finish(NOW, 1001, "ours")
    lone.says()
    lone.hears(Ack(1, 1), Finish(1, 3000, "theirs"))
    assert lone.session.ended == (End.FINISHED, 3000, "theirs")
    assert lone.session.error().code == 3000


def test_without_any_finish_an_end_is_1000():
    """CLOSE-16: the peer has stopped before we said Finish, and so have we."""
    lone = acceptor(position=position(counters(stopped=True)))
    lone.session.close(NOW)
    assert lone.session.outbox.finish is None
    assert lone.session.ended == (End.FINISHED, 1000, "")
    assert lone.session.error().code == 1000


def test_an_error_before_the_end_speaks_of_the_half():
    lone = initiator()
    assert lone.session.error().code == 1000
    lone.session.finish(NOW, 1001, "away")
    assert (lone.session.error().code, lone.session.error().reason) == (1001, "away")


def test_a_close_that_stands_still_is_given_up():
    """CLOSE-10, END-2: and the peer is told the final counters."""
    pair = connected(Config(close_progress_timeout=5, close_timeout=100))
    pair.client.send("never taken")
    pair.client.close(pair.now)
    pair.run()
    pair.advance(4)
    assert pair.client.ended is None
    pair.advance(2)
    assert pair.client.ended is not None
    assert pair.client.ended[:2] == (End.EXPIRED, Code.ENDED)
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.REFUSED
    assert pair.server.ended.code == Code.ENDED


@pytest.mark.parametrize("before", [0.0, 0.1, 5.0, 19.9])
def test_a_link_that_died_unnoticed_does_not_take_close_with_it(before):
    """CLOSE-23, LIVE-3: by default there is time to notice it, and to open another."""
    config = Config()
    pair = connected(config)
    pair.client.send("still on its way")
    pair.wire.alive = False  # nothing gets through from now on, and nobody says so
    pair.advance(before)
    pair.client.close(pair.now)
    pair.advance(config.idle_timeout - before)
    assert not pair.client.attached
    pair.now += config.open_timeout - 0.1  # so long the next WebSocket takes
    pair.client_events += pair.client.tick(pair.now)
    pair.connect()
    assert pair.server_take() == ["still on its way"]
    pair.server_events += pair.server.close(pair.now)
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED
    assert pair.client.report().undelivered == ()


def test_a_transfer_over_a_slow_link_is_progress():
    """CLOSE-21, CLOSE-24: for as long as it moves, also beyond the limit in all."""
    config = Config(close_progress_timeout=30, close_timeout=100)
    lone = acceptor(config)
    lone.sends(bytes(2**20))
    lone.session.close(NOW)
    lone.says()  # the network swallows it at once
    lone.hears(Ack(0, 0))
    for held in range(1, 20):  # and delivers it slowly
        lone.now += 20
        lone.hears(Partial(1, held * 1000))
        assert lone.session.tick(lone.now) == []
        lone.says()
    lone.now += 29
    lone.hears(Partial(1, 19_000))  # nothing new
    assert lone.session.tick(lone.now) == []
    lone.now += 1
    lone.session.tick(lone.now)
    assert lone.session.ended == (End.EXPIRED, Code.ENDED, "no progress while closing")


def test_messages_that_arrive_slowly_are_not_cut_off():
    """CLOSE-24: the limit in all begins anew with each that arrives."""
    lone = acceptor(Config(close_progress_timeout=30, close_timeout=50))
    lone.sends(*"abcdefgh")
    lone.session.close(NOW)
    lone.says()
    for received in range(1, 9):
        lone.now += 20
        lone.hears(Ack(received, 0))
        assert lone.session.tick(lone.now) == []
    lone.now += 25
    lone.hears(Ack(8, 1))  # taken, which is progress; but nothing is on its way
    assert lone.session.tick(lone.now) == []
    lone.now += 25
    lone.session.tick(lone.now)
    assert lone.session.ended == (End.EXPIRED, Code.ENDED, "close() took too long")


def test_a_close_that_crawls_has_a_limit():
    """CLOSE-10."""
    pair = connected(Config(close_progress_timeout=5, close_timeout=30))
    for n in range(100):
        pair.client.send(n)
    pair.run()
    pair.client.close(pair.now)
    for _ in range(29):
        pair.server.inbox.take()
        pair.advance(1)
    assert pair.client.ended is None
    pair.server.inbox.take()
    pair.advance(2)
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.EXPIRED


def test_an_end_freezes_intake_and_says_so():
    """END-1, END-2."""
    pair = connected()
    pair.client.send("a")
    pair.client.send("b")
    pair.run()
    pair.server.inbox.take()
    pair.server.abort(pair.now, reason="enough")
    assert len(pair.server.inbox) == 0
    (refuse,) = said(pair, "server")
    assert isinstance(refuse, Refuse)
    assert refuse.code == Code.ABORTED
    assert refuse.counters == pair.server.inbox.counters()
    assert refuse.counters[:4] == (2, 1, 1, True)


def test_without_the_peers_last_word_transmitted_means_unknown():
    """END-3."""
    pair = connected(Config(window_messages=1, outbox_messages=5))
    pair.client.send("a")
    pair.client.send("b")
    pair.pull()
    pair.client.abort(pair.now)
    assert pair.client.outcome(1) is Outcome.UNKNOWN
    assert pair.client.outcome(2) is Outcome.NOT_TAKEN
