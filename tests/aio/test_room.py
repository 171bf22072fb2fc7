"""Room for messages: who waits for it, who is served first, and who slows whom down."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import Config, ConnectionClosedOK, OutboxFull, State
from tests.aio.memory_network import now, on_virtual_clock, paired, rest, start, take, turns

SMALL = Config(outbox_messages=4)
TIGHT = Config(window_messages=1)
SLOW = Config(window_messages=8, window_bytes=4096)


@contextlib.asynccontextmanager
async def full():
    """A pair whose client has sent all that its outbox has room for: 0, 1, 2, 3."""
    async with paired(config=SMALL) as (_, client, server):
        for n in range(4):
            await client.send(n)
        yield client, server


@contextlib.asynccontextmanager
async def another_task():
    """It wants its turns too; what is returned tells how many it has had."""
    count = 0

    async def work():
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    working = start(work())
    await asyncio.sleep(0)
    yield lambda: count
    working.cancel()


# -- room ----------------------------------------------------------------------------------------


@on_virtual_clock
async def test_sends_are_accepted_in_call_order_also_when_they_wait():
    async with paired(config=SMALL) as (_, client, server):
        tasks = []
        for n in range(50):
            tasks.append(start(client.send(n)))
            await turns(3)
        assert client.stats.sent <= 4 + 4  # what is sent is not yet confirmed
        assert await take(server, 50) == list(range(50))
        receipts = await asyncio.gather(*tasks)
        assert [receipt.number for receipt in receipts] == list(range(1, 51))


@on_virtual_clock
async def test_nobody_overtakes_a_sender_that_waits():
    async with full() as (client, server):
        waiting = start(client.send(4))
        await turns()
        with pytest.raises(OutboxFull):
            client.send_nowait("overtaking")
        assert await server.recv() == 0
        await asyncio.sleep(1)
        assert (await waiting).number == 5
        assert await take(server, 4) == [1, 2, 3, 4]


@on_virtual_clock
async def test_a_small_message_does_not_overtake_a_large_one_that_waits():
    async with paired(config=Config(outbox_bytes=1000)) as (_, client, server):
        await client.send(bytes(900))
        large = start(client.send(bytes(950)))
        await turns()
        small = start(client.send(b"small"))
        await turns()
        assert not small.done()
        assert [len(m) for m in await take(server, 3)] == [900, 950, 5]
        assert (await large).number < (await small).number


@on_virtual_clock
async def test_send_nowait_raises_when_there_is_no_room():
    async with paired(config=SMALL) as (_, client, server):
        for n in range(4):
            assert client.send_nowait(n).number == n + 1
        with pytest.raises(OutboxFull):
            client.send_nowait(4)
        assert await take(server, 4) == [0, 1, 2, 3]
        await client.flush()
        client.send_nowait(4)
        assert await server.recv() == 4


@on_virtual_clock
async def test_send_gives_up_when_its_time_is_up():
    async with full() as (client, server):
        began = now()
        first = start(client.send("never", timeout=2))
        second = start(client.send("later", timeout=60))
        with pytest.raises(TimeoutError):
            await first
        assert now() == began + 2
        assert await take(server, 5) == [0, 1, 2, 3, "later"]
        await second
        assert client.stats.sent == 5


@on_virtual_clock(seeds=(None,))
async def test_send_needs_no_time_where_there_is_room():
    """The yield to the loop, once per burst of sends, is not waiting for room."""
    async with paired() as (_, client, server):
        for n in range(3000):
            await client.send(n, timeout=0)
        assert await take(server, 3000) == list(range(3000))


@on_virtual_clock(seeds=range(20))
async def test_send_that_times_out_accepted_nothing():
    async with full() as (client, server):
        sending = [start(client.send(n, timeout=1)) for n in range(4, 8)]
        await asyncio.sleep(1)
        got = await take(server, 4)
        results = await asyncio.gather(*sending, return_exceptions=True)
        accepted = [
            n for n, r in zip(range(4, 8), results, strict=True) if not isinstance(r, TimeoutError)
        ]
        assert got + await take(server, len(accepted)) == [0, 1, 2, 3, *accepted]
        assert client.stats.sent == 4 + len(accepted)


@on_virtual_clock(seeds=(None,))
async def test_a_message_above_the_outbox_is_accepted_alone():
    async with paired(config=Config(outbox_bytes=1000)) as (_, client, server):
        await client.send(bytes(5000))
        with pytest.raises(OutboxFull):
            client.send_nowait(b"")
        assert len(await server.recv()) == 5000


@on_virtual_clock
async def test_a_window_of_one_message_delivers_all():
    async with paired(config=TIGHT) as (_, client, server):

        async def sender(conn):
            for n in range(100):
                await conn.send(n)
            await conn.finish()

        sending = [start(sender(client)), start(sender(server))]
        both = await asyncio.gather(rest(client), rest(server), *sending)
        assert both[:2] == [list(range(100))] * 2


@on_virtual_clock
async def test_one_who_never_reads_bounds_its_sender_and_itself():
    async with paired(config=SLOW) as (_, client, server):

        async def sender():
            while True:
                await client.send(bytes(100))

        sending = start(sender())
        await asyncio.sleep(300)
        stats = client.stats
        assert stats.sent <= 8 + 8
        assert stats.outbox_bytes <= 2 * 4096
        assert server.stats.inbox_bytes <= 2 * 4096
        assert client.state is State.OPEN  # it speaks, it does not read
        sending.cancel()
        await take(server, stats.sent)


@on_virtual_clock
async def test_a_slow_reader_slows_its_sender_down():
    async with paired(config=SLOW) as (_, client, server):
        most = 0

        async def sender():
            for n in range(200):
                await client.send(n)
            await client.finish()

        sending = start(sender())
        expected = 0
        async for n in server:
            assert n == expected
            expected += 1
            most = max(most, client.stats.sent - n)
            await asyncio.sleep(0.1)
        assert expected == 200
        assert most <= 20
        await sending


@on_virtual_clock
async def test_both_sides_full_and_then_read():
    async with paired(config=SLOW) as (_, client, server):

        async def sender(conn):
            for n in range(100):
                await conn.send(n)

        sending = [start(sender(client)), start(sender(server))]
        await asyncio.sleep(60)
        assert [await take(c, 100) for c in (client, server)] == [list(range(100))] * 2
        await asyncio.gather(*sending)
        await asyncio.gather(client.flush(), server.flush())


@on_virtual_clock(seeds=(None,))
async def test_a_loop_of_sends_lets_others_run():
    async with paired() as (_, client, _server), another_task() as turns_had:
        before = turns_had()
        for _ in range(20_000):
            await client.send(b"")
        assert turns_had() - before >= 10


@on_virtual_clock(seeds=(None,))
async def test_a_loop_of_receives_lets_others_run():
    async with paired() as (_, client, server):
        for _ in range(20_000):
            await client.send(b"")
        await asyncio.sleep(1)
        async with another_task() as turns_had:
            before = turns_had()
            await take(server, 10_000)
            assert turns_had() - before >= 5
            before = turns_had()
            count = 10_000
            async for _ in server:
                count -= 1
                if not count:
                    break
            assert turns_had() - before >= 5


# -- the end -------------------------------------------------------------------------------------


async def sends_woken_by(client, verb):
    """Begin two sends that have to wait, then end; return how the sends ended, soon."""
    waiting = [start(client.send(n)) for n in range(4, 6)]
    await turns()
    ending = start(verb())
    async with asyncio.timeout(1):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    return ending, [type(result) for result in results]


@on_virtual_clock
async def test_finish_wakes_a_sender_that_waits_for_room():
    async with full() as (client, _server):
        finishing, results = await sends_woken_by(client, client.finish)
        assert results == [ConnectionClosedOK] * 2
        await finishing


@on_virtual_clock
async def test_close_wakes_a_sender_that_waits_for_room():
    async with full() as (client, server):
        closing, results = await sends_woken_by(client, client.close)
        assert results == [ConnectionClosedOK] * 2
        assert await rest(server) == [0, 1, 2, 3]
        await closing
