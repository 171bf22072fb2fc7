"""Handlers, drain, and callbacks that misbehave."""

from __future__ import annotations

import asyncio
import logging

import pytest

from reliable_ws import (
    Config,
    ConnectionClosed,
    ConnectionClosedOK,
    DeliveryError,
    End,
    NotReliablePeer,
    NotTaken,
    SessionLost,
    Sessions,
    State,
    wrap,
)
from reliable_ws.adapters.memory import pair
from tests.aio.stage import block, now, on_stage, rest, settle, start, turns, until


class Host:
    """Sessions that run a handler, and clients of them."""

    def __init__(self, handler, *, on_event=None, config=None):
        self.handler = handler
        self.events = []
        self.sessions = Sessions(config=config, on_event=on_event or self.events.append)
        self.wires = []
        self.handling = []

    async def open(self):
        near, far = pair()
        self.wires.append(near)
        self.handling.append(start(self.sessions.handle(far, self.handler)))
        return near

    async def connect(self, **options):
        return await wrap(await self.open(), reopen=self.open, **options)

    async def over(self):
        """Everything has come to its end by itself."""
        async with asyncio.timeout(130):  # session_ttl, where the peer was not told
            await asyncio.gather(*self.handling)
            await until(lambda: not len(self.sessions))


async def echo(conn):
    async for message in conn:
        await conn.send(message)


# -- handlers ------------------------------------------------------------------------------------


@on_stage
async def test_a_handler_that_returns_closes_with_1000():
    host = Host(echo)
    client = await host.connect()
    for n in range(10):
        await client.send(n)
    await client.finish()
    assert await rest(client) == list(range(10))
    await client.close()
    assert client.close_code == 1000
    await host.over()
    assert [event.name for event in host.events] == ["opened", "closed"]


@on_stage
async def test_a_handler_that_returns_at_once_still_delivers_what_it_sent():
    async def handler(conn):
        await conn.send("hello")
        await conn.send("goodbye")

    host = Host(handler)
    client = await host.connect()
    await asyncio.sleep(5)
    assert await rest(client) == ["hello", "goodbye"]
    await client.close()
    await host.over()


@on_stage
async def test_a_handler_that_raises_closes_with_1011_and_is_logged(caplog):
    async def handler(conn):
        await conn.send("before")
        await conn.recv()
        raise LookupError("a bug")

    host = Host(handler)
    client = await host.connect()
    await client.send("x")
    assert await client.recv() == "before"
    with pytest.raises(ConnectionClosed) as caught:
        await client.recv()
    assert caught.value.code == 1011
    await client.close()
    await host.over()
    assert "a bug" in caplog.text
    assert "Traceback" in caplog.text
    caplog.clear()


@on_stage
async def test_a_handler_whose_peer_left_does_not_let_its_error_escape(caplog):
    async def handler(conn):
        await conn.send("never taken")
        await conn.recv()

    host = Host(handler)
    client = await host.connect()
    await asyncio.sleep(0.1)
    client.abort()
    await host.over()
    [event] = [e for e in host.events if e.name == "closed"]
    assert event.report.sent == 1
    assert event.report.confirmed == 0
    assert "1 sent, 0 confirmed" in caplog.text
    caplog.clear()


@on_stage
async def test_handlers_of_many_sessions_do_not_mix():
    host = Host(echo)
    clients = [await host.connect() for _ in range(20)]
    for client in clients:
        await client.send(client.id)
    host.wires[3].cut()
    for client in clients:
        assert await client.recv() == client.id
    await asyncio.gather(*(client.close() for client in clients))
    await host.over()


@on_stage
async def test_a_handler_calls_close_itself():
    async def handler(conn):
        assert await conn.recv() == "bye"
        await conn.close(4000, "as you like")

    host = Host(handler)
    client = await host.connect()
    await client.send("bye")
    with pytest.raises(ConnectionClosed) as caught:
        await client.recv()
    assert (caught.value.code, caught.value.reason) == (4000, "as you like")
    await client.close()
    await host.over()


@on_stage
async def test_a_handler_that_aborts():
    async def handler(conn):
        conn.abort(4321, "no")

    host = Host(handler)
    with pytest.raises(SessionLost) as caught:
        await host.connect()
    assert (caught.value.code, caught.value.reason) == (4321, "no")
    await host.over()


