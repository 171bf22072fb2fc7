"""How streams end: left early, failed, late, closed, cancelled."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import Config, OutcomeUnknown, RemoteError, RequestTimeout, State
from tests.aio.memory_network import (
    iterate,
    now,
    on_virtual_clock,
    paired,
    registry,
    settle,
    start,
    until,
)
from tests.aio.stream_handlers import StreamHandlers, all_of
from tests.support.calls import session_calls
from tests.support.cancel import cancel_everywhere
from tests.support.inside import driver_of, session_of


@on_virtual_clock
async def test_leaving_early_closes_the_generator():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, server):
        got = []
        async with contextlib.aclosing(client.stream("forever", [0.1])) as stream:
            async for item in stream:
                got.append(item)
                if item == 3:
                    break
        await until(lambda: calls.ends)
        assert got == [1, 2, 3]
        assert calls.ends[0] in ("CancelledError", "GeneratorExit")
        assert not driver_of(server).rpc_server.busy
        await until(lambda: not session_calls(session_of(client)).open)


@on_virtual_clock
async def test_leaving_early_closes_a_generator_that_waits_for_credit():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, server):
        async with contextlib.aclosing(client.stream("chunks", [10_000])) as stream:
            await anext(stream)
            await asyncio.sleep(1)
        await until(lambda: calls.ends)
        assert calls.ends == ["closed"]
        await until(lambda: not driver_of(server).rpc_server.busy)


@on_virtual_clock
async def test_an_error_in_the_middle_comes_behind_the_items():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        got = []

        async def slowly():
            async for item in client.stream("breaks", [5]):
                got.append(item)
                await asyncio.sleep(1)  # the error is there long before

        with pytest.raises(RemoteError) as caught:
            await slowly()
        assert got == [0, 1, 2, 3, 4]
        assert caught.value.data == {"after": 5}


@on_virtual_clock
async def test_an_item_that_cannot_be_sent_ends_the_stream(caplog):
    closed = []

    async def junk():
        try:
            yield 1
            yield object()
        finally:
            closed.append(True)

    async with paired(methods=registry(junk)) as (_, client, _server):
        got = []
        with pytest.raises(RemoteError) as caught:
            await iterate(client.stream("junk"), got)
        assert (got, caught.value.code, closed) == ([1], "internal", [True])
        assert client.state is State.OPEN


@on_virtual_clock
async def test_a_deadline_bounds_the_whole_stream():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        got = []
        with pytest.raises(RequestTimeout) as caught:
            await iterate(client.stream("forever", [1], timeout=4.5), got)
        assert got == [1, 2, 3, 4, 5]
        assert caught.value.taken is True
        await until(lambda: calls.ends)


@on_virtual_clock
async def test_when_the_session_dies_the_stream_fails_behind_its_items():
    calls = StreamHandlers()
    async with paired(methods=calls.methods, config=Config(session_ttl=10)) as (net, client, _s):
        stream = client.stream("forever", [1])
        got = [await anext(stream)]
        await asyncio.sleep(3.5)
        net.closed = True
        net.cut()
        with pytest.raises(OutcomeUnknown):
            await iterate(stream, got)
        assert got == [1, 2, 3, 4]
        await until(lambda: calls.ends)


@on_virtual_clock
async def test_close_ends_a_stream_that_does_not_and_tells_its_reader():
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, server):
        reading = start(all_of(client.stream("forever", [1])))
        await until(lambda: calls.given)
        began = now()
        closing = start(server.close())
        with pytest.raises(RemoteError) as caught:
            await reading
        assert caught.value.code == "cancelled"
        assert now() - began <= 271
        await settle(client)
        await closing


@on_virtual_clock
async def test_an_abandoned_iterator_stops_its_handler():
    """Not closed by hand: by the garbage collector, through asyncio's hooks."""
    calls = StreamHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        async for _ in client.stream("forever", [1]):
            break
        await until(lambda: calls.ends)


def test_a_stream_cancelled_at_every_suspension():
    for at in ("suspended", "completed"):

        async def scenario(attempt):
            calls = StreamHandlers()
            one = Config(max_requests=1)
            async with paired(methods=calls.methods, config=one) as (_, c, server):

                async def read():
                    async with contextlib.aclosing(c.stream("forever", [0.1], timeout=60)) as items:
                        async for item in items:
                            if item == 4:
                                return

                outcome = await attempt.run(read())
                assert outcome.how == ("cancelled" if outcome.reached else "returned")
                await asyncio.sleep(1)
                assert len(calls.ends) <= 1
                assert not driver_of(server).rpc_server.busy
                assert not session_calls(session_of(c)).open
                assert not driver_of(c).rpc_client._open
                assert await all_of(c.stream("numbers", [3], timeout=1)) == [0, 1, 2]

        assert len(cancel_everywhere(scenario, at=at)) >= 4
