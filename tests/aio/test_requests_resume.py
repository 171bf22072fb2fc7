"""Requests across WebSockets: each is run once however often the network breaks."""

from __future__ import annotations

import asyncio
import random

import pytest

from reliable_ws import Backoff, Config
from tests.aio.desk import Desk, calling
from tests.aio.sockets import through_a_proxy
from tests.aio.stage import on_stage, paired, start, turns, until

PROMPT = {"reconnect": Backoff(0, 1, 0)}


# -- across WebSockets -----------------------------------------------------------------------------


@on_stage(seeds=range(8))
async def test_each_is_run_once_while_the_network_keeps_breaking():
    chance = random.Random(7)
    ours, theirs = Desk(), Desk()
    few = Config(max_requests=50)
    async with paired(
        PROMPT | {"methods": ours.methods}, methods=theirs.methods, config=few, limit=3000
    ) as (stage, client, server):

        async def breaker():
            while True:
                await asyncio.sleep(chance.random())
                [stage.cut, stage.freeze, stage.wire.freeze, stage.wire.peer.abort][
                    chance.randrange(4)
                ]()

        async def ask(conn, n):
            await asyncio.sleep(chance.random() * 30)
            return await conn.request("echo", [n])

        breaking = start(breaker())
        asked = [ask(conn, n) for n in range(300) for conn in (client, server)]
        assert await asyncio.gather(*asked) == [n for n in range(300) for _ in "ab"]
        breaking.cancel()
        assert sorted(ours.begun) == sorted(theirs.begun) == list(range(300))
        assert client.stats.resumes > 5


@on_stage
async def test_a_cut_at_each_turn_of_one_request():
    """Between request, execution and reply: run once, answered once."""
    for patience in range(12):
        desk = Desk()
        desk.gate.set()
        async with paired(PROMPT, methods=desk.methods) as (stage, client, _server):
            asking = start(client.request("wait", [bytes(50_000)]))
            await turns(patience)
            stage.cut()
            assert await asking == bytes(50_000)
            assert len(desk.begun) == len(desk.ended) == 1


@on_stage
async def test_an_answer_made_while_there_is_no_websocket():
    async with calling() as call:
        call.stage.closed = True
        call.stage.cut()
        call.desk.gate.set()
        await until(lambda: call.desk.ended)
        call.stage.closed = False
        assert await call.asking == 1
        assert call.desk.begun == [1]


# -- over sockets ----------------------------------------------------------------------------------


@pytest.mark.transport
async def test_over_sockets_through_a_network_that_keeps_breaking():
    ours, theirs = Desk(), Desk()
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
