"""How the block of a connection is left: normally, by an exception, cancelled."""

# ruff: noqa: PT012 - it is leaving a whole block that raises

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import threading

import pytest

import reliable_ws.sync
from reliable_ws import (
    Config,
    ConnectionClosed,
    ConnectionClosedOK,
    NotTaken,
    Outcome,
    SessionLost,
    Sessions,
    connect,
    serve,
    wrap,
)
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import (
    MemoryNetwork,
    now,
    on_virtual_clock,
    paired,
    rest,
    start,
    turns,
    until,
)


@on_virtual_clock
async def test_leaving_the_block_closes():
    net = MemoryNetwork()
    async with await net.connect() as client:
        await client.send("x")
        await until(lambda: net.accepted)
        [server] = net.accepted
        reading = start(_serve(server))
    assert await reading == ["x"]
    assert client.close_code == 1000
    assert client.report.confirmed == 1


async def _serve(server):
    got = await rest(server)
    await server.close()
    return got


@on_virtual_clock
async def test_leaving_the_block_raises_what_was_not_delivered():
    net = MemoryNetwork()
    with pytest.raises(NotTaken) as caught:
        async with await net.connect() as client:
            await until(lambda: net.accepted)
            await client.send("x")
            closing = start(net.accepted[0].close())
    assert [entry.message for entry in caught.value.report.undelivered] == ["x"]
    await closing


@on_virtual_clock
async def test_leaving_the_block_after_close_raised_is_quiet():
    net = MemoryNetwork()
    async with await net.connect() as client:
        await until(lambda: net.accepted)
        await client.send("x")
        closing = start(net.accepted[0].close())
        with pytest.raises(NotTaken):
            await client.close()
    await closing


@on_virtual_clock
async def test_an_exception_propagates_with_a_note_of_what_was_not_confirmed():
    net = MemoryNetwork()
    with pytest.raises(LookupError) as caught:
        async with await net.connect() as client:
            await until(lambda: net.accepted)
            server = net.accepted[0]
            await client.send("x")
            await client.send("y")
            assert await server.recv() == "x"
            closing = start(server.close())
            raise LookupError("mine")
    assert caught.value.args == ("mine",)
    [note] = caught.value.__notes__
    assert "2 sent, 1 confirmed, 1 not taken" in note
    assert client.close_code in (1000, 1011)
    await closing


@on_virtual_clock
async def test_an_exception_still_delivers_what_was_sent_and_says_1011():
    net = MemoryNetwork()
    client = await net.connect()
    await until(lambda: net.accepted)
    reading = start(_codes(net.accepted[0]))
    with pytest.raises(LookupError) as caught:
        async with client:
            await client.send("x")
            raise LookupError
    assert not hasattr(caught.value, "__notes__")
    assert await reading == ["x", 1011]


async def _codes(server):
    got = []
    try:
        while True:
            got.append(await server.recv())
    except ConnectionClosed as error:
        got.append(error.code)
    await server.close()
    return got


TORN_DOWN = [asyncio.CancelledError, KeyboardInterrupt, SystemExit]


@on_virtual_clock
@pytest.mark.parametrize("kind", TORN_DOWN)
async def test_a_block_that_is_torn_down_delivers_what_was_accepted(kind, caplog):
    net = MemoryNetwork()
    client = await net.connect()
    await until(lambda: net.accepted)
    reading = start(_serve(net.accepted[0]))
    began = now()
    with pytest.raises(kind) as caught:
        async with client:
            for number in range(10):
                await client.send(number)
            raise kind
    assert now() - began < 0.1
    assert await reading == list(range(10))
    assert client.close_code == 1001
    assert not hasattr(caught.value, "__notes__")
    assert not caplog.records


@on_virtual_clock
@pytest.mark.parametrize("kind", TORN_DOWN)
async def test_a_block_that_is_torn_down_tells_what_it_leaves_and_waits_briefly(kind, caplog):
    net = MemoryNetwork(config=Config(close_cancelled_timeout=2))
    began = now()
    with pytest.raises(kind) as caught:
        async with await net.connect() as client:
            await until(lambda: net.accepted)
            for number in range(10):
                await client.send(number)
            await net.accepted[0].recv()
            began = now()
            raise kind
    assert 1.9 < now() - began < 2.1
    _told(caplog, caught.value, "10 sent, 1 confirmed, 9 unknown")


def _told(caplog, error, words):
    [note] = error.__notes__
    [record] = caplog.records
    assert words in note
    assert words in record.getMessage()
    assert type(error).__name__ in record.getMessage()
    caplog.clear()


@on_virtual_clock
async def test_a_second_cancellation_ends_the_closing(caplog):
    net = MemoryNetwork()

    async def body():
        async with await net.connect() as client:
            await client.send("x")
            await client.recv()

    task = start(body())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(1)
    assert not task.done()
    task.cancel()
    began = now()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert now() == began
    assert "CancelledError left a connection: 1 sent, 0 confirmed, 1 unknown" in caplog.text
    net.accepted[0].abort()


@on_virtual_clock
@pytest.mark.parametrize("error", [None, LookupError()])
async def test_a_close_that_is_cancelled_at_the_end_of_the_block_goes_on_briefly(error, caplog):
    net = MemoryNetwork()

    async def body():
        async with await net.connect() as client:
            await client.send("x")
            if error is not None:
                raise error

    task = start(body())
    await asyncio.sleep(1)
    task.cancel()
    began = now()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert 2.9 < now() - began < 3.1
    assert "CancelledError left a connection: 1 sent, 0 confirmed, 1 unknown" in caplog.text
    net.accepted[0].abort()


