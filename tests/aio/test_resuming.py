"""A session that goes on over another WebSocket, or cannot."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import pytest

from reliable_ws import (
    Backoff,
    Config,
    Connection,
    ConnectionClosed,
    End,
    NotReliablePeer,
    Outcome,
    OutcomeUnknown,
    SessionLost,
    Sessions,
    State,
    wrap,
)
from reliable_ws.adapters.memory import pair
from reliable_ws.testing.virtual_clock import run
from tests.aio.stage import (
    Stage,
    block,
    now,
    on_stage,
    paired,
    rest,
    second_holder,
    settle,
    start,
    take,
    turns,
    until,
)

SMALL = Config(outbox_messages=16, window_messages=8)


# -- by itself -----------------------------------------------------------------------------------


@on_stage
async def test_what_was_in_flight_arrives_over_the_next_websocket():
    async with paired() as (stage, client, server):
        await client.send(1)
        await server.send("one")
        stage.cut()
        await client.send(2)
        await server.send("two")
        assert await take(server, 2) == [1, 2]
        assert await take(client, 2) == ["one", "two"]
        await asyncio.gather(client.flush(), server.flush())
        assert client.stats.resumes == server.stats.resumes == 1
        assert stage.names() == ["opened", "detached", "resumed"]


@on_stage
async def test_nothing_said_at_all_before_the_cut():
    """Counters exist from the first greeting; zero is valid."""
    async with paired() as (stage, client, server):
        for _ in range(3):
            stage.cut()
            await until(lambda: client.state is State.OPEN)
        await client.send("x")
        assert await server.recv() == "x"


@on_stage(seeds=range(12))
@pytest.mark.parametrize("config", [Config(), SMALL])
async def test_a_stream_both_ways_through_a_network_that_keeps_breaking(config):
    chance = random.Random(str(config))
    async with paired(config=config, limit=2000) as (stage, client, server):

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
                        stage.cut()
                    case 1:
                        stage.freeze()
                    case 2:
                        stage.wire.freeze()
                    case 3:
                        stage.wire.peer.abort()

        breaking = start(breaker())
        works = [start(work(c)) for c in (client, server) for work in (sender, rest)]
        results = await asyncio.gather(*works)
        breaking.cancel()
        assert results == [None, list(range(1000))] * 2
        await asyncio.gather(client.close(), server.close())
        assert client.report.confirmed == server.report.confirmed == 1000
        assert client.stats.resumes > 0


@on_stage
async def test_a_cut_during_every_greeting_and_replay():
    """Whatever is cut: Hello, Welcome, what is sent again; each link lives a little longer."""
    async with paired({"reconnect": Backoff(0, 1, 0)}) as (stage, client, server):
        for n in range(50):
            await client.send(n)
        stage.cut()
        for lifetime in range(30):
            await stage.reopened()
            await turns(lifetime)
            stage.cut()
        assert await take(server, 50) == list(range(50))
        await client.flush()


@on_stage
async def test_facts_while_there_is_no_websocket():
    async with paired() as (stage, client, server):
        stage.closed = True
        stage.cut()
        await asyncio.sleep(0.5)
        for conn in (client, server):
            assert conn.state is State.DETACHED
            assert conn.websocket is None
            assert conn.transport is None
            assert conn.remote_address is None
        await client.send("waits")
        assert client.stats.outbox_bytes > 0
        stage.closed = False
        assert await server.recv() == "waits"
        assert client.websocket is stage.wire


@on_stage
async def test_attempts_come_with_growing_delays_and_stop_with_the_session():
    stage = Stage(config=Config(session_ttl=100))
    attempts = []

    async def refused():
        attempts.append(now())
        raise ConnectionRefusedError

    backoff = Backoff(initial=1, longest=8)
    client, server = await stage.pair(reopen=refused, reconnect=backoff)
    receipt = await client.send("x")
    reading = start(client.recv())
    await turns()
    stage.cut()
    with pytest.raises(SessionLost) as caught:
        await reading
    assert now() == pytest.approx(100, abs=1)
    assert 100 / 8 < len(attempts) < 60
    assert caught.value.ending.kind is End.EXPIRED
    assert receipt.outcome is Outcome.UNKNOWN
    with pytest.raises(OutcomeUnknown):
        await receipt
    assert stage.names() == ["opened", "detached", "session_lost", "closed"]
    with pytest.raises(SessionLost):
        await server.recv()


@on_stage
@pytest.mark.parametrize("error", [OSError, TimeoutError, LookupError, TypeError])
async def test_whatever_opening_raises_it_is_tried_again(error):
    stage, opened = Stage(), []

    async def reopen():
        opened.append(None)
        if len(opened) < 4:
            raise error
        return await stage.open()

    client, server = await stage.pair(reopen=reopen)
    stage.cut()
    await client.send("x")
    assert await server.recv() == "x"
    assert len(opened) == 4
    await settle(client, server)


@on_stage
async def test_an_opening_that_hangs_is_given_up():
    stage = Stage(config=Config(open_timeout=5))
    hanging = []

    async def reopen():
        if len(hanging) < 2:
            hanging.append(now())
            await asyncio.sleep(1000)
        return await stage.open()

    client, server = await stage.pair(reopen=reopen)
    stage.cut()
    await client.send("x")
    assert await server.recv() == "x"
    assert 10 <= now() <= 12
    await settle(client, server)


@on_stage
async def test_a_peer_that_asks_for_time_is_given_it():
    """Too many sessions there: a Refuse that says come again (REFUSE-3) is no end."""
    stage = Stage(server_config=Config(max_sessions=1))
    client, server = await stage.pair()
    with pytest.raises(ConnectionError):
        await stage.connect()
    await settle(client, server)


# -- by hand -------------------------------------------------------------------------------------


@on_stage
async def test_without_a_way_to_another_websocket_the_session_ends_at_once():
    near, far = pair()
    client, server = await asyncio.gather(wrap(near), wrap(far))
    receipt = await client.send("x")
    waiting = [start(c.recv()) for c in (client, server)]
    await asyncio.sleep(0.01)
    assert await waiting.pop() == "x"
    await client.send("y")
    near.cut()
    with pytest.raises(SessionLost) as caught:
        await waiting.pop()
    assert caught.value.ending.kind is End.LOST
    assert receipt.outcome in (Outcome.CONFIRMED, Outcome.UNKNOWN)
    with pytest.raises(SessionLost):
        await server.recv()
    for conn in (client, server):
        with pytest.raises(ConnectionClosed):
            await conn.send("late")
        with pytest.raises(ConnectionClosed):
            await conn.resume(near)
        assert conn.state is State.CLOSED


@on_stage
async def test_who_opens_websockets_by_itself_is_handed_none():
    """Both would compete: the newer fences the older, and the peer is told so each time."""
    async with paired({"resume_within": 60}) as (stage, client, server):
        near, far = pair()
        with pytest.raises(RuntimeError, match="resume_within= and without reopen="):
            await client.resume(near)
        await client.send("x")
        assert await server.recv() == "x"
        stage.cut()
        with pytest.raises(RuntimeError):
            await client.resume(near)
        await client.send("y")
        assert await server.recv() == "y"
        near.abort()
        far.abort()


@on_stage
async def test_both_sides_resume_by_hand():
    near, far = pair()
    client, server = await asyncio.gather(
        wrap(near, resume_within=60), wrap(far, resume_within=60, principal="alice")
    )
    for n in range(3):
        await client.send(n)
        near.cut()
        await asyncio.sleep(5)
        assert client.state is server.state is State.DETACHED
        near, far = pair()
        await asyncio.gather(client.resume(near), server.resume(far))
        assert client.state is server.state is State.OPEN
        assert client.websocket is near
        assert server.websocket is far
    assert await take(server, 3) == [0, 1, 2]
    await settle(client, server)


@on_stage
async def test_resume_replaces_a_websocket_that_still_seems_to_live():
    near, far = pair()
    client, server = await asyncio.gather(wrap(near, resume_within=60), wrap(far, resume_within=60))
    near.freeze()
    far.freeze()
    await client.send("x")
    await turns()
    other_near, other_far = pair()
    await asyncio.gather(client.resume(other_near), server.resume(other_far))
    assert await server.recv() == "x"
    near.thaw()
    far.thaw()
    await server.send("y")
    assert await client.recv() == "y"
    await asyncio.sleep(60)  # the late death of the old one hurts nobody
    assert client.state is State.OPEN
    await settle(client, server)


@on_stage
async def test_resume_on_a_websocket_that_leads_nowhere():
    near, far = pair()
    config = Config(open_timeout=5)
    client, server = await asyncio.gather(
        wrap(near, config=config, resume_within=60), wrap(far, config=config, resume_within=60)
    )
    near.cut()
    await turns()
    silent, _ = pair()
    _, quiet = pair()
    for resuming in (client.resume(silent), server.resume(quiet)):
        began = now()
        with pytest.raises(NotReliablePeer):
            await resuming
        assert now() - began <= 5 + 5 + 1
    assert client.state is server.state is State.DETACHED
    near, far = pair()
    await asyncio.gather(client.resume(near), server.resume(far))
    await settle(client, server)


@on_stage
async def test_nobody_resumes_within_the_time():
    near, far = pair()
    client, server = await asyncio.gather(wrap(near, resume_within=7), wrap(far, resume_within=7))
    near.cut()
    for conn in (client, server):
        with pytest.raises(SessionLost):
            await conn.recv()
    assert now() == pytest.approx(7, abs=0.1)


@on_stage
async def test_another_session_on_the_websocket_that_was_to_resume():
    near, far = pair()
    client, server = await asyncio.gather(wrap(near, resume_within=60), wrap(far, resume_within=60))
    near.cut()
    await turns()
    near, far = pair()
    stranger = start(_opened_and_lost(near))
    with pytest.raises(NotReliablePeer):
        await server.resume(far)
    with pytest.raises(SessionLost):
        await stranger
    assert server.state is State.DETACHED
    client.abort()
    server.abort()


async def _opened_and_lost(websocket):
    stranger = await wrap(websocket)
    await stranger.recv()


# -- shared sessions -----------------------------------------------------------------------------


@on_stage
async def test_sessions_that_are_empty_are_shared_all_the_same():
    sessions = Sessions()
    assert not len(sessions)
    near, far = pair()
    client, server = await asyncio.gather(wrap(near), wrap(far, sessions=sessions))
    assert sessions.connections == [server]
    await settle(client, server)
    await turns()
    assert sessions.connections == []


@on_stage
async def test_a_later_websocket_of_a_session_gives_the_same_connection():
    sessions, wires = Sessions(), []

    async def open_pair():
        near, far = pair()
        wires.append(near)
        accepted.append(start(_accept(far)))
        return near

    async def _accept(far):
        return await wrap(far, sessions=sessions)

    accepted = []
    client = await wrap(await open_pair(), reopen=open_pair)
    for _ in range(3):
        wires[-1].cut()
        await client.send("x")
        await asyncio.sleep(2)
    connections = {await task for task in accepted}
    [server] = connections
    assert await take(server, 3) == ["x"] * 3
    await settle(client, server)


@on_stage
async def test_handle_runs_the_handler_once_per_session():
    stage, runs = Stage(), []

    async def handler(conn):
        runs.append(conn)
        async for message in conn:
            await conn.send(message)

    handling = []

    async def reopen():
        near, far = pair()
        stage.wires.append(near)
        handling.append(start(stage.sessions.handle(far, handler)))
        return near

    client = await wrap(await reopen(), reopen=reopen)
    for n in range(5):
        await client.send(n)
        stage.cut()
        assert await client.recv() == n
    await client.close()
    await asyncio.gather(*handling)
    assert len(runs) == 1
    assert runs[0].state is State.CLOSED


@on_stage
async def test_another_principal_cannot_resume():
    sessions, who = Sessions(), ["alice"]
    tasks = []

    async def reopen():
        near, far = pair()
        wires.append(near)
        tasks.append(start(_accept(far, who[0])))
        return near

    async def _accept(far, principal):
        return await wrap(far, sessions=sessions, principal=principal)

    wires = []
    client = await wrap(await reopen(), reopen=reopen)
    server = await tasks[0]
    await client.send("x")
    who[0] = "mallory"
    wires[-1].cut()
    with pytest.raises(SessionLost) as caught:
        await client.recv()
    assert caught.value.code == 4404
    with pytest.raises(NotReliablePeer):
        await tasks[1]
    assert server.state is State.DETACHED
    server.abort()


@on_stage
async def test_a_second_holder_takes_over_and_the_first_does_not_come_back():
    async with paired() as (stage, client, server):
        receipt = await client.send("x")
        assert await server.recv() == "x"
        await receipt
        holder = second_holder(client)
        await holder.start(await stage.open())
        thief = Connection(holder)
        with pytest.raises(SessionLost) as caught:
            await client.recv()
        assert caught.value.ending.kind is End.SUPERSEDED
        await asyncio.sleep(60)
        assert stage.names() == ["opened", "superseded", "closed"]
        assert len(stage.wires) == 2
        assert server.state is State.OPEN
        await thief.send("y")
        assert await server.recv() == "y"
        await settle(thief, server)


@on_stage
async def test_a_server_that_forgot_the_session_ends_it():
    async with paired() as (stage, client, server):
        await client.send("x")
        await asyncio.sleep(1)
        await client.send("never left")
        stage.sessions = Sessions()
        stage.cut()
        with pytest.raises(SessionLost) as caught:
            await client.recv()
        assert caught.value.code == 4404
        assert caught.value.ending.kind is End.REFUSED
        outcomes = [entry.outcome for entry in caught.value.report.undelivered]
        assert outcomes[0] is Outcome.UNKNOWN
        assert server.state is State.DETACHED


@on_stage
async def test_the_tombstone_tells_a_client_that_missed_the_end():
    async with paired() as (stage, client, server):
        await client.send("taken")
        assert await server.recv() == "taken"
        await client.send("not taken")
        stage.closed = True
        stage.cut()
        server.abort()
        stage.closed = False
        with pytest.raises(SessionLost):
            await client.recv()
        [entry] = client.report.undelivered
        assert (entry.message, entry.outcome) == ("not taken", Outcome.NOT_TAKEN)
        assert client.report.confirmed == 1


# -- networks that hang --------------------------------------------------------------------------


@on_stage
async def test_a_half_open_network_is_left_after_the_idle_timeout():
    async with paired() as (stage, client, server):
        await asyncio.sleep(60)
        assert client.state is State.OPEN  # heartbeats
        stage.freeze()
        began = now()
        await client.send("x")
        assert await server.recv() == "x"
        assert 13 <= now() - began <= 21
        assert stage.names() == ["opened", "detached", "resumed"]


@on_stage
@pytest.mark.parametrize("frozen", ["near", "far"])
async def test_a_network_that_hangs_one_way(frozen):
    async with paired() as (stage, client, server):
        (stage.wire if frozen == "near" else stage.wire.peer).freeze()
        for n in range(100):
            await client.send(n)
            await server.send(n)
        assert await take(server, 100) == list(range(100))
        assert await take(client, 100) == list(range(100))


@on_stage
async def test_a_writer_that_is_stuck_does_not_keep_the_session_from_going_on():
    config = Config(outbox_bytes=2**20)
    async with paired(config=config, limit=1000) as (stage, client, server):
        stage.freeze()
        for n in range(20):
            await client.send(bytes([n]) * 2000)
            await turns(5)
        got = await take(server, 20)
        assert [m[0] for m in got] == list(range(20))
        assert client.stats.resumes == 1
        await turns()
        assert not [t for t in asyncio.all_tasks() if t.get_coro().__name__ == "_write"]


@on_stage
@pytest.mark.parametrize("seconds", [20.5, 30, 60, 119, 1000])
@pytest.mark.parametrize("when", ["idle", "streaming", "waiting"])
async def test_a_session_survives_a_blocked_event_loop(seconds, when):
    """Time in which we did not run is not the peer's fault."""
    async with paired() as (stage, client, server):
        if when == "streaming":
            for n in range(100):
                await client.send(n)
        reading = start(server.recv()) if when == "waiting" else None
        await turns(5)
        for _ in range(3):
            block(seconds)
            await asyncio.sleep(1)
        if when == "streaming":
            assert await take(server, 100) == list(range(100))
        await client.send("alive")
        assert await (reading or server.recv()) == "alive"
        assert client.state is server.state is State.OPEN
        if seconds >= 30:  # else it may look like a peer that fell silent just now
            assert stage.names() == ["opened"]


