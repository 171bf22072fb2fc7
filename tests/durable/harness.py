"""Kill both sides of a conversation, again and again, and compare what they wrote down.

``python -m tests.durable.harness --kills 300``. The parent has loaded everything, and forks each
process: so a start takes milliseconds. It listens, and its children accept. Each process is one of
asyncio or one with threads, by chance: so each kind of driver goes on with what the other has kept.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import pickle
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from reliable_ws.adapters.websockets import asyncio as _websockets  # noqa: F401 - loaded once
from reliable_ws.adapters.websockets import listener as _listener  # noqa: F401
from reliable_ws.adapters.websockets import sync as _sync  # noqa: F401

from . import points
from .audit import audit
from .board import KINDS, POINTS, SIDES, STAGES, Board
from .lives import live
from .sides import Life

__all__ = ["World", "main", "plan"]

SAYING = STAGES[-2:]

NOT_ON = {
    "initiator": {f"{stage} {kind}" for stage in SAYING for kind in ("welcome", "ended")},
    "acceptor": {f"{stage} attempt" for stage in SAYING} | {"closed"},
}
"What a side does not say."

UNSAID = {f"{stage} forgotten" for stage in SAYING}

SELDOM = {"finish", "stopped", "ended", "welcome", "attempt", "closing", "closed"}
"What is once in a session."

PATIENCE = 3.0
"So long a side has to come to the point at which it is to die."

STILL = 30.0
"So long nothing may happen."

END = 60.0
"So long both sides have to come to an end when nobody is killed any more."

Kill = tuple[str, str, int]


def all_points() -> list[tuple[str, str]]:
    return [
        (side, point)
        for side in SIDES
        for point in POINTS
        if point not in NOT_ON[side] and point not in UNSAID
    ]


def plan(kills: int, chance: random.Random) -> list[Kill | None]:
    """Which kills to make: each point in turn, and a third of them at any time (``None``)."""
    each = all_points()
    chance.shuffle(each)
    places = itertools.cycle(each)
    planned: list[Kill | None] = []
    while len(planned) < kills:
        if chance.random() < 0.3:
            planned.append(None)
        else:
            side, point = next(places)
            seldom = point.split(" ")[-1] in SELDOM
            planned.append((side, point, 1 if seldom else chance.choice((1, 1, 2, 3, 5))))
    return planned


class World:
    """Two files and the processes that have them, one after the other."""

    def __init__(self, directory: Path, seed: int, survives: str) -> None:
        self.directory = directory
        self.chance = random.Random(seed)
        self.survives = survives
        self.board = Board()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listening.setblocking(False)
        self.lives = dict.fromkeys(SIDES, 0)
        self.children: dict[str, int] = {}
        self.kinds: dict[str, str] = {}
        "Of the last process of each side."
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def start(self, side: str) -> None:
        """Start the next process of a side."""
        self.lives[side] += 1
        kind = self.kinds[side] = self.chance.choice(KINDS)
        life = Life(
            self.directory,
            side,
            self.lives[side],
            self.chance.getrandbits(32),
            self.board,
            self.listening,
            self.survives,
            kind,
        )
        process = os.fork()
        if process:
            self.children[side] = process
            return
        status = 1
        try:
            live(life)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def reap(self) -> list[tuple[str, int]]:
        """Return which children have ended, and how."""
        ended = []
        for side, process in list(self.children.items()):
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                del self.children[side]
                ended.append((side, status))
        return ended

    def check(self, ended: list[tuple[str, int]]) -> None:
        for side, status in ended:
            if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
                log = (self.directory / f"{side}.log").read_text()[-3000:]
                self.wrong.append(f"{side} ended by itself with {status}: {log}")
            self.counts[f"processes killed, with {self.kinds[side]}"] += 1

    def kill(self, planned: Kill | None) -> None:
        """Have a side die, and start it again."""
        for side in SIDES:
            if side not in self.children:
                self.start(side)
        if planned is None:
            until = time.monotonic() + self.chance.uniform(0.0, 0.12)
        else:
            side, point, times = planned
            self.board.arm(side, self.kinds[side], point, times)
            until = time.monotonic() + PATIENCE
        ended = self.wait(until)
        self.board.disarm()
        self.counts["kills"] += 1
        if not ended:
            if planned is not None:
                self.counts["points not reached"] += 1
                self.see_that_they_go_on(planned)
            victims = self.chance.choice((SIDES[:1], SIDES[1:], SIDES))
            for side in victims:
                if side in self.children:
                    os.kill(self.children[side], signal.SIGKILL)
                    _process, status = os.waitpid(self.children.pop(side), 0)
                    ended.append((side, status))
        self.check(ended)

    def wait(self, until: float) -> list[tuple[str, int]]:
        """Wait until a side has ended, but not for ever."""
        ended: list[tuple[str, int]] = []
        while not ended and time.monotonic() < until:
            time.sleep(0.001)
            ended = self.reap()
        return ended

    def see_that_they_go_on(self, planned: Kill) -> None:
        """A point that was not reached may be a rare one; but something has to happen."""
        before, until = self.hits(), time.monotonic() + STILL
        while self.hits() == before:
            if time.monotonic() > until:
                self.ask_where_they_are()
                self.wrong.append(f"both sides stand still, before {planned}")
                return
            if ended := self.wait(time.monotonic() + 0.05):  # it came to the point after all
                self.check(ended)
                return

    def hits(self) -> dict[tuple[str, str, str], int]:
        """How often processes of each side and kind came to each point."""
        return {
            (side, kind, point): count
            for side in SIDES
            for kind in KINDS
            for point, count in self.board.hits(side, kind).items()
        }

    def ask_where_they_are(self) -> None:
        """Have both sides write their stacks and tasks into their logs."""
        for number in (signal.SIGUSR2, signal.SIGUSR1) if self.children else ():
            for process in self.children.values():
                os.kill(process, number)
            time.sleep(0.3)

    def finish(self) -> None:
        """Let both sides come to an end, and compare what they wrote down."""
        self.board.finishing = True
        for side in SIDES:
            if side not in self.children:
                self.start(side)
        until = time.monotonic() + END
        while self.children and time.monotonic() < until:
            time.sleep(0.002)
            for side, status in self.reap():
                if status:
                    self.check([(side, status)])
        self.ask_where_they_are()
        for side, process in self.children.items():
            self.wrong.append(f"{side} did not come to an end in {END} s")
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        self.children.clear()
        self.listening.close()


def run(planned: list[Kill | None], seed: int, *, per_world: int, keep: Path | None) -> Figures:
    """Make these kills, in one world after the other."""
    chance = random.Random(seed)
    figures = Figures()
    for at in range(0, len(planned), per_world):
        directory = Path(tempfile.mkdtemp(prefix="durable"))
        world = World(directory, seed + at, chance.choice(("power", "process")))
        for one in planned[at : at + per_world]:
            world.kill(one)
        world.finish()
        figures.hits.update(world.hits())
        figures.counts.update(world.counts)
        found = audit(directory)
        figures.counts.update(found.counts)
        figures.strange.update(found.strange)
        bad = world.wrong + found.wrong
        figures.wrong += [f"world {seed}.{at}: {line}" for line in bad]
        if bad and keep is not None:
            shutil.copytree(directory, keep / f"{seed}.{at}", dirs_exist_ok=True)
        shutil.rmtree(directory)
    return figures


class Figures:
    """What was done, and what was found."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.strange: Counter[str] = Counter()
        "What went wrong for an application because its peer had died: no fault."
        self.hits: Counter[tuple[str, str, str]] = Counter()
        self.wrong: list[str] = []

    def add(self, other: Figures) -> None:
        self.counts.update(other.counts)
        self.strange.update(other.strange)
        self.hits.update(other.hits)
        self.wrong += other.wrong

    @property
    def never(self) -> list[str]:
        """Points that nobody came to."""
        return [
            f"{side}, {kind}: {point}"
            for side, point in all_points()
            for kind in KINDS
            if not self.hits[side, kind, point]
        ]


