"""Handlers, what detached sessions hold, and what is reported of them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from reliable_ws import (
    Config,
    ConnectionClosed,
    DeliveryError,
    End,
    NotTaken,
    SessionLost,
    wrap,
)
from tests.aio.host import Host, echo
from tests.aio.memory_network import block, now, on_virtual_clock, rest, turns, until
from tests.support.inside import session_of

# -- what is logged ------------------------------------------------------------------------------


async def recv(conn):
    while True:
        await conn.recv()


async def send(conn):
    while True:
        await conn.send("x")
        await asyncio.sleep(1)


async def send_and_wait(conn):
    while True:
        await (await conn.send("x"))
        await asyncio.sleep(1)


async def both(conn):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recv(conn))
        tasks.create_task(send(conn))


HANDLERS = (echo, recv, send, send_and_wait, both)


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize("handler", HANDLERS)
async def test_a_client_that_leaves_normally_is_not_worth_a_line(handler, caplog):
    caplog.set_level(logging.DEBUG)
    host = Host(handler)
    client = await host.connect()
    await asyncio.sleep(2.5)
    await client.close()
    assert client.close_code == 1000
    await host.over()
    await until(lambda: not host.sessions._table.handlers)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize("handler", HANDLERS)
async def test_a_client_that_vanishes_is_worth_one_line(handler, caplog):
    host = Host(handler)
    client = await wrap(await host.open())
    await asyncio.sleep(2.5)
    host.wires[-1].cut()  # it opens no other
    await host.over()
    await until(lambda: not host.sessions._table.handlers)
    (record,) = caplog.records
    assert client.id.hex()[:8] in record.getMessage()
    assert "no contact with the peer" in record.getMessage()
    assert record.exc_info is None
    caplog.clear()


@on_virtual_clock(seeds=(None,))
async def test_the_log_says_in_words_what_travels(caplog):
    caplog.set_level(logging.DEBUG)
    host = Host(echo)
    client = await host.connect()
    await client.send("secret")
    assert await client.recv() == "secret"
    await client.close()
    await host.over()
    name = f"session {client.id.hex()[:8]}"
    for words in (
        "sends Hello, attempt 1",
        "gets Welcome, new",
        "sends message 1",
        "gets message 1",
    ):
        assert f"{name} {words}" in caplog.text
    assert "secret" not in caplog.text
    assert session_of(client).key.hex() not in caplog.text


# -- handlers ------------------------------------------------------------------------------------


@on_virtual_clock
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
    assert [event.name for event in host.events] == ["opened", "peer_finished", "closed"]


@on_virtual_clock
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


class Strange(BaseException):
    pass


async def fail():
    raise LookupError("a bug")


async def fail_strangely():
    raise Strange("a bug")


async def wait_for_what_is_cancelled():
    a_bug = asyncio.create_task(asyncio.sleep(60), name="a bug")
    a_bug.cancel("a bug")
    await a_bug


@on_virtual_clock
@pytest.mark.parametrize("raises", [fail, fail_strangely, wait_for_what_is_cancelled])
async def test_a_handler_that_raises_closes_with_1011_and_is_logged(raises, caplog):
    async def handler(conn):
        await conn.send("before")
        await conn.recv()
        await raises()

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


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
async def test_a_handler_that_aborts():
    async def handler(conn):
        conn.abort(4321, "no")

    host = Host(handler)
    with pytest.raises(SessionLost) as caught:  # as it connects, or behind that
        await (await host.connect()).recv()
    assert (caught.value.code, caught.value.reason) == (4321, "no")
    await host.over()


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
async def test_an_endpoint_that_is_cancelled_before_the_greeting_closes_its_websocket():
    host = Host(echo)
    near = await host.open()
    await turns()
    host.handling[-1].cancel()
    await asyncio.gather(*host.handling, return_exceptions=True)
    with pytest.raises(SessionLost):
        await wrap(near)
    assert now() == 0


# -- memory, time and reports ---------------------------------------------------------------------


@on_virtual_clock
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


@on_virtual_clock
async def test_memory_that_sessions_come_to_hold_while_they_are_detached_is_bounded():
    async def handler(conn):
        await asyncio.sleep(10)
        await conn.send(bytes(6000))
        await conn.wait_closed()

    host = Host(handler, config=Config(max_bytes=10_000, session_ttl=1000))
    clients = [await wrap(await host.open(), resume_within=1000) for _ in range(3)]
    for wire in host.wires:
        wire.cut()
    await asyncio.sleep(8)
    assert len(host.sessions) == 3
    await asyncio.sleep(4)
    assert len(host.sessions) == 1
    for conn in (*clients, *host.sessions.connections):
        conn.abort()
    await host.over()


@on_virtual_clock
async def test_memory_that_one_session_holds_ends_no_other():
    """What an attached session holds is taken from itself, and not from one that is away."""

    async def handler(conn):
        await conn.send(bytes(int(await conn.recv())))
        await conn.wait_closed()

    host = Host(handler, config=Config(max_bytes=10_000, session_ttl=1000))
    honest = await wrap(await host.open(), resume_within=1000)
    await honest.send("3000")
    await asyncio.sleep(1)
    host.wires[0].cut()
    greedy = await host.connect()
    await greedy.send("20000")
    await asyncio.sleep(3)
    assert [conn.id for conn in host.sessions.connections] == [honest.id]
    with pytest.raises(SessionLost, match="too much memory"):
        async for _ in greedy:
            pass
    for conn in (honest, *host.sessions.connections):
        conn.abort()
    await host.over()


@on_virtual_clock
async def test_a_crashed_client_makes_room_for_the_next_one():
    host = Host(echo, config=Config(max_sessions=2))
    crashed = []
    for _ in range(2):
        crashed.append(await wrap(await host.open(), resume_within=1000))
        await asyncio.sleep(1)
    for wire in host.wires:
        wire.cut()
        await asyncio.sleep(1)
    client = await host.connect()
    await client.send("hello")
    assert await client.recv() == "hello"
    assert {conn.id for conn in host.sessions.connections} == {crashed[1].id, client.id}
    ended = [event for event in host.events if event.name == "session_lost"]
    assert [event.connection.id for event in ended] == [crashed[0].id]
    await client.close()
    for conn in (*crashed, *host.sessions.connections):
        conn.abort()
    await host.over()


@on_virtual_clock
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


@on_virtual_clock
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
