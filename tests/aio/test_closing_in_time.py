"""How long a close may take."""

# ruff: noqa: PT012 - it is leaving a whole block that raises

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Backoff, Config, ConnectionClosed, DeliveryError, End, Outcome
from tests.aio.memory_network import (
    now,
    on_virtual_clock,
    paired,
    registry,
    rest,
    start,
    turns,
    until,
)

BOUNDED = Config(close_progress_timeout=3, close_timeout=8, session_ttl=30)


@on_virtual_clock(seeds=range(10))
@pytest.mark.parametrize("began_before", [True, False])
async def test_close_does_not_sleep_through_its_time(began_before):
    """The pauses between attempts would grow beyond what close() waits for progress."""
    async with paired({"reconnect": Backoff(30, 1, 30)}) as (net, client, server):
        await client.send("x")
        closing = start(client.close()) if began_before else None
        net.closed = True
        net.cut()
        await turns()
        closing = closing or start(client.close())
        await asyncio.sleep(9)
        net.closed = False
        assert await rest(server) == ["x"]
        await server.close()
        await closing
        assert now() < 20


@on_virtual_clock
@pytest.mark.parametrize("how", ["cut", "freeze", "silent peer"])
async def test_close_is_bounded_when_nobody_answers(how):
    async with paired(config=BOUNDED) as (net, client, _server):
        await client.send("x")
        await asyncio.sleep(0.01)
        await client.send("y")
        if how == "cut":
            net.closed = True
            net.cut()
        elif how == "freeze":
            net.freeze()
        began = now()
        with pytest.raises(DeliveryError) as caught:
            await client.close()
        assert now() - began <= 3 + 10  # and the WebSocket's own end
        outcomes = [entry.outcome for entry in caught.value.report.undelivered]
        if how == "cut":  # whether the second one had left depends on the order of things
            assert outcomes in ([Outcome.UNKNOWN] * 2, [Outcome.UNKNOWN, Outcome.NOT_TAKEN])
        elif how == "freeze":
            assert outcomes == [Outcome.UNKNOWN] * 2
        assert caught.value.report.ending.kind is End.EXPIRED
        assert client.report.final


@on_virtual_clock
async def test_close_goes_on_while_there_is_progress_then_gives_up():
    async with paired(config=BOUNDED) as (_, client, server):
        for n in range(100):
            await client.send(n)
        closing = start(client.close())
        began = now()
        with pytest.raises(ConnectionClosed):
            for n in range(100):
                assert await server.recv() == n
                await asyncio.sleep(1)
        assert 7.9 <= now() - began <= 9  # close_timeout
        with pytest.raises(DeliveryError) as caught:
            await closing
        report = caught.value.report
        taken = server.stats.taken
        assert taken in (8, 9)
        assert report.confirmed <= taken <= report.confirmed + report.count(Outcome.UNKNOWN)


@on_virtual_clock
@pytest.mark.parametrize("how", ["nobody reads", "freeze", "stuck writer", "cut"])
async def test_close_takes_no_longer_than_its_timeout(how):
    config = Config(outbox_bytes=2**20)
    async with paired(config=config, limit=1000) as (net, client, _server):
        await client.send("x")
        if how == "freeze":
            net.freeze()
        elif how == "stuck writer":
            net.freeze()
            for _ in range(10):
                await client.send(bytes(5000))
                await turns()
        elif how == "cut":
            net.closed = True
            net.cut()
        began = now()
        with pytest.raises(DeliveryError):
            await client.close(timeout=2)
        assert now() - began <= 2.001


@on_virtual_clock
async def test_a_second_close_may_shorten_the_first():
    async with paired() as (_, client, _server):
        await client.send("x")
        closing = start(client.close())
        await asyncio.sleep(1)
        began = now()
        with pytest.raises(DeliveryError):
            await client.close(timeout=1)
        assert now() == began + 1
        with pytest.raises(DeliveryError):
            await closing


@on_virtual_clock
@pytest.mark.parametrize("how", ["close", "handler busy"])
async def test_closing_over_a_slow_link_delivers_what_is_on_its_way(how):
    """The network swallows it at once, and lets a quarter of a megabyte go every eight seconds."""

    async def busy():
        await asyncio.sleep(20)

    methods = registry(busy)
    async with paired(methods=methods, limit=10**9) as (net, client, server):
        slow = net.wire.peer
        slow.freeze()
        releasing = start(_release(slow, every=8))
        asking = start(client.request("busy")) if how == "handler busy" else None
        await turns()
        await server.send(bytes(4 * 2**20))
        closing = start(server.close())
        assert list(map(len, await rest(client))) == [4 * 2**20]
        assert now() > 16 * 8
        await client.close()
        await closing
        releasing.cancel()
        if asking is not None:
            assert await asking is None


async def _release(end, every):
    """Let all go that is small, and of what is large one at a time."""
    while True:
        while end._held:
            item = end._held.popleft()
            if isinstance(item, bytes) and len(item) > 1000:
                await asyncio.sleep(every)
            end._peer._arrive(item)
        await asyncio.sleep(0.1)


@on_virtual_clock
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("how", ["cut", "freeze"])
async def test_close_with_nothing_left_to_confirm_is_short_on_a_dead_network(side, how):
    async with paired() as (net, client, server):
        conn, other = (client, server) if side == "client" else (server, client)
        await conn.send("x")
        assert await other.recv() == "x"
        await conn.flush()
        if how == "cut":
            net.closed = True
            net.cut()
        else:
            net.freeze()
        began = now()
        await conn.close()
        assert now() - began < 10.1
        other.abort()


@on_virtual_clock
async def test_the_websockets_own_handshake_counts_in_close_timeout():
    async with paired(config=Config(close_timeout=2)) as (net, client, server):
        net.wire.close = net.wire.peer.close = _never
        began = now()
        await asyncio.gather(client.close(), server.close())
        assert now() - began < 2.1


async def _never(*_):
    await asyncio.sleep(1000)


@on_virtual_clock
async def test_a_peer_that_broke_the_rules_has_little_time_to_close():
    """What it goes on to send would be parsed until then."""
    async with paired() as (net, client, server):
        far = net.wire.peer
        far.close = _never
        net.closed = True
        net.wire.inject(b"rubbish")
        await server.wait_closed()
        began = now()
        await until(lambda: far._end is not None)
        assert now() - began < 1.2
        client.abort()
