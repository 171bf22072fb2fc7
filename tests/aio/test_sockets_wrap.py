"""Over real sockets: connections that websockets opened, and their limits."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import websockets.asyncio.client
import websockets.asyncio.server

from reliable_ws import Config, Sessions, serve, wrap
from reliable_ws.adapters.websockets.asyncio import adapt
from tests.adapters.links import legacy
from tests.aio.memory_network import take
from tests.aio.sockets import AT_ONCE, NO_PROXY, echo, local

pytestmark = [pytest.mark.transport, pytest.mark.usefixtures("clean")]


@contextlib.asynccontextmanager
async def opened(client_kind, server_kind, **options):
    """Two open connections of websockets: the client's and the server's."""
    accepted, done = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def handler(ws):
        accepted.set_result(ws)
        await done.wait()

    servers = {"asyncio": websockets.asyncio.server, "legacy": legacy("server")}
    clients = {"asyncio": websockets.asyncio.client, "legacy": legacy("client")}
    proxy = NO_PROXY if client_kind == "asyncio" else {}
    async with servers[server_kind].serve(handler, "127.0.0.1", 0, **options) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = await clients[client_kind].connect(uri, **proxy, **options)
        try:
            yield client, await accepted
        finally:
            done.set()


@pytest.mark.parametrize("server_kind", ["asyncio", "legacy"])
@pytest.mark.parametrize("client_kind", ["asyncio", "legacy"])
async def test_wrap_of_every_kind_of_connection(client_kind, server_kind):
    async with opened(client_kind, server_kind) as (ours, theirs):
        client, server = await asyncio.gather(wrap(ours), wrap(theirs))
        assert client.websocket is ours
        assert server.websocket is theirs
        for n in range(500):
            await client.send(n)
            await server.send(str(n))
        assert await take(server, 500) == list(range(500))
        assert await take(client, 500) == [str(n) for n in range(500)]
        big = bytes(3 * 2**20)
        await server.send(big)
        assert await client.recv() == big
        await asyncio.gather(client.close(), server.close())


@pytest.mark.parametrize("kind", ["asyncio", "legacy"])
async def test_wrapped_connections_resume(kind):
    sessions, opened_ws = Sessions(), []

    async def handler(ws):
        await sessions.handle(ws, echo)

    servers = {"asyncio": websockets.asyncio.server, "legacy": legacy("server")}
    clients = {"asyncio": websockets.asyncio.client, "legacy": legacy("client")}
    proxy = NO_PROXY if kind == "asyncio" else {}
    async with servers[kind].serve(handler, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def reopen():
            opened_ws.append(await clients[kind].connect(uri, **proxy))
            return opened_ws[-1]

        async with wrap(await reopen(), reopen=reopen, reconnect=AT_ONCE) as conn:
            for n in range(5):
                await conn.send(n)
                assert await conn.recv() == n
                opened_ws[-1].transport.abort()
        assert len(opened_ws) >= 5
        assert len(sessions) == 0


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("limit", [5000, 40_000])
async def test_a_limit_smaller_than_announced_is_found_and_kept(way, limit):
    """Each 1009 halves the frames and the session resumes: no loop (PART-6)."""
    sessions, connections = Sessions(), []
    up = {"max_size": limit} if way == "up" else {}
    down = {"max_size": limit} if way == "down" else {}

    async def handler(ws):
        connections.append(ws)
        await sessions.handle(adapt(ws, max_frame=2**20), echo)

    async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0, **up) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def reopen():
            ws = await websockets.asyncio.client.connect(uri, **NO_PROXY, **down)
            return adapt(ws, max_frame=2**20)

        async with wrap(await reopen(), reopen=reopen, reconnect=AT_ONCE) as conn:
            for message in ("x" * 300_000, "small", bytes(100_000)):
                await conn.send(message)
                assert await conn.recv() == message
            assert 2 <= len(connections) <= 10


async def test_a_message_above_the_peers_limit_is_refused_at_send():
    async with (
        serve(echo, "127.0.0.1", 0, config=Config(max_message=10_000)) as server,
        local(server) as conn,
    ):
        with pytest.raises(ValueError, match="10000"):
            await conn.send(bytes(10_001))
        await conn.send(bytes(10_000))
        assert await conn.recv() == bytes(10_000)
