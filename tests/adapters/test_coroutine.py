"""CoroutineTransport: what libraries with coroutines share."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws.adapters.coroutine import CoroutineTransport
from reliable_ws.transport import TransportClosed


class Adapted(CoroutineTransport):
    """Over a library on which nothing ever comes."""

    def __init__(self):
        super().__init__(None, "acceptor", None)
        self.receiving = asyncio.Event()

    async def _recv(self):
        self.receiving.set()
        return await asyncio.get_running_loop().create_future()

    async def _close(self, code, reason): ...


@pytest.fixture
def adapted():
    return Adapted()


async def received(transport):
    """How recv() ended, and how often its task is asked to be cancelled."""
    try:
        await transport.recv()
    except (TransportClosed, asyncio.CancelledError) as end:
        return type(end), asyncio.current_task().cancelling()


async def after_a_cancellation(transport):
    """As received(), in a task that has been cancelled before and went on."""
    asyncio.current_task().cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    return await received(transport)


@pytest.mark.parametrize(("receive", "before"), [(received, 0), (after_a_cancellation, 1)])
async def test_a_reader_that_is_woken_by_abort_is_not_cancelled(adapted, receive, before):
    reading = asyncio.create_task(receive(adapted))
    await adapted.receiving.wait()
    adapted.abort()
    assert await reading == (TransportClosed, before)


@pytest.mark.parametrize(("receive", "before"), [(received, 0), (after_a_cancellation, 1)])
@pytest.mark.parametrize("first", ["abort", "cancel"])
async def test_one_that_is_cancelled_in_the_same_turn_is(adapted, receive, before, first):
    reading = asyncio.create_task(receive(adapted))
    await adapted.receiving.wait()
    steps = [adapted.abort, reading.cancel]
    for step in steps if first == "abort" else reversed(steps):
        step()
    assert await reading == (asyncio.CancelledError, before + 1)


async def test_a_limit_of_time_that_passes_in_the_same_turn_is_one(adapted):
    async def reading():
        async with asyncio.timeout(None) as limit:
            loop = asyncio.get_running_loop()
            loop.call_soon(limit.reschedule, loop.time())
            loop.call_soon(loop.call_soon, adapted.abort)
            await adapted.recv()

    with pytest.raises(TimeoutError):
        await reading()
    assert asyncio.current_task().cancelling() == 0
