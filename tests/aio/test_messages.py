"""Sending and receiving: order, waiting, timeouts, room, and what can be read off a connection."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import msgpack
import pytest

from reliable_ws import (
    Config,
    ConfirmTooLate,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    MessageTooLarge,
    NotSerializable,
    NotTaken,
    OutboxFull,
    Outcome,
    PayloadError,
    Sessions,
    State,
    Stats,
)
from tests.aio.stage import Stage, iterate, now, on_stage, paired, rest, start, take, turns, until

SMALL = Config(outbox_messages=4)
TIGHT = Config(window_messages=1)
SLOW = Config(window_messages=8, window_bytes=4096)


# -- messages ------------------------------------------------------------------------------------


@on_stage
async def test_messages_arrive_in_order_each_once_both_ways():
    async with paired() as (_, client, server):
        for n in range(3000):
            await client.send(n)
            await server.send(str(n))
        assert await take(server, 3000) == list(range(3000))
        assert await take(client, 3000) == [str(n) for n in range(3000)]


@on_stage(seeds=(None,))
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


@on_stage(seeds=(None,))
async def test_what_is_sent_is_what_it_was_when_send_was_called():
    async with paired() as (_, client, server):
        message = {"n": [1]}
        await client.send(message)
        message["n"].append(2)
        assert await server.recv() == {"n": [1]}


@on_stage
async def test_a_message_of_several_mebibytes_arrives():
    big = bytes(range(256)) * (5 * 2**12)
    async with paired(max_frame=64 * 1024) as (_, client, server):
        sending = [start(client.send(m)) for m in ("before", big, "after")]  # they wait for room
        assert sorted(await take(server, 3), key=len) == ["after", "before", big]
        for sent in sending:
            await (await sent)


@on_stage
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


@on_stage
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


@on_stage
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


@on_stage
async def test_readers_of_every_kind_share_what_comes():
    async with paired() as (_, client, server):
        got = []

        async def by_recv():
            with contextlib.suppress(ConnectionClosedOK):
                while True:
                    got.append(await server.recv())
                    await asyncio.sleep(0)

        async def by_iteration():
            async for message in server:
                got.append(message)
                await asyncio.sleep(0)

        async def by_delivery():
            async for delivery in server.deliveries():
                async with delivery as message:
                    got.append(message)
                    await asyncio.sleep(0.01)

        readers = [start(work()) for work in (by_recv, by_iteration, by_delivery) * 2]
        for n in range(500):
            await client.send(n)
            if n % 50 == 0:
                await asyncio.sleep(0.001)
        await client.finish()
        await asyncio.gather(*readers)
        assert sorted(got) == list(range(500))
        await client.flush()


@on_stage
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


@on_stage(seeds=range(20))
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


@on_stage(seeds=range(20))
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


@on_stage
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


@on_stage
async def test_a_payload_that_cannot_be_decoded_is_reported_once():
    class Picky:
        def dumps(self, value, /):
            return msgpack.packb(value)

        def loads(self, data, /):
            value = msgpack.unpackb(data)
            if value == [13]:
                raise ValueError("unlucky")
            return value

    stage = Stage()
    stage.sessions = Sessions(payload_codec=Picky())
    client, server = await stage.pair()
    for n in (1, 13, 2, 13, 3, 13, 4):
        await client.send([n])
    assert await server.recv() == [1]
    with pytest.raises(PayloadError) as caught:
        await server.recv()
    assert caught.value.number == 2
    assert caught.value.raw == msgpack.packb([13])
    got = []
    with pytest.raises(PayloadError):
        await iterate(server, got)
    with pytest.raises(PayloadError):
        await iterate(server.deliveries(), got)
    got[1].confirm()
    got[1] = got[1].message
    assert got == [[2], [3]]
    assert await server.recv() == [4]
    await client.flush()
    assert client.stats.confirmed == 7  # they count as taken
    await asyncio.gather(client.close(), server.close())


# -- deliveries ----------------------------------------------------------------------------------


@on_stage
async def test_a_delivery_is_confirmed_when_its_block_is_left():
    async with paired() as (_, client, server):
        receipts = [await client.send(n) for n in range(3)]
        deliveries = server.deliveries()
        first = await anext(deliveries)
        async with first as message:
            assert message == 0
            await asyncio.sleep(1)
            assert receipts[0].outcome is Outcome.PENDING
        await receipts[0]

        second = await anext(deliveries)
        with pytest.raises(LookupError):
            await _fail(second)
        third = await anext(deliveries)
        third.confirm()
        await asyncio.sleep(1)
        assert receipts[1].outcome is Outcome.PENDING
        assert receipts[2].outcome is Outcome.PENDING  # confirmations are cumulative
        second.confirm()
        second.confirm()
        await receipts[2]
        await deliveries.aclose()


@on_stage
async def test_deliveries_end_with_the_last_message_though_none_is_confirmed_yet():
    """Whoever confirms in batches must hear that there will be no more."""
    async with paired() as (_, client, server):
        for n in range(3):
            await client.send(n)
        closing = start(client.close())
        async with asyncio.timeout(1):
            batch = [delivery async for delivery in server.deliveries()]
        for delivery in batch:
            delivery.confirm()
        await closing


@on_stage
async def test_every_task_in_deliveries_hears_of_the_end():
    async with paired() as (_, client, server):

        async def worker():
            return [delivery async for delivery in server.deliveries()]

        workers = [start(worker()) for _ in range(4)]
        for n in range(10):
            await client.send(n)
        closing = start(client.close())
        async with asyncio.timeout(1):
            batches = await asyncio.gather(*workers)
        for delivery in [d for batch in batches for d in batch]:
            delivery.confirm()
        await closing


@on_stage
@pytest.mark.parametrize("last", ["delivered", "taken"])
async def test_who_waits_hears_of_the_end_when_another_gets_the_last_message(last):
    async with paired() as (_, client, server):
        deliveries = server.deliveries()
        await client.send("first")
        first = await anext(deliveries)
        second = start(anext(deliveries) if last == "delivered" else server.recv())
        await turns()
        waiting = [start(rest(server)) for _ in range(2)]
        await turns()
        await client.send("second")
        closing = start(client.close())
        began = now()
        assert await asyncio.gather(*waiting) == [[], []]
        assert now() == began
        first.confirm()
        if last == "delivered":
            (await second).confirm()
        await closing
        await deliveries.aclose()


@on_stage
async def test_a_confirmation_after_the_end_is_too_late():
    async with paired() as (_, client, server):
        receipt = await client.send("x")
        delivery = await anext(aiter(server.deliveries()))
        closing = start(server.close())
        await turns()
        with pytest.raises(ConfirmTooLate):
            delivery.confirm()
        with pytest.raises(Exception, match="unknown"):
            await receipt
        client.abort()
        await asyncio.gather(closing, return_exceptions=True)


async def _fail(delivery):
    async with delivery:
        raise LookupError


# -- room ----------------------------------------------------------------------------------------


@on_stage
async def test_sends_are_accepted_in_call_order_also_when_they_wait():
    async with paired(config=SMALL) as (_, client, server):
        tasks = []
        for n in range(50):
            tasks.append(start(client.send(n)))
            await turns(3)
        assert client.stats.sent <= 4 + 4  # what is sent is not yet confirmed
        assert await take(server, 50) == list(range(50))
        receipts = await asyncio.gather(*tasks)
        assert [receipt.number for receipt in receipts] == list(range(1, 51))


@on_stage
async def test_nobody_overtakes_a_sender_that_waits():
    async with paired(config=SMALL) as (_, client, server):
        for n in range(4):
            await client.send(n)
        waiting = start(client.send(4))
        await turns()
        with pytest.raises(OutboxFull):
            client.send_nowait("overtaking")
        assert await server.recv() == 0
        await asyncio.sleep(1)
        assert (await waiting).number == 5
        assert await take(server, 4) == [1, 2, 3, 4]


@on_stage
async def test_a_small_message_does_not_overtake_a_large_one_that_waits():
    async with paired(config=Config(outbox_bytes=1000)) as (_, client, server):
        await client.send(bytes(900))
        large = start(client.send(bytes(950)))
        await turns()
        small = start(client.send(b"small"))
        await turns()
        assert not small.done()
        assert [len(m) for m in await take(server, 3)] == [900, 950, 5]
        assert (await large).number < (await small).number


@on_stage
async def test_send_nowait_raises_when_there_is_no_room():
    async with paired(config=SMALL) as (_, client, server):
        for n in range(4):
            assert client.send_nowait(n).number == n + 1
        with pytest.raises(OutboxFull):
            client.send_nowait(4)
        assert await take(server, 4) == [0, 1, 2, 3]
        await client.flush()
        client.send_nowait(4)
        assert await server.recv() == 4


@on_stage
async def test_send_gives_up_when_its_time_is_up():
    async with paired(config=SMALL) as (_, client, server):
        for n in range(4):
            await client.send(n)
        began = now()
        first = start(client.send("never", timeout=2))
        second = start(client.send("later", timeout=60))
        with pytest.raises(TimeoutError):
            await first
        assert now() == began + 2
        assert await take(server, 5) == [0, 1, 2, 3, "later"]
        await second
        assert client.stats.sent == 5


@on_stage(seeds=(None,))
async def test_send_needs_no_time_where_there_is_room():
    """The yield to the loop, once per burst of sends, is not waiting for room."""
    async with paired() as (_, client, server):
        for n in range(3000):
            await client.send(n, timeout=0)
        assert await take(server, 3000) == list(range(3000))


@on_stage(seeds=range(20))
async def test_send_that_times_out_accepted_nothing():
    async with paired(config=SMALL) as (_, client, server):
        for n in range(4):
            await client.send(n)
        sending = [start(client.send(n, timeout=1)) for n in range(4, 8)]
        await asyncio.sleep(1)
        got = await take(server, 4)
        results = await asyncio.gather(*sending, return_exceptions=True)
        accepted = [
            n for n, r in zip(range(4, 8), results, strict=True) if not isinstance(r, TimeoutError)
        ]
        assert got + await take(server, len(accepted)) == [0, 1, 2, 3, *accepted]
        assert client.stats.sent == 4 + len(accepted)


@on_stage(seeds=(None,))
async def test_a_message_above_the_outbox_is_accepted_alone():
    async with paired(config=Config(outbox_bytes=1000)) as (_, client, server):
        await client.send(bytes(5000))
        with pytest.raises(OutboxFull):
            client.send_nowait(b"")
        assert len(await server.recv()) == 5000


@on_stage
async def test_a_window_of_one_message_delivers_all():
    async with paired(config=TIGHT) as (_, client, server):

        async def sender(conn):
            for n in range(100):
                await conn.send(n)
            await conn.finish()

        sending = [start(sender(client)), start(sender(server))]
        both = await asyncio.gather(rest(client), rest(server), *sending)
        assert both[:2] == [list(range(100))] * 2


@on_stage
async def test_one_who_never_reads_bounds_its_sender_and_itself():
    async with paired(config=SLOW) as (_, client, server):

        async def sender():
            while True:
                await client.send(bytes(100))

        sending = start(sender())
        await asyncio.sleep(300)
        stats = client.stats
        assert stats.sent <= 8 + 8
        assert stats.outbox_bytes <= 2 * 4096
        assert server.stats.inbox_bytes <= 2 * 4096
        assert client.state is State.OPEN  # it speaks, it does not read
        sending.cancel()
        await take(server, stats.sent)


@on_stage
async def test_a_slow_reader_slows_its_sender_down():
    async with paired(config=SLOW) as (_, client, server):
        most = 0

        async def sender():
            for n in range(200):
                await client.send(n)
            await client.finish()

        sending = start(sender())
        expected = 0
        async for n in server:
            assert n == expected
            expected += 1
            most = max(most, client.stats.sent - n)
            await asyncio.sleep(0.1)
        assert expected == 200
        assert most <= 20
        await sending


@on_stage
async def test_both_sides_full_and_then_read():
    async with paired(config=SLOW) as (_, client, server):

        async def sender(conn):
            for n in range(100):
                await conn.send(n)

        sending = [start(sender(client)), start(sender(server))]
        await asyncio.sleep(60)
        assert [await take(c, 100) for c in (client, server)] == [list(range(100))] * 2
        await asyncio.gather(*sending)
        await asyncio.gather(client.flush(), server.flush())


@on_stage(seeds=(None,))
async def test_a_loop_of_sends_lets_others_run():
    async with paired() as (_, client, _server):
        ticks = 0

        async def ticker():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = start(ticker())
        await asyncio.sleep(0)
        before = ticks
        for _ in range(20_000):
            await client.send(b"")
        assert ticks - before >= 10
        ticking.cancel()


@on_stage(seeds=(None,))
async def test_a_loop_of_receives_lets_others_run():
    async with paired() as (_, client, server):
        for _ in range(20_000):
            await client.send(b"")
        await asyncio.sleep(1)
        ticks = 0

        async def ticker():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = start(ticker())
        await asyncio.sleep(0)
        before = ticks
        await take(server, 10_000)
        assert ticks - before >= 5
        before = ticks
        count = 10_000
        async for _ in server:
            count -= 1
            if not count:
                break
        assert ticks - before >= 5
        ticking.cancel()


# -- confirmations -------------------------------------------------------------------------------


@on_stage
async def test_a_receipt_waits_until_the_message_is_taken():
    async with paired() as (_, client, server):
        receipt = await client.send("x")
        waiting = start(_wait(receipt))
        other = start(_wait(receipt))
        await asyncio.sleep(1)
        assert not waiting.done()
        assert receipt.outcome is Outcome.PENDING
        other.cancel()
        await turns()
        began = now()
        assert await server.recv() == "x"
        await waiting
        assert now() == began  # told at once: somebody waits for it
        assert receipt.outcome is Outcome.CONFIRMED
        await receipt
        assert "confirmed" in repr(receipt)


async def _wait(receipt):
    await receipt


@on_stage
async def test_flush_waits_for_what_was_sent_before_it():
    async with paired() as (_, client, server):
        await client.flush()
        for n in range(3):
            await client.send(n)
        flushing = start(client.flush())
        await turns()
        await client.send(3)
        assert await take(server, 3) == [0, 1, 2]
        await flushing
        assert client.stats.confirmed == 3
        began = now()
        with pytest.raises(TimeoutError):
            await client.flush(timeout=2)
        assert now() == began + 2
        assert await server.recv() == 3
        await client.flush(timeout=1)


@on_stage
async def test_receipts_and_flush_fail_when_the_peer_takes_nothing_more():
    async with paired() as (_, client, server):
        taken = await client.send("taken")
        await server.recv()
        await taken
        lost = await client.send("lost")
        waiting, flushing = start(_wait(lost)), start(client.flush())
        await turns()
        closing = start(server.close())
        with pytest.raises(NotTaken) as caught:
            await waiting
        [entry] = caught.value.report.undelivered
        assert entry == (2, Outcome.NOT_TAKEN, "lost")
        with pytest.raises(NotTaken):
            await flushing
        with pytest.raises(NotTaken):
            await client.close()
        await closing


# -- the end -------------------------------------------------------------------------------------


@on_stage
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
        assert server.state is State.OPEN
        await server.send("still")  # half-closed
        assert await client.recv() == "still"


@on_stage
async def test_every_reader_that_waits_hears_of_the_end():
    async with paired() as (_, client, server):
        readers = [start(server.recv()) for _ in range(3)]
        iterating = [start(rest(server)) for _ in range(3)]
        await turns()
        await client.finish()
        for reader in readers:
            with pytest.raises(ConnectionClosedOK):
                await reader
        assert await asyncio.gather(*iterating) == [[], [], []]


@on_stage
async def test_an_unusual_code_ends_the_iteration_with_an_error():
    async with paired() as (_, client, server):
        await client.send("x")
        await client.finish(4000, "odd")
        got = []
        with pytest.raises(ConnectionClosedError) as caught:
            await iterate(server, got)
        assert got == ["x"]
        assert (caught.value.code, caught.value.reason) == (4000, "odd")


@on_stage
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


@on_stage
async def test_finish_wakes_a_sender_that_waits_for_room():
    async with paired(config=SMALL) as (_, client, _server):
        for n in range(4):
            await client.send(n)
        waiting = [start(client.send(n)) for n in range(4, 6)]
        await turns()
        await client.finish()
        async with asyncio.timeout(1):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(r) for r in results] == [ConnectionClosedOK] * 2


@on_stage
async def test_close_wakes_a_sender_that_waits_for_room():
    async with paired(config=SMALL) as (_, client, server):
        for n in range(4):
            await client.send(n)
        waiting = [start(client.send(n)) for n in range(4, 6)]
        await turns()
        closing = start(client.close())
        async with asyncio.timeout(1):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(r) for r in results] == [ConnectionClosedOK] * 2
        assert await rest(server) == [0, 1, 2, 3]
        await closing


@on_stage
async def test_the_end_is_seen_in_message_order_by_senders_too():
    """After the peer's Stop, send() says so only when all that came before is taken (CLOSE-5)."""
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


# -- facts ---------------------------------------------------------------------------------------


@on_stage
async def test_what_can_be_read_off_a_connection():
    async with paired() as (stage, client, server):
        assert client.id == server.id
        assert client.state is server.state is State.OPEN
        assert client.websocket is client.transport is stage.wire
        assert server.websocket is stage.wire.peer
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
        assert stage.names() == ["opened", "closed"]
        assert stage.events[-1].report == client.report
        assert [e.name for e in stage.server_events] == ["opened", "closed"]
