"""Every public coroutine cancelled at its every suspension: nothing is lost, nothing is left.

Each scenario runs once for each suspension, cancelled there, in two moments: when the coroutine
has just begun to wait, and when what it waits for is done but it has not been told. Afterwards
the pair goes on, and everything that was accepted arrives, each once, in order. The virtual loop
itself fails a run that leaves a task, an unretrieved exception or a call of its handler.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import Config, ConnectionClosed
from tests.aio.cancelled_pair import CancelledPair, cancelled_everywhere, in_all_networks
from tests.aio.memory_network import iterate, receive, start, take, turns

# -- receiving -----------------------------------------------------------------------------------


@cancelled_everywhere
@in_all_networks
@pytest.mark.parametrize("timeout", [None, 100])
async def test_recv(attempt, network, timeout):
    async with CancelledPair(network) as pair:

        async def sender():
            await asyncio.sleep(0.01)
            pair.strike()
            for n in range(3):
                await pair.client.send(n)

        sending = start(sender())
        outcome = await attempt.run(pair.server.recv(timeout=timeout))
        got = [outcome.value] if outcome.how == "returned" else []
        assert got == ([] if outcome.how == "cancelled" else [0])
        assert got + await take(pair.server, 3 - len(got)) == [0, 1, 2]
        await sending


@cancelled_everywhere(fewest=2)
async def test_recv_in_a_long_row(attempt):
    """Also at the yields that let others run."""
    async with CancelledPair() as pair:
        got = []

        async def reader():
            while len(got) < 2500:
                got.append(await pair.server.recv())

        for n in range(2500):
            await pair.client.send(n)
        await attempt.run(reader())
        got += await take(pair.server, 2500 - len(got))
        assert got == list(range(2500))


@cancelled_everywhere(fewest=4)
@pytest.mark.parametrize("way", ["async for", "deliveries", "recv"])
async def test_one_of_several_readers(attempt, way):
    async with CancelledPair() as pair:
        mine, others = [], []
        server = pair.server

        async def reader():
            if way == "async for":
                await iterate(server, mine)
            elif way == "deliveries":
                async for delivery in server.deliveries():
                    mine.append(delivery.message)
                    delivery.confirm()
            else:
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        mine.append(await server.recv())

        async def other():
            await receive(server, others)

        async def sender():
            for n in range(12):
                await asyncio.sleep(0.001)
                await pair.client.send(2 * n)
                await pair.client.send(2 * n + 1)
            await pair.client.finish()

        working = [start(other()), start(sender()), start(other())]
        await attempt.run(reader())
        await asyncio.gather(*working)
        assert sorted(mine + others) == list(range(24))
        assert mine == sorted(mine)
        await pair.client.flush()


@cancelled_everywhere
async def test_waiting_for_the_last_delivery(attempt):
    async with CancelledPair() as pair:

        async def reader():
            return [d async for d in pair.server.deliveries()]

        await pair.client.send("x")
        closing = start(pair.client.close())
        outcome = await attempt.run(reader())
        if outcome.how == "returned":
            outcome.value[0].confirm()
            await closing
        else:
            pair.server.abort()
            await asyncio.gather(closing, return_exceptions=True)


# -- sending -------------------------------------------------------------------------------------


@cancelled_everywhere
@in_all_networks
@pytest.mark.parametrize("timeout", [None, 100])
async def test_send_waiting_for_room(attempt, network, timeout):
    """Whenever send raises, nothing was accepted."""
    async with CancelledPair(network, config=Config(outbox_messages=2)) as pair:
        client, server = pair.client, pair.server
        accepted = [0, 1, *range(10, 13), *range(20, 23)]

        async def neighbour(first):
            for n in range(first, first + 3):
                await client.send(n)

        async def reader():
            await asyncio.sleep(0.01)
            pair.strike()
            return [await server.recv() for _ in range(len(accepted))]

        await client.send(0)
        await client.send(1)
        before = start(neighbour(10))
        await turns()
        mine = start(attempt.run(client.send("mine", timeout=timeout)))
        await turns()
        after = start(neighbour(20))
        reading = start(reader())
        outcome = await mine
        await asyncio.gather(before, after)
        if outcome.how == "returned":
            accepted.append("mine")
            assert outcome.value.number
        got = await reading
        while len(got) < len(accepted):
            got.append(await server.recv())
        assert sorted(map(str, got)) == sorted(map(str, accepted))
        assert client.stats.sent == len(accepted)
        for first in (10, 20):
            own = [n for n in got if n in range(first, first + 3)]
            assert own == list(range(first, first + 3))
        await client.flush()
        client.send_nowait("open again")
        assert await server.recv() == "open again"


@cancelled_everywhere(fewest=2)
async def test_send_in_a_long_row(attempt):
    """Also at the yields that let others run."""
    async with CancelledPair() as pair:
        accepted = 0

        async def sender():
            nonlocal accepted
            for n in range(3000):
                await pair.client.send(n)
                accepted += 1

        await attempt.run(sender())
        await pair.client.send("end")
        got = await take(pair.server, accepted + 1)
        assert got == [*range(accepted), "end"]


@cancelled_everywhere
@in_all_networks
@pytest.mark.parametrize("what", ["flush", "flush in time", "receipt"])
async def test_waiting_for_confirmation(attempt, network, what):
    async with CancelledPair(network) as pair:
        receipts = [await pair.client.send(n) for n in range(3)]

        async def wait(receipt):
            await receipt

        async def reader():
            await asyncio.sleep(0.01)
            pair.strike()
            assert await take(pair.server, 3) == [0, 1, 2]

        coroutine = {
            "flush": pair.client.flush,
            "flush in time": lambda: pair.client.flush(timeout=100),
            "receipt": lambda: wait(receipts[1]),
        }[what]()
        others = [start(wait(receipts[1])), start(wait(receipts[2])), start(reader())]
        await attempt.run(coroutine)
        await asyncio.gather(*others)  # other waiters are not touched
        await receipts[0]
        await pair.client.flush()
