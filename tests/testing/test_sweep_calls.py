"""Calls and broadcast, at each message at which the network can break."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from reliable_ws import Connection, Fate, Group, Methods
from reliable_ws.testing import Network, pair, sweep


async def calls(network: Network) -> None:
    """Requests one by one and at once, one that asks back, a stream: each run once."""
    ran: list[int] = []
    methods, of_client = Methods(), Methods()

    @methods.register
    async def double(number: int) -> int:
        ran.append(number)
        await asyncio.sleep(0.01)
        return 2 * number

    @methods.register
    async def ask_back(conn: Connection, number: int) -> Any:
        return await conn.request("halve", [number])

    @methods.register
    async def count(number: int):
        for item in range(number):
            yield item

    @of_client.register
    async def halve(number: int) -> int:
        return number // 2

    async with pair(network=network, methods=methods, client_methods=of_client) as p:
        assert await p.client.request("double", [1], timeout=100) == 2
        answers = await asyncio.gather(*(p.client.request("double", [n]) for n in range(2, 6)))
        assert answers == [4, 6, 8, 10]
        assert await p.client.request("ask_back", [8]) == 4
        async with contextlib.aclosing(p.client.stream("count", [5])) as stream:
            assert [item async for item in stream] == [0, 1, 2, 3, 4]
        assert sorted(ran) == [1, 2, 3, 4, 5]


async def broadcast(network: Network) -> None:
    """Every member gets every publication, and each is reported so."""
    room, got, all_known = Group(), {}, asyncio.Event()

    async def handler(conn: Connection) -> None:
        room.join(conn, identity=await conn.recv())
        await conn.wait_closed()

    async def member(name: str) -> None:
        async for conn in network.connect():
            await conn.send(name)
            got[name] = [await conn.recv() for _ in range(3)]
            await all_known.wait()
            await conn.close()
            return

    async with network.serve(handler):
        members = [asyncio.create_task(member(name)) for name in "abc"]
        while len(room) < len(members):  # noqa: ASYNC110 - the clock is virtual
            await asyncio.sleep(0.1)
        publications = [room.publish(number) for number in range(3)]
        for publication in publications:
            fates = {r.identity: r.fate for r in await publication.wait(timeout=200)}
            assert fates == dict.fromkeys("abc", Fate.CONFIRMED)
        all_known.set()
        await asyncio.gather(*members)
    assert got == {name: [0, 1, 2] for name in "abc"}


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("scenario", [calls, broadcast])
def test_nothing_is_lost_or_doubled_when_connections_break(scenario: Any, seed: int | None) -> None:
    sweep(scenario, faults=("cut", "reset"), seed=seed)


@pytest.mark.parametrize("scenario", [calls, broadcast])
def test_nothing_is_lost_or_doubled_when_they_fall_silent(scenario: Any) -> None:
    sweep(scenario, faults=("stall", "half_open"), first=7)  # once everybody is greeted
