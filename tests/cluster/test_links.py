"""What a node does with the tasks of its links when it leaves."""

from __future__ import annotations

import asyncio
import contextlib

from reliable_ws.cluster import links
from reliable_ws.cluster.links import cancel_all


async def test_a_cancellation_that_somebody_swallows_is_repeated(monkeypatch) -> None:
    monkeypatch.setattr(links, "CANCEL_AGAIN", 0.01)
    begun = asyncio.Event()

    async def deaf() -> None:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def fails() -> None:
        raise ValueError

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(fails())]
    await begun.wait()
    async with asyncio.timeout(10):
        await cancel_all(tasks)
    assert all(task.done() for task in tasks)


async def test_without_tasks_there_is_nothing_to_wait_for() -> None:
    await cancel_all([])
