"""The driver over real sockets, on whatever release of websockets is installed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import (
    Config,
    ConnectionClosed,
    ConnectionClosedOK,
    DeliveryError,
    SessionLost,
    Sessions,
    connect,
    serve,
)
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing import ChaosProxy
from tests.aio.memory_network import rest, start
from tests.aio.sockets import AT_ONCE, echo, local

pytestmark = [pytest.mark.transport, pytest.mark.usefixtures("clean")]


# -- the everyday --------------------------------------------------------------------------------


async def test_a_conversation():
    async with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        for message in ("text", b"bytes", {"a": [1, 2.5, None]}, "x" * 100_000):
            receipt = await conn.send(message)
            assert await conn.recv() == message
            await receipt
        assert conn.subprotocol == SUBPROTOCOL
        assert conn.remote_address[1] == server.port
        assert conn.websocket.request.path == "/path"
        assert len(server.connections) == 1
    assert conn.close_code == 1000


async def test_awaited_instead_of_entered():
    server = await serve(echo, "127.0.0.1", 0)
    conn = await local(server)
    await conn.send("x")
    assert await conn.recv() == "x"
    await conn.close()
    reports = await server.drain()
    assert reports == {}


async def test_the_server_sends_and_closes_at_once_and_the_client_reads_later():
    """What plain websockets loses: with 14.0 everything, later with a slow reader the rest."""

    async def handler(conn):
        for n in range(20):
            await conn.send(f"{n}" * 1000)

    async with serve(handler, "127.0.0.1", 0) as server, local(server) as conn:
        await asyncio.sleep(0.3)
        assert await rest(conn) == [f"{n}" * 1000 for n in range(20)]


async def test_headers_both_ways_and_the_origin():
    seen = {}

    async def handler(conn):
        headers = conn.websocket.request.headers
        seen.update(origin=headers["Origin"], token=headers["Authorization"])
        await conn.recv()

    serving = serve(handler, "127.0.0.1", 0, additional_headers={"X-Server": "yes"})
    async with serving as server:
        options = {
            "additional_headers": {"Authorization": "Bearer x"},
            "origin": "https://a.example",
        }
        async with local(server, **options) as conn:
            assert conn.websocket.response.headers["X-Server"] == "yes"
            await conn.send("done")
    assert seen == {"origin": "https://a.example", "token": "Bearer x"}


async def test_a_principal_is_asked_for_every_websocket():
    asked = []

    async def principal(websocket):
        asked.append(websocket.request.headers["Authorization"])
        return asked[-1]

    async with (
        serve(echo, "127.0.0.1", 0, principal=principal) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(
            proxy.uri(),
            proxy=None,
            reconnect=AT_ONCE,
            additional_headers={"Authorization": "alice"},
        ) as conn,
    ):
        proxy.reset()
        await conn.send("x")
        assert await conn.recv() == "x"
    assert asked == ["alice"] * 2


async def test_several_mebibytes_travel_in_parts():
    big = bytes(range(256)) * (12 * 2**12)
    async with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        for message in (big, "small", big.hex()):
            await conn.send(message)
            assert await conn.recv() == message


async def test_a_thousand_tasks_at_once():
    async with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:

        async def one(n):
            await (await conn.send(n))
            return await conn.recv()

        assert sorted(await asyncio.gather(*map(one, range(1000)))) == list(range(1000))


async def test_a_reader_that_never_reads_bounds_its_sender():
    config = Config(window_messages=100, outbox_messages=100, close_progress_timeout=0.5)
    done = asyncio.Event()

    async def handler(conn):
        await done.wait()
        conn.abort()

    async with serve(handler, "127.0.0.1", 0, config=config) as server:
        conn = await local(server, config=config)
        for _ in range(100):
            await conn.send(bytes(10_000))
        with pytest.raises(TimeoutError):
            await conn.send(bytes(10_000), timeout=0.3)
        assert conn.stats.sent == 100
        done.set()
        with pytest.raises(SessionLost):
            await conn.recv()


async def test_sessions_are_shared_between_servers():
    sessions = Sessions()
    async with (
        serve(echo, "127.0.0.1", 0, sessions=sessions) as one,
        serve(echo, "127.0.0.1", 0, sessions=sessions) as two,
        ChaosProxy("127.0.0.1", one.port) as proxy,
        connect(proxy.uri(), proxy=None, reconnect=AT_ONCE) as conn,
    ):
        await conn.send(1)
        assert await conn.recv() == 1
        proxy.target = ("127.0.0.1", two.port)
        proxy.reset()
        await conn.send(2)
        assert await conn.recv() == 2
        assert len(sessions) == 1


async def test_leaving_the_server_drains_it():
    async def handler(conn):
        async for message in conn:
            await conn.send(message)

    async with serve(handler, "127.0.0.1", 0) as server:
        conn = await local(server)
        await conn.send("x")
        assert await conn.recv() == "x"
        reading = start(rest(conn))
        reading.add_done_callback(lambda _: closing.append(start(conn.close())))
        closing = []
    assert await reading == []
    await closing[0]
    assert conn.close_code == 1001


# -- leaving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "abort", "cancelled", "raised", "server first"])
async def test_nothing_is_left_however_it_ends(how):
    async def handler(conn):
        with contextlib.suppress(ConnectionClosed):
            await conn.recv()
        if how == "server first":
            await conn.close()

    async def body(server):
        async with local(server) as conn:
            await conn.send("x")
            match how:
                case "close":
                    await conn.close()
                case "abort":
                    conn.abort()
                case "cancelled":
                    raise asyncio.CancelledError
                case "raised":
                    raise LookupError
                case "server first":
                    with contextlib.suppress(ConnectionClosedOK):
                        await conn.recv()

    async with serve(handler, "127.0.0.1", 0) as server:
        for _ in range(5):
            expected = {
                "abort": DeliveryError,
                "cancelled": asyncio.CancelledError,
                "raised": LookupError,
            }.get(how, ())
            with contextlib.suppress(expected):
                await body(server)


@pytest.mark.parametrize("peer", ["reads", "is silent"])
async def test_a_handler_closes_its_own_server(peer):
    """Nobody waits for the handler that waits, and it is not cancelled."""
    closed = asyncio.get_running_loop().create_future()

    async def handler(conn):
        if await conn.recv() == "close":
            before = asyncio.get_running_loop().time()
            reports = await server.close()
            closed.set_result((asyncio.get_running_loop().time() - before, set(reports)))

    server = await serve(handler, "127.0.0.1", 0, drain_timeout=20)
    async with local(server) as other, local(server) as conn:
        await conn.send("close")
        reading = [start(rest(one)) for one in (other, conn)] if peer == "reads" else []
        await server.wait_closed()
        took, reports = await closed
        assert took < 5
        assert reports == {conn.id, other.id}
        await asyncio.gather(*reading)
