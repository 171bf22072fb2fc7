"""A session that goes on over another WebSocket by itself."""

from __future__ import annotations

import asyncio
import random

import pytest

from reliable_ws import (
    Backoff,
    Config,
    DeliveryError,
    End,
    Outcome,
    OutcomeUnknown,
    SessionLost,
    State,
)
from reliable_ws.driver.ownership import AlreadyOwned
from tests.aio.memory_network import (
    MemoryNetwork,
    now,
    on_virtual_clock,
    paired,
    rest,
    settle,
    start,
    take,
    turns,
    until,
)

SMALL = Config(outbox_messages=16, window_messages=8)


@on_virtual_clock
async def test_what_was_in_flight_arrives_over_the_next_websocket():
    async with paired() as (net, client, server):
        await client.send(1)
        await server.send("one")
        net.cut()
        await client.send(2)
        await server.send("two")
        assert await take(server, 2) == [1, 2]
        assert await take(client, 2) == ["one", "two"]
        await asyncio.gather(client.flush(), server.flush())
        assert client.stats.resumes == server.stats.resumes == 1
        assert net.names() == ["opened", "detached", "resumed"]


@on_virtual_clock
async def test_nothing_said_at_all_before_the_cut():
    """Counters exist from the first greeting; zero is valid."""
    async with paired() as (net, client, server):
        for _ in range(3):
            net.cut()
            await until(lambda: client.state is State.OPEN)
        await client.send("x")
        assert await server.recv() == "x"


@on_virtual_clock(seeds=range(12))
@pytest.mark.parametrize("config", [Config(), SMALL])
async def test_a_stream_both_ways_through_a_network_that_keeps_breaking(config):
    chance = random.Random(str(config))
    async with paired(config=config, limit=2000) as (net, client, server):

        async def sender(conn):
            for n in range(1000):
                await conn.send(n)
                if n % 50 == 0:
                    await asyncio.sleep(chance.random())
            await conn.finish()

        async def breaker():
            while True:
                await asyncio.sleep(chance.random())
                match chance.randrange(4):
                    case 0:
                        net.cut()
                    case 1:
                        net.freeze()
                    case 2:
                        net.wire.freeze()
                    case 3:
                        net.wire.peer.abort()

        breaking = start(breaker())
        works = [start(work(c)) for c in (client, server) for work in (sender, rest)]
        results = await asyncio.gather(*works)
        breaking.cancel()
        assert results == [None, list(range(1000))] * 2
        await asyncio.gather(client.close(), server.close())
        assert client.report.confirmed == server.report.confirmed == 1000
        assert client.stats.resumes > 0


@on_virtual_clock
async def test_a_cut_during_every_greeting_and_replay():
    """Whatever is cut: Hello, Welcome, what is sent again; each link lives a little longer."""
    async with paired({"reconnect": Backoff(0, 1, 0)}) as (net, client, server):
        for n in range(50):
            await client.send(n)
        net.cut()
        for lifetime in range(30):
            await net.reopened()
            await turns(lifetime)
            net.cut()
        assert await take(server, 50) == list(range(50))
        await client.flush()


@on_virtual_clock
async def test_facts_while_there_is_no_websocket():
    async with paired() as (net, client, server):
        net.closed = True
        net.cut()
        await asyncio.sleep(0.5)
        for conn in (client, server):
            assert conn.state is State.DETACHED
            assert conn.websocket is None
            assert conn.transport is None
            assert conn.remote_address is None
        await client.send("waits")
        assert client.stats.outbox_bytes > 0
        net.closed = False
        assert await server.recv() == "waits"
        assert client.websocket is net.wire


@on_virtual_clock
async def test_attempts_come_with_growing_delays_and_stop_with_the_session():
    net = MemoryNetwork(config=Config(session_ttl=100))
    attempts = []

    async def refused():
        attempts.append(now())
        raise ConnectionRefusedError

    backoff = Backoff(initial=1, longest=8)
    client, server = await net.pair(reopen=refused, reconnect=backoff)
    receipt = await client.send("x")
    reading = start(client.recv())
    await turns()
    net.cut()
    with pytest.raises(SessionLost) as caught:
        await reading
    assert now() == pytest.approx(100, abs=1)
    assert 100 / 8 < len(attempts) < 60
    assert caught.value.ending.kind is End.EXPIRED
    assert receipt.outcome is Outcome.UNKNOWN
    with pytest.raises(OutcomeUnknown):
        await receipt
    tried = ["attempt_failed"] * len(attempts)
    assert net.names() == ["opened", "detached", *tried, "session_lost", "closed"]
    assert "last attempt: ConnectionRefusedError" in caught.value.reason
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    await asyncio.sleep(1)  # the server may have heard from the client a little later
    with pytest.raises(SessionLost):
        await server.recv()


