"""Requests that nobody waits for any more."""

from __future__ import annotations

import asyncio

from reliable_ws import Config, State
from tests.aio.call_handlers import FEW, CallHandlers, calling
from tests.aio.memory_network import on_virtual_clock, paired, start, turns, until
from tests.support.calls import session_calls
from tests.support.cancel import cancel_everywhere
from tests.support.inside import driver_of, session_of


@on_virtual_clock
async def test_cancelling_the_caller_cancels_the_handler():
    async with calling() as call:
        call.asking.cancel()
        await until(lambda: call.calls.cancelled)
        assert call.calls.begun == call.calls.cancelled == [1]


@on_virtual_clock
async def test_cancelling_at_once_runs_nothing():
    """Not sent yet, or sent together with its cancellation: the slot is free again."""
    calls = CallHandlers()
    async with paired(methods=calls.methods, config=FEW) as (_, client, server):
        for patience in (1, 2, 3, 4, 5) * 4:
            asking = start(client.request("wait", [patience]))
            await turns(patience)
            asking.cancel()
        await asyncio.sleep(1)
        assert sorted(calls.begun) == sorted(calls.cancelled)
        assert not driver_of(server).rpc_server.busy
        calls.gate.set()
        asked = [client.request("wait", [n], timeout=1) for n in range(10)]
        assert await asyncio.gather(*asked) == list(range(10))


@on_virtual_clock
async def test_a_request_and_its_cancellation_in_one_envelope():
    calls = CallHandlers()
    async with paired(methods=calls.methods, config=FEW) as (net, client, server):
        net.wire.freeze()
        asking = [start(client.request("wait", [n])) for n in range(4)]
        await turns()
        for task in asking:
            task.cancel()
        await turns()
        net.wire.thaw()
        await asyncio.sleep(1)
        assert sorted(calls.begun) == sorted(calls.cancelled)
        assert not driver_of(server).rpc_server.busy
        calls.gate.set()
        assert await client.request("wait", ["next"], timeout=1) == "next"


@on_virtual_clock
async def test_who_waits_for_room_gets_that_of_an_abandoned_request():
    async with calling(server_config=Config(max_requests=1)) as call:
        second = start(call.client.request("echo", [2]))
        await turns()
        call.asking.cancel()
        async with asyncio.timeout(1):
            assert await second == 2


@on_virtual_clock
async def test_what_was_cancelled_while_detached_is_never_run():
    calls = CallHandlers()
    async with paired(methods=calls.methods) as (net, client, _server):
        net.closed = True
        net.cut()
        await until(lambda: client.state is State.DETACHED)
        asking = start(client.request("wait", ["never"]))
        await turns()
        asking.cancel()
        await turns()
        net.closed = False
        assert await client.request("echo", [1]) == 1
        assert calls.begun == [1]


def test_a_request_cancelled_at_every_suspension():
    """Answered or not, nothing is left: no slot, no handler, no waiter."""
    for at in ("suspended", "completed"):
        for crowded in (False, True):

            async def scenario(attempt, *, crowded=crowded):
                calls = CallHandlers()
                config = Config(max_requests=2)
                async with paired(methods=calls.methods, config=config) as (_, client, server):
                    busy = [start(client.request("wait", [n])) for n in range(2 * crowded)]
                    await turns()
                    asyncio.get_running_loop().call_later(5, calls.gate.set)
                    outcome = await attempt.run(client.request("echo", ["it"], timeout=60))
                    assert outcome.how == ("cancelled" if outcome.reached else "returned")
                    assert not outcome.swallowed
                    await asyncio.gather(*busy)
                    await asyncio.sleep(1)
                    assert calls.begun.count("it") <= 1
                    assert not driver_of(client).rpc_client._open
                    assert not session_calls(session_of(client)).open
                    assert not driver_of(server).rpc_server.busy
                    asked = (client.request("echo", [n], timeout=1) for n in range(5))
                    assert await asyncio.gather(*asked) == list(range(5))

            cases = cancel_everywhere(scenario, at=at)
            assert len(cases) == 2 + crowded
