"""Networks, transports and loops that hang, shrink or break their word."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from reliable_ws import Config, Outcome, SessionLost, State
from reliable_ws.testing.virtual_clock import run
from tests.aio.memory_network import (
    MemoryNetwork,
    block,
    now,
    on_virtual_clock,
    paired,
    rest,
    settle,
    start,
    take,
    turns,
)

# -- networks that hang --------------------------------------------------------------------------


@on_virtual_clock
async def test_a_half_open_network_is_left_after_the_idle_timeout():
    async with paired() as (net, client, server):
        await asyncio.sleep(60)
        assert client.state is State.OPEN  # heartbeats
        net.freeze()
        began = now()
        await client.send("x")
        assert await server.recv() == "x"
        assert 13 <= now() - began <= 21
        assert net.names() == ["opened", "detached", "resumed"]


@on_virtual_clock
@pytest.mark.parametrize("frozen", ["near", "far"])
async def test_a_network_that_hangs_one_way(frozen):
    async with paired() as (net, client, server):
        (net.wire if frozen == "near" else net.wire.peer).freeze()
        for n in range(100):
            await client.send(n)
            await server.send(n)
        assert await take(server, 100) == list(range(100))
        assert await take(client, 100) == list(range(100))


@on_virtual_clock
async def test_a_writer_that_is_stuck_does_not_keep_the_session_from_going_on():
    config = Config(outbox_bytes=2**20)
    async with paired(config=config, limit=1000) as (net, client, server):
        net.freeze()
        for n in range(20):
            await client.send(bytes([n]) * 2000)
            await turns(5)
        got = await take(server, 20)
        assert [m[0] for m in got] == list(range(20))
        assert client.stats.resumes == 1
        await turns()
        assert not [t for t in asyncio.all_tasks() if t.get_coro().__name__ == "_write"]


@on_virtual_clock
@pytest.mark.parametrize("seconds", [20.5, 30, 60, 119, 1000])
@pytest.mark.parametrize("when", ["idle", "streaming", "waiting"])
async def test_a_session_survives_a_blocked_event_loop(seconds, when):
    """Time in which we did not run is not the peer's fault."""
    async with paired() as (net, client, server):
        if when == "streaming":
            for n in range(100):
                await client.send(n)
        reading = start(server.recv()) if when == "waiting" else None
        await turns(5)
        for _ in range(3):
            block(seconds)
            await asyncio.sleep(1)
        if when == "streaming":
            assert await take(server, 100) == list(range(100))
        await client.send("alive")
        assert await (reading or server.recv()) == "alive"
        assert client.state is server.state is State.OPEN
        if seconds >= 30:  # else it may look like a peer that fell silent just now
            assert net.names() == ["opened"]


@on_virtual_clock
@pytest.mark.parametrize("seconds", [30, 60, 100, 1000])
async def test_a_detached_session_survives_a_blocked_event_loop(seconds):
    async with paired() as (net, client, server):
        net.closed = True
        net.cut()
        await client.send("x")
        await asyncio.sleep(1)
        block(seconds)
        net.closed = False
        assert await server.recv() == "x"


@on_virtual_clock
async def test_closing_survives_a_blocked_event_loop():
    async with paired() as (_, client, server):
        await client.send("x")
        closing = start(client.close())
        await asyncio.sleep(1)
        block(60)
        await asyncio.sleep(1)
        assert await rest(server) == ["x"]
        await server.close()
        await closing


# -- frames that are too large -------------------------------------------------------------------


@on_virtual_clock
@pytest.mark.parametrize("limit", [5000, 20_000, 100_000])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_transport_that_takes_less_than_it_announced(limit, way):
    """Each 1009 halves the frames, until they fit; big messages go in parts (PART-6)."""
    net = MemoryNetwork()
    net_open = net.open

    async def narrow():
        near = await net_open()
        # the ends have announced what pair() says; what they take is less
        end = near.peer if way == "up" else near
        end._arrive = _narrow(end, limit)
        return near

    net.open = narrow
    client, server = await net.pair(reopen=narrow)
    sender, receiver = (client, server) if way == "up" else (server, client)
    big = bytes(300_000)
    await sender.send("small")
    await sender.send(big)
    await sender.send("after")
    assert await take(receiver, 3) == ["small", big, "after"]
    await sender.flush()
    assert 1 <= client.stats.resumes <= 8
    await settle(client, server)


def _narrow(end, limit):
    whole = type(end)._arrive

    def arrive(item):
        announced, end.max_frame = end.max_frame, limit
        whole(end, item)
        end.max_frame = announced

    return arrive


@on_virtual_clock
async def test_a_transport_that_takes_next_to_nothing_ends_the_session():
    net = MemoryNetwork()
    net_open = net.open

    async def narrow():
        near = await net_open()
        near.peer._arrive = _narrow(near.peer, 1000)
        return near

    net.open = narrow
    client, server = await net.pair(reopen=narrow)
    await client.send(bytes(100_000))
    with pytest.raises(SessionLost) as caught:
        await client.recv()
    assert caught.value.code == 1009
    assert len(net.wires) <= 12
    assert client.report.count(Outcome.CONFIRMED) == 0
    server.abort()


# -- what should not happen ----------------------------------------------------------------------


@on_virtual_clock
@pytest.mark.parametrize("broken", ["send", "send_now"])
@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_transport_that_raises_what_it_may_not_is_replaced(broken, side, caplog):
    """A bug in an adapter costs a WebSocket, not a message, and nobody waits for ever."""
    async with paired(limit=1000) as (net, client, server):

        def fail(*_):
            setattr(end, broken, getattr(type(end), broken).__get__(end))
            raise LookupError("a bug")

        async def fail_later(*_):
            fail()

        sender, receiver = (client, server) if side == "client" else (server, client)
        end = net.wire if side == "client" else net.wire.peer
        setattr(end, broken, fail if broken == "send_now" else fail_later)
        if broken == "send":
            end.send_now = lambda _: False
        for _ in range(10):
            await sender.send(bytes(500))
        assert await take(receiver, 10) == [bytes(500)] * 10
        await sender.flush()
        assert client.stats.resumes == 1
        assert "a bug" in caplog.text
        caplog.clear()


@on_virtual_clock
@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_reader_that_dies_takes_nobody_with_it(side, caplog):
    async with paired() as (net, client, server):
        waiting = [start(client.recv()), start(client.flush())]
        await turns()
        end = net.wire if side == "client" else net.wire.peer
        end._inbox = Broken()
        await client.send("x")
        await server.send("y")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        if side == "client":
            assert isinstance(results[0], SessionLost)
            assert results[0].reason == "internal error"
        else:
            assert results == ["y", None]
        assert "a bug" in caplog.text
        caplog.clear()


class Broken(deque):
    def popleft(self):
        raise LookupError("a bug")


@pytest.mark.parametrize("seed", [None, 1])
def test_every_task_is_referred_to_by_somebody(seed):
    """The collector runs in every turn: it destroys a task that only waits."""

    async def scenario():
        async with paired(limit=1000) as (net, client, server):
            for n in range(10):
                await client.send(bytes([n]) * 300)
                await server.send(n)
                if n % 5 == 4:
                    net.cut()
            assert [m[0] for m in await take(server, 10)] == list(range(10))
            assert await take(client, 10) == list(range(10))

    run(scenario(), seed=seed, collect=True)
