"""Messages larger than an envelope, and envelopes larger than the transport takes."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import MIN_FRAME, Config
from reliable_ws.protocol.cursor import LARGEST_PART
from reliable_ws.protocol.errors import MessageTooLarge
from reliable_ws.protocol.events import Ended
from reliable_ws.protocol.frames import Ack, Finish, Messages, Part, Partial
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY, Pair

from .helpers import (
    NOW,
    Lone,
    counters,
    either_side,
    initiator,
    limits,
    position,
    run_of,
    welcome,
)

NARROW = Config(max_frame=4096)


@pytest.mark.parametrize("message", [b"x" * 10_000, "ä" * 6000, list(range(5000))])
@either_side
def test_a_large_message_travels_in_parts_and_arrives_whole(side, message):
    """PART-1, PART-2, PART-3"""
    pair = Pair(NARROW)
    pair.connect()
    first = pair.client if side is initiator else pair.server
    first.send("before")
    first.send(message)
    first.send("behind")
    pair.run()
    taken = pair.server_take() if side is initiator else pair.client_take()
    assert taken[0] == "before"
    assert taken[2] == "behind"
    back = taken[1]
    assert (msgpack.unpackb(back.data) if isinstance(back, msgpack.ExtType) else back) == message
    pair.advance(1)
    assert first.outbox.confirmed == 3


def test_parts_are_consecutive_slices():
    """PART-1"""
    lone = initiator(limits=limits(max_frame=4096))
    parts = lone.sends(b"x" * 10_000)
    assert all(isinstance(part, Part) for part in parts)
    assert [part.offset for part in parts] == [
        sum(len(part.data) for part in parts[:n]) for n in range(len(parts))
    ]
    assert {(part.number, part.total, part.kind) for part in parts} == {(1, 10_000, 0)}


def test_a_part_is_never_larger_than_the_largest():
    """PART-7: so that acks pass between parts."""
    lone = initiator()
    parts = lone.sends(b"x" * 2_000_000)
    assert max(len(part.data) for part in parts) == LARGEST_PART


def test_parts_ride_with_acks_and_behind_them_goes_finish():
    """PART-8, ACK-2"""
    lone = initiator(limits=limits(max_frame=4096))
    lone.session.send(b"x" * 5000)
    lone.session.finish(NOW)
    lone.hears(run_of(1, "a"))
    first, *rest, last = lone.says()
    assert first == Ack(1, 0)
    assert {type(frame) for frame in rest} == {Part}
    assert last == Finish(2, 1000, "")


def test_other_frames_may_stand_between_parts():
    """PART-8"""
    lone = initiator()
    lone.sends("a")
    lone.hears(Part(1, 0, 4, 0, b"12"))
    lone.hears(Ack(1, 1), Part(1, 2, 4, 0, b"34"))
    assert lone.takes(1) == [b"1234"]


@pytest.mark.parametrize("arrived", [0, 1, 2])
def test_after_a_cut_only_what_is_missing_travels_again(arrived):
    """PART-4, RESUME-4"""
    pair = Pair(NARROW)
    wire = pair.connect()
    message = bytes(n % 251 for n in range(10_000))
    pair.client.send(message)
    pair.pull()
    for _ in range(arrived):
        pair.deliver_up()
    held = pair.server.inbox.partial
    assert (held > 0) == (arrived > 0)
    pair.cut(wire)
    wire = pair.dial()
    pair.pull()
    pair.deliver_up()
    pair.pull()
    pair.deliver_down()
    pair.pull()
    assert sum(map(len, wire.up)) < 10_000 - held + 200
    pair.run()
    assert pair.server_take() == [message]


@either_side
def test_no_envelope_is_above_the_announced_limit(side):
    """FRAME-7: whatever rides in it."""
    for length in range(2300, 4097, 13):
        pair = Pair(Config(max_frame=4096, ack_delay=5))
        pair.connect()
        first, second = (
            (pair.client, pair.server) if side is initiator else (pair.server, pair.client)
        )
        second.send("an ack will ride")
        pair.run()
        first.send(b"x" * length)
        first.want(1)
        first.close(pair.now, reason="y" * 123)
        pair.run()
        assert (second.ended, len(second.inbox)) == (None, 1)


@either_side
def test_ranges_do_not_make_an_envelope_too_large(side):
    """FRAME-7, COUNT-6"""
    pair = Pair(Config(max_frame=4096))
    pair.connect()
    first, second = (pair.client, pair.server) if side is initiator else (pair.server, pair.client)
    for number in range(140):
        second.send(number)
    pair.run()
    for _ in range(140):
        first.inbox.deliver()
    for number in range(2, 141, 2):
        first.inbox.confirm(number)
    first.send(b"x" * 4000)
    first.close(pair.now)
    pair.run()
    assert second.ended is None
    assert second.outcome(1) is Outcome.UNKNOWN
    assert second.outcome(2) is Outcome.CONFIRMED
    assert len(second.inbox) == 1


@either_side
def test_a_message_above_the_peers_limit_is_refused_at_send(side):
    """PART-5: nothing was queued."""
    lone = side(limits=limits(max_message=1000))
    for message in (b"x" * 1001, "x" * 1001, "ä" * 500 + "x", [b"x" * 997]):
        with pytest.raises(MessageTooLarge, match="1001"):
            lone.session.send(message)
    assert len(lone.session.outbox) == 0
    assert lone.sends(b"x" * 1000) == [run_of(1, b"x" * 1000)]


def test_1009_halves_the_envelopes_and_the_session_goes_on():
    """PART-6"""
    lone = initiator()
    (frame,) = lone.sends(b"x" * 700_000)
    assert isinstance(frame, Messages)
    lone.session.lost(lone.link, 1009, "too big", NOW)
    lone.dials()
    assert max(len(part.data) for part in lone.says()) == LARGEST_PART
    lone.session.lost(lone.link, 1009, "too big", NOW)
    lone.session.lost(lone.link, 1009, "again, and no matter", NOW)
    lone.dials(position=position(counters(0), partial=400_000))
    part = lone.says()[0]
    assert part.offset == 400_000
    assert len(part.data) < 256 * 1024
    assert lone.session.frame_size.limit == 256 * 1024


def test_1009_again_and_again_is_the_end():
    """PART-14: no two peers reconnect for ever."""
    lone = initiator()
    lone.sends(b"x" * 5000)
    limit = lone.session.frame_size.limit
    while not lone.session.ended:
        events = lone.session.lost(lone.link, 1009, "", NOW)
        limit //= 2
        if not lone.session.ended:
            lone.dials()
            lone.says()
    (ended,) = events
    assert isinstance(ended, Ended)
    assert (ended.ending.kind, ended.ending.code) == (End.LOST, 1009)
    assert limit < MIN_FRAME
    assert lone.outcomes() == [Outcome.UNKNOWN]


def test_a_transport_that_takes_little_gets_little():
    """PART-6: the greeting of the peer says how much."""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    lone.hears(welcome(limits=limits(max_frame=65536)))
    lone.session.send(b"x" * 200_000)
    while (data := lone.link.transmit(NOW)) is not None:
        assert len(data) <= 65536


def test_a_later_greeting_can_only_lower_the_envelopes():
    """LIMIT-5: of the other limits the first greeting counts."""
    lone = initiator(limits=limits(max_frame=10_000))
    for most, expected in ((20_000, 10_000), (5000, 5000), (6000, 5000)):
        lone.session.lost(lone.link, None, "", NOW)
        lone.dials(limits=limits(max_frame=most, window_messages=1))
        assert lone.session.frame_size.limit == expected
    assert lone.session.outbox.peer == limits(max_frame=10_000)


@either_side
def test_what_has_arrived_of_a_message_is_told_with_whatever_is_said(side):
    """PART-16: once for each state, and behind the Ack."""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"abc"))
    assert lone.says() == []
    lone.hears(Part(1, 3, 9, 0, b"de"))
    assert lone.sends("x") == [Partial(1, 5), run_of(1, "x")]
    assert lone.sends("y") == [run_of(2, "y")]
    lone.hears(Part(1, 5, 9, 0, b"f"))
    lone.now = lone.session.deadline
    lone.session.tick(lone.now)
    assert lone.says() == [Ack(0, 0), Partial(1, 6)]  # a heartbeat
    lone.hears(Part(1, 6, 9, 0, b"g"))
    lone.hears(Part(1, 7, 9, 0, b"hi"))
    assert lone.sends("z") == [Ack(1, 0), run_of(3, "z")]


@either_side
@pytest.mark.parametrize(("number", "held"), [(1, 4000), (1, 5000), (2, 1), (3, 1)])
def test_a_partial_of_what_was_never_sent(side, number, held):
    """PART-17"""
    lone = side(limits=limits(max_frame=4096))
    lone.session.send(bytes(10_000))
    [part] = decode(lone.link.transmit(lone.now), 4096)
    assert lone.hears(Partial(1, len(part.data))) == []
    [ended] = lone.hears(Partial(number, held))
    assert ended.ending.code == 4422
