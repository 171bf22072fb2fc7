"""The end: close, finish, abort, leaving the block; and that each of them is bounded."""

# ruff: noqa: PT012 - it is leaving a whole block that raises

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    Backoff,
    Config,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DeliveryError,
    End,
    NotTaken,
    Outcome,
    OutcomeUnknown,
    SessionLost,
    State,
)
from reliable_ws.adapters.memory import pair
from tests.aio.stage import Stage, now, on_stage, paired, rest, start, take, turns, until

BOUNDED = Config(close_progress_timeout=3, close_timeout=8, session_ttl=30)


# -- close ---------------------------------------------------------------------------------------


@on_stage
async def test_close_returns_when_everything_is_taken():
    async with paired() as (_, client, server):
        for n in range(100):
            await client.send(n)
        closing = start(client.close())
        await asyncio.sleep(1)
        assert client.state is State.CLOSING
        assert not closing.done()
        with pytest.raises(ConnectionClosed):
            await client.send("late")
        assert await take(server, 99) == list(range(99))
        await asyncio.sleep(1)
        assert not closing.done()
        assert await server.recv() == 99
        assert await rest(server) == []
        await server.close()
        await closing
        assert client.state is server.state is State.CLOSED


@on_stage
async def test_a_final_message_is_delivered_though_it_is_read_much_later():
    async with paired() as (_, client, server):
        await server.send("goodbye")
        closing = start(server.close())
        await asyncio.sleep(15)
        assert await rest(client) == ["goodbye"]
        await client.close()
        await closing


@on_stage
async def test_close_twice_at_once_and_again():
    async with paired() as (_, client, server):
        await client.send("x")
        closing = [start(client.close()) for _ in range(3)]
        assert await rest(server) == ["x"]
        await server.close()
        await asyncio.gather(*closing)
        await client.close()
        await client.close(4000)
        assert client.close_code == 1000


@on_stage
async def test_close_from_both_sides_at_once():
    async with paired() as (_, client, server):
        await asyncio.gather(client.close(), server.close())
        assert client.report.ending.kind is server.report.ending.kind is End.FINISHED


@on_stage
async def test_the_initiator_closes_the_websocket():
    """The acceptor's last word must not be overtaken by its close (CLOSE-9)."""
    async with paired() as (stage, client, server):
        closed_by = []
        for end in (stage.wire, stage.wire.peer):
            end.close = _noting(end, closed_by)
        await asyncio.gather(client.close(), server.close())
        await turns()
        assert closed_by == ["initiator"]


def _noting(end, closed_by):
    async def close(code, reason):
        closed_by.append(end.role)
        await type(end).close(end, code, reason)

    return close


@on_stage
async def test_a_peer_that_does_not_close_its_websocket_is_not_waited_for():
    async with paired() as (stage, client, server):
        stage.wire.close = _never
        closing = start(client.close())
        began = now()
        await server.close()
        assert now() - began <= 5
        stage.wire.abort()
        await closing


async def _never(*_):
    await asyncio.sleep(1000)


@on_stage
async def test_close_from_both_sides_with_messages_that_nobody_takes():
    async with paired() as (_, client, server):
        for conn in (client, server):
            for n in range(10):
                await conn.send(n)
        results = await asyncio.gather(client.close(), server.close(), return_exceptions=True)
        for error, conn in zip(results, (client, server), strict=True):
            assert type(error) is NotTaken
            assert error.report == conn.report
            assert [entry.message for entry in error.report.undelivered] == list(range(10))
            with pytest.raises(NotTaken):
                await conn.close()


@on_stage
async def test_close_with_both_windows_full():
    config = Config(window_messages=2, window_bytes=1000)
    async with paired(config=config) as (_, client, server):
        sending = [start(_send_all(conn, range(20))) for conn in (client, server)]
        await asyncio.sleep(5)
        began = now()
        results = await asyncio.gather(client.close(), server.close(), return_exceptions=True)
        assert now() - began < 6
        assert [type(result) for result in results] == [NotTaken] * 2
        results = await asyncio.gather(*sending, return_exceptions=True)
        assert all(isinstance(r, ConnectionClosed) for r in results)


async def _send_all(conn, messages):
    for message in messages:
        await conn.send(message)


