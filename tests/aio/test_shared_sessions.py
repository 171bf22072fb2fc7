"""The sessions of a server: one connection for each, whichever WebSocket comes."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
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
from tests.aio.stage import Stage, on_stage, paired, second_holder, settle, start, take, turns


@on_stage
async def test_sessions_that_are_empty_are_shared_all_the_same():
    sessions = Sessions()
    assert not len(sessions)
    near, far = pair()
    client, server = await asyncio.gather(wrap(near), wrap(far, sessions=sessions))
    assert sessions.connections == [server]
    await settle(client, server)
    await turns()
    assert sessions.connections == []


@on_stage
async def test_a_later_websocket_of_a_session_gives_the_same_connection():
    sessions, wires = Sessions(), []

    async def open_pair():
        near, far = pair()
        wires.append(near)
        accepted.append(start(_accept(far)))
        return near

    async def _accept(far):
        return await wrap(far, sessions=sessions)

    accepted = []
    client = await wrap(await open_pair(), reopen=open_pair)
    for _ in range(3):
        wires[-1].cut()
        await client.send("x")
        await asyncio.sleep(2)
    connections = {await task for task in accepted}
    [server] = connections
    assert await take(server, 3) == ["x"] * 3
    await settle(client, server)


@on_stage
async def test_handle_runs_the_handler_once_per_session():
    stage, runs = Stage(), []

    async def handler(conn):
        runs.append(conn)
        async for message in conn:
            await conn.send(message)

    handling = []

    async def reopen():
        near, far = pair()
        stage.wires.append(near)
        handling.append(start(stage.sessions.handle(far, handler)))
        return near

    client = await wrap(await reopen(), reopen=reopen)
    for n in range(5):
        await client.send(n)
        stage.cut()
        assert await client.recv() == n
    await client.close()
    await asyncio.gather(*handling)
    assert len(runs) == 1
    assert runs[0].state is State.CLOSED


@on_stage
async def test_another_principal_cannot_resume():
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
    server.abort()


@on_stage
async def test_a_second_holder_takes_over_and_the_first_does_not_come_back():
    async with paired() as (stage, client, server):
        receipt = await client.send("x")
        assert await server.recv() == "x"
        await receipt
        holder = second_holder(client)
        await holder.start(await stage.open())
        thief = Connection(holder)
        with pytest.raises(SessionLost) as caught:
            await client.recv()
        assert caught.value.ending.kind is End.SUPERSEDED
        await asyncio.sleep(60)
        assert stage.names() == ["opened", "superseded", "closed"]
        assert len(stage.wires) == 2
        assert server.state is State.OPEN
        await thief.send("y")
        assert await server.recv() == "y"
        await settle(thief, server)


@on_stage
async def test_a_server_that_forgot_the_session_ends_it():
    async with paired() as (stage, client, server):
        await client.send("x")
        await asyncio.sleep(1)
        await client.send("never left")
        stage.sessions = Sessions()
        stage.cut()
        with pytest.raises(SessionLost) as caught:
            await client.recv()
        assert caught.value.code == 4404
        assert caught.value.ending.kind is End.REFUSED
        outcomes = [entry.outcome for entry in caught.value.report.undelivered]
        assert outcomes[0] is Outcome.UNKNOWN
        assert server.state is State.DETACHED


@on_stage
async def test_the_tombstone_tells_a_client_that_missed_the_end():
    async with paired() as (stage, client, server):
        await client.send("taken")
        assert await server.recv() == "taken"
        await client.send("not taken")
        stage.closed = True
        stage.cut()
        server.abort()
        stage.closed = False
        with pytest.raises(SessionLost):
            await client.recv()
        [entry] = client.report.undelivered
        assert (entry.message, entry.outcome) == ("not taken", Outcome.NOT_TAKEN)
        assert client.report.confirmed == 1
