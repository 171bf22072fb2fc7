"""broadcast(): one message to many connections, as its namesake in websockets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import Config, MessageTooLarge, NotSerializable, OutboxFull, broadcast, wrap
from reliable_ws.sync import broadcast as broadcast_in_threads
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import on_virtual_clock, turns

LONG = "long" * 1000
FULL = "broadcast() skipped 1 of 2 connections: <Connection"


@contextlib.asynccontextmanager
async def connected(*configs):
    """Both ends of a connection for each of these configurations of a client."""
    ends = []
    for config in configs:
        near, far = pair()
        ends.append(await asyncio.gather(wrap(near, config=config), wrap(far)))
    try:
        yield [client for client, _ in ends], [server for _, server in ends]
    finally:
        for end in ends:
            for connection in end:
                connection.abort()


@on_virtual_clock
async def test_everybody_gets_it_and_who_has_left_is_skipped(caplog):
    async with connected(None, None, None) as (clients, servers):
        clients[1].abort()
        await turns()
        broadcast(iter(servers), {"price": 17})
        broadcast(set(), "nobody")
        assert [await clients[n].recv() for n in (0, 2)] == [{"price": 17}] * 2
        assert not caplog.records


@on_virtual_clock
async def test_who_has_no_room_is_skipped_and_logged_or_raised(caplog):
    async with connected(None, Config(max_message=1000)) as (clients, servers):
        broadcast(servers, LONG)
        assert await clients[0].recv() == LONG
        assert FULL in caplog.text
        assert "max_message" in caplog.text
        caplog.clear()
        with pytest.raises(ExceptionGroup, match="skipped 1 of 2 connections") as raised:
            broadcast(servers, LONG, raise_exceptions=True)
        (error,) = raised.value.exceptions
        assert isinstance(error, MessageTooLarge)
        assert repr(servers[1]) in error.__notes__[0]
        assert not caplog.records
        assert servers[1].stats.sent == 0
    async with connected(Config(outbox_messages=1)) as (clients, _):
        broadcast(clients, "fits")
        waiting = asyncio.get_running_loop().create_task(clients[0].send("waits"))
        await turns()
        with pytest.raises(ExceptionGroup) as raised:
            broadcast(clients, "too much", raise_exceptions=True)
        assert isinstance(raised.value.exceptions[0], OutboxFull)
        waiting.cancel()


@on_virtual_clock(seeds=(None,))
async def test_a_mistake_sends_it_to_nobody():
    async with connected(None) as (clients, servers):
        with pytest.raises(NotSerializable):
            broadcast(servers, object())
        with pytest.raises(TypeError, match=r"connections must be of reliable_ws, not <.*Mem"):
            broadcast([*servers, pair()[0]], "x")
        with pytest.raises(TypeError, match=r"connections must be of reliable_ws.sync, not <Conn"):
            broadcast_in_threads(servers, "x")
        assert servers[0].stats.sent == clients[0].stats.sent == 0
