"""``async for conn in connect()``: when the next session is begun."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import Backoff, Config, ConnectionClosed, ServerBusy
from reliable_ws.testing import Network
from tests.aio.memory_network import now, on_virtual_clock

BACKOFF = Backoff(initial=1, longest=16)


async def leaves(conn):
    del conn


async def closes(conn):
    await conn.close(4000, "not today")


async def aborts(conn):
    await asyncio.sleep(0.1)  # before that it would refuse what it has welcomed
    conn.abort()


async def says_one_thing(conn):
    await conn.send("not today")


async def listens(conn):
    async for _message in conn:
        pass


async def reads(conn):
    with contextlib.suppress(ConnectionClosed):
        async for _message in conn:
            pass


async def reads_and_closes(conn):
    await reads(conn)
    await conn.close()


async def sessions_in(seconds, handler, body):
    """How many sessions a client's loop begins in this time."""
    network, count = Network(), 0
    async with network.serve(handler):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for conn in network.connect(reconnect=BACKOFF):
                    count += 1
                    await body(conn)
    return count


@on_virtual_clock
@pytest.mark.parametrize("body", [reads, reads_and_closes])
@pytest.mark.parametrize("handler", [leaves, closes, aborts, says_one_thing])
async def test_a_server_that_ends_each_session_at_once_is_not_hammered(handler, body):
    """However it ends them: pauses grow as after attempts that fail."""
    assert 4 <= await sessions_in(120, handler, body) < 60


@on_virtual_clock
async def test_sessions_that_last_a_while_follow_each_other_at_once():
    async def serves_for_a_while(_conn):
        await asyncio.sleep(2)

    assert await sessions_in(61, serves_for_a_while, reads) > 25


@on_virtual_clock
@pytest.mark.parametrize("end", ["close", "abort", "leave", "finish"])
async def test_short_sessions_that_the_client_ends_follow_each_other_at_once(end):
    """They are what the application wants, and no failed attempts."""

    async def body(conn):
        await conn.send("x")
        await conn.flush()
        match end:
            case "close":
                await conn.close()
            case "abort":
                conn.abort()
            case "finish":
                await conn.finish()

    network, began = Network(), now()
    async with network.serve(listens):
        count = 0
        async for conn in network.connect(reconnect=BACKOFF):
            await body(conn)
            count += 1
            if count == 20:
                break
        assert now() - began < 1


@on_virtual_clock
async def test_pauses_begin_anew_after_a_session_that_lasted():
    lives = iter([0, 0, 0, 0, 0, 0, 2, 0])
    ends, begins = [], []

    async def handler(_conn):
        await asyncio.sleep(next(lives))

    network = Network()
    async with network.serve(handler):
        async for conn in network.connect(reconnect=BACKOFF):
            begins.append(now())
            await reads(conn)
            ends.append(now())
            if len(begins) == 8:
                break
    pauses = [begin - end for end, begin in zip(ends, begins[1:], strict=False)]
    assert sum(pauses[:6]) > 1
    assert pauses[6] < 0.1


@on_virtual_clock
async def test_a_busy_server_is_asked_again_not_before_it_wants_to_be():
    """REFUSE-3, REFUSE-5: connect() raises ServerBusy, and the loop heeds its retry_after."""
    network, events = Network(), []
    config = Config(max_sessions=1)
    async with network.serve(listens, config=config), network.connect() as first:
        with pytest.raises(ServerBusy) as busy:
            await network.connect()
        assert busy.value.retry_after == 1
        asyncio.get_running_loop().call_later(2.5, first.abort)
        began = now()
        hasty = Backoff(initial=0, longest=5)
        async for conn in network.connect(reconnect=hasty, on_event=events.append):
            assert 3 <= now() - began < 4
            conn.abort()
            break
    attempts = [event.attempt for event in events if event.name == "attempt_failed"]
    assert [attempt.retry_after for attempt in attempts] == [1, 1, 1]