@on_stage
async def test_a_handler_is_blocked_while_the_websocket_is_replaced():
    gate = asyncio.Event()
    got = []

    async def handler(conn):
        async for message in conn:
            await gate.wait()
            got.append(message)

    host = Host(handler)
    client = await host.connect()
    for n in range(10):
        await client.send(n)
        await asyncio.sleep(0.1)
        host.wires[-1].cut()
        await asyncio.sleep(1)
    gate.set()
    await client.close()
    assert got == list(range(10))
    await host.over()


@on_stage
async def test_a_framework_that_cancels_its_endpoint_ends_the_websocket_not_the_session():
    host = Host(echo)
    client = await host.connect()
    await client.send("one")
    assert await client.recv() == "one"
    host.handling[-1].cancel()
    await client.send("two")
    assert await client.recv() == "two"
    assert client.stats.resumes == 1
    await client.close()
    await asyncio.gather(*host.handling, return_exceptions=True)
    await until(lambda: not len(host.sessions))


@on_stage
async def test_an_endpoint_that_is_cancelled_before_the_greeting_closes_its_websocket():
    host = Host(echo)
    near = await host.open()
    await turns()
    host.handling[-1].cancel()
    await asyncio.gather(*host.handling, return_exceptions=True)
    with pytest.raises(NotReliablePeer):
        await wrap(near)
    assert now() == 0


# -- drain ---------------------------------------------------------------------------------------


@on_stage
async def test_drain_tells_everybody_and_waits_for_what_is_under_way():
    done = []

    async def handler(conn):
        async for message in conn:
            await asyncio.sleep(1)
            done.append(message)

    host = Host(handler)
    clients = [await host.connect() for _ in range(3)]
    for client in clients:
        await client.send(21)
    await asyncio.sleep(0.5)
    draining = start(host.sessions.drain(10))
    for client in clients:
        with pytest.raises(ConnectionClosedOK) as caught:
            await client.recv()
        assert caught.value.code == 1001
    await asyncio.gather(*(client.close() for client in clients))
    reports = await draining
    assert set(reports) == {client.id for client in clients}
    assert all(report.final for report in reports.values())
    assert done == [21] * 3
    with pytest.raises(ConnectionClosed):
        await host.connect()
    await asyncio.gather(*host.handling)


@on_stage
async def test_drain_still_answers_those_who_resume():
    async def handler(conn):
        await conn.send("last words")
        async for _ in conn:
            pass

    host = Host(handler)
    client = await host.connect()
    await turns()
    draining = start(host.sessions.drain(20))
    await turns()
    host.wires[-1].cut()
    assert await rest(client) == ["last words"]
    await client.close()
    [report] = (await draining).values()
    assert (report.sent, report.confirmed) == (1, 1)
    await host.over()


@on_stage
async def test_drain_cancels_handlers_that_take_too_long():
    cancelled = []

    async def handler(conn):
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    host = Host(handler)
    clients = [await host.connect() for _ in range(2)]
    closing = [start(client.close()) for client in clients]
    began = now()
    reports = await host.sessions.drain(3)
    assert cancelled == [began + 3] * 2
    assert now() - began < 5
    assert len(reports) == 2
    await asyncio.gather(*closing)


@on_stage
async def test_drain_is_bounded_whatever_peers_and_handlers_do(caplog):
    async def stubborn(conn):
        await conn.send("x")
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if conn.state is State.CLOSED:
                    raise

    host = Host(stubborn)
    clients = [await host.connect() for _ in range(2)]
    host.wires[0].freeze()
    host.wires[0].peer.freeze()
    began = now()
    reports = await host.sessions.drain(3)
    assert now() - began <= 3 + 5 + 5 + 0.001
    assert len(reports) == 2
    for report in reports.values():
        assert (report.sent, report.confirmed) == (1, 0)
    for client in clients:
        client.abort()
    for conn in {e.connection for e in host.events}:
        conn._driver.handling.cancel()
    await asyncio.sleep(20)
    await asyncio.gather(*host.handling)
    caplog.clear()


@on_stage
async def test_drain_with_wrapped_connections():
    """Where no handler runs, drain itself begins to close."""
    sessions = Sessions()
    near, far = pair()
    client, server = await asyncio.gather(wrap(near), wrap(far, sessions=sessions))
    await server.send("last")
    draining = start(sessions.drain())
    assert await rest(client) == ["last"]
    await client.close()
    [report] = (await draining).values()
    assert report.confirmed == 1
    assert server.state is State.CLOSED


@on_stage
async def test_drain_with_nobody_there_and_twice_at_once():
    sessions = Sessions()
    assert await sessions.drain() == {}

    host = Host(echo)
    client = await host.connect()
    draining = [start(host.sessions.drain()) for _ in range(2)]
    assert await rest(client) == []
    await client.close()
    first, second = await asyncio.gather(*draining)
    assert set(first) == set(second) == {client.id}
    await host.over()


