"""Every schedule of small worlds; and proof that a missing guard is seen."""

from __future__ import annotations

import pytest

from .explore import Found, explore
from .finale import over
from .mutants import DIRECTED, MUTANTS, catch, table
from .schedules import explain, shrink
from .states import clone, prepare, state_of
from .world import World
from .worlds import LONG, QUICK, SMALL

HAPPENED = {
    "1 each way, 2 cuts": ("lost Done", "lost Welcome", "lost Ack", "lost Messages"),
    "2 each way, 1 cut": ("resumed with a replay", "tombstone answered", "not taken"),
    "calls and a crash, with stores": ("acceptor restored", "initiator restored", "cancelled"),
    "no cut: finish": ("everything taken, both ways",),
    "no cut: timeouts": ("initiator expired", "acceptor expired"),
    "no cut: a crash": ("crash of the initiator", "crash of the acceptor"),
    "no cut: an abort": ("initiator aborted", "acceptor aborted"),
    "no cut: deliveries": ("confirmed too late", "unknown outcome"),
    "no cut: dialling": ("redialled over an open link",),
    "1 cut, both close": ("tombstone answered", "resumed with a replay", "not taken"),
    "a crash": ("unknown session", "new session after a lost Welcome"),
    "a crash, with stores": ("initiator restored", "acceptor restored", "redelivered, flagged"),
    "an abort": ("initiator aborted", "acceptor aborted", "acceptor refused"),
    "deliveries out of order": ("close with ranges", "confirmed too late", "unknown outcome"),
    "deliveries": ("confirmed too late", "unknown outcome"),
    "dialling over an open link": ("redialled over an open link", "stale Hello refused"),
    "finish or close": ("everything taken, both ways", "lost Finish"),
    "late links": ("late death of an old link", "frames on an inert link"),
    "parts": ("lost Part", "resumed inside a message"),
    "timeouts, no tombstone": ("initiator expired", "acceptor expired", "unknown session"),
    "calls": ("cancelled", "taken back", "a request: answered", "lost Calls"),
    "calls that lapse": ("a request: timed out", "a handler is cancelled"),
    "a stream": ("a stream waits", "more credit", "a stream, whole", "lost CallAck"),
    "calls and close": ("a request: unknown", "a request: not taken", "lost Stop"),
    "calls and a close that waits": (
        "close waits for handlers",
        "a close joins another",
        "close after the handlers",
        "handlers given up",
    ),
    "calls and finish": ("turned away", "a request: answered"),
    "calls and timeouts": ("initiator expired", "acceptor aborted", "a request: unknown"),
    "window of one": ("window full", "everything taken, both ways"),
}
"""What a world is there for."""

FIRST = 1500
"""States of a long world that are visited in every run."""


def walk(name: str, most: int | None = None) -> Found:
    """Visit every state of a world, or the first ones; nothing may break."""
    found = explore(name, SMALL[name], most)
    print(f"\n{found}")
    if found.broken is not None:
        story = found.story
        if "states from which" not in str(found.broken):
            story = shrink(story)
        pytest.fail(f"{found}\n{explain(story)}", pytrace=False)
    return found


def whole(name: str) -> None:
    found = walk(name)
    assert found.complete
    assert found.ends
    for what in HAPPENED.get(name, ()):
        assert found.seen[what], f"never: {what}"


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("name", QUICK)
def test_every_schedule_of(name):
    whole(name)


@pytest.mark.slow
@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("name", LONG)
def test_every_schedule_of_the_long(name):
    whole(name)


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("name", LONG)
def test_the_first_states_of(name):
    assert walk(name, FIRST).states >= FIRST


@pytest.mark.parametrize("name", ["finish or close", "a stream"])
def test_a_copy_of_a_world_is_the_same_and_apart(name):
    options = SMALL[name]
    world = World(options)
    prepare(world)
    walked = 0
    while not over(world):
        before = state_of(world)
        other = clone(world)
        other.keys = {}
        assert state_of(other) == before
        actions = world.actions()
        action = actions[-1 - walked % min(2, len(actions))]
        other.do(action)
        world.keys = {}
        assert state_of(world) == before, f"{action} on a copy changed the original"
        world.do(action)
        world.keys = {}
        other.keys = {}
        assert state_of(world) == state_of(other)
        walked += 1
    assert walked > 5


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("one", MUTANTS, ids=lambda one: one.name)
def test_a_missing_guard_is_seen(one):
    row = catch(one)
    text = table([row])
    print(f"\n{text}")
    assert row.seed is not None or one.world in DIRECTED, f"not seen by the simulator\n{text}"
    assert row.found is None or row.found.broken is not None, f"not seen by the explorer\n{text}"
