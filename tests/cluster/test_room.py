"""Groups over real processes that are killed and frozen: who heard what, and true receipts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from .processes import Node, running
from .room import LEASE
from .servers import Balancer, RedisServer
from .talkers import Talker, check
from .test_relay import until


class Crowd:
    """Nodes, and talkers that are spread over them."""

    def __init__(self, nodes: list[Node], balancer: Balancer, engine: RedisServer) -> None:
        self.nodes = nodes
        self.balancer = balancer
        self.engine = engine
        self.talkers: list[Talker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    async def come(self, count: int, every: float = 0.02) -> None:
        turns = itertools.cycle([node.port for node in self.nodes])
        self.balancer.choose = lambda ports: next(port for port in turns if port in ports)
        for number in range(count):
            talker = Talker(self.balancer.uri, f"t{number}", every)
            self.talkers.append(talker)
            self._tasks.append(asyncio.create_task(talker.run(self._stop)))
            await talker.joined.wait()

    async def finish(self) -> Counter[str]:
        self._stop.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)
        return check(self.nodes, self.talkers)

    @property
    def ends(self) -> Counter[int]:
        return sum((talker.ends for talker in self.talkers), Counter())


@contextlib.asynccontextmanager
async def crowd(
    engine: RedisServer, folder: Path, level: str, talkers: int = 6
) -> AsyncIterator[Crowd]:
    async with running(folder, engine, level, program="room") as (nodes, balancer):
        here = Crowd(nodes, balancer, engine)
        await here.come(talkers)
        yield here


async def test_a_frozen_process_drops_its_members_and_no_receipt_lies(
    engine: RedisServer, tmp_path: Path
) -> None:
    """Three processes, WebSockets that are cut, and one process that is frozen for too long."""
    async with crowd(engine, tmp_path, "relay") as here:
        await asyncio.sleep(0.3)
        here.balancer.cut()
        await asyncio.sleep(0.3)
        assert not here.ends
        here.nodes[1].signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE * 1.5)
        here.nodes[1].signal(signal.SIGCONT)
        await until(lambda: here.ends[1013] == 2)  # each of its members, told
        await asyncio.sleep(0.3)
        tally = await here.finish()
        assert tally["confirmed"] > 500
        assert here.ends == {1013: 2}
        assert not set(tally) & {"unknown", "failed"}


async def test_members_of_a_killed_process_are_known_from_its_takers(
    engine: RedisServer, tmp_path: Path
) -> None:
    """At level "log" the sessions go on elsewhere, and with them what had been published."""
    async with crowd(engine, tmp_path, "log") as here:
        await asyncio.sleep(0.5)
        here.nodes[1].kill()
        await asyncio.sleep(LEASE * 1.5)
        tally = await here.finish()
        assert tally["confirmed"] > 500
        assert not here.ends
        # What the killed process had told of is known from the processes that took over.
        assert tally["unknown"] < tally["confirmed"] / 20
