"""Requests and handlers when a connection is closed."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Config, ConnectionClosed, NotTaken, OutcomeUnknown, RemoteError
from tests.aio.call_handlers import CallHandlers, calling
from tests.aio.memory_network import (
    now,
    on_virtual_clock,
    paired,
    registry,
    settle,
    start,
    turns,
    until,
)
from tests.support.inside import session_of


@on_virtual_clock
async def test_closing_fails_our_requests_and_cancels_their_handlers():
    calls = CallHandlers()
    one = Config(max_requests=2)
    async with paired(methods=calls.methods, config=one) as (_, client, _server):
        asking = [start(client.request("wait", [n])) for n in range(2)]
        await until(lambda: len(calls.begun) == 2)
        queued = start(client.request("wait", ["queued"]))
        await turns()
        closing = start(client.close())
        for task in asking:
            with pytest.raises(OutcomeUnknown):
                await task
        with pytest.raises(ConnectionClosed):
            await queued
        await closing
        assert sorted(calls.cancelled) == [0, 1]


@on_virtual_clock
async def test_what_close_calls_not_taken_is_never_run():
    """Queued in the same turn as the close, hence not sent: it is taken back."""
    calls = CallHandlers()
    for patience in range(4):
        async with paired(methods=calls.methods) as (_, client, server):
            before = len(calls.begun)
            asking = start(client.request("echo", [patience]))
            await turns(patience)
            closing = start(client.close())
            (result,) = await asyncio.gather(asking, return_exceptions=True)
            await closing
            await settle(server)
            if isinstance(result, NotTaken | ConnectionClosed):
                assert len(calls.begun) == before
            else:
                assert result == patience or isinstance(result, OutcomeUnknown)


@on_virtual_clock
async def test_close_lets_handlers_end_and_turns_new_ones_away():
    async with calling() as call:
        closing = start(call.server.close())
        await turns()
        with pytest.raises(NotTaken):
            await call.client.request("echo", [2])
        call.calls.gate.set()
        assert await call.asking == 1
        await settle(call.client)
        await closing
        assert call.calls.begun == [1]


@on_virtual_clock
async def test_close_waits_for_a_handler_that_is_slow():
    """Longer than for a peer that makes no progress: the network is not to blame."""
    async with calling() as call:
        closing = start(call.server.close())
        await asyncio.sleep(200)
        call.calls.gate.set()
        assert await call.asking == 1
        await settle(call.client)
        await closing


@on_virtual_clock
async def test_close_does_not_wait_for_a_handler_whose_caller_is_out_of_reach():
    async with calling() as call:
        closing = start(call.server.close())
        await turns()
        call.net.closed = True
        call.net.cut()
        began = now()
        await closing
        assert now() - began <= session_of(call.server).config.session_ttl + 1
        assert call.calls.cancelled == [1]
        call.client.abort()
        with pytest.raises(OutcomeUnknown):
            await call.asking


@on_virtual_clock
@pytest.mark.parametrize("method", ["wait", "stubborn"])
@pytest.mark.parametrize(("timeout", "patience"), [(None, 270), (100, 75), (8, 6)])
async def test_close_cancels_what_does_not_end_and_tells_its_caller(method, timeout, patience):
    async with calling(method) as call:
        began = now()
        closing = start(call.server.close(timeout=timeout))
        with pytest.raises(RemoteError) as caught:
            await call.asking
        assert caught.value.code == "cancelled"
        assert patience - 0.01 <= now() - began <= patience + 1.1  # GRACE for the stubborn
        await settle(call.client)
        await closing
        call.calls.gate.set()
        await turns()


@on_virtual_clock
async def test_a_cancelled_close_goes_on_though_handlers_run():
    async with calling() as call:
        closing = start(call.server.close())
        await turns()
        closing.cancel()
        await turns()
        call.calls.gate.set()
        assert await call.asking == 1
        await settle(call.client)
        async with asyncio.timeout(30):
            await call.server.wait_closed()


@on_virtual_clock
async def test_a_second_close_may_shorten_the_first_though_handlers_run():
    async with calling("stubborn") as call:
        began = now()
        first, second = start(call.server.close()), start(call.server.close(timeout=4))
        with pytest.raises(RemoteError):
            await call.asking
        await settle(call.client)
        await asyncio.gather(first, second)
        assert now() - began <= 5
        call.calls.gate.set()
        await turns()


@on_virtual_clock
@pytest.mark.parametrize("verb", ["close", "finish", "abort"])
async def test_a_handler_ends_the_connection_itself(verb):
    done = asyncio.Event()

    async def bye():
        try:
            ending = getattr(ends[1], verb)()
            if ending is not None:
                await ending
        finally:
            done.set()
        return "bye"

    ends = []
    async with paired(methods=registry(bye)) as (_, *both):
        ends += both
        asking = start(both[0].request("bye"))
        began = now()
        if verb == "finish":  # an answer that is owed goes first
            assert await asking == "bye"
        else:
            with pytest.raises((RemoteError, OutcomeUnknown)):
                await asking
        await settle(both[0])
        await done.wait()
        assert now() - began < 8
