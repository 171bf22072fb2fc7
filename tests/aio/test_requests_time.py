"""Requests with a deadline, and answers that come late."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest

from reliable_ws import RequestTimeout, State
from tests.aio.call_handlers import FEW, CallHandlers
from tests.aio.memory_network import now, on_virtual_clock, paired, registry, start, turns, until


@on_virtual_clock
async def test_a_deadline_reaches_the_handler():
    calls = CallHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        began = now()
        with pytest.raises(RequestTimeout) as caught:
            await client.request("wait", [1], timeout=5)
        assert now() == began + 5
        assert caught.value.taken is True
        assert isinstance(caught.value, TimeoutError)
        await turns()
        assert calls.cancelled == [1]
        assert await client.request("echo", [2]) == 2


@on_virtual_clock
@pytest.mark.parametrize("timeout", [0, -1])
async def test_no_time_at_all(timeout):
    calls = CallHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        with pytest.raises(RequestTimeout) as caught:
            await client.request("echo", [1], timeout=timeout)
        assert caught.value.taken is False
        await asyncio.sleep(1)
        assert calls.begun == []
        assert client.state is State.OPEN


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize("timeout", [math.inf, 1e300, math.nan, None])
async def test_as_much_time_as_there_is(timeout):
    calls = CallHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        assert await client.request("echo", [1], timeout=timeout) == 1


@on_virtual_clock
async def test_time_goes_on_while_there_is_no_websocket():
    """A request whose time ran out before it went is never run, though it was replayed."""
    calls = CallHandlers()
    async with paired(methods=calls.methods) as (net, client, _server):
        net.closed = True
        net.cut()
        await until(lambda: client.state is State.DETACHED)
        with pytest.raises(RequestTimeout) as caught:
            await client.request("echo", ["late"], timeout=3)
        assert caught.value.taken is False
        net.closed = False
        assert await client.request("echo", ["next"], timeout=100) == "next"
        assert calls.begun == ["next"]


@on_virtual_clock
async def test_a_deadline_is_judged_again_at_the_replay():
    """The first WebSocket took it and lost it; the second one knows what is left of its time."""
    calls = CallHandlers()
    left = []

    async def measure():
        began = now()
        try:
            await asyncio.sleep(1000)
        finally:
            left.append(now() - began)

    calls.methods.register(measure)
    async with paired(methods=calls.methods) as (net, client, _server):
        net.wire.freeze()
        first = start(client.request("echo", ["lost"], timeout=4))
        second = start(client.request("measure", timeout=50))
        await turns()
        net.closed = True
        net.cut()
        with pytest.raises(RequestTimeout) as caught:
            await first
        assert caught.value.taken is False or caught.value.taken is None
        await asyncio.sleep(1)
        net.closed = False
        with pytest.raises(RequestTimeout):
            await second
        await turns()
        assert calls.begun == []
        assert len(left) == 1
        assert 20 < left[0] < 46


@on_virtual_clock
async def test_an_answer_that_is_late_is_ignored():
    calls = CallHandlers()

    async def late():
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.sleep(100)
        await asyncio.sleep(1)
        return "late"

    calls.methods.register(late)
    async with paired(methods=calls.methods, config=FEW) as (_, client, _server):
        for _ in range(10):
            with pytest.raises(RequestTimeout):
                await client.request("late", timeout=1)
        await asyncio.sleep(10)
        assert await client.request("echo", [1]) == 1
        assert client.state is State.OPEN


@on_virtual_clock
async def test_an_answer_in_the_moment_of_the_timeout_is_no_loss():
    """Whoever is first: a result or a timeout, and the connection goes on."""
    outcomes = set()
    for tenths in range(8, 13):

        async def slow(tenths=tenths):
            await asyncio.sleep(tenths / 10)
            return "answer"

        async with paired(methods=registry(slow)) as (_, client, _server):
            try:
                outcomes.add(await client.request("slow", timeout=1))
            except RequestTimeout:
                outcomes.add("timeout")
    assert outcomes == {"answer", "timeout"}
