"""Credit: what may be in flight, and what may wait."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import OutboxFull
from reliable_ws.protocol.frames import Ack, Finish, Messages, Part
from tests.support.pair import Pair

from .helpers import either_side, initiator, limits, run_of
from .two_sides import connected

WIDE = Config(outbox_messages=1000, outbox_bytes=2**30)


@either_side
def test_no_more_messages_go_than_the_peers_window(side):
    """WINDOW-1"""
    lone = side(WIDE, limits=limits(window_messages=3))
    assert lone.sends(*"abcde") == [run_of(1, "a"), run_of(2, "b"), run_of(3, "c")]
    assert lone.hears(Ack(3, 0)) == []
    assert lone.says() == []
    lone.hears(Ack(3, 1))
    assert lone.says() == [run_of(4, "d")]


@either_side
def test_no_more_bytes_go_than_the_peers_window(side):
    """WINDOW-1, WINDOW-2: each weighs its content and 6."""
    lone = side(WIDE, limits=limits(window_bytes=30))
    assert lone.sends("a" * 4, "b" * 4, "c" * 5) == [run_of(1, "a" * 4, "b" * 4)]
    lone.hears(Ack(1, 1))
    assert lone.says() == [run_of(3, "c" * 5)]


@either_side
def test_a_message_above_the_window_goes_alone(side):
    """WINDOW-3"""
    lone = side(WIDE, limits=limits(window_bytes=30))
    assert lone.sends("a", "b" * 100, "c") == [run_of(1, "a")]
    lone.hears(Ack(1, 1))
    assert lone.says() == [run_of(2, "b" * 100)]
    assert lone.says() == []
    lone.hears(Ack(2, 2))
    assert lone.says() == [run_of(3, "c")]


@either_side
def test_finish_needs_no_credit(side):
    """WINDOW-5"""
    lone = side(WIDE, limits=limits(window_messages=1))
    assert lone.sends("a") == [run_of(1, "a")]
    lone.session.finish(lone.now)
    assert lone.says() == [Finish(2, 1000, "")]


def test_two_full_windows_can_close():
    """WINDOW-5, WINDOW-6"""
    pair = Pair(Config(window_messages=2, outbox_messages=10))
    pair.connect()
    for number in range(2):
        pair.client.send(number)
        pair.server.send(number)
    pair.run()
    pair.client_events += pair.client.close(pair.now)
    pair._server_said(pair.server.close(pair.now))
    pair.run()
    assert (str(pair.client.ended), str(pair.server.ended)) == ("finished (1000)",) * 2


def test_a_run_is_at_most_a_quarter_of_the_window():
    lone = initiator(WIDE, limits=limits(window_messages=16))
    assert [len(frame.payloads) for frame in lone.sends(*"abcdefghij")] == [4, 4, 2]


def test_a_run_is_bounded_in_messages_and_bytes():
    lone = initiator(Config(batch_messages=3, batch_bytes=100))
    assert [len(frame.payloads) for frame in lone.sends(*"abcd")] == [3, 1]
    assert [len(frame.payloads) for frame in lone.sends("x" * 50, "y" * 50)] == [1, 1]
    assert lone.sends("z" * 500) == [run_of(7, "z" * 500)]


@either_side
def test_a_run_is_never_longer_than_a_list_may_be(side):
    """FRAME-2: whatever the configuration."""
    pair = Pair(Config(batch_messages=100_000, batch_bytes=10**6))
    pair.connect()
    first = pair.client if side is initiator else pair.server
    for number in range(6000):
        first.send(number)
    pair.run()
    assert (pair.client.ended, pair.server.ended) == (None, None)


def test_a_batch_is_one_envelope():
    lone = initiator()
    for number in range(100):
        lone.session.send(str(number))
    assert lone.link.transmit(lone.now) is not None
    assert lone.link.transmit(lone.now) is None


@either_side
def test_an_honest_peer_never_overruns_a_small_window_of_bytes(side):
    """WINDOW-7: many empty messages take more bytes on the wire than they weigh."""
    pair = Pair(Config(window_bytes=1000, window_messages=4096))
    pair.connect()
    first, second = (pair.client, pair.server) if side is initiator else (pair.server, pair.client)
    for _ in range(166):
        first.send("")
        second.send("")
        pair.run()
    assert (pair.client.ended, pair.server.ended) == (None, None)
    assert (len(pair.client.inbox), len(pair.server.inbox)) == (166, 166)


def test_a_slow_reader_slows_its_sender_and_not_acks():
    """WINDOW-6, G5"""
    pair = Pair(Config(window_messages=4))
    pair.connect()
    for number in range(4):
        pair.client.send(number)
    with pytest.raises(OutboxFull):
        pair.client.send(4)
    pair.run()
    assert (len(pair.server.inbox), len(pair.client.outbox)) == (4, 4)
    pair.server.send("the other way")
    pair.run()
    assert pair.client_take() == ["the other way"]
    pair.advance(1)
    assert pair.server.outbox.confirmed == 1


def test_the_outbox_may_be_larger_than_the_window():
    """G5"""
    lone = initiator(Config(outbox_messages=5, window_messages=2), limits=limits(window_messages=2))
    for letter in "abcde":
        lone.session.send(letter)
    with pytest.raises(OutboxFull, match=r"5 messages, 35 bytes"):
        lone.session.send("f")
    assert sum(len(frame.payloads) for frame in lone.says()) == 2


def test_the_outbox_is_bounded_in_bytes():
    """G5: but a lone message is let in."""
    lone = initiator(Config(outbox_bytes=50))
    lone.session.send(b"x" * 500)
    with pytest.raises(OutboxFull):
        lone.session.send(b"")
    lone.says()
    lone.hears(Ack(1, 1))
    assert lone.session.send(b"") == 2


@either_side
def test_parts_take_credit_as_their_message(side):
    """WINDOW-3, PART-3"""
    lone = side(limits=limits(max_frame=4096, window_bytes=12_000))
    frames = lone.sends(b"x" * 10_000, b"y" * 5000)
    assert {type(frame) for frame in frames} == {Part}
    assert {frame.number for frame in frames} == {1}
    lone.hears(Ack(1, 1))
    assert {frame.number for frame in lone.says()} == {2}
    assert all(not isinstance(frame, Messages) for frame in frames)


def test_a_slow_application_slows_its_peer_only():
    """WINDOW-1, WINDOW-6: acks are read while messages wait."""
    config = Config(window_messages=2)
    pair = connected(config, Config(window_messages=2, outbox_messages=100))
    pair.server.send("not taken")
    pair.server.send("nor this")
    pair.server.send("waits for the window")
    pair.client.send("a")
    pair.run()
    assert len(pair.client.inbox) == 2
    assert pair.server.outbox.transmitted == 2
    pair.server_take()
    pair.advance(1)
    assert len(pair.client.outbox) == 0
