"""Deadlines: one next moment out, and a tick always moves it."""

from __future__ import annotations

from typing import ClassVar

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Detached, Ended
from reliable_ws.protocol.frames import Ack, CallPosition, Code, Part, Piece, Request, Void
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY, Pair

from .calling import again, calling
from .helpers import (
    NOW,
    Lone,
    blamed,
    calls_of,
    either_side,
    initiator,
    limits,
    run_of,
    welcome,
)
from .two_sides import MAX_FRAME, connected


def test_it_is_known_since_when_no_link_is_open():
    pair = Pair()
    pair.connect()
    pair.now += 5
    pair.cut()
    assert pair.client.detached_at == pair.server.detached_at == pair.now


@either_side
def test_silence_is_broken_by_a_heartbeat(side):
    """LIVE-2, LIVE-6: every third of what the peer announced."""
    lone = side(limits=limits(idle_ms=9000))
    assert lone.session.deadline == NOW + 3
    lone.session.tick(NOW + 2.9)
    assert lone.says() == []
    lone.now = NOW + 3
    lone.session.tick(lone.now)
    assert lone.says() == [Ack(0, 0)]
    assert lone.session.deadline == NOW + 6


@either_side
def test_whatever_goes_is_a_sign_of_life(side):
    """LIVE-2"""
    lone = side(limits=limits(idle_ms=9000))
    lone.now = NOW + 2
    lone.sends("a")
    assert lone.session.deadline == NOW + 5


@either_side
def test_an_envelope_is_an_occasion_for_the_heartbeat(side):
    """LIVE-9: its own time comes 0.3 s later, and a page's timer perhaps a minute later."""
    lone = side(limits=limits(idle_ms=9000))
    lone.now = NOW + 2.6
    lone.hears(Ack(0, 0))
    assert lone.says() == []
    lone.now = NOW + 2.7
    lone.hears(Ack(0, 0))
    assert lone.says() == [Ack(0, 0)]
    lone.hears(Ack(0, 0))
    assert lone.says() == []
    assert lone.session.deadline == NOW + 5.7


def test_two_sides_never_answer_each_others_answers():
    """LIVE-9: for an hour nothing but heartbeats is said, no more of them than without it."""
    pair = Pair(Config(idle_timeout=9))
    pair.connect()
    said = 0
    pull = pair.pull

    def counted(wire=None):
        nonlocal said
        some = pull(wire)
        said += len(pair.wire.up) + len(pair.wire.down)
        return some

    pair.pull = counted
    pair.advance(3600)
    assert said <= 2 * 3600 / 3 / 0.9
    assert pair.server.attached


class TestTimersThatAreHeldBack:
    """LIVE-9, LIVE-10: an initiator that looks at its clock once a minute, as a hidden page."""

    def hidden(self, pair, seconds):
        """Let time pass in which the initiator's timers never fire."""
        end = pair.now + seconds
        while True:
            by = min(pair.server.deadline, *(wire.arrival.deadline for wire in pair.wires))
            if by >= end:
                pair.now = end
                return
            pair.now = max(pair.now, by)
            pair.server_events += pair.server.tick(pair.now)
            pair.run()

    def test_it_keeps_its_link(self):
        """LIVE-9"""
        pair = Pair()
        pair.connect()
        self.hidden(pair, 600)
        assert pair.server.attached
        assert not [event for event in pair.server_events if isinstance(event, Detached)]

    def test_a_peer_that_waits_for_less_takes_one_link(self):
        """LIVE-10, LIMIT-5: the second greeting announces no more than the acceptor has said."""
        pair = Pair(Config(idle_timeout=20), Config(idle_timeout=5))
        pair.connect()
        self.hidden(pair, 20)
        assert not pair.server.attached
        pair.cut()
        pair.connect()
        self.hidden(pair, 600)
        assert pair.server.attached
        assert len([event for event in pair.server_events if isinstance(event, Detached)]) == 1


