"""Cuts of silent WebSockets teach how long a path lets them be silent."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.events import SilenceLearned
from reliable_ws.protocol.idle_cuts import IdleCuts
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY, Pair

from .helpers import NOW, Lone


def learned(silences):
    cuts = IdleCuts()
    return [cuts.limit for silence in silences if cuts.lost(silence)]


@pytest.mark.parametrize(
    ("silences", "limits"),
    [
        ([3.0, 3.0, 3.0], [3.0]),
        ([3.5, 4.3, 4.0], [3.5]),  # a clock that is looked at once a second
        ([3.0, 3.0], []),
        ([3.0, 6.0, 3.0, 3.0], []),
        ([6.0, 3.0, 3.0, 3.0], [3.0]),
        ([3.0, 3.0, None, 3.0], []),
        ([3.0, 3.0, 0.5, 3.0], []),
        ([0.9] * 9, []),
        ([3.0] * 3 + [1.0] * 3, [3.0, 1.0]),  # another network
    ],
)
def test_what_is_cut_in_a_row_after_the_same_silence_teaches(silences, limits):
    """LIVE-8"""
    assert learned(silences) == limits


def cut_while_silent(pair, seconds):
    """A link that is open and silent is cut after so long; the next one is opened."""
    pair.advance(seconds)
    pair.cut()
    pair.connect()


def test_from_then_on_both_sides_speak_at_least_every_third_of_that_time():
    """LIVE-8, LIVE-2: and the peer does because the next greeting says so (LIMIT-5)."""
    pair = Pair()
    pair.connect()
    for _ in range(3):
        assert pair.client.silence_limit == NEVER
        cut_while_silent(pair, 3)
    assert pair.client_events.count(SilenceLearned(pytest.approx(3.0))) == 1
    for side in (pair.client, pair.server):
        assert side.deadline == pytest.approx(pair.now + 1, abs=1e-3)
    pair.advance(100)
    assert pair.client.attached
    assert pair.client.welcomes == 4


def test_it_drops_a_silent_link_no_sooner_for_that():
    """LIVE-8: what it announces concerns the path, and not its patience."""
    pair = Pair(Config(idle_timeout=18))
    pair.connect()
    for _ in range(3):
        cut_while_silent(pair, 3)
    pair.wire.alive = False  # nothing passes, and nobody is told
    heard = pair.now
    pair.client.tick(heard + 17)
    assert pair.client.attached
    pair.client.tick(heard + 18)
    assert not pair.client.attached


def test_a_shorter_idle_time_of_its_own_stays():
    """LIVE-8"""
    session = Session("initiator", ID, KEY, NOW, Config(idle_timeout=2))
    session.silence_limit = 5.0
    lone = Lone(session, session.dial(NOW))
    (hello,) = lone.says()
    assert hello.limits.idle_ms == 2000


@pytest.mark.parametrize("code", [1000, 1001, 1011])
def test_a_close_frame_is_no_cut(code):
    """LIVE-8"""
    pair = Pair()
    for _ in range(4):
        pair.connect()
        pair.advance(3)
        pair.client_events += pair.client.lost(pair.wire.dialer, code, "", pair.now)
    assert pair.client.silence_limit == NEVER


def test_a_silence_that_a_link_has_outlived_does_not_cut_it():
    """LIVE-8: each of these was silent for a third of 9 s before."""
    pair = Pair(Config(idle_timeout=9))
    pair.connect()
    for _ in range(4):
        cut_while_silent(pair, 5)
    assert pair.client.silence_limit == NEVER


def test_a_link_that_was_not_open_teaches_nothing():
    """LIVE-8"""
    pair = Pair()
    for _ in range(4):
        pair.dial()
        pair.now += 3
        pair.client.lost(pair.wire.dialer, None, "", pair.now)
    assert pair.client.silence_limit == NEVER


def test_an_acceptor_learns_nothing():
    """LIVE-8: the initiator tells it."""
    pair = Pair()
    pair.connect()
    for _ in range(4):
        cut_while_silent(pair, 3)
    assert pair.server.silence_limit == NEVER


@pytest.mark.parametrize("learns", ["client", "server"])
def test_of_the_idle_times_that_a_peer_announces_the_newest_counts(learns):
    """LIMIT-5, LIVE-2"""
    pair = Pair(Config(idle_timeout=9), Config(idle_timeout=9))
    pair.connect()
    assert getattr(pair, learns).deadline == pair.now + 3
    pair.cut()
    pair.client.config = pair.server.config = Config(idle_timeout=6)
    pair.connect()
    assert getattr(pair, learns).deadline == pair.now + 2
