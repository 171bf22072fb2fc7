"""The acceptor's registry: who may come in, what is remembered, what is let go."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code, Part, Refuse, Welcome
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.report import End, Ending, Outcome
from tests.support.pair import Pair

from .helpers import NOW, Lone, counters, hello, limits, run_of


def ident(number: int) -> bytes:
    return number.to_bytes(16, "big")


def knock(
    registry: SessionRegistry,
    number: int,
    now: float = NOW,
    principal: object = None,
    **changes: object,
) -> tuple[Arrival, Refuse | Welcome]:
    """Say Hello, and return what is answered."""
    arrival = registry.arrive(now, principal)
    frame = hello(session=ident(number), **changes)
    arrival.receive(encode([frame]), now)
    (answer,) = decode((arrival.link or arrival).transmit(now) or b"", 2**20)
    assert isinstance(answer, Refuse | Welcome)
    return arrival, answer


def retire(registry: SessionRegistry, arrival: Arrival, now: float = NOW) -> None:
    assert arrival.session is not None
    arrival.session.abort(now)
    registry.retire(arrival.session, now)


def test_too_many_sessions():
    """LIMIT-3: new ones are to come again later, held ones resume."""
    registry = SessionRegistry(1, Config(max_sessions=2))
    first, _ = knock(registry, 1)
    knock(registry, 2)
    _, refuse = knock(registry, 3)
    assert refuse == Refuse(Code.BUSY, "too many sessions", 1000, None)
    assert isinstance(knock(registry, 1, attempt=2)[1], Welcome)
    retire(registry, first)
    assert isinstance(knock(registry, 3)[1], Welcome)
    assert len(registry) == 2


def test_too_many_sessions_of_one_principal():
    """LIMIT-3: who is nobody in particular is not counted."""
    registry = SessionRegistry(1, Config(max_per_principal=1))
    first, _ = knock(registry, 1, principal="ann")
    assert isinstance(knock(registry, 2, principal="bob")[1], Welcome)
    assert isinstance(knock(registry, 3)[1], Welcome)
    assert isinstance(knock(registry, 4)[1], Welcome)
    _, refuse = knock(registry, 5, principal="ann")
    assert refuse == Refuse(Code.BUSY, "too many sessions of one principal", 1000, None)
    retire(registry, first)
    assert isinstance(knock(registry, 5, principal="ann")[1], Welcome)


def test_a_drained_book_takes_no_new_session():
    """REFUSE-3: resumes are still answered."""
    registry = SessionRegistry(1)
    knock(registry, 1)
    registry.draining = True
    assert knock(registry, 2)[1] == Refuse(Code.BUSY, "going away", 1000, None)
    assert isinstance(knock(registry, 1, attempt=2)[1], Welcome)


def test_a_tombstone_answers_its_holder_only():
    """TOMB-4, HELLO-5, RESUME-9"""
    registry = SessionRegistry(1)
    arrival, _ = knock(registry, 1, principal="ann")
    retire(registry, arrival)
    _, refuse = knock(registry, 1, principal="ann", attempt=2, incarnation=2)
    assert refuse == Refuse(Code.ENDED, "this session has ended", 0, counters(stopped=True))
    for changes in ({"key": bytes(32)}, {"incarnation": 9}):
        assert knock(registry, 1, principal="ann", attempt=3, **changes)[1].code == Code.UNKNOWN
    assert knock(registry, 1, principal="bob", attempt=3)[1].code == Code.UNKNOWN
    assert knock(registry, 1, principal="ann", attempt=2)[1].code == Code.SUPERSEDED


def test_burying_again_has_no_effect():
    """TOMB-1"""
    registry = SessionRegistry(1)
    arrival, _ = knock(registry, 1)
    retire(registry, arrival)
    registry.retire(arrival.session, NOW)
    assert (len(registry), len(registry._tombstones)) == (0, 1)


def test_a_session_that_ended_and_was_not_buried_yet_is_a_tombstone_too():
    """TOMB-4"""
    registry = SessionRegistry(1)
    arrival, _ = knock(registry, 1)
    arrival.session.abort(NOW)
    assert knock(registry, 1, attempt=2)[1].code == Code.ENDED
    assert len(registry) == 0


@pytest.mark.parametrize(
    ("own", "peers_ms", "kept"), [(100, 1000, 200), (10, 60_000, 120), (10, 2**53 - 1, 7200)]
)
def test_how_long_a_session_is_remembered(own, peers_ms, kept):
    """TOMB-3: twice the longer retry time, within reason."""
    registry = SessionRegistry(1, Config(session_ttl=own))
    arrival, _ = knock(registry, 1, limits=limits(ttl_ms=peers_ms))
    retire(registry, arrival)
    registry.evict(NOW + kept - 1)
    assert len(registry._tombstones) == 1
    registry.evict(NOW + kept)
    assert len(registry._tombstones) == 0
    assert knock(registry, 1, attempt=2, incarnation=2)[1].code == Code.UNKNOWN


def test_tombstones_are_bounded_and_the_oldest_go_first():
    """TOMB-2"""
    registry = SessionRegistry(1, Config(max_tombstones=3))
    for number in range(1, 6):
        retire(registry, knock(registry, number)[0])
    assert list(registry._tombstones) == [ident(3), ident(4), ident(5)]


def load(registry: SessionRegistry, number: int, now: float, size: int) -> Lone:
    """A session that holds one message, untaken."""
    arrival, _ = knock(registry, number, now)
    lone = Lone(arrival.session, arrival.link, registry)
    lone.now = now
    lone.hears(run_of(1, b"x" * size))
    return lone


def test_a_book_that_holds_too_much_lets_go_who_was_away_for_longest():
    """LIMIT-4, G5: with a truthful report, told by the tombstone."""
    registry = SessionRegistry(1, Config(max_bytes=2000))
    lones = [load(registry, number, NOW + number, 1000) for number in range(1, 5)]
    assert registry.held > 4000
    for lone in lones[:3]:
        lone.session.lost(lone.link, None, "", lone.now)
    gone = [session for session, _events in registry.evict(NOW + 10)]
    assert gone == [lone.session for lone in lones[:3]]
    assert lones[0].session.ended == (End.EXPIRED, 4410, "memory budget")
    for session in gone:
        session.poll(NOW + 10)
        registry.retire(session, NOW + 10)
    refuse = knock(registry, 1, attempt=2, incarnation=2)[1]
    assert (refuse.code, refuse.counters) == (4410, counters(1, 0, stopped=True))


def test_a_book_lets_go_no_more_than_it_must():
    """LIMIT-4"""
    registry = SessionRegistry(1, Config(max_bytes=3000))
    lones = [load(registry, number, NOW + number, 1000) for number in range(1, 4)]
    assert registry.evict(NOW) == []  # attached ones are bounded by their windows
    for lone in lones:
        lone.session.lost(lone.link, None, "", lone.now)
    assert [gone for gone, _events in registry.evict(NOW + 10)] == [lones[0].session]
    assert registry.evict(NOW + 10) == []


def test_a_book_that_holds_too_much_all_the_same_takes_no_new_sessions():
    """LIMIT-4, G5: attached sessions are not ended for it, and none are added."""
    registry = SessionRegistry(1, Config(max_bytes=2000))
    lones = [load(registry, number, NOW, 1000) for number in range(1, 4)]
    assert registry.evict(NOW) == []
    assert knock(registry, 4)[1].code == Code.BUSY
    lones[0].takes(1)
    lones[1].takes(1)
    assert registry.evict(NOW) == []
    assert knock(registry, 4)[0].link is not None


def test_what_was_taken_is_held_no_more():
    """LIMIT-3, G5: a session that holds nothing is not let go for it."""
    registry = SessionRegistry(1, Config(max_bytes=2000))
    lone = load(registry, 1, NOW, 5000)
    lone.takes(1)
    lone.session.lost(lone.link, None, "", NOW)
    assert registry.held == 0
    assert registry.evict(NOW) == []


def test_both_directions_and_parts_are_held():
    """LIMIT-3"""
    registry = SessionRegistry(1)
    lone = load(registry, 1, NOW, 100)
    before = registry.held
    lone.session.send(b"x" * 100)
    assert registry.held == before + 106
    from_parts = Part(2, 0, 500, 0, b"y" * 300)
    lone.hears(from_parts)
    assert registry.held == before + 406


def test_an_arrival_that_stays_silent_is_refused():
    """LIVE-1: and told to come again."""
    registry = SessionRegistry(1)
    arrival = registry.arrive(NOW)
    assert arrival.deadline == NOW + 10
    arrival.tick(NOW + 9.9)
    assert arrival.transmit(NOW) is None
    arrival.tick(NOW + 10)
    (refuse,) = decode(arrival.transmit(NOW) or b"", 2**20)
    assert (refuse.code, refuse.retry_ms) == (Code.NO_HELLO, 1000)
    assert arrival.close_action == (4508, "no Hello in time", True)
    assert arrival.deadline > NOW + 10**9
    arrival.tick(NOW + 100)
    assert arrival.transmit(NOW) is None


def test_an_arrival_has_no_deadline_once_it_has_a_link():
    registry = SessionRegistry(1)
    arrival, _ = knock(registry, 1)
    assert arrival.deadline > NOW + 10**9
    arrival.tick(NOW + 100)
    assert arrival.close_action is None
    assert arrival.receive(encode([hello()]), NOW) == []


def test_an_arrival_knows_whether_its_hello_made_the_session():
    registry = SessionRegistry(1)
    assert knock(registry, 1)[0].fresh
    assert not knock(registry, 1, attempt=2)[0].fresh


def test_the_acceptor_ends_at_its_ttl_and_is_remembered():
    """END-4, TOMB-1"""
    pair = Pair()
    pair.connect()
    pair.server.send("a")
    pair.cut()
    pair.advance(130)
    assert len(pair.registry) == 0
    assert pair.server.outcome(1) is Outcome.NOT_TAKEN
    assert isinstance(pair.server.ended, Ending)
    events: list[Event] = []
    assert pair.server.poll(pair.now) == events
