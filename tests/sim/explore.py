"""Walk through *every* schedule of a small world: each state once, all of its actions.

The world is that of world.py, with time abstracted: a deadline may pass whenever it is armed
(an ack's delay, the time to live, the progress timeout of ``close()``, a tombstone's time), which
includes every real order. A state is what decides the future: both sessions, the registry, the
wires with all that is in flight, the applications and the truth. It is kept as a 64-bit hash.

Checked: every invariant of :class:`~tests.sim.world.World` at every step; at every end, that
every message has a true outcome; and that from *every* state the end can be reached with what a
fair network and applications that read and close do (no timeout, no more cuts): no deadlock
and no livelock.

    python -m tests.sim.explore                 every world of SMALL, as `make explore` does
    python -m tests.sim.explore --large         those of LARGE: from a minute to days each
    python -m tests.sim.explore --large --most 2000000      at most so many states of each
    python -m tests.sim.explore NAME ...        by name; -v counts what happened
"""

from __future__ import annotations

import sys
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field

from .finale import over
from .guarantees import probe, refresh
from .parts import Action, Broken, Options, Story
from .schedules import explain, kind_of, shrink
from .states import clone, prepare, state_of, touched
from .world import World
from .worlds import LARGE, SMALL

UNFAIR = frozenset(
    (
        *("cut", "crash", "expire", "giveup", "abort", "forget", "beat", "redial", "drain"),
        *("drop", "elapse", "refuse", "fail"),
    )
)


@dataclass
class Found:
    """What a walk came to."""

    name: str
    states: int = 0
    steps: int = 0
    ends: int = 0
    depth: int = 0
    seconds: float = 0.0
    complete: bool = True
    seen: Counter[str] = field(default_factory=Counter)
    broken: Broken | None = None
    story: Story | None = None

    def __str__(self) -> str:
        rate = self.states / max(self.seconds, 1e-9)
        return (
            f"{self.name:28} {self.states:9,} states {self.steps:9,} steps {self.ends:7,} ends "
            f"depth {self.depth:3} {self.seconds:6.1f} s {rate:6,.0f}/s"
            + ("" if self.complete else "  (not all)")
            + (f"  BROKEN: {self.broken}" if self.broken else "")
        )


def _fair(world: World, action: Action) -> bool:
    """Whether a fair network and good applications would do this in the end."""
    name = action[0]
    if name == "learn":
        wire = world.wire(action[1])
        return not (wire.down if action[2] == "i" else wire.up)
    return name not in UNFAIR


class Walk:
    """Depth-first, each state once."""

    def __init__(self, name: str, options: Options, most: int | None = None) -> None:
        self.options = options
        self.most = most
        self.found = Found(name)
        self.index: dict[int, int] = {}
        self.parents = array("q")
        self.deeds: list[Action | None] = []
        self.sources = array("l")  # fair steps, to be walked backwards
        self.targets = array("l")
        self.goals: list[int] = []

    def run(self) -> Found:
        found = self.found
        began = time.perf_counter()
        world = World(self.options, found.seen)
        prepare(world)
        try:
            self._visit(world)
            if found.complete:
                self._all_can_end()
        except Broken as broken:
            found.broken = broken
        found.seconds = time.perf_counter() - began
        found.states = len(self.index)
        return found

    def _enter(self, world: World, parent: int, action: Action | None) -> tuple[int, bool]:
        state = state_of(world)
        at = self.index.get(state)
        if at is not None:
            return at, False
        at = self.index[state] = len(self.parents)
        self.parents.append(parent)
        self.deeds.append(action)
        return at, True

    def _visit(self, first: World) -> None:
        found = self.found
        at, _ = self._enter(first, -1, None)
        stack = [(first, first.actions()[::-1], at)]
        while stack:
            found.depth = max(found.depth, len(stack))
            world, actions, at = stack[-1]
            while actions:
                action = actions.pop()
                fair = _fair(world, action)
                sides = touched(action)
                if actions or not world.own.issuperset(sides):
                    new = clone(world, sides)
                else:  # nobody needs this world any more
                    new = world
                    for side in sides:
                        new.keys.pop(side, None)
                found.steps += 1
                try:
                    new.do(action)
                    probe(new)
                    is_over = over(new)
                    if is_over and self.options.goal == "end":
                        refresh(new)
                except Broken:
                    found.story = Story(self.options, [*self.path(at), action])
                    raise
                except Exception as error:
                    found.story = Story(self.options, [*self.path(at), action])
                    raise Broken(f"{type(error).__name__}: {error}") from error
                to, is_new = self._enter(new, at, action)
                if fair:
                    self.sources.append(at)
                    self.targets.append(to)
                if not is_new:
                    continue
                if is_over:
                    found.ends += 1
                    self.goals.append(to)
                    continue
                if self.most is not None and len(self.parents) >= self.most:
                    found.complete = False
                    return
                if not actions:
                    stack.pop()
                stack.append((new, new.actions()[::-1], to))
                break
            else:
                stack.pop()

    def path(self, at: int) -> list[Action]:
        """How a state was reached first."""
        path = []
        while at > 0:
            path.append(self.deeds[at])
            at = self.parents[at]
        return path[::-1]

    def _all_can_end(self) -> None:
        """From every state the end can be reached by fair steps alone."""
        count = len(self.parents)
        starts = array("l", bytes(8 * (count + 1)))
        for target in self.targets:
            starts[target + 1] += 1
        for at in range(count):
            starts[at + 1] += starts[at]
        fill = array("l", starts)
        back = array("l", bytes(8 * len(self.targets)))
        for source, target in zip(self.sources, self.targets, strict=True):
            back[fill[target]] = source
            fill[target] += 1
        good = bytearray(count)
        for goal in self.goals:
            good[goal] = 1
        todo = list(self.goals)
        while todo:
            at = todo.pop()
            for index in range(starts[at], starts[at + 1]):
                source = back[index]
                if not good[source]:
                    good[source] = 1
                    todo.append(source)
        stuck = [at for at in range(count) if not good[at]]
        if stuck:
            path = min((self.path(at) for at in stuck[:2000]), key=len)
            self.found.story = Story(self.options, path)
            raise Broken(f"{len(stuck)} states from which no end comes on a good network")


def explore(name: str, options: Options, most: int | None = None) -> Found:
    """Walk through one world."""
    return Walk(name, options, most).run()


def main(arguments: list[str]) -> int:
    worlds = SMALL | LARGE
    most = None
    if "--most" in arguments:
        at = arguments.index("--most")
        most = int(arguments[at + 1])
        arguments = arguments[:at] + arguments[at + 2 :]
    names = [one for one in arguments if not one.startswith("-")]
    if not names:
        names = list(LARGE if "--large" in arguments else SMALL)
    failed = False
    for name in names:
        found = explore(name, worlds[name], most)
        print(found, flush=True)
        if "-v" in arguments:
            for what, count in sorted(found.seen.items()):
                print(f"    {count:9,} {what}")
        if found.broken is not None:
            failed = True
            story = found.story
            if story is not None and not kind_of(found.broken).strip().startswith("states"):
                story = shrink(story)
            if story is not None:
                print(explain(story))
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
