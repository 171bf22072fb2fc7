"""What every transport must do, whatever is below it, over real sockets where there are any."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws.adapters import adapt, role_of
from reliable_ws.transport import Transport, TransportClosed
from tests.adapters.links import (
    CHUNK,
    KINDS,
    LIBRARY_KINDS,
    RELEASE,
    drain,
    fill,
    linked,
    turns,
)

pytestmark = pytest.mark.transport


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


async def test_is_a_transport_and_knows_its_role(kind):
    async with linked(kind, theirs_max=5000) as link:
        assert isinstance(link.ours, Transport)
        assert adapt(link.ours) is link.ours
        assert link.ours.max_frame == 2**20
        assert link.theirs.max_frame == 5000
        assert link.ours.websocket is not None
        roles = role_of(link.ours), role_of(link.theirs)
        if kind.endswith("server"):
            assert roles == ("acceptor", "initiator")
        else:
            assert roles == ("initiator", "acceptor")


async def test_types_arrive_exactly(kind):
    async with linked(kind) as link:
        sent = [b"", b"\x00", bytes(range(256)), b"text"]
        for data in sent:
            await link.theirs.send(data)
        texts = ["", "text", "snow \u2603 and \U0001f600", "\x00"]
        for text in texts:
            await link.send_text(text)
        received = [await link.ours.recv() for _ in sent + texts]
        assert received == sent + texts
        assert [type(message) for message in received] == [bytes] * 4 + [str] * 4


async def test_sends_bytes_by_either_way_in_order(kind):
    async with linked(kind) as link:
        for n in range(20):
            if n % 2:
                await link.ours.send(b"%d" % n)
            else:
                assert link.ours.send_now(b"%d" % n) is True
        assert [await link.theirs.recv() for _ in range(20)] == [b"%d" % n for n in range(20)]


async def test_a_message_of_the_largest_size_goes_both_ways(kind):
    async with linked(kind) as link:
        large = bytes(range(256)) * 4096
        for sender, receiver in ((link.ours, link.theirs), (link.theirs, link.ours)):
            async with asyncio.TaskGroup() as group:
                group.create_task(sender.send(large))
                received = group.create_task(receiver.recv())
            assert received.result() == large


async def test_both_ends_send_and_receive_at_the_same_time(kind):
    messages = [bytes([n]) * 10_000 for n in range(256)]

    async def send_all(transport):
        for message in messages:
            await transport.send(message)

    async def recv_all(transport):
        return [await transport.recv() for _ in messages]

    async with linked(kind) as link, asyncio.TaskGroup() as group:
        received = [group.create_task(recv_all(end)) for end in (link.ours, link.theirs)]
        for end in (link.ours, link.theirs):
            group.create_task(send_all(end))
        for task in received:
            assert await task == messages


async def test_what_was_unread_at_the_close_comes_before_the_end(kind):
    async with linked(kind) as link:
        sent = [b"%d" % n for n in range(10)]
        for data in sent:
            await link.theirs.send(data)
        await link.theirs.close(4002, "done")
        await link.ended()
        received, end = await drain(link.ours)
        assert received == (sent if link.keeps_unread else [])
        assert (end.code, end.reason) == (4002, "done")


async def test_what_was_unread_at_the_abort_comes_before_the_end(kind):
    async with linked(kind) as link:
        sent = [b"%d" % n for n in range(10)]
        for data in sent:
            await link.theirs.send(data)
        link.theirs.abort()
        await link.ended()
        received, end = await drain(link.ours)
        assert received == (sent if link.keeps_unread else [])
        assert (end.code, end.reason) == (None, "")


async def test_more_than_is_read_ahead_comes_before_the_end(kind):
    async with linked(kind) as link:
        sent = [b"%d" % n for n in range(200)]
        for data in sent:
            await link.theirs.send(data)
        async with asyncio.TaskGroup() as group:
            group.create_task(link.theirs.close(4002))
            received, end = await drain(link.ours)
        if link.keeps_unread:
            assert received == sent
        else:
            assert received == sent[: len(received)]
        assert end.code == 4002


async def test_the_end_is_sticky(kind):
    async with linked(kind) as link:
        await link.theirs.close(4002, "done")
        await link.ended()
        for _ in range(3):
            for call in (link.ours.recv(), link.ours.send(b"late"), _now(link.ours)):
                with pytest.raises(TransportClosed) as caught:
                    await call
                assert (caught.value.code, caught.value.reason) == (4002, "done")


async def test_sends_to_a_peer_that_is_gone_raise(kind):
    async with linked(kind) as link:
        link.theirs.abort()
        await link.ended()
        with pytest.raises(TransportClosed) as caught:
            await link.ours.send(b"late")
        assert caught.value.code is None
        with pytest.raises(TransportClosed):
            link.ours.send_now(b"late")


@pytest.mark.parametrize("by", ["send", "send_now"])
async def test_sending_notices_a_peer_that_is_gone_without_receiving(kind, by):
    async with linked(kind) as link:
        link.theirs.abort()
        with pytest.raises(TransportClosed):
            await _send_for_ever(link.ours, by)


async def test_sends_after_the_own_end_raise(kind):
    for end in ("close", "abort"):
        async with linked(kind) as link:
            if end == "close":
                await link.ours.close()
            else:
                link.ours.abort()
            with pytest.raises(TransportClosed):
                await link.ours.send(b"late")
            with pytest.raises(TransportClosed):
                link.ours.send_now(b"late")


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_waiting_recv_ends_with_the_own_end(kind, end):
    async with linked(kind) as link:
        receiving = asyncio.create_task(drain(link.ours))
        await turns()
        if end == "close":
            await link.ours.close(4001)
        else:
            link.ours.abort()
        received, closed = await receiving
        assert received == []
        # The peer answers a close frame with the same code.
        assert closed.code == (4001 if end == "close" else None)


async def test_a_slow_reader_holds_up_its_sender(kind):
    async with linked(kind) as link:
        count = await fill(link.ours)
        assert count > 0
        sending = asyncio.create_task(link.ours.send(CHUNK))
        await turns()
        assert not sending.done()
        for _ in range(count + 1):
            assert await link.theirs.recv() == CHUNK
        await sending
        assert link.ours.send_now(b"room again")
        assert await link.theirs.recv() == b"room again"


async def test_a_cancelled_send_that_waited_leaves_the_transport_usable(kind):
    async with linked(kind) as link:
        count = await fill(link.ours)
        sending = asyncio.create_task(link.ours.send(CHUNK))
        await turns()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        for _ in range(count + 1):  # it was written before it waited
            assert await link.theirs.recv() == CHUNK
        await link.ours.send(b"next")
        assert await link.theirs.recv() == b"next"


@pytest.mark.parametrize("waiting_send", [False, True])
async def test_abort_ends_everything_at_once_in_spite_of_a_full_buffer(kind, waiting_send):
    async with linked(kind) as link:
        await fill(link.ours)
        receiving = asyncio.create_task(drain(link.ours))
        sending = asyncio.create_task(link.ours.send(CHUNK)) if waiting_send else None
        await turns()
        link.ours.abort()
        link.ours.abort()
        received, end = await receiving
        assert (received, end.code) == ([], None)
        if sending is not None:
            await asyncio.gather(sending, return_exceptions=True)
            if not sending.exception():
                assert sending.result() is None
            else:
                assert isinstance(sending.exception(), TransportClosed)
        await link.ours.close()


@pytest.mark.parametrize("kind", LIBRARY_KINDS)  # memory has no clock
@pytest.mark.parametrize("waiting_send", [False, True])
async def test_close_is_bounded_although_the_peer_does_not_read(kind, waiting_send):
    async with linked(kind) as link:
        await fill(link.ours)
        receiving = asyncio.create_task(drain(link.ours))
        sending = asyncio.create_task(link.ours.send(CHUNK)) if waiting_send else None
        await turns()
        loop = asyncio.get_running_loop()
        before = loop.time()
        await link.ours.close(timeout=0.2)
        assert loop.time() - before < 5
        assert (await receiving)[1].code is None
        if sending is not None:
            await asyncio.gather(sending, return_exceptions=True)
        await link.ended()


@pytest.mark.parametrize("kind", LIBRARY_KINDS)  # memory has no clock
async def test_close_is_bounded_although_neither_end_reads(kind):
    loop = asyncio.get_running_loop()
    before = loop.time()
    async with linked(kind) as link:
        await fill(link.ours)
        await fill(link.theirs)
        await link.ours.close(timeout=0.2)
        with pytest.raises(TransportClosed):
            await link.ours.send(b"late")
    # The library has let go as well: the server has ended, with all its handlers.
    assert loop.time() - before < 5


@pytest.mark.parametrize("waiting_send", [False, True])
async def test_close_sends_what_was_written_before_it(kind, waiting_send):
    async with linked(kind) as link:
        count = await fill(link.ours)
        sending = asyncio.create_task(link.ours.send(CHUNK)) if waiting_send else None
        await turns()
        closing = asyncio.create_task(link.ours.close(4001, "bye"))
        await turns()
        received, end = await drain(link.theirs)
        await closing
        assert (end.code, end.reason) == (4001, "bye")
        if kind == "memory" or RELEASE >= (14, 1):  # before, the other end drops the last ones
            assert received == [CHUNK] * (count + waiting_send)
        if sending is not None:
            await asyncio.gather(sending, return_exceptions=True)


async def test_close_is_idempotent(kind):
    async with linked(kind) as link:
        await asyncio.gather(*(link.ours.close(4001 + n) for n in range(3)))
        await link.ours.close(4009)
        link.ours.abort()
        await link.ours.close()
        assert (await drain(link.theirs))[1].code == 4001


async def test_both_ends_may_close_at_the_same_time(kind):
    async with linked(kind) as link:
        await asyncio.gather(link.ours.close(4001), link.theirs.close(4002))
        assert (await drain(link.ours))[1].code in {4001, 4002}
        assert (await drain(link.theirs))[1].code in {4001, 4002}


async def test_close_after_the_end_returns(kind):
    async with linked(kind) as link:
        link.theirs.abort()
        await link.ended()
        await link.ours.close()
        await link.theirs.close()
        link.ours.abort()


async def test_a_close_whose_caller_is_cancelled_goes_on(kind):
    async with linked(kind) as link:
        closing = asyncio.create_task(link.ours.close(4001))
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert (await drain(link.theirs))[1].code == 4001
        await link.ours.close()
        assert (await drain(link.ours))[1].code == 4001


async def test_a_message_that_is_too_large_is_seen_as_1009(kind):
    async with linked(kind, theirs_max=1000) as link:
        await link.ours.send(bytes(1000))
        assert await link.theirs.recv() == bytes(1000)
        await link.ours.send(bytes(1001))
        # Whoever refuses the message ends with it; both ends receive all the time.
        (_, theirs), (_, ours) = await asyncio.gather(drain(link.theirs), drain(link.ours))
        assert ours.code == 1009
        assert theirs.code in {None, 1009}  # the sender may have answered the close frame


async def _now(transport):
    transport.send_now(b"late")


async def _send_for_ever(transport, by):
    while True:
        if by == "send":
            await transport.send(b"late")
        else:
            transport.send_now(b"late")
        await asyncio.sleep(0)
