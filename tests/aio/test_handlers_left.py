"""Handlers of requests that nobody waits for any more: they end, or keep their place."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from reliable_ws import Config, Connection, RemoteError, RequestTimeout, wrap
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import on_virtual_clock, paired, registry, rest, start, until
from tests.support.calls import session_calls
from tests.support.inside import driver_of, session_of


class Blocked:
    """A plain function whose threads wait, and one that is answered at once."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.gate = threading.Event()

    def block(self, number: int) -> None:
        self.begun.append(number)
        assert self.gate.wait(60)

    async def echo(self, value):
        return value


@contextlib.asynccontextmanager
async def blocked(**options):
    """Both ends of a connection on a real loop, and what the second one serves."""
    there = Blocked()
    near, far = pair()
    methods = registry(there.block, there.echo)
    async with asyncio.timeout(60):
        client, server = await asyncio.gather(wrap(near), wrap(far, methods=methods, **options))
        try:
            yield there, client, server
            await asyncio.gather(client.close(), server.close())
        finally:
            there.gate.set()


async def leave(request, server, count=1):
    """Cancel a request that runs there, or waits for a thread."""
    request.cancel()
    await asyncio.wait((request,))
    await until(lambda: len(driver_of(server).rpc_server._abandoned) == count)


async def test_a_thread_that_nobody_waits_for_keeps_its_place():
    """Else a peer that asks and cancels could have any number of them run."""
    async with blocked(config=Config(max_requests=2)) as (there, client, server):
        for number in (1, 2):
            asking = start(client.request("block", [number]))
            await until(lambda number=number: number in there.begun)
            await leave(asking, server, number)
        with pytest.raises(RequestTimeout) as caught:
            await client.request("echo", [1], timeout=0.05)
        assert caught.value.taken is False
        there.gate.set()
        assert await client.request("echo", [2]) == 2


async def test_what_waits_for_a_thread_is_not_run_when_nobody_waits_for_it():
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with blocked(config=Config(max_requests=2)) as (there, client, server):
        first = start(client.request("block", [1]))
        await until(lambda: there.begun)
        second = start(client.request("block", [2]))
        await until(lambda: len(session_calls(session_of(server)).served) == 2)
        await leave(second, server)
        there.gate.set()
        await first
        assert await client.request("echo", [3]) == 3
        assert there.begun == [1]


async def test_a_last_word_does_not_wait_for_a_thread_that_nobody_waits_for():
    async with blocked() as (there, client, server):
        asking = start(client.request("block", [1]))
        await until(lambda: there.begun)
        await leave(asking, server)
        await server.finish()
        assert await rest(client) == []


@on_virtual_clock
async def test_a_stream_that_blocks_its_cancellation_ends_with_its_next_item():
    async def stubborn():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
            yield bytes(100_000)

    async with paired(methods=registry(stubborn)) as (_, client, server):
        async with contextlib.aclosing(client.stream("stubborn")) as stream:
            await anext(stream)  # the handler sleeps now
        await until(lambda: not driver_of(server).rpc_server.busy)


@on_virtual_clock
async def test_a_stream_whose_handler_closed_the_connection_ends_with_its_next_item():
    async def goodbye(conn: Connection):
        await conn.close()
        while True:
            yield bytes(100_000)

    async with paired(methods=registry(goodbye)) as (_, client, _server):
        with pytest.raises(RemoteError, match="closed the connection"):
            await anext(client.stream("goodbye"))
        await client.close()