def run_together(kills: int, seed: int, *, jobs: int, per_world: int, keep: Path | None) -> Figures:
    """Make so many kills, in several worlds at the same time: they mostly wait."""
    points.install()
    gc.collect()
    gc.freeze()
    planned = plan(kills, random.Random(seed))
    readers: list[tuple[int, int]] = []
    for job in range(jobs):
        reader, writer = os.pipe()
        process = os.fork()
        if process:
            os.close(writer)
            readers.append((process, reader))
            continue
        mine = run(planned[job::jobs], seed + 1000 * job, per_world=per_world, keep=keep)
        with os.fdopen(writer, "wb") as file:
            pickle.dump(mine, file)
        os._exit(0)
    figures = Figures()
    for process, reader in readers:
        with os.fdopen(reader, "rb") as file:
            figures.add(pickle.load(file))
        os.waitpid(process, 0)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=4, help="worlds at the same time")
    parser.add_argument("--per-world", type=int, default=25)
    parser.add_argument("--keep", type=Path, help="where to put the files of what failed")
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    began = time.monotonic()
    print(f"{options.kills} kills are to be done, seed {seed}", flush=True)
    figures = run_together(
        options.kills, seed, jobs=options.jobs, per_world=options.per_world, keep=options.keep
    )
    for name, count in sorted(figures.counts.items()):
        print(f"{count:8d} {name}")
    print(f"{time.monotonic() - began:8.0f} seconds")
    print("raised where the peer had died:", dict(figures.strange.most_common(20)))
    print("points that nobody came to:", figures.never)
    for line in figures.wrong[:30]:
        print("WRONG", line)
    print(f"{len(figures.wrong)} faults")
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
