"""Seeded schedules over the pair: every guarantee after every step, every report true in the end.

Reproducible: the seeds are fixed. More or others with RELIABLE_WS_SCHEDULES=200000 and
RELIABLE_WS_SEED=1000000 in the environment; one of them again, with a trace, with
``python -m tests.sim.schedules SEED``.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from .mutants import MUTANTS, installed
from .parts import Options
from .schedules import explain, options_of, replay, shrink, tell

FIRST = int(os.environ.get("RELIABLE_WS_SEED", "0"))
SCHEDULES = int(os.environ.get("RELIABLE_WS_SCHEDULES", "5000"))
SHARES = 2
"""The seeds are run in so many tests, to be shared by processes."""

HAPPENED = {
    "1009": 180,
    "a change": 6430,
    "a close joins another": 60,
    "a handler is cancelled": 220,
    "a kept send": 203,
    "a request: answered": 870,
    "a request: cancelled": 800,
    "a request: not taken": 1300,
    "a request: timed out": 170,
    "a request: unknown": 1300,
    "a stream waits": 420,
    "a stream waits for room": 340,
    "a stream, whole": 145,
    "abort": 400,
    "acceptor aborted": 138,
    "acceptor expired": 450,
    "acceptor finished": 2300,
    "acceptor kept": 43,
    "acceptor refused": 18,
    "acceptor restored": 510,
    "all the requests that may be open": 1100,
    "an applied delivery": 4,
    "an end is not waited for": 2,
    "busy": 190,
    "calm": 140,
    "cancelled": 580,
    "close": 4300,
    "close after the handlers": 110,
    "close before the peer's end": 2900,
    "close cancels handlers": 4,
    "close waits for handlers": 150,
    "close with ranges": 25,
    "confirmed too late": 146,
    "crash of the acceptor": 1301,
    "crash of the initiator": 1803,
    "cut": 4100,
    "cut with several WebSockets": 710,
    "everything taken, both ways": 610,
    "finish": 2600,
    "frames on an inert link": 160,
    "handlers given up": 8,
    "initiator aborted": 200,
    "initiator expired": 310,
    "initiator finished": 2300,
    "initiator kept": 63,
    "initiator refused": 147,
    "initiator restored": 350,
    "kept for the next process": 194,
    "late death of an old link": 90,
    "late on arrival": 4,
    "lost Ack": 190,
    "lost CallAck": 90,
    "lost Calls": 700,
    "lost Done": 23,
    "lost Finish": 180,
    "lost Hello": 600,
    "lost Messages": 704,
    "lost Part": 274,
    "lost Partial": 10,
    "lost Refuse": 44,
    "lost Stop": 56,
    "lost Want": 95,
    "lost Welcome": 221,
    "more credit": 560,
    "never met again": 600,
    "new session after a lost Welcome": 70,
    "no Hello in time": 29,
    "no room in the store": 85,
    "not taken": 21000,
    "outbox full": 28000,
    "passed on": 91,
    "redelivered, flagged": 7,
    "redialled": 4900,
    "redialled over an open link": 420,
    "resumed inside a message": 33,
    "resumed with a replay": 1700,
    "send after the end": 2500,
    "sent after the peer's Stop": 1100,
    "silent link dropped": 130,
    "stale Hello refused": 44,
    "store full": 250,
    "taken back": 210,
    "taken back by the store": 35,
    "taken back, and forgotten": 27,
    "tombstone answered": 550,
    "tombstone forgotten": 565,
    "turned away": 680,
    "unknown outcome": 5500,
    "unknown session": 115,
    "want": 2700,
    "window full": 14000,
}
"""How often each situation must come up in 6,000 schedules, else this test shows nothing."""


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("share", range(SHARES))
def test_schedules(share, record_property):
    count = SCHEDULES // SHARES
    first = FIRST + share * count
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        story, broken = tell(seed, seen)
        if broken is not None:
            trace = explain(shrink(story), seed)
            pytest.fail(f"{trace}\nin full: python -m tests.sim.schedules {seed}", pytrace=False)
    print(f"\nseeds {first} to {first + count - 1}:")
    for what, times in sorted(seen.items()):
        print(f"{times:10,} {what}")
    record_property("situations", len(seen))
    rare = {
        what: seen[what]
        for what, least in HAPPENED.items()
        if seen[what] < int(least * count / 6000)
    }
    assert not rare, f"the simulation has lost its teeth: {rare}"
    assert not set(seen) - set(HAPPENED), "count these as well"


def test_a_seed_is_one_schedule():
    for seed in range(100, 200):
        story, _ = tell(seed)
        assert tell(seed)[0] == story
        broken, done = replay(story)
        assert broken is None
        assert done == story.actions


def test_a_failing_story_is_made_short():
    """With a core that says what its store does not have."""
    one = next(
        one for one in MUTANTS if one.name == "messages are transmitted before they are kept"
    )
    for seed in range(1000):
        with installed(one):
            story, broken = tell(seed, durable=(True, True))
        if broken is not None and len(story.actions) > 20:
            break
    with installed(one):
        small = shrink(story, most=50)
        assert len(small.actions) < len(story.actions)
        assert replay(small)[0] is not None
        text = explain(small, seed)
    assert f"seed {seed}" in text
    assert "=> " in text


def test_worlds_are_drawn_from_everything():
    import random

    drawn = [options_of(random.Random(seed)) for seed in range(500)]
    assert {options.durable for options in drawn} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert {options.finale for options in drawn} == {"read", "calm", "close i", "close a", "gone"}
    assert 1 in {options.acceptor.window_messages for options in drawn}
    assert 1 in {options.acceptor.window_bytes for options in drawn}
    assert Options().timed
