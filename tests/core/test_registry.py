"""The acceptor's registry: who may come in, what is remembered, what is let go."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code, Part, Refuse, Welcome
from reliable_ws.protocol.inbox import MESSAGE_WEIGHT
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.report import End, Ending, Outcome
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY, Pair

from .helpers import NOW, Lone, counters, hello, limits, position, run_of
from .two_sides import MAX_FRAME, connected


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


class TestMakingRoom:
    """LIMIT-6: a detached session makes room for a new one."""

    WORDS = (End.EXPIRED, Code.ENDED, "made room for a newer session")

    def away(self, registry, number, now=NOW, principal=None, *, used=True):
        """A session whose WebSocket is lost."""
        arrival, _ = knock(registry, number, now, principal)
        lone = Lone(arrival.session, arrival.link, registry)
        lone.now = now
        if used:
            lone.hears(run_of(1, b"x"))
        lone.session.lost(lone.link, None, "", now)
        return lone.session

    def test_a_principal_with_crashed_clients_gets_in(self):
        """LIMIT-6"""
        registry = SessionRegistry(1, Config(max_per_principal=3))
        gone = [self.away(registry, number, NOW - number, "ann") for number in (1, 3, 2)]
        others = self.away(registry, 9, NOW - 9, "bob")
        for number in range(4, 7):
            assert isinstance(knock(registry, number, principal="ann")[1], Welcome)
        assert [session for session, _ in registry.take_evicted()] == [gone[1], gone[2], gone[0]]
        assert registry.take_evicted() == []
        assert {session.ended for session in gone} == {self.WORDS}
        assert knock(registry, 7, principal="ann")[1].code == Code.BUSY
        assert others.ended is None
        assert len(registry) == 4

    def test_a_page_that_is_loaded_again_and_again_gets_in(self):
        """LIMIT-6, LIMIT-3: each load leaves a session behind that nobody will resume."""
        registry = SessionRegistry(1, Config(max_per_principal=5))
        for number in range(1, 71):
            self.away(registry, number, NOW + number, "ann")  # a reload closes with 1001
        assert len(registry) == 5
        assert isinstance(knock(registry, 71, NOW + 71, "ann")[1], Welcome)

    def test_its_holder_is_told_what_became_of_its_messages(self):
        registry = SessionRegistry(1, Config(max_per_principal=1))
        self.away(registry, 1, principal="ann")
        knock(registry, 2, principal="ann")
        _, refuse = knock(registry, 1, principal="ann", attempt=2, incarnation=2)
        told = counters(1, 0, stopped=True)
        assert refuse == Refuse(Code.ENDED, "this session has ended", 0, told)

    def test_a_server_full_of_detached_sessions_takes_new_ones(self):
        """LIMIT-6"""
        registry = SessionRegistry(1, Config(max_sessions=3))
        gone = [self.away(registry, number, NOW - number) for number in (1, 3, 2)]
        for number in range(4, 7):
            assert isinstance(knock(registry, number, NOW + number)[1], Welcome)
        assert [session for session, _ in registry.take_evicted()] == [gone[1], gone[2], gone[0]]
        refuse = knock(registry, 7, NOW + 7)[1]
        assert refuse == Refuse(Code.BUSY, "too many sessions", 1000, None)
        assert len(registry) == 3

    def test_sessions_in_which_nothing_was_said_go_first(self):
        """LIMIT-6: a flood of Hellos takes no honest session."""
        registry = SessionRegistry(1, Config(max_sessions=3))
        honest = self.away(registry, 1, NOW - 100)
        for number in range(2, 20):
            self.away(registry, number, NOW + number, used=False)
        assert honest.ended is None
        assert len(registry) == 3

    def test_what_was_said_may_be_a_call_in_either_direction(self):
        registry = SessionRegistry(1, Config(max_sessions=4))
        asked, asking = (self.away(registry, number, NOW - 9, used=False) for number in (1, 2))
        arrival, _ = knock(registry, 3, NOW - 9)
        arrival.session.send("x")
        sent = arrival.session
        sent.lost(arrival.link, None, "", NOW - 9)
        asked.incoming_calls.received = 1
        asking.call_queue.last = 1
        silent = self.away(registry, 4, used=False)
        knock(registry, 5)
        assert [session for session, _ in registry.take_evicted()] == [silent]
        assert {sent.ended, asked.ended, asking.ended} == {None}

    def test_one_look_is_for_several_times_and_what_has_changed_since_stays(self):
        registry = SessionRegistry(1, Config(max_sessions=300))
        away = [self.away(registry, number, NOW - 500 + number) for number in range(300)]
        knock(registry, 300)  # 0 makes room; the next ones are known: 1, 2, 3, 4
        where = position(sent=1)
        knock(registry, 1, attempt=2, position=where)  # attached again
        back, _ = knock(registry, 2, attempt=2, position=where)
        away[2].lost(back.link, None, "", NOW)  # heard of since
        away[3].abort(NOW)
        registry.retire(away[3], NOW)  # ended
        for number in (301, 302, 303):
            knock(registry, number)
        ended = [session for session, _ in registry.take_evicted()]
        assert ended == [away[0], away[4]]
        assert isinstance(knock(registry, 304, NOW + 1)[1], Welcome)
        assert [session for session, _ in registry.take_evicted()] == [away[5]]

    def test_looking_through_all_of_them_takes_a_part_of_the_time_only(self):
        registry = SessionRegistry(1, Config(max_sessions=100))
        arrival, *_ = [knock(registry, number)[0] for number in range(100)]
        assert knock(registry, 200)[1].code == Code.BUSY
        arrival.session.lost(arrival.link, None, "", NOW)
        assert knock(registry, 200, NOW + 0.0009)[1].code == Code.BUSY
        assert isinstance(knock(registry, 200, NOW + 0.0011)[1], Welcome)


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


def test_the_log_is_told_that_the_right_key_came_with_another_principal():
    """HELLO-5: the peer is told what it is told of any session that it does not hold."""
    registry = SessionRegistry(1)
    arrival, _ = knock(registry, 1, principal="ann")
    assert not arrival.note
    other, refuse = knock(registry, 1, principal="bob", attempt=2)
    assert refuse == Refuse(Code.UNKNOWN, "no such session here", 0, None)
    assert "is of the principal 'ann', and the WebSocket of 'bob'" in other.note
    assert not knock(registry, 1, principal="bob", attempt=2, key=bytes(32))[0].note
    assert not knock(registry, 1, principal="ann", attempt=2)[0].note


def test_the_log_is_told_once_in_a_while_that_a_session_is_not_known_here():
    """TOMB-5: it may be at another worker, or gone with an older process."""
    registry = SessionRegistry(1)
    arrival, refuse = knock(registry, 1, incarnation=9)
    assert refuse == Refuse(Code.UNKNOWN, "no such session here", 0, None)
    assert "not known here: this server was restarted" in arrival.note
    assert "of " not in arrival.note.partition(":")[0]
    assert not knock(registry, 2, incarnation=9)[0].note
    later = registry.arrive(NOW + 60)
    later.receive(encode([hello(session=ident(3), incarnation=9)]), NOW + 60)
    assert later.note


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


def load(
    registry: SessionRegistry, number: int, now: float, size: int, principal: object = None
) -> Lone:
    """A session that holds one message, untaken."""
    arrival, _ = knock(registry, number, now, principal)
    lone = Lone(arrival.session, arrival.link, registry)
    lone.now = now
    lone.hears(run_of(1, b"x" * size))
    return lone


def ended_by(registry: SessionRegistry, now: float = NOW) -> list[int]:
    """The numbers of those that are ended because too much is held."""
    return [int.from_bytes(session.id, "big") for session, _events in registry.evict(now)]


class TestMemory:
    """LIMIT-4: whoever holds most gives first."""

    def test_the_session_that_holds_most_ends_attached_or_not(self):
        """LIMIT-4"""
        registry = SessionRegistry(1, Config(max_bytes=3400))
        sizes = {1: 500, 2: 2000, 3: 900, 4: 1500}
        lones = {number: load(registry, number, NOW, size) for number, size in sizes.items()}
        for number in (1, 3):  # honest, and away
            lone = lones[number]
            lone.session.lost(lone.link, None, "", NOW)
        assert ended_by(registry) == [2]
        assert lones[2].session.ended == (End.EXPIRED, 4410, "it held too much memory")
        assert registry.held <= 3400
        assert ended_by(registry) == []

    def test_no_more_than_must_and_of_equals_who_was_silent_for_longest(self):
        registry = SessionRegistry(1, Config(max_bytes=2500))
        lones = [load(registry, number, NOW + number, 1000) for number in range(1, 5)]
        for lone in lones[1:]:
            lone.session.lost(lone.link, None, "", lone.now)
        assert ended_by(registry, NOW + 10) == [2, 3]
        assert len(registry) == 2

    def test_its_holder_is_told_what_became_of_its_messages(self):
        """G5"""
        registry = SessionRegistry(1, Config(max_bytes=500))
        load(registry, 1, NOW, 1000)
        assert ended_by(registry) == [1]
        refuse = knock(registry, 1, attempt=2, incarnation=2)[1]
        assert (refuse.code, refuse.counters) == (4410, counters(1, 0, stopped=True))

    def test_the_principal_that_holds_most_gives_first(self):
        registry = SessionRegistry(1, Config(max_bytes=5800))
        for number in range(1, 6):
            load(registry, number, NOW, 700 + number, "ann")
        load(registry, 6, NOW, 1500, "bob")
        load(registry, 7, NOW, 1200)
        assert ended_by(registry) == [5, 4]

    def test_a_principal_has_a_share(self):
        """LIMIT-4"""
        registry = SessionRegistry(1, Config(max_bytes_per_principal=2500))
        for number in range(1, 5):
            load(registry, number, NOW, 1000 + number, "ann")
        load(registry, 5, NOW, 2000, "bob")
        load(registry, 6, NOW, 2000)
        load(registry, 7, NOW, 3000)
        assert sorted(ended_by(registry)) == [3, 4, 7]

    def test_new_sessions_are_taken_all_the_same(self):
        registry = SessionRegistry(1, Config(max_bytes=2000))
        for number in range(1, 4):
            load(registry, number, NOW, 1000)
        assert knock(registry, 4)[0].link is not None

    def test_what_a_detached_session_holds_of_a_message_in_parts_is_dropped_first(self):
        """PART-4: that costs no message."""
        registry = SessionRegistry(1, Config(max_bytes=1000))
        lone = load(registry, 1, NOW, 100)
        lone.hears(Part(2, 0, 3000, 0, b"y" * 2000))
        lone.session.lost(lone.link, None, "", NOW)
        assert ended_by(registry) == []
        assert 0 < registry.held < 300
        welcome = knock(registry, 1, attempt=2, position=position(sent=1))[1]
        assert (welcome.position.partial, welcome.position.counters.received) == (0, 1)

    def test_if_that_is_not_enough_it_ends(self):
        registry = SessionRegistry(1, Config(max_bytes=500))
        lone = load(registry, 1, NOW, 1000)
        lone.hears(Part(2, 0, 3000, 0, b"y" * 2000))
        lone.session.lost(lone.link, None, "", NOW)
        assert ended_by(registry) == [1]


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
    assert registry.held == before + 106 + MESSAGE_WEIGHT
    from_parts = Part(2, 0, 500, 0, b"y" * 300)
    lone.hears(from_parts)
    assert registry.held == before + 406 + MESSAGE_WEIGHT


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


def refused(pair: Pair, asker: Session) -> Refuse:
    """What the server answers to the Hello of this session, which is no."""
    arrival = pair.registry.arrive(pair.now)
    hello = asker.dial(pair.now).transmit(pair.now)
    assert hello is not None
    arrival.receive(hello, pair.now)
    data = arrival.transmit(pair.now)
    assert data is not None
    (refuse,) = decode(data, MAX_FRAME)
    assert isinstance(refuse, Refuse)
    return refuse


def test_a_registry_that_is_full_says_when_to_come_again():
    """REFUSE-3, REFUSE-6, LIMIT-3."""
    pair = Pair(Config(max_sessions=1))
    pair.connect()
    other = Session("initiator", bytes(16), KEY, pair.now, pair.config)
    refuse = refused(pair, other)
    assert refuse.code == Code.BUSY
    assert refuse.retry_ms > 0
    pair.cut()
    pair.connect()
    assert pair.client.attached, "a session that is held is resumed all the same"


def test_a_registry_that_holds_too_much_ends_what_holds_most():
    """LIMIT-4."""
    pair = connected(Config(max_bytes=1000))
    assert pair.registry.evict(pair.now) == []
    pair.server.send("x" * 2000)
    assert [gone for gone, _events in pair.registry.evict(pair.now)] == [pair.server]
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.EXPIRED


def test_a_tombstone_answers_its_holder_only_and_not_for_ever():
    """TOMB-1, TOMB-4, TOMB-5."""
    pair = connected(Config(session_ttl=60))
    pair.client.send("hi")
    pair.run()
    pair.server_take()
    final = pair.server.inbox.counters()
    pair.cut()
    pair.server.abort(pair.now)
    pair.registry.retire(pair.server, pair.now)

    def ask(attempt: int, key: bytes = KEY) -> Refuse:
        asker = Session("initiator", ID, key, pair.now, pair.config)
        asker.attempt, asker.incarnation = attempt - 1, pair.server.incarnation
        return refused(pair, asker)

    assert ask(2) == Refuse(Code.ENDED, "this session has ended", 0, final._replace(stopped=True))
    assert ask(2).code == Code.SUPERSEDED
    assert ask(3, bytes(32)).code == Code.UNKNOWN
    pair.now += 119
    pair.registry.evict(pair.now)
    assert ask(3).code == Code.ENDED
    pair.now += 2
    pair.registry.evict(pair.now)
    assert ask(4).code == Code.UNKNOWN


def test_tombstones_are_bounded_in_number():
    """TOMB-2."""
    pair = Pair(Config(max_tombstones=2))
    for number in range(4):
        other = Session("initiator", bytes([number] * 16), KEY, pair.now, pair.config)
        hello = other.dial(pair.now).transmit(pair.now)
        assert hello is not None
        arrival = pair.registry.arrive(pair.now)
        arrival.receive(hello, pair.now)
        assert arrival.session is not None
        arrival.session.abort(pair.now)
        pair.registry.retire(arrival.session, pair.now)
    assert [key[0] for key in pair.registry._tombstones] == [2, 3]
