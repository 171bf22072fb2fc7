"""Streaming replies: order, credit, and what streams."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from reliable_ws import (
    Backoff,
    InvalidParams,
    MethodNotFound,
    Methods,
    RemoteError,
    Sessions,
    connect,
    wrap,
)
from reliable_ws.driver.rpc_client import STREAM_CREDIT
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import on_virtual_clock, paired, registry, start, take, turns, until
from tests.aio.sockets import through_a_proxy
from tests.aio.stream_handlers import StreamHandlers, all_of
from tests.support.inside import driver_of

PROMPT = {"reconnect": Backoff(0, 1, 0)}


@on_virtual_clock
async def test_items_arrive_in_order_then_the_end():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        assert await all_of(client.stream("numbers", [3000])) == list(range(3000))
        assert await all_of(client.stream("numbers", [0])) == []


@on_virtual_clock
async def test_streams_both_ways_beside_requests_and_messages():
    calls = StreamHandlers()
    async with paired({"methods": calls.methods}, methods=calls.methods) as (_, client, server):
        streams = [all_of(c.stream("numbers", [500])) for c in (client, server) for _ in range(5)]
        requests = [client.request("one", [n]) for n in range(100)]
        for n in range(100):
            await client.send(n)
        results = await asyncio.gather(*streams, *requests, take(server, 100))
        assert results == [list(range(500))] * 10 + list(range(100)) + [list(range(100))]


@on_virtual_clock
async def test_the_producer_is_ahead_by_its_credit_and_no_more():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, server):
        size = 1000
        ahead = STREAM_CREDIT // (size + 6) + 1
        async with contextlib.aclosing(client.stream("chunks", [size])) as stream:
            for taken in range(1, 2000):
                await anext(stream)
                if taken % 250 == 0:
                    await turns()
                    assert ahead / 4 < calls.given - taken <= ahead + 1
            assert await client.request("one", [1], timeout=1) == 1
            await client.send("not held up")
            assert await server.recv() == "not held up"
        await until(lambda: calls.ends)


@on_virtual_clock
async def test_items_larger_than_the_credit_go_one_by_one():
    calls = StreamHandlers()
    size = STREAM_CREDIT * 2
    async with paired(methods=calls.methods) as (_, client, _server):
        async with contextlib.aclosing(client.stream("chunks", [size])) as stream:
            for taken in range(1, 6):
                assert len(await anext(stream)) == size
                await turns()
                assert calls.given <= taken + 2
        await until(lambda: calls.ends)


@on_virtual_clock
async def test_a_generator_that_never_waits_starves_nobody():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        stream = start(all_of(client.stream("chunks", [1])))
        for n in range(20):
            assert await client.request("one", [n], timeout=1) == n
        stream.cancel()
        await asyncio.wait({stream})
        await until(lambda: calls.ends)
        assert calls.ends == ["closed"]


@on_virtual_clock(seeds=(None,))
async def test_what_does_not_stream_and_what_does():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        assert await all_of(client.stream("one", ["it"])) == ["it"]
        with pytest.raises(InvalidParams, match="use stream"):
            await client.request("numbers", [1])
        with pytest.raises(MethodNotFound):
            await all_of(client.stream("nothing"))
        with pytest.raises(InvalidParams):
            await all_of(client.stream("numbers", ["many"]))


@on_virtual_clock
async def test_a_generator_function_is_refused_with_the_reason(caplog):
    methods = Methods()
    async with paired(methods=methods) as (_, client, _server):

        @methods.register
        def late():
            yield 1

        for refused in (
            lambda: Sessions(methods=methods),
            lambda: connect("ws://x", methods=methods),
            lambda: wrap(pair()[0], methods=methods),
        ):
            with pytest.raises(TypeError, match="late: generator functions are for reliable_ws"):
                refused()
        with pytest.raises(RemoteError, match="the handler failed"):
            await all_of(client.stream("late"))
    assert "late is a generator function: make it an async one" in caplog.text


@on_virtual_clock
@pytest.mark.parametrize("size", [1, 5000, 300_000])
async def test_each_item_once_while_the_network_keeps_breaking(size):
    chance = random.Random(size)

    async def parts(count: int):
        for n in range(count):
            yield [n, bytes(size)]
            if n % 20 == 0:
                await asyncio.sleep(0.1)

    async with paired(PROMPT, methods=registry(parts)) as (net, client, _server):

        async def breaker():
            while True:
                await asyncio.sleep(chance.random() * 0.3)
                net.cut()

        breaking = start(breaker())
        count = 100 if size > 10_000 else 1000
        numbers = [item[0] async for item in client.stream("parts", [count])]
        breaking.cancel()
        assert numbers == list(range(count))
        assert client.stats.resumes > 0


@pytest.mark.transport
async def test_over_sockets_with_cuts_in_the_middle():
    calls = StreamHandlers()
    async with through_a_proxy(calls.methods) as (proxy, client, _server):
        got = []
        async for item in client.stream("numbers", [20_000]):
            got.append(item)
            if item % 4000 == 1999:
                driver_of(client).attempt_over = False
                proxy.reset()
                await until(lambda: driver_of(client).attempt_over)  # it has noticed
        assert got == list(range(20_000))
        async with contextlib.aclosing(client.stream("chunks", [1000])) as stream:
            for taken in range(2000):
                assert len(await anext(stream)) == 1000
                if taken % 500 == 250:
                    proxy.cut()
        assert await client.request("one", [1]) == 1
        assert calls.ends == ["closed"]
        assert client.stats.resumes > 3
