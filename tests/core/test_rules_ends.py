"""Rules of protocol.md: other ends, tombstones, time."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Detached, Ended
from reliable_ws.protocol.frames import Ack, Code, Refuse
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from tests.core.rules import MAX_FRAME, connected, said
from tests.support.pair import ID, KEY, Pair

# -------------------------------------------------------------------------- ends


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


def test_a_book_that_is_full_says_when_to_come_again():
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


def test_a_book_that_holds_too_much_ends_what_holds_most():
    """LIMIT-4."""
    pair = connected(Config(max_bytes=1000))
    assert pair.registry.evict(pair.now) == []
    pair.server.send("x" * 2000)
    assert [gone for gone, _events in pair.registry.evict(pair.now)] == [pair.server]
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.EXPIRED


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


def test_no_contact_ends_a_session():
    """END-4: on both sides."""
    pair = connected(Config(session_ttl=60))
    pair.cut()
    pair.advance(59)
    assert pair.client.ended is None
    assert pair.server.ended is None
    pair.advance(2)
    assert pair.client.ended is not None
    assert pair.server.ended is not None
    assert pair.client.ended.kind is pair.server.ended.kind is End.EXPIRED


def test_a_websocket_on_which_nobody_answers_is_no_contact():
    """END-6."""
    pair = connected(Config(session_ttl=60, open_timeout=10))
    pair.cut()
    for _ in range(8):
        pair.client.dial(pair.now)
        pair.now += 10
        pair.client_events += pair.client.tick(pair.now)
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.EXPIRED


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


# -------------------------------------------------------------------------- time


def test_a_websocket_without_a_hello_is_refused():
    """LIVE-1."""
    pair = Pair()
    arrival = pair.registry.arrive(pair.now)
    arrival.tick(pair.now + 9.9)
    assert arrival.close_action is None
    arrival.tick(pair.now + 10)
    assert arrival.close_action is not None
    assert arrival.close_action.code == Code.NO_HELLO


def test_an_initiator_does_not_wait_for_ever_for_an_answer():
    """LIVE-5."""
    pair = Pair()
    pair.dial()
    pair.now += 10
    pair.client_events += pair.client.tick(pair.now)
    assert isinstance(pair.client_events[-1], Detached)


def test_silence_is_broken_every_third_of_the_peers_idle_time():
    """LIVE-2."""
    pair = connected(Config(idle_timeout=30), Config(idle_timeout=9))
    lines = (pair.wire.up, pair.wire.down)
    beats = []
    for _ in range(10):
        pair.now += 1
        pair.tick()
        pair.pull()
        beats.append([[decode(data, MAX_FRAME) for data in line] for line in lines])
        pair.run()
    heart = [[Ack(0, 0)]]
    assert [up for up, _ in beats] == [[], [], heart, [], [], heart, [], [], heart, []]
    assert [down for _, down in beats] == [[]] * 9 + [heart]


def test_a_link_on_which_nothing_is_heard_is_dropped():
    """LIVE-3: the session lives on."""
    pair = connected(Config(idle_timeout=9))
    wire = pair.wire
    wire.alive = False
    pair.advance(9)
    assert pair.client.ended is None
    assert not pair.client.attached
    assert wire.dialer.close_action is not None
    assert wire.dialer.close_action.code == Code.SILENT


def test_a_sleeper_does_not_blame_its_peer():
    """LIVE-4."""
    pair = connected(Config(idle_timeout=9))
    pair.now += 3600
    pair.tick()
    assert pair.client.attached
    assert pair.client.ended is None
    pair.run()
    pair.advance(3600)
    assert pair.client.attached
    assert not any(isinstance(event, Ended) for event in pair.client_events)