@either_side
def test_a_link_on_which_nothing_is_heard_is_dropped(side):
    """LIVE-3: the session goes on."""
    lone = side(Config(idle_timeout=30), limits=limits(idle_ms=3_000_000))
    assert lone.session.deadline == NOW + 30
    assert lone.session.tick(NOW + 29.9) == []
    assert lone.session.tick(NOW + 30) == [Detached(4509, "nothing heard in time")]
    assert lone.link.close_action.code == 4509
    assert lone.says() == []
    assert lone.session.deadline == NOW + 120


@either_side
def test_whatever_comes_is_a_sign_of_life(side):
    """LIVE-3"""
    lone = side(Config(idle_timeout=30), limits=limits(idle_ms=3_000_000))
    lone.now = NOW + 20
    lone.hears(Ack(0, 0))
    assert lone.session.tick(NOW + 49) == []
    assert lone.session.tick(NOW + 50)


class TestAMessageThatStandsStill:
    """PART-15: a message in parts that does not end is not held for ever."""

    CONFIG = Config(idle_timeout=1000, session_ttl=1000, part_timeout=60)
    STILL: ClassVar = [Detached(4509, "a message in parts stood still")]

    def begun(self, side, size=100):
        lone = side(self.CONFIG, limits=limits(idle_ms=3_000_000))
        lone.hears(Part(1, 0, 500_000, 0, bytes(size)))
        return lone

    @either_side
    def test_its_link_is_dropped_and_what_is_held_of_it(self, side):
        """PART-15: and nothing else is lost."""
        lone = self.begun(side)
        assert lone.session.deadline == NOW + 60
        assert lone.session.tick(NOW + 59.9) == []
        assert lone.session.tick(NOW + 60) == self.STILL
        assert lone.link.close_action.code == 4509
        assert (lone.session.held, lone.session.inbox.partial) == (0, 0)
        assert not lone.session.ended

    @either_side
    def test_64_kib_are_progress(self, side):
        """PART-15"""
        lone = self.begun(side)
        lone.now = NOW + 30
        lone.hears(Part(1, 100, 500_000, 0, bytes(65_535)))
        assert lone.session.deadline == NOW + 60
        lone.hears(Part(1, 65_635, 500_000, 0, bytes(1)))
        assert lone.session.deadline == NOW + 90
        assert lone.session.tick(NOW + 90) == self.STILL

    @either_side
    def test_its_end_is_progress_and_the_next_one_has_its_own_time(self, side):
        """PART-15"""
        lone = self.begun(side)
        lone.now = NOW + 59
        for offset in (100, 250_100):
            lone.hears(Part(1, offset, 500_000, 0, bytes(min(250_000, 500_000 - offset))))
        lone.takes(1)
        lone.says()
        assert lone.session.tick(NOW + 60) == []
        lone.says()
        lone.hears(Part(2, 0, 500_000, 0, bytes(100)))
        assert lone.session.deadline == NOW + 59 + 60

    @either_side
    def test_who_has_stopped_waits_for_none(self, side):
        """PART-12"""
        lone = self.begun(side)
        lone.session.close(NOW, timeout=200)
        lone.says()
        assert lone.session.tick(NOW + 60) == []
        assert lone.link.close_action is None
        lone.says()
        assert lone.session.deadline > NOW + 60

    def test_after_a_resume_the_time_begins_anew(self):
        """PART-15: whether the rest comes or not."""
        lone = self.begun(initiator)
        lone.now = NOW + 50
        lone.session.lost(lone.link, None, "", lone.now)
        lone.dials(limits=limits(idle_ms=3_000_000))
        assert lone.session.deadline == NOW + 110
        assert lone.session.tick(NOW + 110) == self.STILL

    @either_side
    def test_who_overslept_waits_for_half_of_it_again(self, side):
        """LIVE-4"""
        lone = self.begun(side)
        assert lone.session.tick(NOW + 65) == []
        assert lone.session.deadline == NOW + 95
        assert lone.session.tick(NOW + 95) == self.STILL


