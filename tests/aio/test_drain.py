"""Draining: everybody is told, what is under way ends, and it is bounded."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import (
    Connection,
    ConnectionClosed,
    ConnectionClosedOK,
    Sessions,
    State,
    wrap,
)
from reliable_ws.testing import Network
from reliable_ws.testing.memory import pair
from tests.aio.host import Host, echo
from tests.aio.memory_network import now, on_virtual_clock, registry, rest, start, turns
from tests.support.inside import driver_of


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
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
    began = now()
    reports = await host.sessions.drain(10)
    assert cancelled == [began + 6] * 2
    assert now() - began < 7
    assert len(reports) == 2
    await asyncio.gather(*(client.close() for client in clients))


@on_virtual_clock
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
    assert now() - began <= 3 + 4
    assert len(reports) == 2
    for report in reports.values():
        assert (report.sent, report.confirmed) == (1, 0)
    for client in clients:
        client.abort()
    for conn in {e.connection for e in host.events}:
        driver_of(conn).handling.cancel()
    await asyncio.sleep(20)
    await asyncio.gather(*host.handling)
    caplog.clear()


@on_virtual_clock(seeds=(None,))
async def test_a_server_that_is_left_at_once_delivers_over_a_slow_network():
    """By Ctrl-C, say: within the few seconds that a block has which is left by a cancellation."""
    network = Network()

    async def handler(conn):
        for number in range(10):
            await conn.send(number)
        await conn.wait_closed()

    async def serving():
        async with network.serve(handler):
            ready.set()
            await asyncio.Event().wait()

    ready = asyncio.Event()
    server = start(serving())
    await ready.wait()
    client = await network.connect()
    await turns()
    network.delay(1.2)
    await client.recv()
    receiving = start(rest(client))
    server.cancel()
    assert await receiving == list(range(1, 10))
    await client.close()
    await asyncio.wait((server,))


async def receive_all(conn):
    async for _ in conn:
        pass


@pytest.mark.parametrize("handler", [receive_all, Connection.wait_closed])
@on_virtual_clock
async def test_drain_waits_for_no_client_that_only_sends(handler):
    """It does not listen, so it does not finish: nothing is owed, and the session ends."""
    host = Host(handler)
    client = await host.connect(on_event=host.events.append)
    await client.send("x") if handler is receive_all else None
    await turns()
    began = now()
    draining = start(host.sessions.drain(10))
    await turns()
    assert client.peer_finished == (1001, "going away")  # told at once
    assert ("peer_finished", client) in [(e.name, e.connection) for e in host.events]
    assert client.state is State.PEER_FINISHED
    await client.send("y") if handler is receive_all else None  # and still taken
    [report] = (await draining).values()
    assert now() - began < 1
    assert report.ending.code == 1001
    with pytest.raises(ConnectionClosedOK) as caught:
        await client.send("z")
    assert caught.value.code == 1001
    assert client.report.sent == client.report.confirmed == (2 if handler is receive_all else 0)
    await client.close()
    await host.over()


@on_virtual_clock
async def test_drain_waits_for_what_is_owed():
    """An unconfirmed delivery, an unread message, an open request."""
    gate = asyncio.Event()

    async def by_delivery(conn):
        async for delivery in conn.deliveries():
            await gate.wait()
            delivery.confirm()

    async def sender(conn):
        await conn.send("unread")
        await receive_all(conn)

    async def requester(conn):
        answers.append(await conn.request("slow"))

    async def slow():
        await gate.wait()
        return "answer"

    answers, began, draining, closing = [], now(), [], []
    for handler in (by_delivery, sender, requester):
        host = Host(handler)
        client = await host.connect(methods=registry(slow))
        await client.send("x")
        await turns()
        draining.append(start(host.sessions.drain(20)))
        if handler is sender:
            reader = client
    await asyncio.sleep(10)
    assert not any(task.done() for task in draining)
    gate.set()
    assert await rest(reader) == ["unread"]
    reports = [report for task in draining for report in (await task).values()]
    assert [(report.sent, report.confirmed) for report in reports] == [(0, 0), (1, 1), (0, 0)]
    assert answers == ["answer"]
    assert now() - began < 12
    await asyncio.gather(*closing)


@on_virtual_clock
async def test_drain_waits_for_a_handler_that_works():
    """Whether it works or waits for something else cannot be known."""
    done = []

    async def handler(conn):
        done.append(await conn.recv())
        await asyncio.sleep(5)
        done.append("worked")

    host = Host(handler)
    client = await host.connect()
    await client.send("x")
    await turns()
    await host.sessions.drain(10)
    assert done == ["x", "worked"]
    await host.over()


@pytest.mark.parametrize("timeout", [1, 4, 10, 60])
@on_virtual_clock
async def test_drain_keeps_its_bound(timeout):
    """Peers that read nothing, that are gone, and handlers that do not end."""
    held = asyncio.Event()

    async def handler(conn):
        await conn.send("unread")
        while not held.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await held.wait()

    host = Host(handler)
    clients = [await host.connect() for _ in range(3)]
    await turns()
    host.wires[0].freeze()
    host.wires[0].peer.freeze()
    clients[1].abort()
    began = now()
    await host.sessions.drain(timeout)
    assert now() - began <= timeout + (0.001 if timeout >= 8 else 4)
    assert not len(host.sessions)
    held.set()
    for client in clients:
        client.abort()
    await asyncio.gather(*host.handling)
    await turns()


@on_virtual_clock
async def test_drain_with_wrapped_connections_that_are_gone():
    sessions = Sessions()
    near, far = pair()
    client, server = await asyncio.gather(
        wrap(near, resume_within=60), wrap(far, sessions=sessions)
    )
    near.cut()
    await turns()
    began = now()
    assert set(await sessions.drain(10)) == {server.id}
    assert now() - began < 1
    client.abort()


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
async def test_drain_with_a_detached_session():
    host = Host(echo)
    client = await wrap(await host.open(), resume_within=60)
    host.wires[-1].cut()
    await turns()
    began = now()
    reports = await host.sessions.drain(3)
    assert now() - began < 1  # nothing is owed to it
    assert set(reports) == {client.id}
    client.abort()


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize("timeout", [0, 1, 4, 8, 10, 30])
async def test_a_handler_that_waits_for_something_else_has_its_time_and_not_more(timeout):
    """What the documentation says: until four seconds before the end, or for half of the time."""
    cancelled = []

    async def handler(_conn):
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.append(now())

    host = Host(handler)
    client = await host.connect()
    began = now()
    await host.sessions.drain(timeout)
    assert cancelled == [pytest.approx(began + max(timeout - 4, timeout / 2))]
    assert now() - began <= (timeout if timeout >= 8 else timeout + 4)
    client.abort()
    await host.over()
