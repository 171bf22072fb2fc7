"""A session outlives its WebSockets: nothing twice, nothing left out."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Detached, Ended, Opened
from reliable_ws.protocol.frames import Ack, Code, Part, Refuse
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from tests.support.examples import examples
from tests.support.pair import ID, KEY, Pair

from .helpers import (
    NOW,
    Lone,
    counters,
    either_side,
    hello,
    initiator,
    position,
    run_of,
    welcome,
)
from .two_sides import connected, said


def opened() -> Pair:
    pair = Pair()
    pair.connect()
    return pair


def test_what_was_in_flight_is_sent_again():
    """RESUME-4"""
    pair = opened()
    for letter in "abc":
        pair.client.send(letter)
        pair.server.send(letter.upper())
    pair.pull()
    pair.cut()
    pair.connect()
    assert pair.server_take() == ["a", "b", "c"]
    assert pair.client_take() == ["A", "B", "C"]
    assert pair.client_events[1:3] == [Detached(None, ""), Opened(resumed=True, replayed=3)]


def test_what_has_arrived_is_not_sent_again():
    """RESUME-4: taken or not."""
    pair = opened()
    for letter in "abc":
        pair.client.send(letter)
        pair.pull()
    pair.deliver_up()
    pair.deliver_up()
    assert pair.server.inbox.take() == "a"
    pair.cut()
    pair.connect()
    assert Opened(resumed=True, replayed=1) in pair.client_events
    assert pair.server_take() == ["b", "c"]


@pytest.mark.parametrize("when", range(8))
def test_a_cut_at_any_step_of_the_greeting_does_no_harm(when):
    """HELLO-2, RESUME-4: twice in a row, too."""
    pair = opened()
    pair.client.send("a")
    pair.server.send("b")
    for _ in range(2):
        pair.cut()
        pair.dial()
        for step in range(when):
            (pair.pull, pair.deliver_up, pair.pull, pair.deliver_down)[step % 4]()
    pair.cut()
    pair.connect()
    assert (pair.server_take(), pair.client_take()) == (["a"], ["b"])


def test_a_drop_before_the_first_message():
    pair = opened()
    pair.cut()
    pair.connect()
    pair.cut()
    pair.connect()
    pair.client.send("a")
    pair.run()
    assert pair.server_take() == ["a"]


def test_the_newest_attempt_wins():
    """RESUME-2: the acceptor did not know yet that the old WebSocket is gone."""
    pair = opened()
    old = pair.wire
    pair.cut_client()
    old.alive = True
    pair.client.send("a")
    pair.dial()
    pair.pull()
    pair.deliver_up()
    assert pair.server.link is pair.wire.arrival.link
    (refuse,) = decode(old.arrival.link.transmit(pair.now), 2**20)
    assert refuse == Refuse(4409, "another WebSocket took over", 0, None)
    assert old.arrival.link.close_action.code == 4409
    pair.run()
    assert pair.server_take() == ["a"]


def test_a_fenced_link_is_inert():
    """RESUME-2, LINK-4: its late data and its late death hurt nobody."""
    pair = opened()
    old = pair.wire.arrival.link
    pair.client.send("a")
    pair.pull()
    late = pair.wire.up[0]
    pair.cut_client()
    pair.connect()
    before = list(pair.server_events)
    assert pair.server.receive(old, late, pair.now) == []
    assert pair.server.lost(old, 4499, "late", pair.now) == []
    assert old.tick(pair.now + 1000) is False
    assert old.deadline > pair.now + 10**9
    assert (pair.server_events, pair.server.attached) == (before, True)
    assert pair.server_take() == ["a"]


def test_an_initiator_drops_its_older_websocket_without_a_word():
    """RESUME-10: a Refuse of its own would end the session where the old link still carries it."""
    pair = opened()
    old = pair.wire
    pair.client.send("a")
    pair.dial()
    assert old.dialer.close_action is not None
    assert old.dialer.transmit(pair.now) is None
    pair.run()
    assert (pair.client.ended, pair.server.ended) == (None, None)
    assert pair.server_take() == ["a"]


def test_a_second_holder_is_told_and_does_not_come_again():
    """RESUME-1, RESUME-6: the one with the lower attempt loses, to a copy that is as good."""
    pair = opened()
    pair.client.send("mine")
    pair.pull()
    pair.wire.up.clear()
    rival = Session("initiator", ID, KEY, pair.now)
    rival.incarnation = pair.client.incarnation
    rival.attempt = 5
    wire = pair.wire
    link, arrival = rival.dial(pair.now), pair.registry.arrive(pair.now)
    pair.wires.append(type(wire)(link, arrival, rival))
    pair.run()
    assert pair.client.ended is not None
    assert (pair.client.ended.kind, pair.client.ended.code) == (End.SUPERSEDED, 4409)
    assert pair.client.outcome(1) is Outcome.UNKNOWN


MOVES = ["send", "answer", "run", "take", "take there", "cut"]


@examples(150)
@given(st.lists(st.sampled_from(MOVES), max_size=12), st.lists(st.sampled_from(MOVES), max_size=12))
def test_a_copy_of_a_session_ends_by_itself_unless_it_is_as_good(before, behind):
    """RESUME-14, RESUME-1, RESUME-6: and then the holder learns that it has a rival."""
    pair = opened()
    said = {"send": 0, "answer": 0}
    taken, answers = [], []

    def move(name):
        match name:
            case "send":
                said["send"] += 1
                pair.client.send(str(said["send"]))
            case "answer":
                said["answer"] += 1
                pair.server.send(str(said["answer"]))
            case "run":
                pair.run()
            case "take":
                answers.extend(pair.client_take())
            case "take there":
                taken.extend(pair.server_take())
            case _:
                pair.cut()
                pair.connect()

    for name in before:
        move(name)
    copy = deepcopy(pair.client)
    for name in behind:
        move(name)
    link, arrival = copy.dial(pair.now), pair.registry.arrive(pair.now)
    pair.wires.append(type(pair.wire)(link, arrival, copy))
    pair.run()
    holder = pair.client
    if holder.ended is not None:
        assert (holder.ended.kind, copy.attached, pair.server.ended) == (End.SUPERSEDED, True, None)
        return
    assert copy.ended is not None
    assert (copy.ended.kind, copy.ended.code) == (End.SUPERSEDED, 4409)
    pair.wires.pop()
    pair.cut()  # the attempt number was not used up
    pair.connect()
    for name in ("run", "take", "take there"):
        move(name)
    assert taken == [str(number + 1) for number in range(said["send"])]
    assert answers == [str(number + 1) for number in range(said["answer"])]


def test_a_holder_with_an_old_attempt_is_superseded():
    """RESUME-1, RESUME-6"""
    pair = opened()
    rival = Session("initiator", ID, KEY, pair.now)
    wire = pair.wire
    link, arrival = rival.dial(pair.now), pair.registry.arrive(pair.now)
    pair.wires.append(type(wire)(link, arrival, rival))
    pair.run()
    assert rival.ended is not None
    assert rival.ended.kind is End.SUPERSEDED
    assert (pair.client.ended, pair.server.attached) == (None, True)


def test_attempts_grow_with_every_hello():
    """RESUME-1"""
    pair = opened()
    for _ in range(3):
        pair.cut()
        pair.connect()
    assert (pair.client.attempt, pair.server.attempt) == (4, 4)


def test_received_may_fall_to_confirmed_from_link_to_link():
    """RESUME-5: a receiver that restarted has only what was taken."""
    lone = initiator()
    lone.sends("a", "b", "c")
    lone.hears(Ack(3, 1))
    lone.session.lost(lone.link, None, "", NOW)
    lone.dials(position=position(counters(1)))
    assert lone.says() == [run_of(2, "b", "c")]
    assert lone.hears(Ack(3, 3))


@either_side
def test_a_lost_websocket_detaches_and_says_why(side):
    """LINK-3: and that is all it says."""
    lone = side()
    lone.sends("a")
    assert lone.session.lost(lone.link, 1006, "gone", NOW) == [Detached(1006, "gone")]
    assert lone.session.lost(lone.link, 1006, "again", NOW) == []
    assert (lone.session.link, lone.session.ended, lone.session.attached) == (None, None, False)
    assert lone.outcomes() == [Outcome.PENDING]


@pytest.mark.parametrize("code", [4400, 4401, 4404, 4410, 4422, 4499, 4409])
def test_a_closing_code_may_forbid_another_websocket(code):
    """CODE-2, LINK-3: it settles no message."""
    lone = initiator()
    lone.sends("a")
    lone.session.send("not transmitted")
    (ended,) = lone.session.lost(lone.link, code, "no more", NOW)
    assert isinstance(ended, Ended)
    assert ended.ending.kind is (End.SUPERSEDED if code == 4409 else End.REFUSED)
    assert lone.outcomes() == [Outcome.UNKNOWN, Outcome.NOT_TAKEN]


def test_the_closing_code_of_an_older_websocket_forbids_nothing():
    """LINK-4"""
    lone = initiator()
    old = lone.link
    lone.link = lone.session.dial(NOW)
    assert lone.session.lost(old, 4409, "", NOW) == []
    assert lone.session.ended is None


def test_an_acceptor_waits_whatever_the_closing_code():
    """CODE-2: only initiators open WebSockets."""
    pair = opened()
    assert pair.server.lost(pair.wire.arrival.link, 4499, "", pair.now) == [Detached(4499, "")]


def test_a_busy_acceptor_says_when_to_come_again():
    """REFUSE-3, REFUSE-4"""
    lone = initiator()
    lone.session.lost(lone.link, None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    assert lone.hears(Refuse(4529, "busy", 1500, None)) == [Detached(4529, "busy", 1.5)]
    assert lone.session.ended is None


def test_a_session_that_is_held_is_not_refused_for_being_busy():
    """REFUSE-6"""
    pair = Pair(Config(max_sessions=1))
    pair.connect()
    pair.cut()
    pair.registry.draining = True
    pair.connect()
    assert pair.server.attached


def test_one_session_after_the_other_over_one_book():
    pair = opened()
    arrival = pair.registry.arrive(pair.now)
    arrival.receive(encode([hello(session=bytes(16))]), pair.now)
    assert len(pair.registry) == 2
    assert {pair.server.id, arrival.session.id} == {ID, bytes(16)}


def test_a_stranger_between_two_links_does_no_harm():
    """HELLO-13, END-6: nor does it count as contact."""
    lone = initiator(Config(session_ttl=60))
    for second in range(0, 60, 10):
        lone.now = NOW + second
        lone.link = lone.session.dial(lone.now)
        lone.says()
        lone.hears_raw(b"stranger")
    assert lone.session.ended is None
    assert [event.ending.kind for event in lone.session.tick(NOW + 60)] == [End.EXPIRED]


def test_dialing_is_no_contact():
    """END-4, END-6: however often, a session outlives contact by its ttl and no more."""
    pair = Pair(Config(session_ttl=60))
    pair.connect()
    pair.cut()
    pair.now += 5
    gone = 1000 + 60
    while pair.client.ended is None:
        pair.dial()
        pair.now += 5
        assert pair.now <= gone + 5
        pair.client_events += pair.client.lost(pair.wire.dialer, None, "", pair.now)
        pair.client_events += pair.client.tick(pair.now)
    assert pair.client.ended.kind is End.EXPIRED


def test_an_initiator_that_is_never_answered_ends():
    """END-4, LIVE-5"""
    session = Session("initiator", ID, KEY, NOW)
    session.send("a")
    now = NOW
    while session.ended is None:
        session.dial(now)
        now = session.deadline
        session.tick(now)
    assert now == NOW + 120
    assert session.outcome(1) is Outcome.NOT_TAKEN


def test_a_welcome_after_the_session_expired_is_not_looked_at():
    session = Session("initiator", ID, KEY, NOW, Config(open_timeout=500))
    lone = Lone(session, session.dial(NOW))
    lone.says()
    session.tick(NOW + 120)
    assert session.ended is not None
    assert lone.hears(welcome()) == []


def test_frames_become_smaller_on_links_that_die_before_one_is_through():
    """RESUME-8: 60 KB never fit through links that carry 20 KB; 4 KiB frames do."""
    pair = Pair()
    pair.connect()
    pair.client.send(b"x" * 60_000)
    for _ in range(40):
        wire, carried = pair.wire, 0
        while (data := wire.dialer.transmit(pair.now)) is not None and carried + len(data) < 20_000:
            carried += len(data)
            wire.up.append(data)
        while pair.deliver_up(wire):
            pass
        if len(pair.server.inbox):
            break
        pair.cut()
        pair.dial()
        pair.pull()
        pair.deliver_up()
        pair.pull()  # the Welcome
        pair.deliver_down()
    assert pair.server_take() == [b"x" * 60_000]


def test_a_path_that_was_too_slow_for_a_large_frame_gets_no_other():
    """RESUME-12: 1 MiB takes too long here; 256 KiB pass, and go on to do so."""
    pair = Pair()
    pair.connect()
    for _ in range(3):
        pair.client.send(b"x" * 900_000)
    taken, deaths = [], 0
    for _ in range(100):
        wire = pair.wire
        data = wire.dialer.transmit(pair.now)
        if data is not None and len(data) > 256 * 1024:
            deaths += 1
            pair.cut()
            pair.dial()
            pair.pull()  # the Hello
        elif data is not None:
            wire.up.append(data)
        while pair.deliver_up():
            pass
        taken += pair.server_take()
        while (data := pair.wire.listener.transmit(pair.now)) is not None:
            pair.wire.down.append(data)
        while pair.deliver_down():
            pass
    assert taken == [b"x" * 900_000] * 3
    assert deaths == 1


def test_the_older_link_is_fenced():
    """RESUME-2, RESUME-6: whoever holds it is told, and must not come back."""
    pair = connected()
    old = pair.wire
    rival = Session("initiator", ID, KEY, pair.now, pair.config)
    rival.attempt, rival.incarnation = 5, pair.client.incarnation
    arrival = pair.registry.arrive(pair.now)
    link = rival.dial(pair.now)
    hello = link.transmit(pair.now)
    assert hello is not None
    arrival.receive(hello, pair.now)
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended[:2] == (End.SUPERSEDED, Code.SUPERSEDED)
    assert pair.server.ended is None
    assert pair.server.link is arrival.link
    assert old.listener.close_action is not None
    assert old.listener.close_action.code == Code.SUPERSEDED


def test_an_initiator_that_dials_anew_says_nothing_on_its_older_link():
    """RESUME-10."""
    pair = connected()
    old = pair.wire
    pair.dial()
    assert said(pair, wire=old) == []
    pair.run()
    assert pair.client.ended is None
    assert pair.client.attached


def test_replay_starts_behind_what_was_received():
    """RESUME-4: and goes on within a large message, cut anew."""
    pair = connected(Config(max_frame=8192))
    pair.client.send("a")
    pair.client.send("b")
    pair.client.send(b"x" * 20_000)
    pair.pull()
    pair.deliver_up()
    pair.deliver_up()
    pair.cut()
    pair.dial()
    pair.pull()
    pair.deliver_up()
    held = pair.server.inbox.partial
    assert held > 0
    pair.pull()
    pair.deliver_down()
    frames = said(pair)
    assert {type(frame) for frame in frames} == {Part}
    assert frames[0][:2] == (3, held)


def test_what_a_side_received_may_fall_to_what_it_confirmed():
    """RESUME-5: a receiver that restarts has only what was taken."""
    pair = connected()
    for word in ("a", "b", "c"):
        pair.client.send(word)
    pair.run()
    pair.server.inbox.take()
    pair.advance(1)
    assert pair.client.outbox.acked == 3
    pair.cut()
    wire = pair.dial()
    pair.server.inbox.received = 1
    pair.server.inbox.queue.clear()
    pair.run()
    assert pair.client.attached
    assert wire.dialer.cursor.number == 4
    assert pair.server_take() == ["b", "c"]
