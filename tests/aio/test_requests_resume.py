"""Requests across WebSockets: each is run once however often the network breaks."""

from __future__ import annotations

import asyncio
import random

import pytest

from reliable_ws import Backoff, Config
from tests.aio.call_handlers import CallHandlers, calling
from tests.aio.memory_network import on_virtual_clock, paired, start, turns, until
from tests.aio.sockets import through_a_proxy

PROMPT = {"reconnect": Backoff(0, 1, 0)}


# -- across WebSockets -----------------------------------------------------------------------------


@on_virtual_clock(seeds=range(8))
async def test_each_is_run_once_while_the_network_keeps_breaking():
    chance = random.Random(7)
    ours, theirs = CallHandlers(), CallHandlers()
    few = Config(max_requests=50)
    async with paired(
        PROMPT | {"methods": ours.methods}, methods=theirs.methods, config=few, limit=3000
    ) as (net, client, server):

        async def breaker():
            while True:
                await asyncio.sleep(chance.random())
                [net.cut, net.freeze, net.wire.freeze, net.wire.peer.abort][chance.randrange(4)]()

        async def ask(conn, n):
            await asyncio.sleep(chance.random() * 30)
            return await conn.request("echo", [n])

        breaking = start(breaker())
        asked = [ask(conn, n) for n in range(300) for conn in (client, server)]
        assert await asyncio.gather(*asked) == [n for n in range(300) for _ in "ab"]
        breaking.cancel()
        assert sorted(ours.begun) == sorted(theirs.begun) == list(range(300))
        assert client.stats.resumes > 5


@on_virtual_clock
async def test_a_cut_at_each_turn_of_one_request():
    """Between request, execution and reply: run once, answered once."""
    for patience in range(12):
        calls = CallHandlers()
        calls.gate.set()
        async with paired(PROMPT, methods=calls.methods) as (net, client, _server):
            asking = start(client.request("wait", [bytes(50_000)]))
            await turns(patience)
            net.cut()
            assert await asking == bytes(50_000)
            assert len(calls.begun) == len(calls.ended) == 1


@on_virtual_clock
async def test_an_answer_made_while_there_is_no_websocket():
    async with calling() as call:
        call.net.closed = True
        call.net.cut()
        call.calls.gate.set()
        await until(lambda: call.calls.ended)
        call.net.closed = False
        assert await call.asking == 1
        assert call.calls.begun == [1]


# -- over sockets ----------------------------------------------------------------------------------


@pytest.mark.transport
async def test_over_sockets_through_a_network_that_keeps_breaking():
    ours, theirs = CallHandlers(), CallHandlers()
    async with through_a_proxy(theirs.methods, ours.methods) as (proxy, client, served):
        answers = 0

        async def ask(conn, first):
            nonlocal answers
            for n in range(first, 400, 8):
                assert await conn.request("echo", [n], timeout=20) == n
                answers += 1
                if answers % 50 == 0:
                    proxy.reset()  # others are on their way

        await asyncio.gather(*(ask(c, n) for n in range(8) for c in (client, served)))
        assert sorted(ours.begun) == sorted(theirs.begun) == list(range(400))
        assert client.stats.resumes > 3
