"""CoroutineTransport: what libraries with coroutines share."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from reliable_ws.adapters.callback import RECEIVE_LIMIT
from reliable_ws.adapters.coroutine import CoroutineTransport
from reliable_ws.transport import LONGEST_STEP, TransportClosed


def block(seconds):
    """Take so much time without a turn of the loop."""
    by = time.monotonic() + seconds
    while time.monotonic() < by:
        pass


class Adapted(CoroutineTransport):
    """Over a library on which nothing ever comes."""

    def __init__(self):
        super().__init__(None, "acceptor", None)
        self.receiving = asyncio.Event()

    async def _recv(self):
        self.receiving.set()
        return await asyncio.get_running_loop().create_future()

    async def _close(self, code, reason): ...


@pytest.fixture
def adapted():
    return Adapted()


async def received(transport):
    """How recv() ended, and how often its task is asked to be cancelled."""
    try:
        await transport.recv()
    except (TransportClosed, asyncio.CancelledError) as end:
        return type(end), asyncio.current_task().cancelling()


async def after_a_cancellation(transport):
    """As received(), in a task that has been cancelled before and went on."""
    asyncio.current_task().cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    return await received(transport)


@pytest.mark.parametrize(("receive", "before"), [(received, 0), (after_a_cancellation, 1)])
async def test_a_reader_that_is_woken_by_abort_is_not_cancelled(adapted, receive, before):
    reading = asyncio.create_task(receive(adapted))
    await adapted.receiving.wait()
    adapted.abort()
    assert await reading == (TransportClosed, before)


@pytest.mark.parametrize(("receive", "before"), [(received, 0), (after_a_cancellation, 1)])
@pytest.mark.parametrize("first", ["abort", "cancel"])
async def test_one_that_is_cancelled_in_the_same_turn_is(adapted, receive, before, first):
    reading = asyncio.create_task(receive(adapted))
    await adapted.receiving.wait()
    steps = [adapted.abort, reading.cancel]
    for step in steps if first == "abort" else reversed(steps):
        step()
    assert await reading == (asyncio.CancelledError, before + 1)


async def test_a_limit_of_time_that_passes_in_the_same_turn_is_one(adapted):
    async def reading():
        async with asyncio.timeout(None) as limit:
            loop = asyncio.get_running_loop()
            loop.call_soon(limit.reschedule, loop.time())
            loop.call_soon(loop.call_soon, adapted.abort)
            await adapted.recv()

    with pytest.raises(TimeoutError):
        await reading()
    assert asyncio.current_task().cancelling() == 0


class Scripted(CoroutineTransport):
    """Over a library that gives what it is told to, then raises."""

    def __init__(self, *script):
        super().__init__(None, "acceptor", None)
        self.script = list(script)
        self.given = 0
        self.dropped = 0

    async def _recv(self):
        await asyncio.sleep(0)
        step = self.script[self.given] if self.given < len(self.script) else OSError("gone")
        self.given += 1
        if isinstance(step, Exception):
            raise step
        return step

    async def _send(self, data):
        raise OSError("gone")

    async def _close(self, code, reason): ...

    def _drop(self):
        self.dropped += 1


async def settled(transport):
    """Let the reader go as far as it goes."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_transport_that_is_not_used_reads_nothing():
    transport = Scripted(b"one")
    await settled(transport)
    assert transport.given == 0


async def test_a_receive_that_is_cancelled_has_taken_nothing():
    transport = Scripted(b"one", b"two")
    receiving = asyncio.create_task(transport.recv())
    await asyncio.sleep(0)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert [await transport.recv(), await transport.recv()] == [b"one", b"two"]


class Queued(Scripted):
    """Over a library that gives what comes."""

    def __init__(self):
        super().__init__()
        self.coming = asyncio.Queue()

    async def _recv(self):
        return await self.coming.get()


