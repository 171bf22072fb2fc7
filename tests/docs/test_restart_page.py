"""docs/restart.md: its programs lose nothing while a server is killed again and again."""

from __future__ import annotations

import asyncio
import re

import pytest

from reliable_ws import Config
from reliable_ws.testing import Network, Strike, run

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "restart.md").read_text()
BLOCKS = re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
NAMES: dict = {}
for _, text in BLOCKS:
    exec(text, NAMES)

KILLS = [[Strike("kill_server", at=at, times=3)] for at in range(2, 8)]
SMALL = Config(window_messages=4)


def test_every_block_is_run():
    assert [name for name, _ in BLOCKS] == ["ids", "from", "jobs"]
    assert PAGE.count("```python") == len(BLOCKS)


@pytest.mark.parametrize("plan", KILLS)
def test_orders_arrive_once(plan):
    async def main():
        network, seen = Network(plan=plan), {}
        orders = {f"order {n}": n for n in range(20)}
        async with network.serve(NAMES["Orders"](seen).handler, config=SMALL):
            await NAMES["deliver"](network.connect, orders)
        assert seen == orders
        assert network.faults["kill_server"]

    run(main())


@pytest.mark.parametrize("plan", KILLS)
def test_events_are_stored_once(plan):
    async def main():
        network, stored, events = Network(plan=plan), [], list(range(50))
        async with network.serve(NAMES["Feed"](events).handler, config=SMALL):
            await NAMES["follow"](lambda: network.connect(config=SMALL), stored)
        assert stored == events
        assert network.faults["kill_server"]

    run(main())


@pytest.mark.parametrize("seconds", [1, 100, 300])
def test_a_job_outlives_its_session(seconds):
    async def main():
        network, begun = Network(), []

        async def work(job):
            begun.append(job)
            await asyncio.sleep(500)
            return f"{job} is done"

        jobs = NAMES["Jobs"](work)
        async with network.serve(jobs.handler):
            asking = asyncio.create_task(NAMES["ask"](network.connect, "report"))
            await asyncio.sleep(seconds)
            network.kill_server()  # its sessions; the jobs are kept elsewhere
            assert await asking == "report is done"
        assert begun == ["report"]

    run(main())
