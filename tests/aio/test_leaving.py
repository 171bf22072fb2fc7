"""How the block of a connection is left: normally, by an exception, cancelled."""

# ruff: noqa: PT012 - it is leaving a whole block that raises

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    ConnectionClosed,
    ConnectionClosedOK,
    NotTaken,
    Outcome,
    SessionLost,
    wrap,
)
from reliable_ws.testing.memory import pair
from tests.aio.stage import Stage, now, on_stage, paired, rest, start, turns, until


@on_stage
async def test_leaving_the_block_closes():
    stage = Stage()
    async with await stage.connect() as client:
        await client.send("x")
        await until(lambda: stage.accepted)
        [server] = stage.accepted
        reading = start(_serve(server))
    assert await reading == ["x"]
    assert client.close_code == 1000
    assert client.report.confirmed == 1


async def _serve(server):
    got = await rest(server)
    await server.close()
    return got


@on_stage
async def test_leaving_the_block_raises_what_was_not_delivered():
    stage = Stage()
    with pytest.raises(NotTaken) as caught:
        async with await stage.connect() as client:
            await until(lambda: stage.accepted)
            await client.send("x")
            closing = start(stage.accepted[0].close())
    assert [entry.message for entry in caught.value.report.undelivered] == ["x"]
    await closing


@on_stage
async def test_leaving_the_block_after_close_raised_is_quiet():
    stage = Stage()
    async with await stage.connect() as client:
        await until(lambda: stage.accepted)
        await client.send("x")
        closing = start(stage.accepted[0].close())
        with pytest.raises(NotTaken):
            await client.close()
    await closing


@on_stage
async def test_an_exception_propagates_with_a_note_of_what_was_not_confirmed():
    stage = Stage()
    with pytest.raises(LookupError) as caught:
        async with await stage.connect() as client:
            await until(lambda: stage.accepted)
            server = stage.accepted[0]
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


@on_stage
async def test_an_exception_still_delivers_what_was_sent_and_says_1011():
    stage = Stage()
    client = await stage.connect()
    await until(lambda: stage.accepted)
    reading = start(_codes(stage.accepted[0]))
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


@on_stage
@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
async def test_a_block_that_is_torn_down_aborts_and_does_not_wait(kind):
    stage = Stage()
    began = now()
    with pytest.raises(kind):
        async with await stage.connect() as client:
            await client.send("x")
            raise kind
    assert now() == began
    assert client.close_code == 4499
    await turns()
    assert not client._driver.tasks
    await until(lambda: stage.accepted)
    with pytest.raises(SessionLost):
        while True:
            await stage.accepted[0].recv()


@on_stage
async def test_a_cancelled_task_leaves_its_block_at_once():
    stage = Stage()

    async def body():
        async with await stage.connect() as client:
            await client.send("x")
            await client.recv()

    task = start(body())
    await asyncio.sleep(1)
    task.cancel()
    began = now()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert now() == began
    stage.accepted[0].abort()


@on_stage
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


@on_stage
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
    async def program():
        near, far = pair()
        client, server = await asyncio.gather(
            *(wrap(end, resume_within=resume_within)._open() for end in (near, far))
        )
        conn = client if side == "client" else server
        for word in ("one", "two"):
            await conn.send(word)

    asyncio.run(program())
    left = "a connection was left without close(): 2 sent, 0 confirmed, "
    assert [record.getMessage()[: len(left)] for record in caplog.records] == [left]


def test_a_program_that_closes_or_is_interrupted_leaves_without_a_word(caplog):
    async def program():
        near, far = pair()
        client, server = await asyncio.gather(wrap(near)._open(), wrap(far)._open())
        async with client:
            await client.send("x")
            assert await server.recv() == "x"
        async with await Stage().connect() as client:
            await client.send("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program())
    assert not caplog.records