@either_side
def test_who_overslept_does_not_blame_the_peer(side):
    """LIVE-4: an event loop that was blocked for 30 s waits once more, briefly."""
    lone = side(limits=limits(idle_ms=3_000_000))
    lone.now = NOW + 50
    assert lone.session.tick(lone.now) == []
    assert lone.now < lone.session.deadline < lone.now + 20
    assert lone.hears(run_of(1, "it was there all the time"))
    assert lone.session.attached


@either_side
def test_who_overslept_waits_only_once(side):
    """LIVE-4"""
    lone = side(limits=limits(idle_ms=3_000_000))
    lone.session.tick(NOW + 50)
    assert lone.session.tick(lone.session.deadline) == [Detached(4509, "nothing heard in time")]


@either_side
def test_oversleeping_does_not_end_a_session(side):
    """LIVE-4, END-4"""
    lone = side()
    lone.session.lost(lone.link, None, "", NOW)
    assert lone.session.tick(NOW + 500) == []
    assert lone.session.deadline == NOW + 510
    assert [type(event) for event in lone.session.tick(NOW + 510)] == [Ended]


@either_side
def test_oversleeping_does_not_end_a_close(side):
    """LIVE-4, CLOSE-10"""
    lone = side()
    lone.sends("x")
    lone.session.close(NOW)
    lone.says()
    assert not any(isinstance(event, Ended) for event in lone.session.tick(NOW + 50))
    assert lone.session.ended is None
    lone.session.tick(NOW + 64)
    assert lone.session.ended is None
    assert lone.session.tick(NOW + 65)[-1].ending.kind is End.EXPIRED


@either_side
def test_a_close_with_nothing_left_to_confirm_waits_for_an_answer_only(side):
    """CLOSE-25: nobody gains by the rest of the limit."""
    lone = side()
    lone.sends("x")
    lone.hears(Ack(1, 1))
    lone.session.close(NOW)
    lone.says()
    lone.now = NOW + 9
    lone.hears(Ack(1, 1))  # somebody is there
    assert lone.session.tick(NOW + 18.9) == []
    assert lone.session.deadline == NOW + 19
    assert lone.session.tick(NOW + 19)[-1].ending.kind is End.EXPIRED


@either_side
def test_oversleeping_does_not_end_a_close_that_waits_for_an_answer(side):
    """LIVE-4, CLOSE-25"""
    lone = side()
    lone.session.close(NOW)
    lone.says()
    lone.session.tick(NOW + 18)
    assert lone.session.deadline > NOW + 18
    assert lone.session.ended is None
    assert lone.session.tick(NOW + 23)[-1].ending.kind is End.EXPIRED


@either_side
@pytest.mark.parametrize("how", ["silent", "cut"])
def test_a_session_whose_peer_was_silent_for_longer_than_its_ttl_ends_with_the_link(side, how):
    """END-4: that the link was open meanwhile is no contact, and we were awake."""
    lone = side(Config(session_ttl=5), limits=limits(idle_ms=3_000_000))
    for second in range(1, 20):
        lone.session.tick(NOW + second)
    if how == "cut":
        lone.session.lost(lone.link, None, "", NOW + 19)
        assert lone.session.deadline == NOW + 19
        lone.session.tick(NOW + 19)
    else:
        lone.session.tick(NOW + 20)
    assert lone.session.ended is not None
    assert lone.session.ended.reason == "no contact with the peer"


def test_a_dial_that_is_not_answered_is_given_up():
    """LIVE-5"""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    assert session.deadline == NOW + 10
    assert session.tick(NOW + 9) == []
    assert session.tick(NOW + 10) == [Detached(4509, "nothing heard in time")]
    assert lone.says() == []


@either_side
def test_a_repeated_tick_does_nothing(side):
    lone = side()
    lone.hears(run_of(1, "a"))
    lone.session.tick(NOW + 1)
    lone.says()
    for _ in range(3):
        assert lone.session.tick(NOW + 1) == []
        assert lone.says() == []