async def cut_and_resumed(net, client):
    """Cut the line, and return how long it took to come back: about the first pause."""
    since, resumes = now(), client.stats.resumes
    net.cut()
    await until(lambda: client.stats.resumes > resumes)
    assert now() - since < 0.3
    return now() - since


@on_virtual_clock
@pytest.mark.parametrize("lifetime", [1.5, 3.0])
async def test_a_line_that_is_cut_every_few_seconds_is_soon_there_again(lifetime):
    """Also when nothing is sent: a WebSocket that lasts a while is no failed attempt."""
    async with paired() as (net, client, _server):
        began, detached = now(), 0.0
        while now() < began + 60:
            await asyncio.sleep(lifetime)
            detached += await cut_and_resumed(net, client)
        assert detached < 10


@on_virtual_clock
async def test_a_line_that_carries_a_message_between_two_cuts_is_soon_there_again():
    async with paired() as (net, client, server):
        for n in range(20):
            await client.send(n)
            assert await server.recv() == n
            await client.flush()
            await cut_and_resumed(net, client)


@on_virtual_clock
@pytest.mark.parametrize(
    ("ours", "theirs", "outage"), [(20, 20, 11), (120, 120, 100), (120, 20, 11), (20, 120, 11)]
)
async def test_a_network_that_is_back_before_the_session_is_over_is_found(ours, theirs, outage):
    """However long the pauses have grown: also the time that the peer gives the session counts."""
    net = MemoryNetwork(
        config=Config(session_ttl=ours),
        server_config=Config(session_ttl=theirs),
    )
    clients = [(await net.pair())[0] for _ in range(20)]
    net.closed = True
    for wire in net.wires:
        wire.cut()
    await asyncio.sleep(outage)
    assert {client.state for client in clients} == {State.DETACHED}
    net.closed = False
    await until(lambda: all(client.state is State.OPEN for client in clients))
    await settle(*clients)


@on_virtual_clock
@pytest.mark.parametrize(
    "error", [OSError, TimeoutError, LookupError, TypeError, asyncio.CancelledError]
)
async def test_whatever_opening_raises_it_is_tried_again(error):
    net, opened = MemoryNetwork(), []

    async def reopen():
        opened.append(None)
        if len(opened) < 4:
            raise error
        return await net.open()

    client, server = await net.pair(reopen=reopen)
    net.cut()
    await client.send("x")
    assert await server.recv() == "x"
    assert len(opened) == 4
    await settle(client, server)


@on_virtual_clock
async def test_an_opening_that_hangs_is_given_up():
    net = MemoryNetwork(config=Config(open_timeout=5))
    hanging = []

    async def reopen():
        if len(hanging) < 2:
            hanging.append(now())
            await asyncio.sleep(1000)
        return await net.open()

    client, server = await net.pair(reopen=reopen)
    net.cut()
    await client.send("x")
    assert await server.recv() == "x"
    assert 10 <= now() <= 12
    await settle(client, server)


@on_virtual_clock
async def test_a_peer_that_asks_for_time_is_given_it():
    """Too many sessions there: a Refuse that says come again (REFUSE-3) is no end."""
    net = MemoryNetwork(server_config=Config(max_sessions=1))
    client, server = await net.pair()
    with pytest.raises(ConnectionError):
        await net.connect()
    await settle(client, server)


@on_virtual_clock
async def test_a_websocket_of_another_connection_is_not_taken_over(caplog):
    """Two sessions on one WebSocket would both be lost."""
    net = MemoryNetwork()
    first, its_peer = await net.pair()
    wire = net.wire

    async def reopen():
        return wire

    second, other_peer = await net.pair(reopen=reopen)
    net.cut()
    await second.send("never taken")
    for use in (second.recv, lambda: second.send("x"), lambda: second.request("x")):
        with pytest.raises(SessionLost, match="the WebSocket is wrapped already") as lost:
            await use()
        assert type(lost.value.__cause__) is AlreadyOwned
    for wait in (second.flush, second.close):
        with pytest.raises(DeliveryError, match="the WebSocket is wrapped already") as undelivered:
            await wait()
        assert isinstance(undelivered.value.__cause__, ValueError)
    assert isinstance(caplog.records[-1].exc_info[1], ValueError)
    await first.send("on it")
    assert await its_peer.recv() == "on it"
    assert first.stats.resumes == 0
    other_peer.abort()
    await settle(first, its_peer)


@on_virtual_clock
async def test_a_websocket_that_is_closed_already_is_no_reason_to_give_up():
    net, opened = MemoryNetwork(), []

    async def reopen():
        wire = await net.open()
        opened.append(wire)
        if len(opened) == 1:
            wire.abort()
        return wire

    client, server = await net.pair(reopen=reopen)
    net.cut()
    await client.send("x")
    assert await server.recv() == "x"
    assert len(opened) == 2
    await settle(client, server)
