"""Many clients, in several processes: what they were told, and what became of each.

In life each client is a program of its own. Here many share a process, but none with what counts
their WebSockets.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

from reliable_ws import Backoff, Config

from .audit import Account, Client

CONFIG = Config(open_timeout=30)

OPENED = 10
"""Clients of one process that open their session at the same time."""

GROUPS = 40
"""The clients of a process end in so many groups, one after the other."""

POLL = 0.2
"""Seconds between two looks at all clients."""

LONGEST_WAIT = 300.0
"""Seconds that the clients may take to be open, or served: they share the machine."""

JITTER = 0.2
"""Seconds that a client adds to the moment it was told, at random (``Backoff.initial``)."""


class Part(NamedTuple):
    """The clients of one process."""

    uri: str
    count: int
    longest: float
    "Seconds that a client waits at most, if it is asked to."
    pause: float
    "Seconds between two messages of a client, on average."
    seed: int


class Clients:
    """All of them, as the process sees them that starts the others."""

    def __init__(
        self, uri: str, count: int, processes: int, *, longest: float, pause: float
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe[str, Any]] = []
        self._processes = []
        for number in range(processes):
            here, there = spawn.Pipe()
            some = count // processes + (number < count % processes)
            part = Part(uri, some, longest, pause, number)
            process = spawn.Process(target=_run, args=(part, there), daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    async def open(self) -> None:
        """Begin all sessions, some at a time."""
        await self._ask("open")

    async def served(self) -> None:
        """Return when each session has a WebSocket."""
        await self._ask("served")

    async def told(self) -> tuple[list[float], Counter[str]]:
        """Return when clients are to come, and why WebSockets ended, since this was asked last."""
        parts = await self._ask("told")
        told = itertools.chain.from_iterable(told for told, _ends in parts)
        return list(told), sum((ends for _told, ends in parts), Counter[str]())

    async def close(self) -> list[Account]:
        """End all sessions, some at a time; return what each client was told."""
        accounts = list(itertools.chain.from_iterable(await self._ask("close")))
        for process in self._processes:
            process.join()
        return accounts

    def kill(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()

    async def _ask(self, what: str) -> list[Any]:
        for pipe in self._pipes:
            pipe.send(what)
        return [await asyncio.to_thread(pipe.recv) for pipe in self._pipes]


def _run(part: Part, pipe: Pipe[Any, str]) -> None:
    asyncio.run(_answer(_Some(part), pipe))


async def _answer(some: _Some, pipe: Pipe[Any, str]) -> None:
    what = ""
    while what != "close":
        what = await asyncio.to_thread(pipe.recv)
        pipe.send(await getattr(some, what)())


class _Some:
    """Those of one process."""

    def __init__(self, part: Part) -> None:
        chance = random.Random(part.seed)
        backoff = Backoff(initial=JITTER, longest=part.longest)
        self._all = [
            Client(part.uri, backoff, chance.uniform(0.5, 1.5) * part.pause, CONFIG)
            for _ in range(part.count)
        ]
        self._stops = [asyncio.Event() for _ in range(GROUPS)]
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        for at in range(0, len(self._all), OPENED):
            begun = self._all[at : at + OPENED]
            for client in begun:
                stop = self._stops[len(self._tasks) % GROUPS]
                self._tasks.append(asyncio.create_task(client.run(stop)))
            await self._wait(begun, lambda client: client.is_open)
        gc.collect()
        gc.freeze()  # a collection looks at all clients: in life each has its own

    async def served(self) -> None:
        await self._wait(self._all, lambda client: client.is_served)

    async def told(self) -> tuple[list[float], Counter[str]]:
        told = list(itertools.chain.from_iterable(client.told for client in self._all))
        ends = sum((client.ends for client in self._all), Counter[str]())
        for client in self._all:
            client.told.clear()
            client.ends.clear()
        return told, ends

    async def close(self) -> list[Account]:
        for stop in self._stops:
            stop.set()
            await asyncio.sleep(0.5)
        async with asyncio.timeout(120):
            await asyncio.gather(*self._tasks)
        return [client.account for client in self._all]

    async def _wait(self, clients: Iterable[Client], true: Callable[[Client], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT):
            while not all(map(true, clients)):
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(POLL)
