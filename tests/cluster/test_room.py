"""Groups over real processes that are killed and frozen: who heard what, and true receipts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from .processes import running
from .servers import RedisServer
from .talkers import Crowd
from .test_relay import until

LEASE = 1.0

DROPPED = {1013, 4410}
"""How a session ends whose process was out of reach for longer than the lease. The second code: its
client was away when it was told."""


@contextlib.asynccontextmanager
async def crowd(
    engine: RedisServer, folder: Path, level: str, talkers: int = 6
) -> AsyncIterator[Crowd]:
    async with running(folder, engine, level, program="room", lease=LEASE) as (nodes, balancer):
        here = Crowd(nodes, balancer)
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
        await until(lambda: here.ends.total() >= 2)  # each of its members, told
        tally = await here.finish()
        assert tally["confirmed"] > 100
        assert set(here.ends) <= DROPPED


async def test_members_of_a_killed_process_are_known_from_its_takers(
    engine: RedisServer, tmp_path: Path
) -> None:
    """At level "log" the sessions go on elsewhere, and with them what had been published."""
    async with crowd(engine, tmp_path, "log") as here:
        await asyncio.sleep(0.5)
        here.nodes[1].kill()
        await asyncio.sleep(LEASE * 1.5)
        tally = await here.finish()
        assert tally["confirmed"] > 100
        assert set(here.ends) <= DROPPED
        # What the killed process had told of is known from the processes that took over.
        assert tally["unknown"] < tally["confirmed"] / 5