@on_stage
@pytest.mark.parametrize("seconds", [30, 60, 100, 1000])
async def test_a_detached_session_survives_a_blocked_event_loop(seconds):
    async with paired() as (stage, client, server):
        stage.closed = True
        stage.cut()
        await client.send("x")
        await asyncio.sleep(1)
        block(seconds)
        stage.closed = False
        assert await server.recv() == "x"


@on_stage
async def test_closing_survives_a_blocked_event_loop():
    async with paired() as (_, client, server):
        await client.send("x")
        closing = start(client.close())
        await asyncio.sleep(1)
        block(60)
        await asyncio.sleep(1)
        assert await rest(server) == ["x"]
        await server.close()
        await closing


# -- frames that are too large -------------------------------------------------------------------


@on_stage
@pytest.mark.parametrize("limit", [5000, 20_000, 100_000])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_transport_that_takes_less_than_it_announced(limit, way):
    """Each 1009 halves the frames, until they fit; big messages go in parts (PART-6)."""
    stage = Stage()
    stage_open = stage.open

    async def narrow():
        near = await stage_open()
        # the ends have announced what pair() says; what they take is less
        end = near.peer if way == "up" else near
        end._arrive = _narrow(end, limit)
        return near

    stage.open = narrow
    client, server = await stage.pair(reopen=narrow)
    sender, receiver = (client, server) if way == "up" else (server, client)
    big = bytes(300_000)
    await sender.send("small")
    await sender.send(big)
    await sender.send("after")
    assert await take(receiver, 3) == ["small", big, "after"]
    await sender.flush()
    assert 1 <= client.stats.resumes <= 8
    await settle(client, server)


