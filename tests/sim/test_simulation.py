"""Seeded schedules over the pair: every guarantee after every step, every report true in the end.

Reproducible: the seeds are fixed. More or others with RELIABLE_WS_SCHEDULES=200000 and
RELIABLE_WS_SEED=1000000 in the environment; one of them again, with a trace, with
``python -m tests.sim.world SEED``.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from .world import Options, explain, options_of, replay, shrink, tell

FIRST = int(os.environ.get("RELIABLE_WS_SEED", "0"))
SCHEDULES = int(os.environ.get("RELIABLE_WS_SCHEDULES", "24000"))
SHARES = 4
"""The seeds are run in so many tests, to be shared by processes."""

HAPPENED = {
    "1009": 20,
    "abort": 300,
    "acceptor aborted": 150,
    "acceptor expired": 300,
    "acceptor finished": 2000,
    "acceptor refused": 20,
    "acceptor restored": 300,
    "busy": 100,
    "close before the peer's end": 2000,
    "close with ranges": 40,
    "close": 4000,
    "confirmed too late": 200,
    "crash of the acceptor": 2000,
    "crash of the initiator": 2000,
    "cut with several WebSockets": 800,
    "cut": 4000,
    "everything taken, both ways": 600,
    "finish": 3000,
    "frames on an inert link": 100,
    "initiator aborted": 200,
    "initiator expired": 300,
    "initiator finished": 2000,
    "initiator refused": 200,
    "initiator restored": 300,
    "late death of an old link": 100,
    "lost Ack": 200,
    "lost Done": 80,
    "lost Finish": 200,
    "lost Hello": 600,
    "lost Messages": 1000,
    "lost Part": 400,
    "lost Refuse": 80,
    "lost Stop": 60,
    "lost Want": 100,
    "lost Welcome": 300,
    "never met again": 600,
    "new session after a lost Welcome": 60,
    "no Hello in time": 25,
    "not taken": 10000,
    "outbox full": 10000,
    "redelivered, flagged": 20,
    "redialled over an open link": 400,
    "redialled": 5000,
    "resumed inside a message": 40,
    "resumed with a replay": 1500,
    "send after the end": 2000,
    "sent after the peer's Stop": 1000,
    "stale Hello refused": 60,
    "tombstone answered": 500,
    "tombstone forgotten": 700,
    "unknown outcome": 4000,
    "unknown session": 150,
    "want": 3000,
    "window full": 10000,
}
"""How often each situation must come up in 6,000 schedules, else this test shows nothing."""


@pytest.mark.parametrize("share", range(SHARES))
def test_schedules(share, record_property):
    count = SCHEDULES // SHARES
    first = FIRST + share * count
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        story, broken = tell(seed, seen)
        if broken is not None:
            trace = explain(shrink(story), seed)
            pytest.fail(f"{trace}\nin full: python -m tests.sim.world {seed}", pytrace=False)
    print(f"\nseeds {first} to {first + count - 1}:")
    for what, times in sorted(seen.items()):
        print(f"{times:10,} {what}")
    record_property("situations", len(seen))
    rare = {
        what: seen[what]
        for what, least in HAPPENED.items()
        if seen[what] < least * count / 6000 - 3
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
    """With a world whose order of commits is wrong: a bug that is not in the core."""
    for seed in range(1000):
        story, broken = tell(seed, durable=(True, True), commits=frozenset(("inbox",)))
        if broken is not None and len(story.actions) > 20:
            break
    small = shrink(story)
    assert len(small.actions) < len(story.actions)
    assert replay(small)[0] is not None
    text = explain(small, seed)
    assert f"seed {seed}" in text
    assert "=> " in text


def test_worlds_are_drawn_from_everything():
    import random

    drawn = [options_of(random.Random(seed)) for seed in range(500)]
    assert {options.durable for options in drawn} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert {options.finale for options in drawn} == {"read", "close i", "close a", "gone"}
    assert 1 in {options.acceptor.window_messages for options in drawn}
    assert 1 in {options.acceptor.window_bytes for options in drawn}
    assert Options().timed
