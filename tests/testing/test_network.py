"""The network in memory: its two sides, its counts, and each thing that it can do to them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import reliable_ws
from reliable_ws import Config, NotReliablePeer, SessionLost
from reliable_ws.testing import Fault, Network, Pair, pair, run, virtual_clock


def now() -> float:
    return asyncio.get_running_loop().time()


async def echo(conn: reliable_ws.Connection) -> None:
    async for message in conn:
        await conn.send(message)


async def round_trip(pair: Pair, message: Any = "?") -> None:
    await pair.client.send(message)
    assert await pair.server.recv() == message
    await pair.server.send(message)
    assert await pair.client.recv() == message


# ------------------------------------------------------------------ namesakes


@virtual_clock
async def test_an_application_runs_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    monkeypatch.setattr(reliable_ws, "connect", network.connect)
    monkeypatch.setattr(reliable_ws, "serve", network.serve)
    methods = reliable_ws.Methods()
    methods.register(len, name="len")
    async with (
        reliable_ws.serve(echo, "0.0.0.0", 8765, methods=methods, max_size=5000) as server,
        reliable_ws.connect("ws://example.org/x", additional_headers={"A": "b"}) as conn,
    ):
        assert (server.port, server.sockets[0].getsockname()) == (8765, ("0.0.0.0", 8765))
        assert [c.id for c in server.connections] == [conn.id]
        await conn.send("hello")
        assert await conn.recv() == "hello"
        assert await conn.request("len", [[1, 2]]) == 2
    assert (network.connections, network.live) == (1, 0)


@virtual_clock
async def test_both_can_be_awaited() -> None:
    network = Network()
    server = await network.serve(echo)
    conn = await network.connect()
    await conn.send(1)
    assert await conn.recv() == 1
    await conn.close()
    reports = await server.drain()
    await server.wait_closed()
    assert (reports, network.live) == ({}, 0)


@virtual_clock
async def test_a_client_may_begin_again_and_again() -> None:
    network = Network()
    ids = set()
    async with network.serve(echo):
        async for conn in network.connect():
            ids.add(conn.id)
            await conn.send("x")
            if len(ids) == 3:
                break
    assert network.connections == 3


@virtual_clock
async def test_there_is_one_server_at_a_time() -> None:
    network = Network()
    with pytest.raises(ConnectionRefusedError):
        await network.connect()
    async with network.serve(echo):
        with pytest.raises(RuntimeError, match="has a server"):
            await network.serve(echo)
        with pytest.raises(TypeError, match="sessions"):
            network.serve(echo, sessions=reliable_ws.Sessions())
    async with network.serve(echo), network.connect():
        pass
    assert (network.refused, network.connections) == (1, 1)


@virtual_clock
async def test_a_server_that_closes_ends_every_websocket() -> None:
    network = Network()
    config = Config(idle_timeout=100, session_ttl=50)
    server = await network.serve(echo, config=config)
    clients = [await network.connect(config=config) for _ in range(2)]
    server.inner.close()
    await server.wait_closed()
    assert (now(), network.live) == (0, 0)
    for client in clients:
        with pytest.raises(SessionLost):
            await client.recv()
    assert 49 < now() < 51
    server = await network.serve(echo, config=config)
    client = await network.connect(config=config)
    network.stall()
    began = now()
    server.inner.close()
    await server.wait_closed()
    assert now() == began + 10  # in which the client might have answered
    await client.wait_closed()
    await asyncio.sleep(50)  # the handler is told as well


@virtual_clock
async def test_close_of_a_server_is_a_plain_call_that_drains() -> None:
    network = Network()
    server = await network.serve(echo)
    client = await network.connect()
    await client.send("x")
    assert await client.recv() == "x"
    asyncio.get_running_loop().call_soon(server.close)  # as a signal's handler is called
    assert [message async for message in client] == []
    await client.close()
    assert client.close_code == 1001
    await server.wait_closed()
    assert list(await server.close()) == [client.id]  # joins the first
    assert network.live == 0


def test_what_kills_a_connection_at_the_server_is_told() -> None:
    async def main() -> None:
        network = Network()

        def principal(_: object) -> None:
            pytest.fail("nobody")  # no Exception: the library does not catch it

        async with network.serve(echo, principal=principal):
            with pytest.raises(SessionLost):
                await network.connect()

    with pytest.raises(AssertionError, match=r"(?s)a connection of a Network failed.*nobody"):
        run(main())


@virtual_clock
async def test_a_principal_that_raises_is_told_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = Network()

    def principal(_: object) -> None:
        raise LookupError("nobody")

    async with network.serve(echo, principal=principal):
        with pytest.raises(NotReliablePeer, match="principal= raised"):
            await network.connect()
    assert "LookupError: nobody" in caplog.text


# ------------------------------------------------------------------ commands


@virtual_clock
async def test_what_has_arrived_outlives_a_cut_but_not_a_reset() -> None:
    needed = []
    for command in ("cut", "reset"):
        async with pair() as p:
            await p.client.send("x")  # it is written at once
            assert getattr(p.network, command)() == 1
            assert await p.server.recv() == "x"
            await p.client.flush()
            assert p.client.stats.resumes == 1
            assert p.network.faults == {command: 1}
            needed.append(p.network.messages["client"])
    assert needed[1] > needed[0]  # it was sent again


@virtual_clock
async def test_half_open_is_noticed_by_one_side_at_once_by_the_other_in_time() -> None:
    for keep, late in (("client", True), ("server", False)):
        async with pair(config=Config(idle_timeout=30)) as p:
            await round_trip(p)
            began = now()
            assert p.network.half_open(keep=keep) == 1
            assert p.network.live == 0
            await p.server.send("there")
            await p.client.send("and back")
            assert await p.client.recv() == "there"
            assert await p.server.recv() == "and back"
            assert (20 <= now() - began <= 31) == late
            assert p.client.stats.resumes == 1


@virtual_clock
async def test_a_stall_holds_everything_until_resume() -> None:
    async with pair() as p:
        p.network.stall()
        await p.client.send(1)
        await p.server.send(2)
        with pytest.raises(TimeoutError):
            await p.server.recv(timeout=5)
        p.network.resume()
        assert (await p.server.recv(), await p.client.recv()) == (1, 2)
        assert p.client.stats.resumes == 0


@virtual_clock
async def test_after_a_long_stall_the_old_websocket_ends_at_both_sides() -> None:
    async with pair(config=Config(idle_timeout=10)) as p:
        p.network.stall()
        await p.client.send(1)
        assert await p.server.recv() == 1
        assert 9 < now() < 12
        p.network.resume()
        await round_trip(p)
        assert (p.network.live, p.client.stats.resumes) == (1, 1)


@virtual_clock
async def test_refused_until_accepted() -> None:
    async with pair() as p:
        p.network.refuse()
        p.network.cut()
        await p.client.send("x")
        with pytest.raises(TimeoutError):
            await p.server.recv(timeout=10)
        assert p.client.state is reliable_ws.State.DETACHED
        assert p.network.refused > 10
        p.network.accept()
        assert await p.server.recv() == "x"


@virtual_clock
async def test_delay_is_paid_each_way() -> None:
    network = Network()
    network.delay(0.1)
    async with network.serve(echo), network.connect() as conn:
        assert now() == pytest.approx(0.4)  # to open, and to greet
        await conn.send("x")
        assert await conn.recv() == "x"
        assert now() == pytest.approx(0.6)
        await conn.send("y")
        await asyncio.sleep(0.05)
        network.delay(0)
        await conn.send("z")  # never overtakes
        assert [await conn.recv(), await conn.recv()] == ["y", "z"]
        assert now() == pytest.approx(0.7)
    with pytest.raises(ValueError, match="no negative seconds"):
        network.delay(-1)


@virtual_clock
async def test_a_slow_reader_slows_its_sender() -> None:
    config = Config(outbox_messages=10, idle_timeout=1000)
    async with pair(config=config) as p:
        p.network.throttle(1000, to="server")
        begun, payload = now(), bytes(1000)

        async def read() -> None:
            for _ in range(50):
                await p.server.recv()

        reading = asyncio.create_task(read())
        for _ in range(50):
            await p.client.send(payload)
        assert 35 < now() - begun < 50
        for _ in range(10):
            await p.server.send(payload)
            await p.client.recv()  # the other direction is as quick as ever
        assert now() - begun < 50
        p.network.throttle(None)
        await reading
        assert now() - begun < 50
    with pytest.raises(ValueError, match="positive"):
        p.network.throttle(0)


@virtual_clock
async def test_what_is_held_back_is_lost_with_its_websocket() -> None:
    async with pair() as p:
        p.network.delay(5)
        await p.client.send("x")
        await asyncio.sleep(1)
        p.network.cut()
        p.network.delay(0)
        assert await p.server.recv() == "x"
        assert (now() < 2, p.client.stats.resumes) == (True, 1)


@virtual_clock
async def test_healed_all_is_well_at_once() -> None:
    async with pair(config=Config(idle_timeout=1000)) as p:
        p.network.half_open()
        p.network.refuse()
        p.network.throttle(1)
        p.network.delay(100)
        await p.client.send("x")
        p.network.heal()
        assert await p.server.recv() == "x"
        assert now() < 1


@virtual_clock
async def test_commands_act_on_all_that_is_live_and_are_told() -> None:
    faults: list[Fault] = []
    network = Network(on_fault=faults.append)
    async with network.serve(echo), network.connect() as one, network.connect() as two:
        assert network.live == 2
        assert network.cut() == 2
        assert network.cut() == 0
        for conn in (one, two):
            await conn.send("x")
            assert await conn.recv() == "x"
    assert faults == [Fault("cut", 1, 2, False), Fault("cut", 2, 2, False)]
    assert network.connections == 4
