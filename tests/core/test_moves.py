"""A session that one process of an acceptor leaves, and another one goes on with."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.events import Detached
from reliable_ws.protocol.frames import Ack, Code, Refuse
from reliable_ws.protocol.registry import SessionRegistry, hash_key
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored_session import StoredSession, store_whole
from tests.support.pair import ID, KEY, Pair

from .helpers import NOW, hello

WALL = 1_800_000_000.0


def go_on_elsewhere(pair: Pair, *, keeps: bool = False) -> Session:
    """Let another registry have the session as it was stored."""
    stored = store_whole(pair.server, pair.now, WALL, {"principal": None})
    pair.server_events += pair.server.move(pair.now, "moving", 0.5)
    pair.registry.shared = True
    pair.registry.retire(pair.server, pair.now)
    pair.run()
    session = StoredSession(stored).revive(pair.now, WALL, WALL, pair.config, keeps=keeps)
    pair.registry = SessionRegistry(99, pair.config)
    pair.registry.restore(session, None)
    return session


def test_a_peer_is_told_when_to_come_again():
    """REFUSE-7, REFUSE-4: only the link is over."""
    pair = Pair()
    pair.connect()
    pair.server.send("not taken")
    go_on_elsewhere(pair)
    assert Detached(Code.AWAY, "moving", 0.5) in pair.client_events
    assert pair.client.ended is None


def test_a_peer_is_sent_away_and_its_session_lives_on():
    """REFUSE-7: with a store that keeps nothing just now, the next WebSocket may reach another."""
    pair = Pair()
    pair.connect()
    pair.client.send("waits")
    pair.run()
    pair.server.keep_in_store({"principal": None})
    pair.server.durable.hold(pair.server.link)  # as before a Welcome that is not kept
    pair.server_events += pair.server.send_away(pair.now, "the engine is away", 2.0)
    pair.run()
    assert Detached(Code.AWAY, "the engine is away", 2.0) in pair.client_events
    assert pair.server.ended is None
    assert not pair.server.attached
    assert pair.server.send_away(pair.now, "again", 2.0) == []  # nobody is there


def test_what_was_owed_goes_on_in_the_other_process():
    """RESUME-7: nothing is lost, and what may come twice is flagged."""
    pair = Pair()
    pair.connect()
    pair.client.send("handed over")
    pair.client.send("waits")
    pair.server.send("owed")
    pair.run()
    pair.server.deliver()  # and never confirmed
    there = go_on_elsewhere(pair)
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.KEPT
    assert pair.server.outcome(1) is Outcome.KEPT
    assert there.durable is None
    pair.connect()
    assert there.attempt == pair.client.attempt
    assert there.inbox.redelivered_upto == 2
    assert [there.take(), there.take()] == ["handed over", "waits"]
    assert pair.client.take() == "owed"


def test_calls_that_are_owed_go_on_as_well():
    """CALL-12, CALL-22: the request arrives, and so does that nobody waits for it any more."""
    pair = Pair()
    pair.connect()
    pair.server.request("later", b"", 6)
    there = go_on_elsewhere(pair)
    pair.connect()
    assert not there.outgoing_calls.open
    assert pair.client.incoming_calls.received == 2


def test_a_session_with_a_log_moves_with_what_the_log_has():
    """STORE-9: what the store does not have is not said to be kept."""
    session = Session("acceptor", ID, hash_key(KEY), NOW, incarnation=7)
    session.keep_in_store({"principal": None})
    session.send("accepted, and not in the log")
    session.move(NOW, "moving", 0.0)
    assert session.is_left
    assert session.outcome(1) is not Outcome.KEPT


def test_a_session_without_a_link_moves_without_a_word():
    pair = Pair()
    pair.connect()
    pair.cut()
    pair.run()
    there = go_on_elsewhere(pair)
    pair.connect()
    assert there.attached


def test_what_a_shared_registry_has_left_may_come_back():
    pair = Pair()
    pair.connect()
    registry = pair.registry
    assert registry.holds(ID)
    session = go_on_elsewhere(pair)
    assert not registry.holds(ID)
    registry.restore(session, None)
    pair.registry = registry
    pair.connect()
    assert pair.client.attached


@pytest.mark.parametrize("keeps", [False, True])
def test_the_outcomes_of_a_session_that_has_ended_are_remembered_if_it_had_a_store(keeps):
    """With the tombstone, which has the session then."""
    pair = Pair()
    pair.connect()
    pair.server.send("not taken")
    session = go_on_elsewhere(pair, keeps=keeps)
    assert pair.registry.ended(ID) is None  # it lives
    session.abort(pair.now)
    pair.registry.retire(session, pair.now)
    ended = pair.registry.ended(ID)
    assert ended is (session if keeps else None)


def test_a_first_message_is_looked_at_and_changes_nothing():
    registry = SessionRegistry(1)
    arrival = registry.arrive(NOW)
    frame = hello()
    assert arrival.peek(encode([frame])) == frame
    assert arrival.key_hash(frame) == hash_key(frame.key)
    assert len(registry) == 0
    assert arrival.deadline < float("inf")


@pytest.mark.parametrize("data", [b"\xff", "text", encode([Ack(0, 0)]), encode([hello(), hello()])])
def test_what_holds_no_hello_is_left_to_the_registry(data: bytes | str):
    assert SessionRegistry(1).arrive(NOW).peek(data) is None


def test_an_arrival_is_told_to_come_again_where_the_session_cannot_be_found():
    """REFUSE-7"""
    arrival = SessionRegistry(1).arrive(NOW)
    arrival.refuse(Code.AWAY, "not now")
    assert arrival.transmit(NOW) == encode([Refuse(Code.AWAY, "not now", 1000, None)])
