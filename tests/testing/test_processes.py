"""Processes that die in the network in memory, and what the other side learns of it."""

from __future__ import annotations

import asyncio

import pytest

import reliable_ws
from reliable_ws import Config, SessionLost
from reliable_ws.testing import Network, Strike, virtual_clock


def now() -> float:
    return asyncio.get_running_loop().time()


async def echo(conn: reliable_ws.Connection) -> None:
    async for message in conn:
        await conn.send(message)


@virtual_clock
async def test_of_a_server_that_died_the_client_hears_in_time_and_truthfully() -> None:
    events: list[str] = []
    how: list[BaseException] = []

    async def handler(conn: reliable_ws.Connection) -> None:
        try:
            assert await conn.recv() == "taken"
            await asyncio.sleep(1000)
        except BaseException as error:
            how.append(error)
            raise

    network = Network()
    async with network.serve(handler, on_event=lambda event: events.append(event.name)) as server:
        conn = await network.connect()
        await conn.send("taken")
        await conn.flush()
        await conn.send("untaken")
        await asyncio.sleep(1)
        assert network.kill_server() == 1
        await conn.send("unsent")
        with pytest.raises(SessionLost) as caught:
            await conn.recv()
        assert str(caught.value.report).startswith("3 sent, 1 confirmed, ")
        assert [type(error) for error in how] == [asyncio.CancelledError]
        assert events == ["opened"]  # the dead say nothing
        assert (len(server.sessions), network.faults["kill_server"]) == (0, 1)
        again = await network.connect()  # another process has taken its place
        await again.send("taken")
        await again.flush()
        again.abort()


@virtual_clock
async def test_a_server_that_drains_ends_its_sessions_and_another_one_takes_new_ones() -> None:
    network, served = Network(), []

    async def handler(conn: reliable_ws.Connection) -> None:
        served.append(conn)
        async for message in conn:
            await conn.send(message)

    assert network.drain() == 0
    async with network.serve(handler) as server:
        first = await network.connect()
        await first.send("x")
        assert await first.recv() == "x"
        assert network.drain() == 1
        assert (len(server.sessions), network.faults["drain"]) == (0, 1)
        async with network.connect() as second:  # while the old one drains
            await second.send("y")
            assert await second.recv() == "y"
            assert [message async for message in first] == []
            assert first.peer_finished == (1001, "going away")
            await first.close()
        assert [conn.id for conn in served] == [first.id, second.id]


@virtual_clock
async def test_a_server_that_drains_may_have_no_successor_for_a_while() -> None:
    network = Network(plan=[Strike("drain", at=4, seconds=30)])
    async with network.serve(echo):
        first = await network.connect()
        await first.send("x")
        await first.close()
        with pytest.raises(ConnectionRefusedError):
            await network.connect()
        await asyncio.sleep(31)
        async with network.connect() as second:
            await second.send("y")
            assert await second.recv() == "y"


@virtual_clock
async def test_a_server_may_stay_away() -> None:
    network = Network()
    assert network.kill_server() == 0
    async with network.serve(echo):
        conn = await network.connect(config=Config(session_ttl=60))
        network.refuse()
        network.kill_server()
        with pytest.raises(SessionLost):
            await conn.recv()
        assert 59 < now() < 61


@virtual_clock
async def test_of_a_client_that_died_the_server_hears_when_its_session_expires() -> None:
    told: list[reliable_ws.ConnectionEvent] = []
    ends: list[reliable_ws.Report | None] = []

    async def handler(conn: reliable_ws.Connection) -> None:
        await conn.send("untaken")
        with pytest.raises(SessionLost) as caught:
            await conn.recv()
        ends.append(caught.value.report)

    network = Network()
    async with network.serve(handler, config=Config(session_ttl=60)):
        conn = await network.connect(on_event=told.append)
        await asyncio.sleep(1)
        assert network.kill_client() == 1
        assert network.kill_client() == 0
        await asyncio.sleep(59)
        assert ends == []
        await asyncio.sleep(2)
        assert len(ends) == 1
        assert str(ends[0]).startswith("1 sent, 0 confirmed, 1 unknown; expired")
        assert network.connections == 1
        assert [event.name for event in told] == ["opened"]
        with pytest.raises(reliable_ws.ConnectionClosed):
            await conn.send("from the dead")


@virtual_clock
async def test_a_client_that_dies_leaves_others_alone() -> None:
    network = Network()
    async with network.serve(echo), network.connect() as other:
        mortal = await network.connect()
        network.plan = [Strike("kill_client", at=1)]
        await mortal.send("x")
        await asyncio.sleep(1)
        assert mortal.close_code is not None
        await other.send("y")
        assert await other.recv() == "y"
        assert (network.faults["kill_client"], other.stats.resumes) == (1, 0)
