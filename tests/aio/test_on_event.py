"""Callbacks for events."""

from __future__ import annotations

import asyncio
import logging

import pytest

from reliable_ws import Config, ConnectionClosed, State, wrap
from reliable_ws.testing.memory import pair
from tests.aio.host import Host, echo
from tests.aio.memory_network import (
    MemoryNetwork,
    on_virtual_clock,
    registry,
    settle,
    start,
    turns,
    until,
)


@on_virtual_clock
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
    assert [event.name for event in events] == ["opened", "detached", "resumed", "closed"]
    names = [event.name for event in host.events]
    assert names == ["opened", "detached", "resumed", "peer_finished", "closed"]
    assert (host.events[3].code, host.events[3].reason) == (1000, "enough")
    for story in (events, host.events):
        assert story[2].replayed <= 3
        assert (story[-1].code, story[-1].reason) == (1000, "enough")
        assert story[-1].report.confirmed == 3
        assert len({event.connection for event in story}) == 1


@on_virtual_clock(seeds=[None])
@pytest.mark.parametrize("wait", ["recv", "receipt", "flush", "request", "wait_closed"])
@pytest.mark.parametrize("way", ["expired", "refused", "aborted"])
async def test_how_a_session_ended_is_told_before_the_calls_that_wait_for_it_raise(wait, way):
    order = []

    async def waits(conn):
        try:
            await waits_for_it(conn)
        finally:
            order.append("raised")

    async def waits_for_it(conn):
        receipt = await conn.send("x")
        match wait:
            case "recv":
                await conn.recv()
            case "receipt":
                await receipt
            case "flush":
                await conn.flush()
            case "request":
                await conn.request("never")
            case "wait_closed":
                await conn.wait_closed()

    async def never():
        await asyncio.Event().wait()

    net = MemoryNetwork(config=Config(session_ttl=5), methods=registry(never))
    client = await wrap(
        await net.open(),
        reopen=net.open,
        config=net.config,
        on_event=lambda event: order.append(event.name),
    )
    await until(lambda: net.accepted)
    (server,) = net.accepted
    waiting = start(waits(client))
    await turns()
    net.closed = True
    if way == "expired":
        net.cut()
    else:
        server.abort() if way == "refused" else client.abort()
    await asyncio.gather(waiting, return_exceptions=True)
    await turns()
    lost = [] if way == "aborted" else ["session_lost"]
    assert order[-len(lost) - 2 :] == [*lost, "closed", "raised"]
    await settle(client, server)


@on_virtual_clock
@pytest.mark.parametrize("refusal", [4401, 4529])
async def test_a_session_that_was_never_open_is_no_event(refusal):
    """Its opening raises, and that is all there is to say."""
    events = []
    near, far = pair()
    await far.close(refusal, "no")
    with pytest.raises(ConnectionClosed) as refused:
        await wrap(near, on_event=events.append)
    assert refused.value.code == refusal
    await turns()
    assert events == []


@on_virtual_clock
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


@on_virtual_clock
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
