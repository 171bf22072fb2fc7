"""Handlers that misbehave, and plain functions, which run in threads."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from reliable_ws import MethodNotFound, RemoteError, State, wrap
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import on_virtual_clock, paired, registry, start, turns
from tests.support.inside import driver_of


async def anything(value: Any):
    return value


class Strange(BaseException):
    pass


class Unshowable(Exception):
    def __str__(self):
        raise RuntimeError


def raising(error):
    async def bad():
        raise error

    return bad


def returning(value):
    async def bad():
        return value

    return bad


BAD = {
    "raises": (raising(LookupError("secret")), "internal"),
    "asserts": (raising(AssertionError()), "internal"),
    "timeout of its own": (raising(TimeoutError()), "internal"),
    "BaseException": (raising(Strange("secret")), "internal"),
    "SystemExit": (raising(SystemExit(3)), "internal"),
    "GeneratorExit": (raising(GeneratorExit()), "internal"),
    "StopIteration": (raising(StopIteration(1)), "internal"),
    "CancelledError": (raising(asyncio.CancelledError()), "cancelled"),
    "group": (raising(ExceptionGroup("g", [ValueError()])), "internal"),
    "unshowable": (raising(Unshowable()), "internal"),
    "junk": (returning(object()), "internal"),
    "surrogates": (returning("\ud800"), "internal"),
    "a function": (returning(returning), "internal"),
    "too large": (returning(bytes(64 * 2**20 + 1)), "internal"),
    "a code that is no text": (raising(RemoteError(404, "gone")), "404"),
    "a code of nothing": (raising(RemoteError("", "")), "error"),
    "a code that cannot be said": (raising(RemoteError("\ud800", "\ud800")), "?"),
    "a code without end": (raising(RemoteError("x" * 10_000, "y" * 10_000)), "x" * 255),
    "a message that is no text": (raising(RemoteError("e", 5)), "e"),
    "data that cannot be sent": (raising(RemoteError("e", "m", object())), "e"),
    "data that is too large": (raising(RemoteError("e", "m", bytes(64 * 2**20 + 1))), "e"),
}


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize("what", BAD)
async def test_a_handler_that_misbehaves_fails_its_caller_and_nothing_else(what):
    bad, code = BAD[what]
    async with paired(methods=registry(bad, anything)) as (_, client, server):
        with pytest.raises(RemoteError) as caught:
            await client.request("bad", timeout=5)
        assert caught.value.code == code
        assert "secret" not in str(caught.value)
        await client.send("goes on")
        assert await server.recv() == "goes on"
        assert await client.request("anything", ["goes on"]) == "goes on"
        assert client.state is State.OPEN
        assert not driver_of(server).rpc_server.busy


@on_virtual_clock(seeds=(None,))
async def test_an_unexpected_error_is_logged_with_its_traceback(caplog):
    async with paired(methods=registry(BAD["raises"][0])) as (_, client, _server):
        caplog.clear()
        with pytest.raises(RemoteError):
            await client.request("bad")
        (record,) = caplog.records
        assert "'bad'" in record.message
        assert "secret" in caplog.text


@on_virtual_clock(seeds=(None,))
async def test_an_expected_error_is_not_logged(caplog):
    async with paired(methods=registry(raising(RemoteError("no", "money")))) as (
        _,
        client,
        _server,
    ):
        with pytest.raises(RemoteError):
            await client.request("bad")
        with pytest.raises(MethodNotFound):
            await client.request("missing")
        assert not caplog.records


async def ends(methods):
    near, far = pair()
    return await asyncio.gather(wrap(near), wrap(far, methods=methods))


async def test_plain_functions_run_in_threads_and_block_nobody():
    gate = threading.Event()
    threads = []

    def block(value: int):
        threads.append(threading.current_thread())
        assert gate.wait(60)
        return value

    async with asyncio.timeout(60):
        client, server = await ends(registry(block, anything))
        blocked = [start(client.request("block", [n])) for n in range(3)]
        for n in range(100):
            assert await client.request("anything", [n]) == n
        gate.set()
        assert await asyncio.gather(*blocked) == [0, 1, 2]
        assert threading.current_thread() not in threads
        await asyncio.gather(client.close(), server.close())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LookupError(), "internal"),
        (SystemExit(), "internal"),
        (KeyboardInterrupt(), "internal"),
        (StopIteration(), "internal"),
        (Strange(), "internal"),
        (asyncio.CancelledError(), "cancelled"),
        (RemoteError("mine", "own"), "mine"),
    ],
)
async def test_plain_functions_that_raise(error, code):
    def bad():
        raise error

    async with asyncio.timeout(60):
        client, server = await ends(registry(bad, anything))
        with pytest.raises(RemoteError) as caught:
            await client.request("bad")
        assert caught.value.code == code
        assert await client.request("anything", [1]) == 1
        await asyncio.gather(client.close(), server.close())


async def test_a_plain_function_that_returns_an_awaitable():
    def later(value):
        return anything(value)

    async with asyncio.timeout(60):
        client, server = await ends(registry(later))
        assert await client.request("later", [1]) == 1
        await asyncio.gather(client.close(), server.close())


async def test_a_cancelled_plain_function_goes_on_unheard():
    gate, done = threading.Event(), threading.Event()

    def block():
        gate.wait(60)
        done.set()

    async with asyncio.timeout(60):
        client, server = await ends(registry(block, anything))
        asking = start(client.request("block"))
        await turns()
        asking.cancel()
        assert await client.request("anything", [1]) == 1
        await asyncio.gather(client.close(), server.close())
        gate.set()
        assert await asyncio.to_thread(done.wait, 10)


async def test_a_slow_plain_function_delays_no_message():
    def slow():
        time.sleep(0.2)

    async with asyncio.timeout(60):
        client, server = await ends(registry(slow))
        asking = start(client.request("slow"))
        await client.send("at once")
        assert await server.recv() == "at once"
        assert not asking.done()
        assert await asking is None
        await asyncio.gather(client.close(), server.close())
