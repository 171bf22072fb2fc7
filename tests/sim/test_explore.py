"""Every schedule of small worlds; and proof that a missing guard is seen."""

from __future__ import annotations

import pytest

from .explore import SMALL, clone, explore, prepare, state_of
from .mutants import MUTANTS, Mutant, catch, table
from .world import World, explain, shrink

HAPPENED = {
    "1 each way, 2 cuts": ("late death of an old link", "lost Done", "lost Welcome", "lost Ack"),
    "2 each way, 1 cut": ("resumed with a replay", "tombstone answered", "not taken"),
    "a crash": ("unknown session", "new session after a lost Welcome"),
    "a crash, with stores": ("initiator restored", "acceptor restored", "redelivered, flagged"),
    "an abort": ("initiator aborted", "acceptor aborted", "acceptor refused"),
    "deliveries out of order": ("close with ranges", "confirmed too late", "unknown outcome"),
    "deliveries": ("confirmed too late", "unknown outcome"),
    "dialling over an open link": ("redialled over an open link", "stale Hello refused"),
    "finish or close": ("everything taken, both ways", "lost Finish"),
    "parts": ("lost Part", "resumed inside a message"),
    "timeouts, no tombstone": ("initiator expired", "acceptor expired", "unknown session"),
    "window of one": ("window full", "everything taken, both ways"),
}
"""What a world is there for."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_schedule_of(name):
    found = explore(name, SMALL[name])
    print(f"\n{found}")
    if found.broken is not None:
        story = found.story
        if "states from which" not in str(found.broken):
            story = shrink(story)
        pytest.fail(f"{found}\n{explain(story)}", pytrace=False)
    assert found.complete
    assert found.ends
    for what in HAPPENED.get(name, ()):
        assert found.seen[what], f"never: {what}"


def test_a_copy_of_a_world_is_the_same_and_apart():
    options = SMALL["finish or close"]
    world = World(options)
    world.keys = {}
    prepare(world)
    walked = 0
    while not world.over():
        before = state_of(world)
        other = clone(world)
        other.keys = {}
        assert state_of(other) == before
        action = world.actions()[-1 - walked % 2]
        other.do(action)
        world.keys = {}
        assert state_of(world) == before, f"{action} on a copy changed the original"
        world.do(action)
        world.keys = {}
        other.keys = {}
        assert state_of(world) == state_of(other)
        walked += 1
    assert walked > 5


@pytest.mark.slow
@pytest.mark.parametrize("one", MUTANTS, ids=lambda one: one.name)
def test_a_missing_guard_is_seen(one: Mutant):
    row = catch(one)
    print(f"\n{table([row])}")
    assert row.seed is not None, "the simulator did not notice"
    assert row.found.broken is not None, "the explorer did not notice"