@either_side
def test_an_ended_session_has_no_deadline(side):
    lone = side()
    lone.session.abort(NOW)
    assert lone.session.deadline > NOW + 10**9
    assert lone.session.tick(NOW + 10**6) == []


times = st.floats(0, 1e7, allow_nan=False)
spans = st.floats(0.1, 1e4)


@given(times, st.tuples(spans, spans, spans, spans), st.booleans(), st.booleans())
def test_a_tick_at_the_deadline_always_moves_it(start, limits_of_time, close, cut):
    """However floats are rounded: a driver that sleeps until the deadline never spins."""
    ttl, idle, progress, hard = limits_of_time
    config = Config(
        session_ttl=ttl, idle_timeout=idle, close_progress_timeout=progress, close_timeout=hard
    )
    session = Session("initiator", ID, KEY, start, config)
    lone = Lone(session, session.dial(start))
    lone.now = start
    lone.says()
    lone.hears(welcome())
    session.send("a")
    if close:
        session.close(start)
    if cut:
        lone.session.lost(lone.link, None, "", start)
    for _ in range(30):
        if session.ended:
            return
        now = session.deadline
        assert now >= lone.now
        session.tick(now)
        lone.now = now
        lone.says()
        assert session.deadline > now


def test_a_pair_at_rest_speaks_only_to_stay_alive():
    """LIVE-6: an hour of it."""
    pair = Pair()
    pair.connect()
    pair.advance(3600)
    assert (pair.client.attached, pair.server.attached) == (True, True)
    assert (len(pair.client_events), len(pair.server_events)) == (1, 1)


def test_a_half_open_link_is_found_out_by_both_sides():
    """LIVE-3"""
    pair = Pair()
    wire = pair.connect()
    wire.alive = False
    pair.advance(25)
    assert (pair.client.attached, pair.server.attached) == (False, False)
    pair.connect()
    pair.client.send("a")
    pair.run()
    assert pair.server_take() == ["a"]


@either_side
def test_when_the_peer_gives_up_is_known_from_its_greeting(side):
    """END-4: a side ends by the ttl that it announced itself."""
    lone = side(limits=limits(ttl_ms=5000))
    lone.session.lost(lone.link, None, "", NOW)
    assert lone.session.peer_deadline == NOW + 5
    assert lone.session.deadline == NOW + 120


def test_what_is_new_moves_progress_and_what_is_sent_again_does_not():
    """Of one side: an ack and a message of the peer's; not a greeting, not a heartbeat."""
    pair = Pair()
    assert pair.client.welcomes == 0
    pair.connect()
    assert pair.client.welcomes == 1
    seen = [pair.client.progress]
    pair.client.send("a")
    pair.run()
    pair.advance(1)
    pair.server.send("b")
    pair.run()
    seen.append(pair.client.progress)
    assert sum(new > old for old, new in zip(*seen, strict=True)) == 2
    pair.advance(15)
    pair.cut()
    pair.connect()
    assert pair.client.welcomes == 2
    assert pair.client.progress == seen[-1]


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
    pair = connected(Config(idle_timeout=36), Config(idle_timeout=9))
    lines = (pair.wire.up, pair.wire.down)
    beats = []
    for _ in range(12):
        pair.now += 1
        pair.tick()
        pair.pull()
        beats.append([[decode(data, MAX_FRAME) for data in line] for line in lines])
        pair.run()
    heart = [[Ack(0, 0)]]
    assert [up for up, _ in beats] == [[], [], heart] * 4
    assert [down for _, down in beats] == [[]] * 11 + [heart]


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


