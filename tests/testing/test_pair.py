"""Two connected ends in one process: what they are given, and how they end."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Config, Connection, Methods, State
from reliable_ws.testing import FaultPlan, Network, Strike, pair, virtual_clock
from tests.support.inside import session_of


async def echo(conn: Connection) -> None:
    async for message in conn:
        await conn.send(message)


async def test_on_any_event_loop() -> None:
    async with pair() as (client, server, network):
        network.stall()
        await client.send("x")
        network.cut()
        async with asyncio.timeout(20):
            assert await server.recv() == "x"
    assert client.state is server.state is State.CLOSED
    assert str(client.report) == "1 sent, 1 confirmed; finished (1000)"


@virtual_clock
async def test_everything_is_passed_on() -> None:
    def registry(answer: str) -> Methods:
        methods = Methods()
        methods.register(lambda: answer, name="who")
        return methods

    events: list[str] = []
    async with pair(
        config=Config(max_requests=3),
        server_config=Config(max_requests=4),
        methods=registry("server"),
        client_methods=registry("client"),
        on_event=lambda event: events.append(event.name),
        reconnect=False,
    ) as (client, server, network):
        assert await client.request("who") == "server"
        assert await server.request("who") == "client"
        assert session_of(client).config.max_requests == 3
        assert session_of(server).config.max_requests == 4
        network.cut()
        await client.wait_closed()  # as nobody reconnects
    assert events == ["opened", "detached", "session_lost", "closed"]


@virtual_clock
async def test_with_a_handler_the_server_is_an_application() -> None:
    async with pair(echo) as (client, server, _):
        await client.send("x")
        assert await client.recv() == "x"
        assert server.id == client.id
    assert str(server.report) == "1 sent, 1 confirmed; finished (1000)"


@virtual_clock
async def test_its_end_never_raises_and_is_bounded() -> None:
    began = asyncio.get_running_loop().time()

    async def stubborn(conn: Connection) -> None:
        await conn.send("untaken")
        await asyncio.get_running_loop().create_future()

    async with pair(stubborn) as (client, server, network):
        await client.send("untaken too")
        network.half_open(keep="server")
        network.refuse()
    assert client.state is server.state is State.CLOSED
    assert asyncio.get_running_loop().time() - began < 20
    async with pair() as (client, server, network):
        await client.send("x")
        network.kill_server()
    assert client.report.sent == 1


@virtual_clock
async def test_an_exception_passes_at_once() -> None:
    with pytest.raises(LookupError):  # noqa: PT012 - it is what the block does
        async with pair() as (client, server, _):
            await client.send("untaken")
            raise LookupError
    assert client.state is server.state is State.CLOSED
    assert asyncio.get_running_loop().time() < 2


@virtual_clock
async def test_the_plan_begins_when_both_are_connected() -> None:
    for network, plan in (
        (None, [Strike("cut", at=1)]),
        (Network(plan=[Strike("cut", at=1)]), None),
        (Network(plan=FaultPlan()), [Strike("cut", at=1)]),
    ):
        async with pair(network=network, plan=plan) as p:
            assert not p.network.faults
            await p.client.send("x")
            assert await p.server.recv() == "x"
            assert p.network.faults == {"cut": 1}