async def test_the_end_of_the_event_loop_cancels_the_librarys_reader_once_in_vain():
    """What the peer says at the end of a session still comes; then the driver aborts."""
    transport = Queued()
    receiving = asyncio.create_task(transport.recv())
    await settled(transport)
    reader = transport._reader
    reader.cancel()
    await settled(transport)
    transport.coming.put_nowait(b"late")
    assert await receiving == b"late"
    await settled(transport)
    reader.cancel()
    with pytest.raises(TransportClosed):
        await transport.recv()


class Closable(CoroutineTransport):
    """Over a library that gives what comes, and cannot drop a connection: it is closed."""

    def __init__(self):
        super().__init__(None, "acceptor", None)
        self.coming = asyncio.Queue()
        self.closed = []

    async def _recv(self):
        return await self.coming.get()

    async def _close(self, code, reason):
        self.closed.append(code)


@pytest.mark.parametrize("pause", [0, LONGEST_STEP])
async def test_an_abort_closes_whatever_the_reader_is_about_to_do(pause):
    """It ended the reader first, and what was closed seemed to have ended: Daphne kept it open."""
    transport = Closable()

    async def endpoint():
        await transport.recv()
        transport.abort()

    ending = asyncio.create_task(endpoint())
    await settled(transport)
    block(pause)  # after it the reader yields to others, with nothing to wait for
    transport.coming.put_nowait(b"abort")
    await ending
    await settled(transport)
    assert transport.closed == [1000]
    await transport.ended()


async def test_what_has_arrived_comes_before_an_end_of_any_kind():
    for end in (TransportClosed(4000, "bye"), OSError("reset")):
        transport = Scripted(b"one", "two", end)
        first = await transport.recv()
        await settled(transport)
        assert [first, await transport.recv()] == [b"one", "two"]
        for _ in range(2):
            with pytest.raises(TransportClosed) as caught:
                await transport.recv()
            expected = (4000, "bye") if isinstance(end, TransportClosed) else (None, "")
            assert (caught.value.code, caught.value.reason) == expected
        assert transport.dropped == (not isinstance(end, TransportClosed))


async def test_what_has_arrived_is_received_after_a_send_that_failed():
    transport = Scripted(b"one", b"two")
    assert await transport.recv() == b"one"
    await settled(transport)
    with pytest.raises(TransportClosed):
        await transport.send(b"late")
    assert await transport.recv() == b"two"
    with pytest.raises(TransportClosed):
        await transport.recv()
    assert transport.dropped == 1


async def test_nothing_is_received_after_an_abort():
    transport = Scripted(b"one", b"two")
    assert await transport.recv() == b"one"
    await settled(transport)
    transport.abort()
    with pytest.raises(TransportClosed):
        await transport.recv()


async def test_reading_ahead_is_bounded():
    transport = Scripted(*[bytes(RECEIVE_LIMIT)] * 5)
    await transport.recv()
    await settled(transport)
    assert transport.given == 2
    await transport.recv()
    await settled(transport)
    assert transport.given == 3


async def test_messages_are_pushed_and_the_end_is_received():
    transport = Scripted(b"one", b"two", TransportClosed(4000, "bye"))
    pushed = []
    transport.push_to(pushed.append)
    with pytest.raises(TransportClosed):
        await transport.recv()
    assert pushed == [b"one", b"two"]


async def test_what_the_receiver_of_a_push_raises_is_raised_to_the_driver():
    transport = Scripted(b"one", b"two")

    def failing(_message):
        raise ZeroDivisionError

    transport.push_to(failing)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await transport.recv()
    assert transport.given == 1


async def test_who_has_many_messages_at_hand_lets_others_run():
    """A library whose recv() need not wait is read for LONGEST_STEP at most without a turn."""

    class AtHand(Adapted):
        async def _recv(self):
            block(LONGEST_STEP)
            return b"x"

    transport, came = AtHand(), []
    transport.push_to(came.append)
    for _turn in range(10):
        await asyncio.sleep(0)
    assert 1 <= len(came) <= 10
    transport.abort()