@on_stage
async def test_drain_with_a_detached_session():
    host = Host(echo)
    client = await wrap(await host.open(), resume_within=60)
    host.wires[-1].cut()
    await turns()
    began = now()
    reports = await host.sessions.drain(3)
    assert now() - began <= 3 + 5 + 5
    assert set(reports) == {client.id}
    client.abort()


# -- on_event ------------------------------------------------------------------------------------


@on_stage
async def test_events_tell_the_story_of_a_session():
    events = []
    host = Host(echo)
    client = await host.connect(on_event=events.append)
    for n in range(3):
        await client.send(n)
    await turns(1)
    host.wires[-1].cut()
    assert [await client.recv() for _ in range(3)] == [0, 1, 2]
    await client.close(1000, "enough")
    await host.over()
    for story in (events, host.events):
        assert [event.name for event in story] == ["opened", "detached", "resumed", "closed"]
        assert story[2].replayed <= 3
        assert (story[3].code, story[3].reason) == (1000, "enough")
        assert story[3].report.confirmed == 3
        assert len({event.connection for event in story}) == 1


@on_stage
async def test_a_callback_that_raises_harms_nobody(caplog):
    def bad(event):
        raise LookupError(event.name)

    host = Host(echo, on_event=bad)
    client = await host.connect(on_event=bad)
    await client.send("x")
    host.wires[-1].cut()
    assert await client.recv() == "x"
    await client.close()
    await host.over()
    assert caplog.text.count("LookupError: closed") == 2
    caplog.clear()


@on_stage
@pytest.mark.parametrize("verb", ["send", "close", "abort", "finish", "report"])
@pytest.mark.parametrize("at", ["opened", "detached", "resumed", "closed"])
async def test_a_callback_may_call_anything(verb, at, caplog):
    def act(event):
        conn = event.connection
        if event.name != at:
            return
        match verb:
            case "send":
                conn.send_nowait("from inside")
            case "close":
                tasks.append(start(conn.close()))
            case "abort":
                conn.abort()
            case "finish":
                tasks.append(start(conn.finish()))
            case "report":
                str(conn.report), str(conn.stats), repr(conn)

    tasks = []
    caplog.set_level(logging.CRITICAL, "reliable_ws")  # sending after the end raises
    host = Host(echo)
    try:
        client = await host.connect(on_event=act)
    except ConnectionClosed:
        assert (verb, at) in (("close", "opened"), ("abort", "opened"))
        await host.over()
        return
    host.wires[-1].cut()
    await asyncio.sleep(2)
    if client.state is State.OPEN and verb == "send" and at != "closed":
        assert await client.recv() == "from inside"
    await asyncio.gather(client.close(), *tasks, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert client.state is State.CLOSED
    await settle(client)
    await host.over()


@on_stage
async def test_memory_that_detached_sessions_hold_is_bounded():
    config = Config(max_bytes=10_000, session_ttl=1000)

    async def handler(conn):
        await conn.send(bytes(6000))
        await conn.recv()

    host = Host(handler, config=config)
    clients = []
    for _ in range(3):
        client = await wrap(await host.open(), resume_within=1000)
        clients.append(client)
        await asyncio.sleep(0.1)
    for wire in host.wires:
        wire.cut()
        await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    assert len(host.sessions) == 1  # the oldest contacts went first
    assert host.sessions.connections[0].id == clients[-1].id
    for client in clients:
        client.abort()
    for conn in host.sessions.connections:
        conn.abort()
    await host.over()


@on_stage
async def test_a_blocked_loop_under_many_sessions():
    host = Host(echo)
    clients = [await host.connect() for _ in range(10)]
    block(45)
    for client in clients:
        await client.send("x")
    for client in clients:
        assert await client.recv() == "x"
        assert client.stats.resumes == 0
    await asyncio.gather(*(client.close() for client in clients))
    await host.over()


@on_stage
async def test_a_report_says_what_a_handler_could_not_deliver():
    async def handler(conn):
        for n in range(5):
            await conn.send(n)
        try:
            await conn.close()
        except DeliveryError as error:
            errors.append(error)

    errors = []
    host = Host(handler)
    client = await host.connect()
    assert [await client.recv() for _ in range(2)] == [0, 1]
    await client.close()
    await host.over()
    [error] = errors
    assert type(error) is NotTaken
    assert [entry.message for entry in error.report.undelivered] == [2, 3, 4]
    assert error.report.ending.kind is End.FINISHED
