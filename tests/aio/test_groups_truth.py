"""Many members whose networks break: every report is true."""

from __future__ import annotations

import asyncio
import collections
import random

import pytest

from reliable_ws import (
    Backoff,
    Config,
    ConnectionClosed,
    Fate,
    Group,
    Sessions,
    connect,
    serve,
    wrap,
)
from reliable_ws.testing import ChaosProxy
from reliable_ws.testing.memory import pair
from tests.aio.grouped_pairs import counted
from tests.aio.memory_network import on_virtual_clock, start, take, until


@on_virtual_clock(seeds=(None,), limit=1000)
@pytest.mark.parametrize("members", [150, pytest.param(1000, marks=pytest.mark.slow)])
async def test_with_cuts_and_stalls_every_report_is_true(members):  # noqa: C901
    """50 are cut at random and come back, 20 of which never; 20 stall; the books are compared."""
    chance = random.Random(1000)
    config = Config(session_ttl=20, idle_timeout=10, window_messages=16, outbox_messages=16)
    sessions = Sessions(config=config)
    group = Group(on_dropped=lambda _conn: None, limit=8)
    taken: dict[int, list[int]] = {number: [] for number in range(members)}
    wires, gone, clients = {}, set(), {}

    async def opening(number):
        if number in gone:
            raise ConnectionRefusedError
        near, far = pair()
        wires[number] = near
        accepting.add(start(accept(far, number)))
        return near

    async def accept(far, number):
        connection = await wrap(far, sessions=sessions)
        if connection not in group and number not in joined:
            joined.add(number)
            group.join(connection, number)

    async def read(number, client):
        stalled_at = 5 if number in stalled else None
        try:
            async for message in client:
                taken[number].append(message)
                if len(taken[number]) == stalled_at:
                    await over.wait()
        except ConnectionClosed:
            pass

    accepting: set = set()
    joined: set = set()
    over = asyncio.Event()
    numbers = list(range(members))
    chance.shuffle(numbers)
    cut, stalled = numbers[:50], set(numbers[50:70])
    for number in range(members):
        client = await wrap(
            await opening(number),
            reopen=lambda number=number: opening(number),
            config=config,
            reconnect=Backoff(0.1, 1, 1),
        )
        clients[number] = client
    await until(lambda: len(group) == members)
    readers = [start(read(number, client)) for number, client in clients.items()]
    publications = []
    for n in range(40):
        publications.append(group.publish(n))
        if n % 10 == 9:
            for number in chance.sample(cut, 10):
                wires[number].cut()
            if n == 19:
                gone.update(cut[:20])
                for number in cut[:20]:
                    wires[number].cut()
        await asyncio.sleep(0.05)
    await publications[10].wait(60)  # the stalled hold it; longer than a dead session lasts
    reports = [await p.wait(0) for p in publications]
    healthy = set(numbers) - stalled - gone
    tally: collections.Counter[Fate] = collections.Counter()
    for n, report in enumerate(reports):
        for recipient in report:
            tally[recipient.fate] += 1
            number = recipient.identity
            assert recipient.session == clients[number].id
            if number in healthy:
                assert recipient.fate is Fate.CONFIRMED
            if recipient.fate is Fate.CONFIRMED:
                assert n in taken[number]
            elif recipient.fate is not Fate.UNKNOWN and recipient.fate is not Fate.PENDING:
                assert n not in taken[number]
    for number, messages in taken.items():
        assert messages == list(range(len(messages)))  # in order, none twice, no gap
        assert len(messages) == 40 or number in stalled | gone
    assert tally[Fate.CONFIRMED] > 40 * (members - 50)
    assert tally[Fate.DROPPED] > 0
    assert tally[Fate.UNKNOWN] > 0
    assert tally[Fate.PENDING] > 0  # at the members that stall and live
    over.set()  # they read on
    last = [(n, r) for n, p in enumerate(publications) for r in await p.wait(30)]
    assert Fate.PENDING not in counted(r for _, r in last)
    known = [(n, r) for n, r in last if r.fate is not Fate.UNKNOWN]
    assert all((n in taken[r.identity]) is (r.fate is Fate.CONFIRMED) for n, r in known)
    for client in clients.values():
        client.abort()
    await asyncio.gather(*readers, *accepting, return_exceptions=True)
    for connection in sessions.connections:
        connection.abort()


@pytest.mark.transport
async def test_over_sockets_with_members_that_are_cut():
    group = Group()

    async def handler(conn):
        group.join(conn, await conn.recv())
        async for _ in conn:
            pass

    async with (
        asyncio.timeout(60),
        serve(handler, "127.0.0.1", 0) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
    ):
        direct, shaky = f"ws://127.0.0.1:{server.port}", proxy.uri()
        clients = [
            await connect(uri, reconnect=Backoff(0.01, longest=0.1), proxy=None)
            for uri in [direct, shaky] * 5
        ]
        for number, client in enumerate(clients):
            await client.send(number)
        while len(group) < 10:  # noqa: ASYNC110 - bounded above
            await asyncio.sleep(0.01)
        taking = [start(take(client, 500)) for client in clients]
        publications = []
        for n in range(500):
            publications.append(group.publish(n))
            if n % 100 == 50:
                proxy.reset()
            if n % 10 == 0:
                await publications[-1].wait(60)
        assert await asyncio.gather(*taking) == [list(range(500))] * 10
        for publication in publications:
            assert counted(await publication.wait(60)) == {Fate.CONFIRMED: 10}
        assert sum(client.stats.resumes for client in clients) >= 5
        await asyncio.gather(*(client.close() for client in clients))
