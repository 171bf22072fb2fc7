"""Groups over real processes that are killed and frozen: who heard what, and true receipts."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from .processes import running
from .servers import RedisServer
from .talkers import Crowd
from .test_relay import until

DROPPED = {1013, 4410}
"""How a session ends whose process was out of reach for longer than the lease. The second code: its
client was away when it was told."""

LEASE = 2.0
TAKEOVER = 3.0
"""Seconds for which a publication waits for members whose process is gone."""


@contextlib.asynccontextmanager
async def crowd(
    engine: RedisServer, folder: Path, level: str, **options: float
) -> AsyncIterator[Crowd]:
    """Three processes with two talkers each."""
    async with running(folder, engine, level, program="room", **options) as (nodes, balancer):
        here = Crowd(nodes, balancer)
        await here.come(6)
        yield here


async def test_a_frozen_process_drops_its_members_and_no_receipt_lies(
    engine: RedisServer, tmp_path: Path
) -> None:
    """Three processes, WebSockets that are cut, and one process that is frozen for too long."""
    async with crowd(engine, tmp_path, "relay", lease=3.0) as here:
        await here.hear(100)
        here.balancer.cut()
        await here.hear(100)
        assert not here.ends
        here.nodes[1].signal(signal.SIGSTOP)
        with engine.client as client:
            await until(lambda: len(client.keys("reliable-ws:box:*")) < 3)  # its lease is over
        await here.hear(20)
        here.nodes[1].signal(signal.SIGCONT)
        await until(lambda: here.ends.total() >= 2)  # each of its members, told
        tally = await here.finish()
        assert tally["confirmed"] > 100
        assert set(here.ends) <= DROPPED


async def test_members_of_a_killed_process_are_known_from_its_takers(
    engine: RedisServer, tmp_path: Path
) -> None:
    """At level "log" the sessions go on elsewhere, and with them what had been published."""
    async with crowd(engine, tmp_path, "log", lease=LEASE, takeover=TAKEOVER) as here:
        await here.hear(200)
        killed = time.monotonic()
        here.nodes[1].kill()
        await until(lambda: here.moved + here.ends.total() >= 2)  # each of its members
        in_time = time.monotonic() - killed < LEASE + TAKEOVER  # or this machine is too busy
        await here.hear(20)
        tally = await here.finish()
        assert tally["confirmed"] > 100
        assert set(here.ends) <= DROPPED
        # What the killed process had told of is known from the processes that took over.
        assert not in_time or tally["unknown"] < tally["confirmed"] / 20
