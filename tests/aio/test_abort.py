"""Abort; and what everybody who waits learns when a session ends."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    Config,
    ConnectionClosedError,
    DeliveryError,
    End,
    NotTaken,
    Outcome,
    OutcomeUnknown,
    SessionLost,
    State,
)
from tests.aio.memory_network import (
    MemoryNetwork,
    now,
    on_virtual_clock,
    paired,
    rest,
    start,
    take,
    turns,
)
from tests.support.inside import driver_of


@on_virtual_clock
async def test_waiting_receipts_learn_what_close_learns():
    async with paired() as (_, client, server):
        receipts = [await client.send(n) for n in range(4)]
        waiting = [start(_wait(receipt)) for receipt in receipts]
        await turns()
        await take(server, 2)
        closing = start(server.close())
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(r) for r in results] == [type(None)] * 2 + [NotTaken] * 2
        with pytest.raises(NotTaken):
            await client.close()
        await closing


async def _wait(receipt):
    await receipt


@on_virtual_clock
async def test_abort_ends_both_sides_at_once():
    async with paired() as (net, client, server):
        receipt = await client.send("x")
        reading = start(server.recv())
        assert await reading == "x"
        await receipt
        unread = await client.send("unread")
        back = await server.send("back")
        waiting = [start(server.recv()), start(_wait(back)), start(client.recv())]
        await asyncio.sleep(0.01)
        client.abort(4499, "enough")
        client.abort()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await turns()
        assert client.state is server.state is State.CLOSED
        assert (client.close_code, client.close_reason) == (4499, "enough")
        assert server.report.ending.kind is End.REFUSED
        assert isinstance(results[0], str | SessionLost)
        assert isinstance(results[1], DeliveryError | None)
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        with pytest.raises(ConnectionClosedError):
            await client.send("more")
        assert unread.outcome in (Outcome.UNKNOWN, Outcome.CONFIRMED)
        assert "closed" in net.names()


@on_virtual_clock
async def test_abort_wakes_everybody():
    async with paired(config=Config(outbox_messages=1)) as (_, client, _server):
        receipt = await client.send(0)
        waiting = [
            start(client.recv()),
            start(rest(client)),
            start(client.send(1)),
            start(client.send(2)),
            start(client.flush()),
            start(client.wait_closed()),
            start(_wait(receipt)),
        ]
        await asyncio.sleep(0.01)
        client.abort()
        async with asyncio.timeout(1):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        closed, unknown = ConnectionClosedError, OutcomeUnknown
        expected = [closed, closed, closed, closed, unknown, type(None), unknown]
        assert [type(r) for r in results] == expected


@on_virtual_clock
async def test_abort_while_the_writer_is_stuck():
    config = Config(outbox_bytes=2**20)
    async with paired(config=config, limit=1000) as (net, client, _server):
        net.freeze()
        for _ in range(10):
            await client.send(bytes(5000))
            await turns()
        client.abort()
        await turns()
        assert not [t for t in asyncio.all_tasks() if "LinkIO._write" in repr(t)]


@on_virtual_clock
async def test_abort_while_a_websocket_is_being_opened_leaves_nothing_behind():
    net = MemoryNetwork()

    async def never():
        await asyncio.sleep(1000)

    client, server = await net.pair(reopen=never)
    net.cut()
    await asyncio.sleep(5)
    client.abort()
    await turns()
    assert not driver_of(client).tasks
    server.abort()


@on_virtual_clock
async def test_giving_up_while_a_websocket_is_being_opened_leaves_nothing_behind():
    net = MemoryNetwork(config=Config(session_ttl=15, open_timeout=10))

    async def never():
        await asyncio.sleep(1000)

    client, server = await net.pair(reopen=never)
    net.cut()
    await client.wait_closed()
    assert now() == 15
    await turns()
    assert not driver_of(client).tasks
    server.abort()
