"""A task that works or blocks between two sends: what it has sent leaves nevertheless."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from reliable_ws import Group, Methods, broadcast, serve
from reliable_ws import sync as reliable_ws_sync
from reliable_ws.aio.groups import Member
from reliable_ws.aio.pump import LONG_TURN
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Want
from tests.aio.memory_network import block, on_virtual_clock, paired, registry, rest, start, turns


def arrived(wire):
    """How many WebSocket messages have arrived, and wait to be received."""
    return len(wire.peer._inbox)


async def _send(conn, message, how):
    if how == "send":
        await conn.send(message)
    else:
        conn.send_nowait(message)


@on_virtual_clock
@pytest.mark.parametrize("how", ["send", "send_nowait"])
async def test_a_message_leaves_at_once_if_the_last_one_is_some_time_ago(how):
    """Also where the event loop does not turn."""
    async with paired() as (net, client, server):
        await turns()
        for count in range(5):
            await _send(client, count, how)
            assert arrived(net.wire) == count + 1
            block(LONG_TURN)
        reading = start(rest(server))
        await client.finish()
        assert await reading == list(range(5))


@on_virtual_clock
async def test_a_message_does_not_wait_behind_an_ack():
    """What was taken in this turn is news to the peer; that leaves with the answer."""
    async with paired() as (net, client, server):
        for count in range(3):
            await client.send(count)
            assert await server.recv() == count
            before = arrived(net.wire.peer)
            await server.send(count)
            assert arrived(net.wire.peer) == before + 1
            block(LONG_TURN)
            assert await client.recv() == count
            await turns()
            assert not arrived(net.wire.peer)


@on_virtual_clock
async def test_what_is_sent_in_a_short_turn_still_goes_together():
    """But for the first message, whose task may block."""
    async with paired() as (net, client, server):
        await turns()
        for count in range(100):
            await client.send(count)
            block(LONG_TURN / 1000)
        assert arrived(net.wire) == 1
        await turns()
        reading = start(rest(server))
        before = arrived(net.wire)
        for count in range(100):  # soon after: none goes alone
            await client.send(count)
        assert arrived(net.wire) == before
        await client.finish()
        assert len(await reading) == 200


@on_virtual_clock
async def test_who_waits_for_each_message_has_the_next_one_sent_at_once():
    """Its Want goes with it, and what is sent without waiting goes together again."""
    async with paired() as (net, client, server):
        reading = start(rest(server))
        for count in range(3):
            receipt = await client.send(count)
            assert arrived(net.wire) == 1
            await receipt
        await client.send(3)
        assert arrived(net.wire) == 1
        for count in range(4, 10):
            await client.send(count)
        assert arrived(net.wire) == 1
        await client.flush()
        await client.finish()
        assert await reading == list(range(10))


@on_virtual_clock
async def test_items_of_a_stream_leave_though_the_handler_blocks():
    async def blocking():
        for count in range(5):
            block(LONG_TURN)
            yield count
            seen.append(arrived(net.wire.peer))

    seen = []
    async with paired(methods=registry(blocking)) as (net, client, _server):
        assert [item async for item in client.stream("blocking")] == list(range(5))
        assert all(seen)


class Blocking:
    """Blocks the event loop: its next item is there some time after the peer has the last one."""

    def __init__(self):
        self.arrived = threading.Semaphore(0)
        self.late = []

    def __iter__(self):
        for count in range(5):
            yield count
            if not self.arrived.acquire(timeout=2):
                self.late.append(count)
            time.sleep(2 * LONG_TURN)


async def _sends(conn, items):
    for item in items:
        await conn.send(item)


async def _sends_nowait(conn, items):
    for item in items:
        conn.send_nowait(item)


async def _sends_and_yields(conn, items):
    for item in items:
        await conn.send(item)
        await asyncio.sleep(0)


async def _answers(conn, items):
    for item, _ in zip(items, range(5), strict=False):
        await conn.send(item)
        await conn.recv()


async def _broadcasts(conn, items):
    for item in items:
        broadcast([conn], item)


WAYS = [_sends, _sends_nowait, _sends_and_yields, _answers, _broadcasts]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__[1:])
async def test_each_message_of_a_handler_that_blocks_arrives_before_the_next_one(way):
    blocking = Blocking()

    async def handler(conn):
        await way(conn, blocking)

    def client():
        with reliable_ws_sync.connect(f"ws://127.0.0.1:{server.port}") as conn:
            got = []
            for message in conn:
                got.append(message)
                blocking.arrived.release()
                if way is _answers:
                    conn.send("the next one")
            return got

    async with serve(handler, "127.0.0.1", 0) as server:
        assert await asyncio.to_thread(client) == list(range(5))
    assert not blocking.late


async def test_each_item_of_a_stream_that_blocks_arrives_before_the_next_one():
    blocking = Blocking()
    methods = Methods()

    @methods.register
    async def items():
        for item in blocking:
            yield item

    def client():
        with reliable_ws_sync.connect(f"ws://127.0.0.1:{server.port}") as conn:
            got = []
            for item in conn.stream("items"):
                got.append(item)
                blocking.arrived.release()
            return got

    async def handler(conn):
        await conn.wait_closed()

    async with serve(handler, "127.0.0.1", 0, methods=methods) as server:
        assert await asyncio.to_thread(client) == list(range(5))
    assert not blocking.late


@on_virtual_clock
async def test_publications_leave_with_the_next_one_if_the_loop_does_not_turn():
    """The first one may be waited for: its Want goes with it."""
    async with paired() as (net, client, server):
        group = Group()
        group.join(client)
        await turns()
        for count in range(5):
            group.publish(count)
            assert arrived(net.wire) == count
            block(LONG_TURN)
        reading = start(rest(server))
        await client.finish()
        assert await reading == list(range(5))


@on_virtual_clock
async def test_publications_to_many_members_still_go_together(monkeypatch):
    """With so many that each publication takes longer than a pause: one in ten turns it writes."""
    offer = Member.offer

    def offer_to_many(member, publication):
        block(LONG_TURN)
        return offer(member, publication)

    monkeypatch.setattr(Member, "offer", offer_to_many)
    async with paired() as (net, client, server):
        group = Group()
        group.join(client)
        await turns()
        for count in range(100):
            group.publish(count)
            block(LONG_TURN)  # as the outcomes of those before are looked at
        assert 10 <= arrived(net.wire) <= 20
        reading = start(rest(server))
        await client.finish()
        assert await reading == list(range(100))


@on_virtual_clock
async def test_a_reader_that_has_many_messages_at_hand_lets_others_run(monkeypatch):
    """Over a transport that does not push: what takes longer than LONGEST_STEP takes more turns.

    The loop's clock stands still while the loop works, so here every message takes too long.
    """
    monkeypatch.setattr("reliable_ws.aio.link_io.LONGEST_STEP", 0.0)
    async with paired() as (net, _client, server):
        await turns()
        for _ in range(40):  # some 0.05 s of work, in one turn if nobody yields
            net.wire.inject(encode([Want(1)] * 2700))
        steps = 0
        while net.wire.peer._inbox:
            await asyncio.sleep(0)
            steps += 1
        assert steps > 3
        assert not server.stats.received
