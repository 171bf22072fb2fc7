"""A task that works or blocks between two sends: what it has sent leaves nevertheless."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws.aio.pump import LONG_TURN
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Want
from tests.aio.stage import block, on_stage, paired, registry, rest, start, turns


def arrived(wire):
    """How many WebSocket messages have arrived, and wait to be received."""
    return len(wire.peer._inbox)


async def _send(conn, message, how):
    if how == "send":
        await conn.send(message)
    else:
        conn.send_nowait(message)


@on_stage
@pytest.mark.parametrize("how", ["send", "send_nowait"])
async def test_a_message_leaves_with_the_next_one_if_the_loop_does_not_turn(how):
    async with paired() as (stage, client, server):
        await turns()
        for count in range(5):
            await _send(client, count, how)
            assert arrived(stage.wire) == max(0, count)
            block(LONG_TURN)
        reading = start(rest(server))
        await client.finish()
        assert await reading == list(range(5))


@on_stage
async def test_what_is_sent_in_a_short_turn_still_goes_together():
    async with paired() as (stage, client, server):
        await turns()
        for count in range(100):
            await client.send(count)
            block(LONG_TURN / 1000)
        assert arrived(stage.wire) == 0
        await turns(1)
        assert arrived(stage.wire) == 1 or await server.recv() == 0
        reading = start(rest(server))
        await client.finish()
        assert len(await reading) in (99, 100)


@on_stage
async def test_who_waits_for_each_message_has_the_next_one_sent_at_once():
    """Its Want goes with it, and what is sent without waiting goes together again."""
    async with paired() as (stage, client, server):
        reading = start(rest(server))
        for count in range(3):
            receipt = await client.send(count)
            assert arrived(stage.wire) == (1 if count else 0)
            await receipt
        await client.send(3)
        assert arrived(stage.wire) == 1
        for count in range(4, 10):
            await client.send(count)
        assert arrived(stage.wire) == 1
        await client.flush()
        await client.finish()
        assert await reading == list(range(10))


@on_stage
async def test_items_of_a_stream_leave_though_the_handler_blocks():
    async def blocking():
        for count in range(5):
            block(LONG_TURN)
            yield count
            seen.append(arrived(stage.wire.peer))

    seen = []
    async with paired(methods=registry(blocking)) as (stage, client, _server):
        assert [item async for item in client.stream("blocking")] == list(range(5))
        assert any(seen[1:])


@on_stage
async def test_a_reader_that_has_many_messages_at_hand_lets_others_run(monkeypatch):
    """Over a transport that does not push: what takes longer than LONGEST_STEP takes more turns.

    The loop's clock stands still while the loop works, so here every message takes too long.
    """
    monkeypatch.setattr("reliable_ws.aio.link_io.LONGEST_STEP", 0.0)
    async with paired() as (stage, _client, server):
        await turns()
        for _ in range(40):  # some 0.05 s of work, in one turn if nobody yields
            stage.wire.inject(encode([Want(1)] * 2700))
        steps = 0
        while stage.wire.peer._inbox:
            await asyncio.sleep(0)
            steps += 1
        assert steps > 3
        assert not server.stats.received
