"""A rolling restart of all nodes, under many clients: part of ``make soak-cluster``.

Three nodes of level "park". Each is told to go by SIGTERM and started again, one after the other,
while every client sends now and then. Before that all WebSockets are cut once, so that most of them
are passed on to another node than the one they reach. :mod:`.audit` compares what clients and
handlers have written down. For every second it is counted how many clients a node has chosen it
for, how many were told it by the clock, and how many WebSockets came. On a busy machine those come
late, and then together: it is measured how late, and where none is late there are not more in a
second than were told.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from reliable_ws import Backoff, Config

from .audit import Client, Told, check
from .processes import Node, running
from .servers import Balancer, RedisServer

CONFIG = Config(open_timeout=30)

OPENED = 50
"""Clients that open their session at the same time."""

GROUPS = 40
"""The clients end in so many groups, one after the other."""

TOLD = {"4503 moving to another process", "4503 this process is going away"}
"""Why a WebSocket ends whose client was told when to come again."""

POLL = 0.2
"""Seconds between two looks at all clients."""

LONGEST_WAIT = 300.0
"""Seconds that the clients may take to be open, or served: they share the machine."""

JITTER = 0.2
"""Seconds that a client adds to the moment it was told, at random (``Backoff.initial``)."""

LATE = 0.5
"""Seconds; where WebSockets came later than that, they were held up by this machine."""

SLACK = 1.5
"""What the busiest second may have above the even rate."""


class Clients:
    """Many clients, and how many of them came back when."""

    def __init__(self, balancer: Balancer, count: int, within: float, pause: float) -> None:
        chance = random.Random(1)
        backoff = Backoff(initial=JITTER, longest=within)
        self.all = [
            Client(balancer.uri, backoff, chance.uniform(0.5, 1.5) * pause, CONFIG)
            for _ in range(count)
        ]
        self._balancer = balancer
        self._stops = [asyncio.Event() for _ in range(GROUPS)]
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin all sessions, some at a time."""
        for number, client in enumerate(self.all, 1):
            stop = self._stops[number % GROUPS]
            self._tasks.append(asyncio.create_task(client.run(stop)))
            if number % OPENED == 0 or number == len(self.all):
                await self._wait(lambda: self.all[number - 1].is_open)  # noqa: B023
        await self._wait(lambda: all(client.is_open for client in self.all))

    async def scatter(self) -> None:
        """Cut all WebSockets, some at a time; return when each session has another one."""
        cut = 0
        while cut < len(self.all):
            before = self._balancer.connections
            self._balancer.cut(OPENED)
            cut += OPENED
            await self._wait(lambda: self._balancer.connections >= before + OPENED)  # noqa: B023
            await self.served()

    async def served(self) -> None:
        """Return when each session has a WebSocket."""
        await self._wait(lambda: all(client.is_served for client in self.all))

    async def _wait(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT):
            while not true():
                self.look()
                await asyncio.sleep(POLL)

    def look(self) -> None:
        """Raise if a session has ended."""
        for task in self._tasks:
            if task.done():
                task.result()

    def told(self) -> list[Told]:
        """Return when clients were told to come again, since this was asked last."""
        told = list(itertools.chain.from_iterable(client.told for client in self.all))
        for client in self.all:
            client.told.clear()
        return told

    def why(self) -> Counter[str]:
        """Return why WebSockets have ended since this was asked last."""
        ends = sum((client.ends for client in self.all), Counter[str]())
        for client in self.all:
            client.ends.clear()
        return ends

    async def close(self) -> None:
        """End all sessions, some at a time."""
        for stop in self._stops:
            stop.set()
            await asyncio.sleep(0.5)
        async with asyncio.timeout(120):
            await asyncio.gather(*self._tasks)


def lateness(moments: Sequence[float], came: Sequence[float]) -> float:
    """Return how late WebSockets came at worst: by then fewer had come than were told to come."""
    pairs = zip(moments, sorted(came), strict=False)
    return max((arrival - moment for moment, arrival in pairs), default=0.0)


def busiest(times: Sequence[float]) -> int:
    """Return how many there are within one second at most."""
    times = sorted(times)
    most = first = 0
    for place, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, place - first + 1)
    return most


async def restart(node: Node, clients: Clients, balancer: Balancer, within: float) -> None:
    """Restart one node, and print who came back."""
    begun, before = time.monotonic(), balancer.connections
    clients.told(), clients.why()
    await node.stop()
    node.start()
    await node.ready()
    await asyncio.sleep(max(0.0, begun + within + 1 - time.monotonic()))
    await clients.served()
    came = balancer.arrivals[before:]
    told, why = clients.told(), clients.why()
    most, even = busiest([one.after for one in told]), len(told) / within
    moments = sorted(one.at for one in told)
    late = lateness(moments, came)
    print(
        f"{node.name} restarted: {len(told)} clients were told when to come again, at most {most} "
        f"of them in a second (evenly: {even:.0f}), by the clock {busiest(moments)}; {len(came)} "
        f"WebSockets came, at most {busiest(came)} in a second, {late:.1f} s late at worst",
        flush=True,
    )
    for reason in why.keys() - TOLD:
        print(f"    and {why[reason]} for {reason!r}")
    assert most <= even * SLACK, "they were told to come all at once"
    assert late > LATE or busiest(came) <= even * SLACK, "they came all at once"


async def roll(count: int, within: float, pause: float) -> None:
    """Restart every node in turn, and print what came of it."""
    with tempfile.TemporaryDirectory() as name:
        engine = RedisServer(Path(name))
        options = {"within": within, "drain": within, "lease": 10.0, "direct": True}
        try:
            async with running(Path(name), engine, "park", **options) as (nodes, balancer):
                clients = Clients(balancer, count, within, pause)
                await clients.open()
                await clients.scatter()
                for node in nodes:
                    await restart(node, clients, balancer, within)
                await clients.close()
                notes = check(nodes, clients.all)
        finally:
            engine.stop()
    print(
        f"{count} sessions over {len(nodes)} restarts, {notes.count} messages taken: 0 told 4404, "
        "0 lost, 0 doubled without a flag, every report true"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--within", type=float, default=40.0)
    parser.add_argument("--pause", type=float, default=60.0)
    given = parser.parse_args()
    asyncio.run(roll(given.clients, given.within, given.pause))


if __name__ == "__main__":
    main()
