"""Every coroutine that ends a connection cancelled at its every suspension (see test_cancel.py)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import Config, ConnectionClosed, DeliveryError, State
from tests.aio.cancelled_pair import CancelledPair, cancelled_everywhere, in_all_networks
from tests.aio.memory_network import rest, start


@cancelled_everywhere
@in_all_networks
@pytest.mark.parametrize("timeout", [None, 100])
async def test_close_goes_on_in_the_background(attempt, network, timeout):
    async with CancelledPair(network, config=Config(idle_timeout=9)) as pair:
        await pair.client.send("x")

        async def reader():
            await asyncio.sleep(0.01)
            pair.strike()
            assert await rest(pair.server) == ["x"]
            await pair.server.close()

        reading = start(reader())
        await attempt.run(pair.client.close(timeout=timeout))
        await reading
        await pair.client.wait_closed()
        assert pair.client.close_code == 1000
        await pair.client.close()  # joins, or sees that it is over
        assert pair.client.report.confirmed == 1


@cancelled_everywhere
@pytest.mark.parametrize("who", ["both", "nobody else"])
async def test_close_when_it_cannot_deliver(attempt, who):
    config = Config(close_progress_timeout=2)
    async with CancelledPair(config=config) as pair:
        await pair.client.send("x")
        closing = start(pair.server.close()) if who == "both" else None
        outcome = await attempt.run(pair.client.close())
        assert outcome.reached or isinstance(outcome.error, DeliveryError)
        await pair.client.wait_closed()
        with pytest.raises(DeliveryError):
            await pair.client.close()
        if closing is not None:
            await closing


@cancelled_everywhere(fewest=0, most=0)
async def test_finish_never_waits(attempt):
    async with CancelledPair() as pair:
        await pair.client.send("x")
        await attempt.run(pair.client.finish())
        assert await rest(pair.server) == ["x"]


@cancelled_everywhere
async def test_wait_closed(attempt):
    async with CancelledPair() as pair:

        async def closer():
            await asyncio.sleep(0.01)
            await asyncio.gather(pair.client.close(), pair.server.close())

        closing = start(closer())
        other = start(pair.client.wait_closed())
        await attempt.run(pair.client.wait_closed())
        await asyncio.gather(closing, other)


@cancelled_everywhere
@pytest.mark.parametrize("error", [None, LookupError])
async def test_leaving_the_block(attempt, error):
    async with CancelledPair() as pair:

        async def block():
            async with pair.client as conn:
                await conn.send("x")
                if error is not None:
                    raise error

        async def reader():
            got = []
            with contextlib.suppress(ConnectionClosed):
                while True:
                    got.append(await pair.server.recv())
            await pair.server.close()
            return got

        reading = start(reader())
        await attempt.run(block())
        assert await reading == ["x"]
        await pair.client.wait_closed()


@cancelled_everywhere(fewest=2)
async def test_a_cancelled_block_aborts(attempt):
    async with CancelledPair() as pair:

        async def block():
            async with pair.client as conn:
                await conn.recv()
                await asyncio.sleep(1)

        async def sender():
            await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionClosed):
                await pair.server.send("x")

        sending = start(sender())
        outcome = await attempt.run(block())
        await sending
        if outcome.how == "cancelled" and "recv" in attempt.place:
            assert pair.client.state is State.CLOSED
