"""Requests when the session ends by itself, and after the last message of a side."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    Config,
    ConnectionClosed,
    MethodNotFound,
    NotTaken,
    OutcomeUnknown,
    State,
    wrap,
)
from reliable_ws.testing.memory import pair
from tests.aio.call_handlers import CallHandlers
from tests.aio.memory_network import now, on_virtual_clock, paired, start, turns, until
from tests.support.calls import session_calls
from tests.support.inside import session_of


@on_virtual_clock
async def test_when_the_session_dies_every_request_fails_at_once():
    calls = CallHandlers()
    brief = Config(session_ttl=10, max_requests=3)
    async with paired(methods=calls.methods, config=brief) as (net, client, _server):
        arrived = [start(client.request("wait", [n])) for n in range(3)]
        await until(lambda: len(calls.begun) == 3)
        await asyncio.sleep(1)
        queued = start(client.request("wait", ["queued"]))
        net.closed = True
        net.cut()
        began = now()
        results = await asyncio.gather(*arrived, queued, return_exceptions=True)
        assert now() - began <= 11
        assert [type(r) for r in results[:3]] == [OutcomeUnknown] * 3
        assert isinstance(results[3], NotTaken | ConnectionClosed)
        with pytest.raises(ConnectionClosed):
            await client.request("echo", [1])
        await turns()
        assert sorted(calls.cancelled) == [0, 1, 2]


@on_virtual_clock
async def test_what_never_left_is_not_taken():
    calls = CallHandlers()
    async with paired(methods=calls.methods, config=Config(session_ttl=10)) as (net, client, _s):
        net.closed = True
        net.cut()
        await until(lambda: client.state is State.DETACHED)
        with pytest.raises(NotTaken, match=r"^request 'echo' never reached .*; expired ") as caught:
            await client.request("echo", [1])
        (entry,) = caught.value.report.undelivered
        assert entry.message == ("echo", [1])
        assert calls.begun == []


@on_virtual_clock
async def test_abort_fails_every_request_at_once():
    calls = CallHandlers()
    async with paired(methods=calls.methods) as (_, client, server):
        asking = start(client.request("wait", [1]))
        backwards = start(server.request("nothing"))
        await until(lambda: calls.begun)
        began = now()
        client.abort()
        for task in (asking, backwards):
            with pytest.raises((NotTaken, OutcomeUnknown, MethodNotFound)):
                await task
        await until(lambda: calls.cancelled)
        assert now() - began < 1


@on_virtual_clock
async def test_after_finish_answers_still_go_and_nothing_breaks():
    """Half-close: what is owed is answered; what comes later is turned away, or unknown."""
    calls = CallHandlers()
    async with paired({"methods": calls.methods}, methods=calls.methods) as (_, client, server):
        asking = start(client.request("wait", [1]))
        backwards = start(server.request("wait", [2]))
        await until(lambda: len(calls.begun) == 2)
        await server.send("last")
        await server.finish()
        for conn in (client, server):
            with pytest.raises(NotTaken, match=r"never reached the peer's application$"):
                await conn.request("echo", [3])
        calls.gate.set()
        assert await asking == 1
        assert await backwards == 2
        assert [m async for m in client] == ["last"]
        await client.close()
        assert client.close_code == server.close_code == 1000
        assert sorted(calls.begun) == [1, 2]


@on_virtual_clock
async def test_a_request_that_crosses_the_peers_finish_is_truthful():
    for patience in range(8):
        calls = CallHandlers()
        async with paired(methods=calls.methods) as (_, client, server):
            await server.finish()
            await turns(patience)
            try:
                result = await client.request("echo", [1], timeout=10)
            except NotTaken:
                assert calls.begun == []
            except OutcomeUnknown:
                result = None
            else:
                assert result == 1
            await client.close()
            assert client.close_code == 1000


@on_virtual_clock
@pytest.mark.parametrize("size", [10, 500_000])
async def test_finish_does_not_overtake_what_was_asked(size):
    calls = CallHandlers()
    async with paired({"methods": calls.methods}, methods=calls.methods) as (_, client, server):
        asked = [start(server.request("echo", [bytes(size)])) for _ in range(5)]
        while len(session_calls(session_of(server)).open) < 5:  # noqa: ASYNC110 - before they are sent
            await asyncio.sleep(0)
        await server.finish()
        assert [len(answer) for answer in await asyncio.gather(*asked)] == [size] * 5
        await client.close()
        assert client.close_code == 1000


@on_virtual_clock
async def test_the_report_counts_no_requests():
    calls = CallHandlers()
    async with paired(methods=calls.methods) as (_, client, server):
        for n in range(10):
            await client.request("echo", [n])
        await client.send("message")
        assert await server.recv() == "message"
        await client.flush()
        assert client.report.sent == client.report.confirmed == 1


@on_virtual_clock(seeds=(None,))
async def test_without_sessions_a_lost_websocket_fails_requests_at_once():
    near, far = pair()
    calls = CallHandlers()
    client, server = await asyncio.gather(wrap(near), wrap(far, methods=calls.methods))
    asking = start(client.request("wait", [1]))
    await until(lambda: calls.begun)
    await asyncio.sleep(1)
    near.cut()
    with pytest.raises(OutcomeUnknown, match=r"^request 'wait' has no answer.*; lost "):
        await asking
    await until(lambda: calls.cancelled)
    await asyncio.gather(client.wait_closed(), server.wait_closed())
