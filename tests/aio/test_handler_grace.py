"""A handler that waits for something else than its session ends when its session is over."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Config, State, wrap
from tests.aio.host import Host
from tests.aio.memory_network import now, on_virtual_clock, start, turns, until

GRACE = Config().handler_grace


class Worker:
    """A handler that takes jobs from a queue, whoever its client is."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.cancelled_at = []

    async def __call__(self, conn):
        try:
            while True:
                job = await self.queue.get()
                await conn.send(job)
        except asyncio.CancelledError:
            self.cancelled_at.append(now())
            raise


@on_virtual_clock
async def test_a_handler_is_cancelled_a_while_after_the_end_of_its_session(caplog):
    worker = Worker()
    host = Host(worker)
    clients = [await host.connect() for _ in range(3)]
    await turns()
    for client in clients[:2]:
        client.abort()
    await turns()
    assert clients[2].state is State.OPEN
    began = now()
    await asyncio.sleep(GRACE + 1)
    assert worker.cancelled_at == [began + GRACE] * 2
    assert caplog.text.count("was cancelled, as its session is over") == len(caplog.records) == 2
    worker.queue.put_nowait("job")
    assert await clients[2].recv() == "job"  # and not one of the dead
    clients[2].abort()
    await until(lambda: len(worker.cancelled_at) == 3)
    await host.over()


@on_virtual_clock
async def test_a_session_that_nobody_resumes_leaves_no_handler():
    worker = Worker()
    host = Host(worker, config=Config(session_ttl=10, handler_grace=2))
    client = await wrap(await host.open())
    await turns()
    began = now()
    host.wires[-1].cut()
    await client.wait_closed()
    await host.over()
    await until(lambda: worker.cancelled_at)
    assert worker.cancelled_at == [began + 10 + 2]


@on_virtual_clock
async def test_a_handler_that_ends_in_time_is_not_cancelled(caplog):
    ended = []

    async def handler(conn):
        await conn.wait_closed()
        assert conn.ended
        await asyncio.sleep(GRACE - 1)
        ended.append(conn)

    host = Host(handler)
    client = await host.connect()
    await turns()
    assert not client.ended
    client.abort()
    assert client.ended
    await asyncio.sleep(2 * GRACE)
    assert len(ended) == 1
    assert not caplog.text


@on_virtual_clock
async def test_the_close_of_a_handler_that_has_returned_is_not_cancelled(caplog):
    """The session ends in it, and it waits for the WebSocket to go."""

    async def handler(conn):
        await conn.recv()

    host = Host(handler)
    client = await host.connect()
    await client.send("x")
    await client.close()
    await asyncio.sleep(2 * GRACE)
    await host.over()
    assert not caplog.text


@pytest.mark.parametrize("grace", [0.5, 1000])
@on_virtual_clock
async def test_the_grace_is_an_option(grace):
    worker = Worker()
    host = Host(worker, config=Config(handler_grace=grace))
    client = await host.connect()
    await turns()
    client.abort()
    await turns()
    began = now()
    await asyncio.sleep(1000.5)
    assert worker.cancelled_at == [began + grace]


@on_virtual_clock
async def test_drain_cancels_it_whatever_the_grace():
    worker = Worker()
    host = Host(worker, config=Config(handler_grace=1000))
    client = await host.connect()
    await turns()
    client.abort()
    await turns()
    draining = start(host.sessions.drain(10))
    began = now()
    await draining
    assert now() - began <= 10
    assert len(worker.cancelled_at) == 1