def _narrow(end, limit):
    whole = type(end)._arrive

    def arrive(item):
        announced, end.max_frame = end.max_frame, limit
        whole(end, item)
        end.max_frame = announced

    return arrive


@on_stage
async def test_a_transport_that_takes_next_to_nothing_ends_the_session():
    stage = Stage()
    stage_open = stage.open

    async def narrow():
        near = await stage_open()
        near.peer._arrive = _narrow(near.peer, 1000)
        return near

    stage.open = narrow
    client, server = await stage.pair(reopen=narrow)
    await client.send(bytes(100_000))
    with pytest.raises(SessionLost) as caught:
        await client.recv()
    assert caught.value.code == 1009
    assert len(stage.wires) <= 12
    assert client.report.count(Outcome.CONFIRMED) == 0
    server.abort()


# -- what should not happen ----------------------------------------------------------------------


@on_stage
@pytest.mark.parametrize("broken", ["send", "send_now"])
@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_transport_that_raises_what_it_may_not_is_replaced(broken, side, caplog):
    """A bug in an adapter costs a WebSocket, not a message, and nobody waits for ever."""
    async with paired(limit=1000) as (stage, client, server):

        def fail(*_):
            setattr(end, broken, getattr(type(end), broken).__get__(end))
            raise LookupError("a bug")

        async def fail_later(*_):
            fail()

        sender, receiver = (client, server) if side == "client" else (server, client)
        end = stage.wire if side == "client" else stage.wire.peer
        setattr(end, broken, fail if broken == "send_now" else fail_later)
        if broken == "send":
            end.send_now = lambda _: False
        for _ in range(10):
            await sender.send(bytes(500))
        assert await take(receiver, 10) == [bytes(500)] * 10
        await sender.flush()
        assert client.stats.resumes == 1
        assert "a bug" in caplog.text
        caplog.clear()


@on_stage
@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_reader_that_dies_takes_nobody_with_it(side, caplog):
    async with paired() as (stage, client, server):
        waiting = [start(client.recv()), start(client.flush())]
        await turns()
        end = stage.wire if side == "client" else stage.wire.peer
        end._inbox = Broken()
        await client.send("x")
        await server.send("y")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        if side == "client":
            assert isinstance(results[0], SessionLost)
            assert results[0].reason == "internal error"
        else:
            assert results == ["y", None]
        assert "a bug" in caplog.text
        caplog.clear()


class Broken(deque):
    def popleft(self):
        raise LookupError("a bug")


@pytest.mark.parametrize("seed", [None, 1])
def test_every_task_is_referred_to_by_somebody(seed):
    """The collector runs in every turn: it destroys a task that only waits."""

    async def scenario():
        async with paired(limit=1000) as (stage, client, server):
            for n in range(10):
                await client.send(bytes([n]) * 300)
                await server.send(n)
                if n % 5 == 4:
                    stage.cut()
            assert [m[0] for m in await take(server, 10)] == list(range(10))
            assert await take(client, 10) == list(range(10))

    run(scenario(), seed=seed, collect=True)
