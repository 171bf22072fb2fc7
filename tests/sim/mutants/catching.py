"""Who catches what."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

from tests.sim.explore import Found, explore
from tests.sim.parts import Story
from tests.sim.schedules import replay, tell

from .registry import ALONE, DIRECTED, WORLDS, Mutant

STALE = (TypeError, AttributeError, NameError, ImportError)


class Caught(NamedTuple):
    """Who caught a mutant, and how."""

    name: str
    seed: int | None
    check: str
    found: Found | None
    story: Story | None

    @property
    def simulated(self) -> str:
        return "-" if self.seed is None else f"seed {self.seed}: {self.check}"

    @property
    def explored(self) -> str:
        if self.found is None or self.found.broken is None:
            return "-"
        return f"{self.found.name}, {self.found.states} states: {self.found.broken}"


@contextlib.contextmanager
def installed(one: Mutant) -> Iterator[None]:
    """The core with one guard removed."""
    with contextlib.ExitStack() as stack:

        def put(target: Any, name: str, value: Any) -> None:
            new = not hasattr(target, name)
            stack.enter_context(mock.patch.object(target, name, value, create=new))

        one.install(put)
        yield


def _must_hold(story: Story, one: Mutant) -> None:
    """With the guard in its place nothing breaks: else it was not this mutant that was caught."""
    broken, _ = replay(story)
    assert broken is None, f"{one.name}: {broken}, without it as well"


def catch(one: Mutant, seeds: range = range(3000), most: int = 60_000) -> Caught:
    """Let both look for one mutant; the explorer alone, in a world that is made for it."""
    seed, broken, story, found = None, None, None, None
    with installed(one):
        for number in () if one.world in DIRECTED else seeds:
            story, broken = tell(number, **one.changes)
            if broken is not None:
                seed = number
                break
        if one.world != ALONE:
            found = explore(one.world, dataclasses.replace(WORLDS[one.world], **one.changes), most)
    if story is not None:
        _must_hold(story, one)
    if one.world in DIRECTED and found is not None:
        clean = explore(one.world, WORLDS[one.world], found.states)
        assert clean.broken is None, f"{one.name}: {clean.broken}, without it as well"
    for what in (broken, found and found.broken):
        if what is not None and isinstance(what.__cause__, STALE):
            raise what.__cause__  # not the guard is missing: the mutant no longer fits the core
    return Caught(one.name, seed, str(broken or ""), found, story)


def short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def table(rows: list[Caught]) -> str:
    """Who catches what."""
    lines = [f"{'guard removed':62} | {'by the simulator':70} | by the explorer"]
    lines += [
        f"{short(row.name, 62):62} | {short(row.simulated, 70):70} | {short(row.explored, 90)}"
        for row in rows
    ]
    return "\n".join(lines)
