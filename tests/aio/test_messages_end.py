"""What senders and readers see of the end."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    NotTaken,
    Outcome,
    PeerFinish,
    State,
)
from tests.aio.host import Host
from tests.aio.memory_network import iterate, on_virtual_clock, paired, rest, start, take, turns


@on_virtual_clock
async def test_after_the_peers_finish_the_rest_is_read_then_comes_the_end():
    async with paired() as (_, client, server):
        for n in range(5):
            await client.send(n)
        await client.finish(1000, "that is all")
        await asyncio.sleep(1)
        assert await take(server, 5) == list(range(5))
        for _ in range(2):  # ends are sticky
            with pytest.raises(ConnectionClosedOK) as caught:
                await server.recv()
            assert (caught.value.code, caught.value.reason) == (1000, "that is all")
            assert await rest(server) == []
        assert server.state is State.PEER_FINISHED
        await server.send("still")  # half-closed
        assert await client.recv() == "still"


@on_virtual_clock
async def test_that_the_peer_has_finished_is_told_at_once():
    """Also to a side that only sends, or that has messages left to take."""
    async with paired() as (net, client, server):
        assert server.peer_finished is None
        await client.send("before")
        await client.finish(1001, "going away")
        await turns()
        assert server.peer_finished == PeerFinish(1001, "going away")
        assert server.state is State.PEER_FINISHED
        assert "peer finished" in repr(server)
        event = net.server_events[-1]
        assert (event.name, event.code, event.reason) == ("peer_finished", 1001, "going away")
        assert client.peer_finished is None
        assert client.state is State.OPEN
        net.cut()
        await turns()
        assert server.state is State.DETACHED
        await server.send("answer")
        assert await client.recv() == "answer"
        assert await rest(server) == ["before"]
        server.start_closing()
        assert server.state is State.CLOSING
        closing = start(server.close())
        assert await rest(client) == []
        await client.close()
        await closing
        assert server.peer_finished == PeerFinish(1001, "going away")
        assert [event.name for event in net.server_events].count("peer_finished") == 1
        assert "peer_finished" not in net.names()  # it finished first


@pytest.mark.parametrize(("drains", "code"), [(True, 1001), (False, 1000)])
@on_virtual_clock
async def test_whether_the_server_is_done_or_goes_away_can_be_told(drains, code):
    """The iteration ends in the same way."""

    async def handler(conn):
        await conn.send("x")
        if drains:
            await conn.wait_closed()

    host = Host(handler)
    client = await host.connect()
    draining = start(host.sessions.drain()) if drains else None
    assert await rest(client) == ["x"]
    assert client.peer_finished.code == code
    await client.close()
    if draining is not None:
        await draining
    await host.over()


@on_virtual_clock
async def test_every_reader_that_waits_hears_of_the_end():
    async with paired() as (_, client, server):
        readers = [start(server.recv()) for _ in range(3)]
        iterating = start(rest(server))
        await turns()
        await client.finish()
        for reader in readers:
            with pytest.raises(ConnectionClosedOK):
                await reader
        assert await iterating == []


@on_virtual_clock
async def test_an_unusual_code_ends_the_iteration_with_an_error():
    async with paired() as (_, client, server):
        await client.send("x")
        await client.finish(4000, "odd")
        got = []
        with pytest.raises(ConnectionClosedError) as caught:
            await iterate(server, got)
        assert got == ["x"]
        assert (caught.value.code, caught.value.reason) == (4000, "odd")


@on_virtual_clock
async def test_sending_after_the_end_raises():
    async with paired() as (_, client, server):
        await client.finish()
        await client.finish()
        with pytest.raises(ConnectionClosed):
            await client.send("late")
        with pytest.raises(ConnectionClosed):
            client.send_nowait("late")
        await asyncio.gather(client.close(), server.close())
        for conn in (client, server):
            with pytest.raises(ConnectionClosedOK):
                await conn.send("late")
            with pytest.raises(ConnectionClosedOK):
                await conn.recv()
            assert conn.stats.sent == 0


@on_virtual_clock
async def test_the_end_is_seen_in_message_order_by_senders_too():
    """After the peer's Stop, send() says so only when all that came before is taken (CLOSE-14)."""
    async with paired() as (_, client, server):
        await server.send("unread")
        closing = start(server.close())
        await asyncio.sleep(1)
        receipt = await client.send("into the void")
        assert receipt.outcome is Outcome.NOT_TAKEN
        with pytest.raises(NotTaken):
            await receipt
        assert await client.recv() == "unread"
        with pytest.raises(ConnectionClosed):
            await client.send("never")
        with pytest.raises(NotTaken):
            await client.close()
        await closing
