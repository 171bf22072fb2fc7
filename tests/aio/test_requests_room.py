"""How many requests may be open, and what a peer takes in one frame."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Config, RemoteError, RequestTimeout
from reliable_ws.driver.log_limit import BURST
from tests.aio.call_handlers import FEW, CallHandlers, calling
from tests.aio.memory_network import now, on_virtual_clock, paired, registry, start, take


@on_virtual_clock
async def test_no_more_requests_are_open_than_the_peer_takes():
    running = most = 0

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return number

    async with paired(methods=registry(work), server_config=FEW) as (_, client, _server):
        began = now()
        asked = [start(client.request("work", [n])) for n in range(40)]
        assert await asyncio.gather(*asked) == list(range(40))
        assert most == 4
        assert now() == pytest.approx(began + 10)


@on_virtual_clock(seeds=(None,))
async def test_a_peer_that_takes_little_does_not_fill_the_log(caplog):
    """LIMIT-1: each of its requests has an answer that it does not take."""

    async def much():
        return bytes(2000)

    small = Config(max_message=1000)
    async with paired(methods=registry(much), config=small) as (_, client, _server):
        for _ in range(100):
            with pytest.raises(RemoteError, match="the result cannot be sent"):
                await client.request("much")
    assert 0 < len(caplog.records) <= BURST
    assert "Traceback" not in caplog.text


@on_virtual_clock
async def test_whoever_waits_for_room_is_served_in_turn():
    order = []

    async def work(number):
        order.append(number)
        await asyncio.sleep(1)

    async with paired(methods=registry(work), server_config=FEW) as (_, client, _server):
        asked = []
        for n in range(100):
            asked.append(start(client.request("work", [n])))
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
        assert order == list(range(100))


@on_virtual_clock
async def test_time_runs_while_waiting_for_room():
    async with calling(server_config=Config(max_requests=1)) as call:
        with pytest.raises(RequestTimeout) as caught:
            await call.client.request("echo", [2], timeout=3)
        assert caught.value.taken is False
        call.calls.gate.set()
        assert await call.asking == 1
        assert call.calls.begun == [1]


@on_virtual_clock
async def test_a_frame_limit_is_kept_by_requests_and_messages_together():
    calls = CallHandlers()
    async with paired(methods=calls.methods, max_frame=4096) as (net, client, server):
        reading = start(take(server, 200))
        asked = []
        for n in range(200):
            await client.send(bytes(n * 20))
            asked.append(start(client.request("echo", [bytes(n * 20)])))
        assert [len(a) for a in await asyncio.gather(*asked)] == [n * 20 for n in range(200)]
        assert [len(m) for m in await reading] == [n * 20 for n in range(200)]
        assert net.names() == ["opened"]