@on_stage
async def test_half_close_one_way_then_the_other():
    async with paired() as (_, client, server):
        await client.send("question")
        await client.finish()
        assert await rest(server) == ["question"]
        for n in range(50):
            await server.send(n)
        await server.finish()
        assert await rest(client) == list(range(50))
        await asyncio.gather(client.wait_closed(), server.wait_closed())
        await asyncio.gather(client.close(), server.close())


@on_stage
async def test_close_with_code_and_reason():
    async with paired() as (_, client, server):
        closing = start(client.close(4321, "ü" * 500))
        with pytest.raises(ConnectionClosedError) as caught:
            await server.recv()
        assert caught.value.code == 4321
        assert 0 < len(caught.value.reason) <= 500
        await server.close()
        await closing
        for conn in (client, server):
            assert conn.close_code == 4321


@on_stage(seeds=(None,))
async def test_a_code_that_may_not_be_sent_is_refused_and_nothing_happens():
    async with paired() as (_, client, server):
        for call in (client.close, client.finish):
            with pytest.raises(ValueError, match="999"):
                await call(999)
        with pytest.raises(ValueError, match="5000"):
            client.abort(5000)
        await client.send("still open")
        assert await server.recv() == "still open"


@on_stage
async def test_close_while_reconnecting_waits_for_the_new_websocket():
    async with paired() as (stage, client, server):
        stage.closed = True
        stage.cut()
        await client.send("after the cut")
        closing = [start(client.close()), start(rest(server))]
        await asyncio.sleep(5)
        assert client.state is State.CLOSING
        stage.closed = False
        assert (await closing[1]) == ["after the cut"]
        await server.close()
        await closing[0]


@on_stage(seeds=range(10))
@pytest.mark.parametrize("began_before", [True, False])
async def test_close_does_not_sleep_through_its_time(began_before):
    """The pauses between attempts would grow beyond what close() waits for progress."""
    async with paired({"reconnect": Backoff(30, 1, 30)}) as (stage, client, server):
        await client.send("x")
        closing = start(client.close()) if began_before else None
        stage.closed = True
        stage.cut()
        await turns()
        closing = closing or start(client.close())
        await asyncio.sleep(9)
        stage.closed = False
        assert await rest(server) == ["x"]
        await server.close()
        await closing
        assert now() < 20


@on_stage
@pytest.mark.parametrize("how", ["cut", "freeze", "silent peer"])
async def test_close_is_bounded_when_nobody_answers(how):
    async with paired(config=BOUNDED) as (stage, client, _server):
        await client.send("x")
        await asyncio.sleep(0.01)
        await client.send("y")
        if how == "cut":
            stage.closed = True
            stage.cut()
        elif how == "freeze":
            stage.freeze()
        began = now()
        with pytest.raises(DeliveryError) as caught:
            await client.close()
        assert now() - began <= 3 + 10  # and the WebSocket's own end
        outcomes = [entry.outcome for entry in caught.value.report.undelivered]
        if how == "cut":  # whether the second one had left depends on the order of things
            assert outcomes in ([Outcome.UNKNOWN] * 2, [Outcome.UNKNOWN, Outcome.NOT_TAKEN])
        elif how == "freeze":
            assert outcomes == [Outcome.UNKNOWN] * 2
        assert caught.value.report.ending.kind is End.EXPIRED
        assert client.report.final


@on_stage
async def test_close_goes_on_while_there_is_progress_then_gives_up():
    async with paired(config=BOUNDED) as (_, client, server):
        for n in range(100):
            await client.send(n)
        closing = start(client.close())
        began = now()
        with pytest.raises(ConnectionClosed):
            for n in range(100):
                assert await server.recv() == n
                await asyncio.sleep(1)
        assert 7.9 <= now() - began <= 9  # close_timeout
        with pytest.raises(DeliveryError) as caught:
            await closing
        report = caught.value.report
        taken = server.stats.taken
        assert taken in (8, 9)
        assert report.confirmed <= taken <= report.confirmed + report.count(Outcome.UNKNOWN)


@on_stage
@pytest.mark.parametrize("how", ["nobody reads", "freeze", "stuck writer", "cut"])
async def test_close_takes_no_longer_than_its_timeout(how):
    config = Config(outbox_bytes=2**20)
    async with paired(config=config, limit=1000) as (stage, client, _server):
        await client.send("x")
        if how == "freeze":
            stage.freeze()
        elif how == "stuck writer":
            stage.freeze()
            for _ in range(10):
                await client.send(bytes(5000))
                await turns()
        elif how == "cut":
            stage.closed = True
            stage.cut()
        began = now()
        with pytest.raises(DeliveryError):
            await client.close(timeout=2)
        assert now() - began <= 2.001


