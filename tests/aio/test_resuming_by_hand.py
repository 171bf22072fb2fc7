"""Sessions whose WebSockets are opened by the application, or by nobody."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    Config,
    ConnectionClosed,
    End,
    NotReliablePeer,
    Outcome,
    SessionLost,
    State,
    wrap,
)
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import now, on_virtual_clock, paired, settle, start, take, turns


@on_virtual_clock
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


@on_virtual_clock
async def test_who_opens_websockets_by_itself_is_handed_none():
    """Both would compete: the newer fences the older, and the peer is told so each time."""
    async with paired({"resume_within": 60}) as (net, client, server):
        near, far = pair()
        with pytest.raises(RuntimeError, match="resume_within= and without reopen="):
            await client.resume(near)
        await client.send("x")
        assert await server.recv() == "x"
        net.cut()
        with pytest.raises(RuntimeError):
            await client.resume(near)
        await client.send("y")
        assert await server.recv() == "y"
        near.abort()
        far.abort()


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
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


@on_virtual_clock
async def test_nobody_resumes_within_the_time():
    near, far = pair()
    client, server = await asyncio.gather(wrap(near, resume_within=7), wrap(far, resume_within=7))
    near.cut()
    for conn in (client, server):
        with pytest.raises(SessionLost):
            await conn.recv()
    assert now() == pytest.approx(7, abs=0.1)


@on_virtual_clock
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
