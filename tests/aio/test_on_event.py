"""Callbacks for events."""

from __future__ import annotations

import asyncio
import logging

import pytest

from reliable_ws import ConnectionClosed, State
from tests.aio.host import Host, echo
from tests.aio.stage import on_stage, settle, start, turns


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
    assert [event.name for event in events] == ["opened", "detached", "resumed", "closed"]
    names = [event.name for event in host.events]
    assert names == ["opened", "detached", "resumed", "peer_finished", "closed"]
    assert (host.events[3].code, host.events[3].reason) == (1000, "enough")
    for story in (events, host.events):
        assert story[2].replayed <= 3
        assert (story[-1].code, story[-1].reason) == (1000, "enough")
        assert story[-1].report.confirmed == 3
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