@on_stage
async def test_a_second_close_may_shorten_the_first():
    async with paired() as (_, client, _server):
        await client.send("x")
        closing = start(client.close())
        await asyncio.sleep(1)
        began = now()
        with pytest.raises(DeliveryError):
            await client.close(timeout=1)
        assert now() == began + 1
        with pytest.raises(DeliveryError):
            await closing


@on_stage
async def test_a_cancelled_close_goes_on():
    async with paired() as (_, client, server):
        await client.send("x")
        closing = start(client.close())
        await turns()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert closing.cancelled()
        assert await rest(server) == ["x"]
        await server.close()
        await client.wait_closed()
        await client.close()


@on_stage
async def test_waiting_receipts_learn_what_close_learns():
    async with paired() as (_, client, server):
        receipts = [await client.send(n) for n in range(4)]
        waiting = [start(_wait(receipt)) for receipt in receipts]
        await turns()
        await take(server, 2)
        closing = start(server.close())
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(r) for r in results] == [type(None)] * 2 + [NotTaken] * 2
        with pytest.raises(NotTaken):
            await client.close()
        await closing


async def _wait(receipt):
    await receipt


# -- abort ---------------------------------------------------------------------------------------


@on_stage
async def test_abort_ends_both_sides_at_once():
    async with paired() as (stage, client, server):
        receipt = await client.send("x")
        reading = start(server.recv())
        assert await reading == "x"
        await receipt
        unread = await client.send("unread")
        back = await server.send("back")
        waiting = [start(server.recv()), start(_wait(back)), start(client.recv())]
        await asyncio.sleep(0.01)
        client.abort(4499, "enough")
        client.abort()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await turns()
        assert client.state is server.state is State.CLOSED
        assert (client.close_code, client.close_reason) == (4499, "enough")
        assert server.report.ending.kind is End.REFUSED
        assert isinstance(results[0], str | SessionLost)
        assert isinstance(results[1], DeliveryError | None)
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        with pytest.raises(ConnectionClosedError):
            await client.send("more")
        assert unread.outcome in (Outcome.UNKNOWN, Outcome.CONFIRMED)
        assert "closed" in stage.names()


@on_stage
async def test_abort_wakes_everybody():
    async with paired(config=Config(outbox_messages=1)) as (_, client, _server):
        receipt = await client.send(0)
        waiting = [
            start(client.recv()),
            start(rest(client)),
            start(client.send(1)),
            start(client.send(2)),
            start(client.flush()),
            start(client.wait_closed()),
            start(_wait(receipt)),
        ]
        await asyncio.sleep(0.01)
        client.abort()
        async with asyncio.timeout(1):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        closed, unknown = ConnectionClosedError, OutcomeUnknown
        expected = [closed, closed, closed, closed, unknown, type(None), unknown]
        assert [type(r) for r in results] == expected


@on_stage
async def test_abort_while_the_writer_is_stuck():
    config = Config(outbox_bytes=2**20)
    async with paired(config=config, limit=1000) as (stage, client, _server):
        stage.freeze()
        for _ in range(10):
            await client.send(bytes(5000))
            await turns()
        client.abort()
        await turns()
        assert not [t for t in asyncio.all_tasks() if "Carrier._write" in repr(t)]


@on_stage
async def test_abort_while_a_websocket_is_being_opened_leaves_nothing_behind():
    stage = Stage()

    async def never():
        await asyncio.sleep(1000)

    client, server = await stage.pair(reopen=never)
    stage.cut()
    await asyncio.sleep(5)
    client.abort()
    await turns()
    assert not client._driver.tasks
    server.abort()


@on_stage
async def test_giving_up_while_a_websocket_is_being_opened_leaves_nothing_behind():
    stage = Stage(config=Config(session_ttl=15, open_timeout=10))

    async def never():
        await asyncio.sleep(1000)

    client, server = await stage.pair(reopen=never)
    stage.cut()
    await client.wait_closed()
    assert now() == 15
    await turns()
    assert not client._driver.tasks
    server.abort()


# -- leaving the block ---------------------------------------------------------------------------


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
