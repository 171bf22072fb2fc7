"""Deliveries, receipts and flush: when a message counts as taken, and who is told."""

from __future__ import annotations

import asyncio
import logging

import pytest

from reliable_ws import Config, ConfirmTooLate, NotTaken, Outcome
from tests.aio.memory_network import now, on_virtual_clock, paired, receive, start, take, turns

# -- deliveries ----------------------------------------------------------------------------------


@on_virtual_clock
async def test_a_delivery_is_confirmed_when_its_block_is_left():
    async with paired() as (_, client, server):
        receipts = [await client.send(n) for n in range(3)]
        deliveries = server.deliveries()
        first = await anext(deliveries)
        async with first as message:
            assert message == 0
            await asyncio.sleep(1)
            assert receipts[0].outcome is Outcome.PENDING
        await receipts[0]

        second = await anext(deliveries)
        with pytest.raises(LookupError):
            await _fail(second)
        third = await anext(deliveries)
        third.confirm()
        await asyncio.sleep(1)
        assert receipts[1].outcome is Outcome.PENDING
        assert receipts[2].outcome is Outcome.PENDING  # confirmations are cumulative
        second.confirm()
        second.confirm()
        await receipts[2]
        await deliveries.aclose()


@on_virtual_clock
async def test_a_confirmation_may_be_awaited():
    """It is so with `apply=`; without, it waits for nothing."""
    async with paired() as (_, client, server):
        receipts = [await client.send(n) for n in range(3)]
        deliveries = server.deliveries()
        for again in (1, 2):
            delivery = await anext(deliveries)
            for _ in range(again):
                assert (await delivery.confirm()) is None
        last = await anext(deliveries)
        await asyncio.gather(last.confirm(), receipts[2])
        await deliveries.aclose()


@on_virtual_clock
async def test_deliveries_end_with_the_last_message_though_none_is_confirmed_yet():
    """Whoever confirms in batches must hear that there will be no more."""
    async with paired() as (_, client, server):
        for n in range(3):
            await client.send(n)
        closing = start(client.close())
        async with asyncio.timeout(1):
            batch = [delivery async for delivery in server.deliveries()]
        for delivery in batch:
            delivery.confirm()
        await closing


@on_virtual_clock
async def test_every_task_in_deliveries_hears_of_the_end():
    async with paired() as (_, client, server):

        async def worker():
            return [delivery async for delivery in server.deliveries()]

        workers = [start(worker()) for _ in range(4)]
        for n in range(10):
            await client.send(n)
        closing = start(client.close())
        async with asyncio.timeout(1):
            batches = await asyncio.gather(*workers)
        for delivery in [d for batch in batches for d in batch]:
            delivery.confirm()
        await closing


@on_virtual_clock
@pytest.mark.parametrize("last", ["delivered", "taken"])
async def test_who_waits_hears_of_the_end_when_another_gets_the_last_message(last):
    async with paired() as (_, client, server):
        deliveries = server.deliveries()
        await client.send("first")
        first = await anext(deliveries)
        second = start(anext(deliveries) if last == "delivered" else server.recv())
        await turns()
        got = []
        waiting = [start(receive(server, got)) for _ in range(2)]
        await turns()
        await client.send("second")
        closing = start(client.close())
        began = now()
        await asyncio.gather(*waiting)
        assert not got
        assert now() == began
        first.confirm()
        if last == "delivered":
            (await second).confirm()
        await closing
        await deliveries.aclose()


@on_virtual_clock
async def test_a_confirmation_after_the_end_is_too_late():
    async with paired() as (_, client, server):
        receipt = await client.send("x")
        delivery = await anext(aiter(server.deliveries()))
        closing = start(server.close())
        await turns()
        with pytest.raises(ConfirmTooLate):
            await delivery.confirm()
        with pytest.raises(Exception, match="unknown"):
            await receipt
        client.abort()
        await asyncio.gather(closing, return_exceptions=True)


async def _fail(delivery):
    async with delivery:
        raise LookupError


# -- confirmations -------------------------------------------------------------------------------


@on_virtual_clock
async def test_a_receipt_waits_until_the_message_is_taken():
    async with paired() as (_, client, server):
        receipt = await client.send("x")
        waiting = start(_wait(receipt))
        other = start(_wait(receipt))
        await asyncio.sleep(1)
        assert not waiting.done()
        assert receipt.outcome is Outcome.PENDING
        other.cancel()
        await turns()
        began = now()
        assert await server.recv() == "x"
        await waiting
        assert now() == began  # told at once: somebody waits for it
        assert receipt.outcome is Outcome.CONFIRMED
        await receipt
        assert "confirmed" in repr(receipt)


async def _wait(receipt):
    await receipt


@on_virtual_clock
async def test_flush_waits_for_what_was_sent_before_it():
    async with paired() as (_, client, server):
        await client.flush()
        for n in range(3):
            await client.send(n)
        flushing = start(client.flush())
        await turns()
        await client.send(3)
        assert await take(server, 3) == [0, 1, 2]
        await flushing
        assert client.stats.confirmed == 3
        began = now()
        with pytest.raises(TimeoutError):
            await client.flush(timeout=2)
        assert now() == began + 2
        assert await server.recv() == 3
        await client.flush(timeout=1)


@on_virtual_clock
async def test_receipts_and_flush_fail_when_the_peer_takes_nothing_more():
    async with paired() as (_, client, server):
        taken = await client.send("taken")
        await server.recv()
        await taken
        lost = await client.send("lost")
        waiting, flushing = start(_wait(lost)), start(client.flush())
        await turns()
        closing = start(server.close())
        with pytest.raises(NotTaken) as caught:
            await waiting
        [entry] = caught.value.report.undelivered
        assert entry == (2, Outcome.NOT_TAKEN, "lost")
        with pytest.raises(NotTaken):
            await flushing
        with pytest.raises(NotTaken):
            await client.close()
        await closing


@on_virtual_clock(seeds=(None,))
async def test_deliveries_that_nobody_confirms_are_told_when_the_window_stands_still(caplog):
    async with paired(server_config=Config(window_messages=4)) as (_, client, server):

        async def forget():
            async for _ in server.deliveries():
                pass

        forgetting = start(forget())
        for n in range(10):
            await client.send(n)
        await asyncio.sleep(60)
        (record,) = caplog.records
        assert f"session {server.id.hex()[:8]}: 4 deliveries are not confirmed" in caplog.text
        assert record.levelno == logging.WARNING
        caplog.clear()
        forgetting.cancel()
