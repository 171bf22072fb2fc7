"""A session as plain values, and back: as if the network had dropped."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import MessageTooLarge
from reliable_ws.protocol.frames import Ack, Counters, Finish, Stop
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving, Sending
from reliable_ws.protocol.stored_session import restore
from tests.support.pair import Pair
from tests.support.snapshots import snapshot

from .helpers import NOW, counters, either_side, initiator, position, run_of


def opened() -> Pair:
    pair = Pair()
    pair.connect()
    return pair


def crash_client(pair: Pair) -> Session:
    pair.cut()
    pair.client = restore(snapshot(pair.client), pair.now, pair.config)
    return pair.client


def crash_server(pair: Pair) -> Session:
    pair.cut()
    old = pair.server
    session = restore(snapshot(old), pair.now, pair.config)
    pair.registry._sessions[old.id] = session
    pair._server = session
    return session


CRASHES = {"client": crash_client, "server": crash_server}
either = pytest.mark.parametrize("who", CRASHES)


def other(who: str) -> str:
    return "server" if who == "client" else "client"


def take(pair: Pair, who: str) -> list:
    return pair.client_take() if who == "client" else pair.server_take()


@either_side
def test_a_snapshot_is_made_of_plain_values(side):
    lone = side()
    lone.sends("a", b"b", [1])
    lone.hears(run_of(1, "x"), Finish(2, 1000, ""))
    lone.takes(1)
    lone.session.finish(NOW)
    values = snapshot(lone.session)
    stored = msgpack.unpackb(msgpack.packb(values))
    assert snapshot(restore(stored, NOW)) == values


@either
def test_what_was_not_confirmed_is_sent_again(who):
    """RESUME-7"""
    pair = opened()
    session = getattr(pair, who)
    session.send("confirmed")
    pair.run()
    take(pair, other(who))
    pair.advance(1)
    session.send("transmitted")
    pair.run()
    session.send(["accepted"])
    session = CRASHES[who](pair)
    assert (session.outbox.confirmed, session.outbox.last) == (1, 3)
    pair.connect()
    assert len(take(pair, other(who))) == 2
    pair.advance(1)
    assert session.outbox.confirmed == 3


@either
def test_what_was_not_taken_comes_again_and_may_be_known(who):
    """RESUME-5, RESUME-7: flagged up to what the peer had sent."""
    pair = opened()
    sender, receiver = getattr(pair, other(who)), getattr(pair, who)
    for letter in "abc":
        sender.send(letter)
    pair.run()
    receiver.inbox.take()
    receiver.inbox.deliver()
    pair.advance(1)
    sender.send("d")
    receiver = CRASHES[who](pair)
    pair.connect()
    assert receiver.inbox.redelivered_upto == 3
    assert take(pair, who) == ["b", "c", "d"]


@either
def test_a_restored_session_may_be_told_of_anything_it_had_accepted(who):
    """R4 of the model: what really went is not known."""
    pair = opened()
    session = getattr(pair, who)
    session.send("a")
    values = snapshot(session)
    pair.run()
    take(pair, other(who))
    pair.cut()
    restored = restore(values, pair.now, pair.config)
    if who == "client":
        pair.client = restored
    else:
        pair.registry._sessions[restored.id] = restored
        pair._server = restored
    pair.connect()
    pair.advance(1)
    assert (restored.ended, restored.outbox.confirmed) == (None, 1)


@either
@pytest.mark.parametrize("confirmed", [False, True])
def test_finish_keeps_its_number(who, confirmed):
    pair = opened()
    session = getattr(pair, who)
    session.send("a")
    session.finish(pair.now, 1001, "away")
    pair.run()
    if confirmed:
        take(pair, other(who))
        pair.run()
        assert session.outbox.state is Sending.FINISHED
    session = CRASHES[who](pair)
    assert session.outbox.finish == Finish(2, 1001, "away")
    assert session.outbox.state in (Sending.FINISHED, Sending.FINISHING)
    pair.connect()
    take(pair, other(who))
    getattr(pair, other(who)).finish(pair.now)
    pair.run()
    pair.advance(1)
    assert {pair.client.ended.kind, pair.server.ended.kind} == {End.FINISHED}
    assert getattr(pair, who).report().confirmed == 1


@either
def test_the_peers_finish_that_was_taken_stays_taken(who):
    pair = opened()
    getattr(pair, other(who)).finish(pair.now)
    pair.run()
    session = CRASHES[who](pair)
    assert (session.inbox.state, session.inbox.counters()) == (
        Receiving.FINISHED,
        counters(1, handed=0),
    )
    pair.connect()
    session.finish(pair.now)
    pair.run()
    pair.advance(1)
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED


@either
def test_the_peers_finish_that_was_not_taken_comes_again(who):
    pair = opened()
    sender = getattr(pair, other(who))
    sender.send("a")
    sender.finish(pair.now)
    pair.run()
    session = CRASHES[who](pair)
    assert session.inbox.state is Receiving.OPEN
    pair.connect()
    assert take(pair, who) == ["a"]
    assert session.inbox.state is Receiving.FINISHED


@either
def test_a_stop_is_never_taken_back(who):
    """CLOSE-3: its counters may have been told."""
    pair = opened()
    sender, session = getattr(pair, other(who)), getattr(pair, who)
    for number in range(5):
        sender.send(number)
    pair.run()
    for _ in range(4):
        session.inbox.deliver()
    session.inbox.confirm(1)
    session.inbox.confirm(3)
    session.close(pair.now)
    before = session.inbox.counters()
    session = CRASHES[who](pair)
    assert session.inbox.counters() == before == Counters(5, 1, 4, True, ((3, 3),))
    pair.connect()
    assert (len(session.inbox), session.inbox.state) == (0, Receiving.STOPPED)
    assert [sender.outcome(n).value for n in range(1, 6)] == [
        "confirmed",
        "unknown",
        "confirmed",
        "unknown",
        "not taken",
    ]


@either_side
def test_what_the_peer_settled_stays_settled(side):
    """CLOSE-4"""
    lone = side()
    lone.sends("a", "b", "c")
    lone.hears(Ack(1, 1), Stop(counters(3, 1, 2, stopped=True)))
    session = restore(snapshot(lone.session), NOW)
    assert session.outbox.blocked
    assert [session.outcome(n) for n in (1, 2, 3)] == [
        Outcome.CONFIRMED,
        Outcome.UNKNOWN,
        Outcome.NOT_TAKEN,
    ]


def test_attempt_incarnation_and_limits_survive():
    """RESUME-1, HELLO-9, LIMIT-2"""
    lone = initiator()
    session = restore(snapshot(lone.session), NOW)
    assert (session.attempt, session.incarnation, session.outbox.peer) == (
        1,
        42,
        lone.session.outbox.peer,
    )
    assert session.dial(NOW) is session.link
    assert session.attempt == 2


@pytest.mark.parametrize("message", [bytes(1001), "x" * 1001, ["x" * 1001]])
def test_a_peers_limit_below_ours_holds_after_a_restart(message):
    """PART-5"""
    pair = Pair(server_config=Config(max_message=1000))
    pair.connect()
    session = crash_client(pair)
    with pytest.raises(MessageTooLarge):
        session.send(message)


def test_a_message_larger_than_the_peers_limit_is_still_refused_after_a_restart():
    """PART-5"""
    lone = initiator()
    session = restore(snapshot(lone.session), NOW)
    with pytest.raises(MessageTooLarge):
        session.send(b"x" * (2**26 + 1))
    assert session.send("small") == 1


def test_a_restored_initiator_flags_only_what_came_before():
    """RESUME-7"""
    lone = initiator()
    lone.hears(run_of(1, "a"))
    lone.session = restore(snapshot(lone.session), NOW)
    lone.dials(position=position(sent=1))
    assert lone.session.inbox.redelivered_upto == 1
    lone.session.lost(lone.link, None, "", NOW)
    lone.hears(run_of(1, "a", "b"))
    lone.dials(position=position(sent=2))
    assert lone.session.inbox.redelivered_upto == 1
