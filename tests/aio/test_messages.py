"""Sending and receiving: order, waiting, timeouts, and what can be read off a connection."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import msgpack
import pytest

from reliable_ws import (
    Config,
    ConnectionClosedOK,
    MessageTooLarge,
    NotSerializable,
    Outcome,
    PayloadError,
    Sessions,
    State,
    Stats,
)
from tests.aio.memory_network import (
    MemoryNetwork,
    now,
    on_virtual_clock,
    paired,
    start,
    take,
    turns,
    until,
)

# -- messages ------------------------------------------------------------------------------------


@on_virtual_clock
async def test_messages_arrive_in_order_each_once_both_ways():
    async with paired() as (_, client, server):
        for n in range(3000):
            await client.send(n)
            await server.send(str(n))
        assert await take(server, 3000) == list(range(3000))
        assert await take(client, 3000) == [str(n) for n in range(3000)]


@on_virtual_clock(seeds=(None,))
async def test_types_arrive_as_they_were_sent():
    sent = [
        "",
        "ü",
        b"",
        b"\0\xff",
        None,
        True,
        2**63,
        -1.5,
        [1, [2]],
        {"a": {1: b"x"}},
        "x" * 10**5,
    ]
    async with paired() as (_, client, server):
        for message in sent:
            await client.send(message)
        assert await take(server, len(sent)) == sent
        await client.send((1, "a"))
        await client.send(bytearray(b"mutable"))
        assert await take(server, 2) == [[1, "a"], b"mutable"]


@on_virtual_clock(seeds=(None,))
async def test_what_is_sent_is_what_it_was_when_send_was_called():
    async with paired() as (_, client, server):
        message = {"n": [1]}
        await client.send(message)
        message["n"].append(2)
        assert await server.recv() == {"n": [1]}


@on_virtual_clock
async def test_a_message_of_several_mebibytes_arrives():
    big = bytes(range(256)) * (5 * 2**12)
    async with paired(max_frame=64 * 1024) as (_, client, server):
        sending = [start(client.send(m)) for m in ("before", big, "after")]  # they wait for room
        assert sorted(await take(server, 3), key=len) == ["after", "before", big]
        for sent in sending:
            await (await sent)


@on_virtual_clock
async def test_what_cannot_be_sent_raises_at_once_and_changes_nothing():
    async with paired(server_config=Config(max_message=1000)) as (_, client, server):
        with pytest.raises(MessageTooLarge):
            await client.send(bytes(1001))
        with pytest.raises(MessageTooLarge):
            client.send_nowait(bytes(1001))
        for bad in (object(), {1, 2}, msgpack.ExtType(7, b"")):
            with pytest.raises(NotSerializable):
                await client.send(bad)
            with pytest.raises(TypeError):
                client.send_nowait(bad)
        assert client.stats.sent == 0
        receipt = await client.send(bytes(1000))
        assert receipt.number == 1
        assert await server.recv() == bytes(1000)


# -- waiting for messages --------------------------------------------------------------------------


@on_virtual_clock
async def test_several_tasks_receive_in_the_order_in_which_they_came():
    async with paired() as (_, client, server):
        got = []

        async def reader(name):
            message = await server.recv()
            got.append((message, name))

        readers = []
        for name in range(5):
            readers.append(start(reader(name)))
            await turns()  # whatever the seed, they come one after the other
        for n in range(5):
            await client.send(n)
            await readers[n]
        assert got == [(n, n) for n in range(5)]


@on_virtual_clock
async def test_one_who_comes_later_overtakes_nobody():
    async with paired() as (_, client, server):
        first = start(server.recv())
        await turns()
        await client.send("one")
        await until(lambda: server.stats.received)
        second = start(server.recv())  # the message is there, but it is not for this one
        assert await first == "one"
        await client.send("two")
        assert await second == "two"


@on_virtual_clock
async def test_readers_of_every_kind_share_what_comes():
    async with paired() as (_, client, server):
        got = []

        async def by_recv():
            with contextlib.suppress(ConnectionClosedOK):
                while True:
                    got.append(await server.recv())
                    await asyncio.sleep(0)

        async def by_delivery():
            async for delivery in server.deliveries():
                async with delivery as message:
                    got.append(message)
                    await asyncio.sleep(0.01)

        readers = [start(work()) for work in (by_recv, by_delivery) * 3]
        for n in range(500):
            await client.send(n)
            if n % 50 == 0:
                await asyncio.sleep(0.001)
        await client.finish()
        await asyncio.gather(*readers)
        assert sorted(got) == list(range(500))
        await client.flush()


@on_virtual_clock
async def test_recv_takes_nothing_when_its_time_is_up():
    async with paired() as (_, client, server):
        began = now()
        with pytest.raises(TimeoutError):
            await server.recv(timeout=1.5)
        assert now() == began + 1.5
        with pytest.raises(TimeoutError):
            await server.recv(timeout=0)
        await client.send("here")
        await client.send("there")
        assert await server.recv(timeout=1) == "here"
        assert await server.recv(timeout=0) == "there"  # needs no time


@on_virtual_clock(seeds=range(20))
async def test_a_message_that_comes_in_the_moment_of_the_timeout_is_not_lost():
    async with paired() as (_, client, server):

        async def sender():
            await asyncio.sleep(1)
            await client.send("x")

        sending = start(sender())
        try:
            got = await server.recv(timeout=1)
        except TimeoutError:
            got = await server.recv()
        assert got == "x"
        await sending


@on_virtual_clock(seeds=range(20))
async def test_a_cancelled_reader_passes_its_turn_on():
    async with paired() as (_, client, server):
        readers = [start(server.recv()) for _ in range(6)]
        await turns()
        for n in range(3):
            await client.send(n)
        await until(lambda: server.stats.received)
        for reader in readers[:3]:
            reader.cancel()
        results = await asyncio.gather(*readers[:3], return_exceptions=True)
        taken = [r for r in results if not isinstance(r, asyncio.CancelledError)]
        for n in range(3, 3 + len(taken)):
            await client.send(n)
        assert sorted(taken + [await r for r in readers[3:]]) == list(range(3 + len(taken)))


@on_virtual_clock
async def test_leaving_an_iteration_leaves_the_rest():
    async with paired() as (_, client, server):
        for n in range(10):
            await client.send(n)
        seen = []
        async for n in server:
            seen.append(n)
            if n == 3:
                break
        assert seen + await take(server, 6) == list(range(10))


@on_virtual_clock
async def test_a_payload_that_cannot_be_decoded_is_reported_once(caplog):
    """MSG-4: `recv()` raises; an iteration logs a line and goes on."""

    class Picky:
        name = "msgpack"

        def dumps(self, value, /):
            return msgpack.packb(value)

        def loads(self, data, /):
            value = msgpack.unpackb(data)
            if value == [13]:
                raise ValueError("unlucky")
            return value

    net = MemoryNetwork()
    net.sessions = Sessions(payload_codec=Picky())
    client, server = await net.pair(payload_codec=Picky())
    for n in (1, 13, 2, 13, 3, 13, 4):
        await client.send([n])
    assert await server.recv() == [1]
    with pytest.raises(PayloadError) as caught:
        await server.recv()
    assert caught.value.number == 2
    assert caught.value.raw == msgpack.packb([13])
    iterating = aiter(server)
    assert [await anext(iterating) for _ in range(2)] == [[2], [3]]
    delivery = await anext(server.deliveries())
    assert delivery.message == [4]
    delivery.confirm()
    await client.flush()
    assert client.stats.confirmed == 7  # they count as taken
    assert [record.getMessage().partition(": ")[2][:44] for record in caplog.records] == [
        "message 4 (2 bytes) cannot be decoded (Value",
        "message 6 (2 bytes) cannot be decoded (Value",
    ]
    await asyncio.gather(client.close(), server.close())


# -- facts ---------------------------------------------------------------------------------------


@on_virtual_clock
async def test_what_can_be_read_off_a_connection():
    async with paired() as (net, client, server):
        assert client.id == server.id
        assert client.state is server.state is State.OPEN
        assert client.websocket is client.transport is net.wire
        assert server.websocket is net.wire.peer
        assert client.close_code is client.close_reason is None
        assert client.remote_address is client.subprotocol is None
        assert "initiator open" in repr(client)
        assert "acceptor open" in repr(server)
        await client.send("abc")
        await client.send("de")
        await client.send("f")
        await take(server, 2)
        await asyncio.sleep(1)
        assert client.stats == Stats(3, 2, 0, 0, 0, 7, 0)
        assert dataclasses.replace(server.stats, inbox_bytes=0) == Stats(0, 0, 3, 2, 0, 0, 0)
        assert server.stats.inbox_bytes > 0
        report = client.report
        assert (report.sent, report.confirmed, report.final) == (3, 2, False)
        assert report.undelivered == ((3, Outcome.PENDING, "f"),)
        await server.recv()
        await client.finish()
        await server.finish()
        await asyncio.gather(client.wait_closed(), server.wait_closed())
        assert client.stats == Stats(3, 3, 0, 0, 0, 0, 0)
        assert (server.stats.received, server.stats.taken) == (3, 3)
        assert client.state is server.state is State.CLOSED
        assert (client.close_code, client.close_reason) == (1000, "")
        assert client.report.final
        assert net.names() == ["opened", "closed"]
        assert net.events[-1].report == client.report
        assert [e.name for e in net.server_events] == ["opened", "closed"]


# -- one iterator --------------------------------------------------------------------------------


@on_virtual_clock
async def test_a_second_iterator_is_refused_while_the_first_one_waits():
    async with paired() as (_, client, server):
        waiting = start(anext(aiter(server)))
        await turns()
        with pytest.raises(RuntimeError, match="only one gets its messages in order"):
            await anext(aiter(server))
        await client.send("x")
        await waiting


@on_virtual_clock
async def test_the_first_iterator_is_refused_once_a_second_one_was_begun():
    async with paired() as (_, client, server):
        for number in range(6):
            await client.send(number)
        before, behind = aiter(server), aiter(server)
        for _ in range(3):
            await anext(before)
        await anext(behind)
        with pytest.raises(RuntimeError, match="only one gets its messages in order"):
            await anext(before)
        await anext(behind)
        assert server.stats.received == 6


@on_virtual_clock
@pytest.mark.parametrize("seen", range(1, 5))
async def test_what_is_taken_between_two_of_an_iteration_is_not_in_it(seen):
    """G2: in whatever way, and also where the iteration hands over a run of messages."""
    async with paired() as (_, client, server):
        for number in range(12):
            await client.send(b"%d" % number)
        messages = aiter(server)
        got = [await anext(messages) for _ in range(seen)]
        got.append(await server.recv())
        got.append(await anext(messages))
        async for delivery in server.deliveries():
            got.append(delivery.message)
            got.append(await anext(messages))  # behind one that is not confirmed
            delivery.confirm()
            break
        got += [await anext(messages) for _ in range(12 - len(got))]
        assert got == [b"%d" % number for number in range(12)]
        await client.flush()


@on_virtual_clock
async def test_one_iterator_after_the_other_goes_on_where_that_was_left():
    async with paired() as (_, client, server):
        for number in range(3):
            await client.send(number)
        got = []
        for _ in range(3):
            async for message in server:
                got.append(message)
                break
        assert got == [0, 1, 2]
        waiting = start(anext(aiter(server)))
        await turns()
        waiting.cancel()
        await asyncio.wait((waiting,))
        await client.send(3)
        message = await anext(aiter(server))
        assert message == 3