class TestACallThatStandsStill:
    """CALL-46: a call in pieces that does not end is not held for ever."""

    CONFIG = Config(idle_timeout=1000, session_ttl=1000, part_timeout=60)
    STILL: ClassVar = [Detached(4509, "a call in pieces stood still")]

    def begun(self, side, size=100):
        lone = calling(side, self.CONFIG, limits=limits(idle_ms=3_000_000))
        lone.hears(calls_of(1, Piece(bytes(size))))
        lone.says()
        return lone

    def resumed(self, lone, received=1):
        """Go on over another link, to which the peer sends nothing."""
        lone.session.lost(lone.link, None, "", lone.now)
        again(lone, CallPosition(0, received, 1), limits=limits(idle_ms=3_000_000))
        lone.says()

    @either_side
    def test_its_link_is_dropped_and_what_counts_as_received_stays(self, side):
        """CALL-46"""
        lone = self.begun(side)
        assert lone.session.deadline == NOW + 0.025  # the CallAck
        assert lone.session.tick(NOW + 0.025) == []
        lone.says()
        assert lone.session.deadline == NOW + 60
        assert lone.session.tick(NOW + 59.9) == []
        assert lone.session.tick(NOW + 60) == self.STILL
        assert lone.link.close_action.code == 4509
        assert lone.session.incoming_calls.partial == 100
        assert not lone.session.ended

    @either_side
    def test_the_second_time_in_a_row_ends_the_session(self, side):
        """CALL-46: so nobody holds memory by coming again and again."""
        lone = self.begun(side)
        lone.now = NOW + 60
        lone.session.tick(lone.now)
        self.resumed(lone)
        assert lone.session.tick(NOW + 119.9) == []
        blamed(lone, lone.session.tick(NOW + 120), 4422, "stood still twice")
        assert lone.session.incoming_calls.partial == 0

    @either_side
    def test_progress_on_the_next_link_is_a_new_beginning(self, side):
        """CALL-46: 64 KiB of it."""
        lone = self.begun(side)
        lone.now = NOW + 60
        lone.session.tick(lone.now)
        self.resumed(lone)
        lone.now = NOW + 70
        lone.hears(calls_of(2, Piece(bytes(65_536))))
        assert lone.session.tick(NOW + 129.9) == []
        assert lone.session.tick(NOW + 130) == self.STILL

    @either_side
    def test_less_than_64_kib_are_none(self, side):
        """CALL-46"""
        lone = self.begun(side)
        lone.now = NOW + 30
        lone.hears(calls_of(2, Piece(bytes(65_535))))
        assert lone.session.tick(NOW + 60) == self.STILL

    @either_side
    @pytest.mark.parametrize("end", [Request("do", None, 0, None), Void()], ids=["entry", "Void"])
    def test_its_end_stops_the_clock_and_the_next_one_has_its_own(self, side, end):
        """CALL-46"""
        lone = calling(side, self.CONFIG, limits=limits(idle_ms=3_000_000))
        packed = msgpack.packb("x" * 5000)
        lone.hears(calls_of(1, Piece(packed[:100])))
        lone.now = NOW + 50
        lone.hears(calls_of(2, Piece(packed[100:]), end))
        assert lone.session.tick(NOW + 60) == []
        lone.says()
        lone.now = NOW + 70
        number = lone.session.incoming_calls.received + 1
        lone.hears(calls_of(number, Piece(b"a")))
        lone.now = NOW + 80  # another one, whose beginning shares the frame with an end
        lone.hears(calls_of(number + 1, Void(), Piece(b"b")))
        assert lone.session.tick(NOW + 139.9) == []
        assert lone.session.tick(NOW + 140) == self.STILL

    @either_side
    def test_who_has_stopped_waits_for_none(self, side):
        """CALL-10"""
        lone = self.begun(side)
        lone.session.close(NOW, timeout=200)
        lone.says()
        assert lone.session.tick(NOW + 60) == []
        assert lone.link.close_action is None

    @either_side
    def test_who_overslept_waits_for_half_of_it_again(self, side):
        """LIVE-4"""
        lone = self.begun(side)
        assert lone.session.tick(NOW + 65) == []
        lone.says()
        assert lone.session.deadline == NOW + 95
        assert lone.session.tick(NOW + 95) == self.STILL
