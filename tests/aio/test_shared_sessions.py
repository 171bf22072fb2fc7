"""The sessions of a server: one connection for each, whichever WebSocket comes."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    AlreadyServed,
    Connection,
    End,
    NotReliablePeer,
    Outcome,
    SessionLost,
    Sessions,
    State,
    wrap,
)
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import (
    MemoryNetwork,
    on_virtual_clock,
    paired,
    second_holder,
    settle,
    start,
    turns,
    until,
)


@on_virtual_clock
async def test_sessions_that_are_empty_are_shared_all_the_same():
    sessions = Sessions()
    assert not len(sessions)
    near, far = pair()
    client, server = await asyncio.gather(wrap(near), wrap(far, sessions=sessions))
    assert sessions.connections == [server]
    await settle(client, server)
    await turns()
    assert sessions.connections == []


class Endpoint:
    """A server that wraps each WebSocket in a handler of that WebSocket, with shared sessions."""

    def __init__(self, handler):
        self.handler = handler
        self.sessions = Sessions()
        self.wires = []
        self.handling = []

    async def open(self):
        near, far = pair()
        self.wires.append(near)
        self.handling.append(start(self._handle(far)))
        return near

    async def _handle(self, far):
        async with wrap(far, sessions=self.sessions) as conn:
            await self.handler(conn)

    async def outcomes(self):
        """How each handler ended, in the order of their WebSockets."""
        ends = await asyncio.gather(*self.handling, return_exceptions=True)
        return [type(end) for end in ends]


@on_virtual_clock
async def test_one_handler_has_the_connection_whatever_websocket_carries_it():
    """A second one would take every other message, and close what the first one uses."""
    got, ran = [], []

    async def handler(conn):
        ran.append(conn)
        async for message in conn:
            got.append(message)
            await conn.send(message)

    there = Endpoint(handler)
    client = await wrap(await there.open(), reopen=there.open)
    for number in range(12):
        await client.send(number)
        if not number % 4:
            there.wires[-1].cut()
        assert await client.recv() == number
    await client.close()
    assert got == list(range(12))
    assert len(ran) == 1
    assert await there.outcomes() == [type(None)] + [AlreadyServed] * 3


@on_virtual_clock
async def test_wrap_of_a_later_websocket_returns_when_that_is_gone():
    """Else a session that often reconnects would hold a handler for each of its WebSockets."""

    async def handler(conn):
        async for _ in conn:
            pass

    there = Endpoint(handler)
    client = await wrap(await there.open(), reopen=there.open)
    for count in (2, 3):
        there.wires[-1].cut()
        await until(lambda count=count: len(there.wires) == count and client.state is State.OPEN)
    with pytest.raises(AlreadyServed, match=r"Sessions\.handle"):
        await there.handling[1]
    assert not there.handling[0].done()
    assert not there.handling[2].done()
    await client.close()
    await there.outcomes()


@on_virtual_clock
async def test_a_later_wrap_that_is_cancelled_drops_its_websocket():
    there = Endpoint(lambda conn: conn.wait_closed())
    client = await wrap(await there.open(), reopen=there.open)
    there.wires[-1].cut()
    await until(lambda: len(there.wires) == 2 and client.state is State.OPEN)
    there.handling[1].cancel()
    await until(lambda: len(there.wires) == 3 and client.state is State.OPEN)
    client.abort()
    kinds = await there.outcomes()
    assert kinds[1:] == [asyncio.CancelledError, AlreadyServed]


@on_virtual_clock
async def test_a_handler_of_sessions_and_a_wrap_do_not_share_a_connection():
    net, got = MemoryNetwork(), []

    async def handler(conn):
        got.extend([message async for message in conn])

    near, far = pair()
    tasks = [start(net.sessions.handle(far, handler))]

    async def reopen():
        again, there = pair()
        tasks.append(start(_wrap(there)))
        return again

    async def _wrap(there):
        return await wrap(there, sessions=net.sessions)

    client = await wrap(near, reopen=reopen)
    near.cut()
    await client.send("x")
    await client.close()
    assert got == ["x"]
    with pytest.raises(AlreadyServed):
        await tasks[1]
    await tasks[0]


@on_virtual_clock
async def test_handle_runs_the_handler_once_per_session():
    net, runs = MemoryNetwork(), []

    async def handler(conn):
        runs.append(conn)
        async for message in conn:
            await conn.send(message)

    handling = []

    async def reopen():
        near, far = pair()
        net.wires.append(near)
        handling.append(start(net.sessions.handle(far, handler)))
        return near

    client = await wrap(await reopen(), reopen=reopen)
    for n in range(5):
        await client.send(n)
        net.cut()
        assert await client.recv() == n
    await client.close()
    await asyncio.gather(*handling)
    assert len(runs) == 1
    assert runs[0].state is State.CLOSED


@on_virtual_clock
async def test_another_principal_cannot_resume(caplog):
    sessions, who = Sessions(), ["alice"]
    tasks = []

    async def reopen():
        near, far = pair()
        wires.append(near)
        tasks.append(start(_accept(far, who[0])))
        return near

    async def _accept(far, principal):
        return await wrap(far, sessions=sessions, principal=principal)

    wires = []
    client = await wrap(await reopen(), reopen=reopen)
    server = await tasks[0]
    await client.send("x")
    who[0] = "mallory"
    wires[-1].cut()
    with pytest.raises(SessionLost) as caught:
        await client.recv()
    assert caught.value.code == 4404
    with pytest.raises(NotReliablePeer):
        await tasks[1]
    assert server.state is State.DETACHED
    assert server.principal == "alice"
    assert f"<Connection {server.id.hex()[:8]} of 'alice' acceptor" in repr(server)
    (record,) = caplog.records
    refused = f"session {server.id.hex()[:8]}: a resume was refused, because the session is of the"
    assert record.getMessage() == f"{refused} principal 'alice', and the WebSocket of 'mallory'"
    caplog.clear()
    server.abort()


@on_virtual_clock
async def test_a_second_holder_takes_over_and_the_first_does_not_come_back():
    async with paired() as (net, client, server):
        receipt = await client.send("x")
        assert await server.recv() == "x"
        await receipt
        holder = second_holder(client)
        await holder.start(await net.open())
        thief = Connection(holder)
        with pytest.raises(SessionLost) as caught:
            await client.recv()
        assert caught.value.ending.kind is End.SUPERSEDED
        await asyncio.sleep(60)
        assert net.names() == ["opened", "superseded", "closed"]
        assert len(net.wires) == 2
        assert server.state is State.OPEN
        await thief.send("y")
        assert await server.recv() == "y"
        await settle(thief, server)


@on_virtual_clock
async def test_a_server_that_forgot_the_session_ends_it():
    async with paired() as (net, client, server):
        await client.send("x")
        await asyncio.sleep(1)
        await client.send("never left")
        net.sessions = Sessions()
        net.cut()
        with pytest.raises(SessionLost) as caught:
            await client.recv()
        assert caught.value.code == 4404
        assert caught.value.ending.kind is End.REFUSED
        outcomes = [entry.outcome for entry in caught.value.report.undelivered]
        assert outcomes[0] is Outcome.UNKNOWN
        assert server.state is State.DETACHED


@on_virtual_clock
async def test_the_tombstone_tells_a_client_that_missed_the_end():
    async with paired() as (net, client, server):
        await client.send("taken")
        assert await server.recv() == "taken"
        await client.send("not taken")
        net.closed = True
        net.cut()
        server.abort()
        net.closed = False
        with pytest.raises(SessionLost):
            await client.recv()
        [entry] = client.report.undelivered
        assert (entry.message, entry.outcome) == ("not taken", Outcome.NOT_TAKEN)
        assert client.report.confirmed == 1
