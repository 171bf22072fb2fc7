"""The end: close and finish, from one side or both."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Config, ConnectionClosed, ConnectionClosedError, End, NotTaken, State
from tests.aio.memory_network import now, on_virtual_clock, paired, rest, start, take, turns


@on_virtual_clock
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


@on_virtual_clock
async def test_a_final_message_is_delivered_though_it_is_read_much_later():
    async with paired() as (_, client, server):
        await server.send("goodbye")
        closing = start(server.close())
        await asyncio.sleep(15)
        assert await rest(client) == ["goodbye"]
        await client.close()
        await closing


@on_virtual_clock
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


@on_virtual_clock
async def test_close_from_both_sides_at_once():
    async with paired() as (_, client, server):
        await asyncio.gather(client.close(), server.close())
        assert client.report.ending.kind is server.report.ending.kind is End.FINISHED


@on_virtual_clock
async def test_the_initiator_closes_the_websocket():
    """The acceptor's last word must not be overtaken by its close (CLOSE-19)."""
    async with paired() as (net, client, server):
        closed_by = []
        for end in (net.wire, net.wire.peer):
            end.close = _noting(end, closed_by)
        await asyncio.gather(client.close(), server.close())
        await turns()
        assert closed_by == ["initiator"]


def _noting(end, closed_by):
    async def close(code, reason):
        closed_by.append(end.role)
        await type(end).close(end, code, reason)

    return close


@on_virtual_clock
async def test_a_peer_that_does_not_close_its_websocket_is_not_waited_for():
    async with paired() as (net, client, server):
        net.wire.close = _never
        closing = start(client.close())
        began = now()
        await server.close()
        assert now() - began <= 5
        net.wire.abort()
        await closing


async def _never(*_):
    await asyncio.sleep(1000)


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock(seeds=(None,))
async def test_a_code_that_may_not_be_sent_is_refused_and_nothing_happens():
    async with paired() as (_, client, server):
        for call in (client.close, client.finish):
            with pytest.raises(ValueError, match="999"):
                await call(999)
        with pytest.raises(ValueError, match="5000"):
            client.abort(5000)
        await client.send("still open")
        assert await server.recv() == "still open"


@on_virtual_clock
async def test_close_while_reconnecting_waits_for_the_new_websocket():
    async with paired() as (net, client, server):
        net.closed = True
        net.cut()
        await client.send("after the cut")
        closing = [start(client.close()), start(rest(server))]
        await asyncio.sleep(5)
        assert client.state is State.CLOSING
        net.closed = False
        assert (await closing[1]) == ["after the cut"]
        await server.close()
        await closing[0]


@on_virtual_clock
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
