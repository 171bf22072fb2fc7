"""Draining: everybody is told, what is under way ends, and it is bounded."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import ConnectionClosed, ConnectionClosedOK, Sessions, State, wrap
from reliable_ws.testing.memory import pair
from tests.aio.host import Host, echo
from tests.aio.stage import now, on_stage, rest, start, turns


@on_stage
async def test_drain_tells_everybody_and_waits_for_what_is_under_way():
    done = []

    async def handler(conn):
        async for message in conn:
            await asyncio.sleep(1)
            done.append(message)

    host = Host(handler)
    clients = [await host.connect() for _ in range(3)]
    for client in clients:
        await client.send(21)
    await asyncio.sleep(0.5)
    draining = start(host.sessions.drain(10))
    for client in clients:
        with pytest.raises(ConnectionClosedOK) as caught:
            await client.recv()
        assert caught.value.code == 1001
    await asyncio.gather(*(client.close() for client in clients))
    reports = await draining
    assert set(reports) == {client.id for client in clients}
    assert all(report.final for report in reports.values())
    assert done == [21] * 3
    with pytest.raises(ConnectionClosed):
        await host.connect()
    await asyncio.gather(*host.handling)


@on_stage
async def test_drain_still_answers_those_who_resume():
    async def handler(conn):
        await conn.send("last words")
        async for _ in conn:
            pass

    host = Host(handler)
    client = await host.connect()
    await turns()
    draining = start(host.sessions.drain(20))
    await turns()
    host.wires[-1].cut()
    assert await rest(client) == ["last words"]
    await client.close()
    [report] = (await draining).values()
    assert (report.sent, report.confirmed) == (1, 1)
    await host.over()


@on_stage
async def test_drain_cancels_handlers_that_take_too_long():
    cancelled = []

    async def handler(conn):
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    host = Host(handler)
    clients = [await host.connect() for _ in range(2)]
    closing = [start(client.close()) for client in clients]
    began = now()
    reports = await host.sessions.drain(3)
    assert cancelled == [began + 3] * 2
    assert now() - began < 5
    assert len(reports) == 2
    await asyncio.gather(*closing)


@on_stage
async def test_drain_is_bounded_whatever_peers_and_handlers_do(caplog):
    async def stubborn(conn):
        await conn.send("x")
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if conn.state is State.CLOSED:
                    raise

    host = Host(stubborn)
    clients = [await host.connect() for _ in range(2)]
    host.wires[0].freeze()
    host.wires[0].peer.freeze()
    began = now()
    reports = await host.sessions.drain(3)
    assert now() - began <= 3 + 5 + 5 + 0.001
    assert len(reports) == 2
    for report in reports.values():
        assert (report.sent, report.confirmed) == (1, 0)
    for client in clients:
        client.abort()
    for conn in {e.connection for e in host.events}:
        conn._driver.handling.cancel()
    await asyncio.sleep(20)
    await asyncio.gather(*host.handling)
    caplog.clear()


@on_stage
async def test_drain_with_wrapped_connections():
    """Where no handler runs, drain itself begins to close."""
    sessions = Sessions()
    near, far = pair()
    client, server = await asyncio.gather(wrap(near), wrap(far, sessions=sessions))
    await server.send("last")
    draining = start(sessions.drain())
    assert await rest(client) == ["last"]
    await client.close()
    [report] = (await draining).values()
    assert report.confirmed == 1
    assert server.state is State.CLOSED


@on_stage
async def test_drain_with_nobody_there_and_twice_at_once():
    sessions = Sessions()
    assert await sessions.drain() == {}

    host = Host(echo)
    client = await host.connect()
    draining = [start(host.sessions.drain()) for _ in range(2)]
    assert await rest(client) == []
    await client.close()
    first, second = await asyncio.gather(*draining)
    assert set(first) == set(second) == {client.id}
    await host.over()


@on_stage
async def test_drain_with_a_detached_session():
    host = Host(echo)
    client = await wrap(await host.open(), resume_within=60)
    host.wires[-1].cut()
    await turns()
    began = now()
    reports = await host.sessions.drain(3)
    assert now() - began <= 3 + 5 + 5
    assert set(reports) == {client.id}
    client.abort()