@on_virtual_clock
async def test_a_generator_that_is_closed_delivers_what_was_accepted():
    net = MemoryNetwork()

    async def events():
        async with await net.connect() as client:
            for number in range(5):
                await client.send(number)
                yield number

    async with contextlib.aclosing(events()) as numbers:
        await anext(numbers)
        await until(lambda: net.accepted)
        reading = start(_serve(net.accepted[0]))
    assert await reading == [0]


@on_virtual_clock
async def test_a_handler_that_is_cancelled_delivers_what_was_accepted(caplog):
    async def handler(conn):
        for number in range(10):
            await conn.send(number)
        asyncio.current_task().cancel()
        await conn.recv()

    near, far = pair()
    serving = start(Sessions().handle(far, handler))
    client = await wrap(near)
    assert await _codes(client) == [*range(10), 1001]
    await serving
    assert not caplog.records


@on_virtual_clock
async def test_a_handler_that_is_cancelled_tells_what_it_leaves(caplog):
    async def handler(conn):
        await conn.send("x")
        asyncio.current_task().cancel()
        await conn.recv()

    near, far = pair()
    serving = start(Sessions().handle(far, handler))
    async with await wrap(near):
        await asyncio.sleep(4)
        assert "CancelledError left a connection: 1 sent, 0 confirmed, 1 unknown" in caplog.text
    await serving


@pytest.mark.transport
@pytest.mark.parametrize("how", ["unclosed", "block"])
@pytest.mark.parametrize("end", [None, SystemExit])
def test_the_end_of_the_event_loop_delivers_what_was_accepted(how, end, caplog):
    """It cancels every task: those of the application and those of the library."""

    async def program():
        uri = f"ws://127.0.0.1:{server.port}"
        if how == "unclosed":
            await _send_ten(await connect(uri, proxy=None))
        else:
            begun = asyncio.Event()
            tasks.append(asyncio.create_task(_block(uri, begun)))
            await begun.wait()
        if end is not None:
            raise end

    got, tasks = queue.Queue(), []
    with reliable_ws.sync.serve(lambda conn: got.put(list(conn)), "127.0.0.1", 0) as server:
        with pytest.raises(end) if end is not None else contextlib.nullcontext():
            asyncio.run(program())
        assert got.get(timeout=60) == list(range(10))
    assert not caplog.records


async def _send_ten(conn):
    for number in range(10):
        await conn.send(number)


async def _block(uri, begun):
    async with connect(uri, proxy=None) as conn:
        await _send_ten(conn)
        begun.set()
        await conn.recv()


@pytest.mark.transport
@pytest.mark.parametrize("end", [None, SystemExit, "in the handler"])
def test_the_end_of_a_servers_event_loop_delivers_what_was_accepted(end, caplog):
    async def handler(conn):
        await _send_ten(conn)
        begun.set()
        if end == "in the handler":
            raise SystemExit
        await conn.recv()

    async def program():
        server = await serve(handler, "127.0.0.1", 0)
        ports.put(server.port)
        try:
            await begun.wait()
            if end == "in the handler":
                await asyncio.sleep(100)
            if end is not None:
                raise end
        finally:
            server.inner.server.close()

    def client():
        with reliable_ws.sync.connect(f"ws://127.0.0.1:{ports.get()}", proxy=None) as conn:
            got.put(list(conn))

    ports, got = queue.Queue(), queue.Queue()
    begun = asyncio.Event()
    thread = threading.Thread(target=client)
    thread.start()
    with pytest.raises(SystemExit) if end is not None else contextlib.nullcontext():
        asyncio.run(program())
    assert got.get(timeout=60) == list(range(10))
    thread.join()
    assert not caplog.records


@on_virtual_clock
async def test_a_block_that_the_session_left_first():
    """SessionLost propagates as it is; close() adds nothing to it."""
    near, far = pair()
    from reliable_ws import wrap

    client, server = await asyncio.gather(wrap(near), wrap(far))
    with pytest.raises(SessionLost) as caught:
        async with client:
            await client.send("x")
            await asyncio.sleep(0.01)
            near.cut()
            await client.recv()
    assert caught.value.report.count(Outcome.UNKNOWN) == 1
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(SessionLost):
        await server.recv()


@on_virtual_clock
async def test_a_normal_end_raises_connection_closed_ok_for_those_who_wait():
    async with paired() as (_, client, server):
        reading = start(client.recv())
        await turns()
        closing = start(client.close())
        with pytest.raises(ConnectionClosedOK):
            await reading
        assert await rest(server) == []
        await server.close()
        await closing


@pytest.mark.parametrize("resume_within", [None, 60])
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_program_that_ends_without_close_is_told_what_it_leaves(caplog, side, resume_within):
    config = Config(close_cancelled_timeout=0.05)

    async def program():
        near, far = pair()
        client, server = await asyncio.gather(
            *(wrap(end, resume_within=resume_within, config=config)._open() for end in (near, far))
        )
        conn = client if side == "client" else server
        for word in ("one", "two"):
            await conn.send(word)

    asyncio.run(program())
    (record,) = caplog.records
    left = r"session [0-9a-f]{8} was left without close\(\): 2 sent, 0 confirmed, "
    assert re.match(left, record.getMessage())


def test_a_program_that_closes_or_is_interrupted_leaves_without_a_word(caplog):
    async def program():
        near, far = pair()
        client, server = await asyncio.gather(wrap(near)._open(), wrap(far)._open())
        async with client:
            await client.send("x")
            assert await server.recv() == "x"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program())
    assert not caplog.records
