"""The pair in memory: what its scissors do. What every transport does is in test_contract.py."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws.testing.memory import pair
from reliable_ws.transport import TransportClosed
from tests.adapters.links import bounded, drain, turns


async def receive_all(transport):
    received, end = await drain(transport)
    return received, end.code


def test_a_pair_needs_no_loop_before_it_is_used():
    near, far = pair()
    assert near.send_now(b"x")
    assert near.peer is far

    async def receive():
        return await far.recv()

    assert asyncio.run(receive()) == b"x"


@bounded
async def test_what_is_sent_has_arrived():
    near, far = pair()
    await near.send(b"1")
    assert near.send_now(b"2")
    near.cut()
    assert await receive_all(far) == ([b"1", b"2"], None)
    assert await receive_all(near) == ([], None)


@bounded
async def test_cut_loses_what_is_held_back_on_either_side():
    near, far = pair()
    await near.send(b"1")
    await far.send(b"a")
    near.freeze()
    far.freeze()
    await near.send(b"2")
    await far.send(b"b")
    far.cut()
    near.thaw()
    far.thaw()
    assert await receive_all(far) == ([b"1"], None)
    assert await receive_all(near) == ([b"a"], None)
    for end in (near, far):
        with pytest.raises(TransportClosed):
            await end.send(b"x")


@bounded
async def test_reset_loses_what_was_not_received():
    near, far = pair()
    for message in (b"1", b"2"):
        await near.send(message)
    await far.send(b"a")
    assert await far.recv() == b"1"
    near.reset()
    assert await receive_all(far) == ([], None)
    assert await receive_all(near) == ([], None)


@bounded
async def test_cut_wakes_whoever_waits():
    near, far = pair(limit=10)
    waiting = [
        asyncio.create_task(near.recv()),
        asyncio.create_task(near.send(bytes(11))),
        asyncio.create_task(far.send(bytes(11))),
    ]
    assert await far.recv() == bytes(11)
    waiting.append(asyncio.create_task(far.recv()))
    await turns()
    near.freeze()
    waiting.append(asyncio.create_task(near.send(bytes(11))))
    await turns()
    far.cut()
    near.cut()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert ends[:3] == [bytes(11), None, None]
    assert [type(end) for end in ends[3:]] == [TransportClosed, TransportClosed]


@bounded
async def test_a_frozen_direction_takes_up_to_the_limit_and_delivers_later():
    near, far = pair(limit=10)
    near.freeze()
    receiving = asyncio.create_task(far.recv())
    assert near.send_now(b"12345")
    assert near.send_now(b"67890")
    assert near.send_now(b"!") is False
    sending = asyncio.create_task(near.send(b"!"))
    await far.send(b"not frozen")
    assert await near.recv() == b"not frozen"
    await turns()
    assert not receiving.done()
    assert not sending.done()
    near.thaw()
    assert await receiving == b"12345"
    await sending
    assert [await far.recv(), await far.recv()] == [b"67890", b"!"]


@bounded
async def test_a_close_frame_is_held_back_too():
    near, far = pair()
    near.freeze()
    await near.send(b"1")
    closing = asyncio.create_task(near.close(4001, "bye"))
    await turns()
    assert not closing.done()
    await far.send(b"far knows nothing")
    near.thaw()
    await closing
    assert await receive_all(far) == ([b"1"], 4001)
    assert await receive_all(near) == ([b"far knows nothing"], 4001)


@pytest.mark.parametrize("end", ["cut", "abort"])
@bounded
async def test_a_close_that_waits_ends_with_the_connection(end):
    near, far = pair()
    far.freeze()  # the answer will not come
    closing = asyncio.create_task(near.close(4001))
    await turns()
    assert not closing.done()
    getattr(near, end)()
    await closing
    assert await receive_all(near) == ([], None)
    assert await receive_all(far) == ([], 4001)


@bounded
async def test_an_abort_into_a_frozen_direction_is_noticed_after_the_thaw():
    near, far = pair()
    near.freeze()
    await near.send(b"lost")
    near.abort()
    await far.send(b"goes nowhere")
    assert await receive_all(near) == ([], None)
    near.thaw()
    assert await receive_all(far) == ([], None)
    with pytest.raises(TransportClosed):
        await far.send(b"x")


@bounded
async def test_dropped_messages_vanish():
    near, far = pair()
    near.drop(2)
    for n in range(4):
        await near.send(b"%d" % n)
    near.abort()
    assert await receive_all(far) == ([b"2", b"3"], None)


@bounded
async def test_anything_can_be_injected():
    near, far = pair(limit=4)
    for message in ("text \u2603", b"", "", b"\xc1"):
        near.inject(message)
    assert near.send_now(b"x") is False
    assert [await far.recv() for _ in range(4)] == ["text \u2603", b"", "", b"\xc1"]
    assert near.send_now(b"x") is True


@bounded
async def test_a_message_that_is_too_large_ends_both():
    near, far = pair(limit=100_000, max_frame=(None, 4))
    assert (near.max_frame, far.max_frame) == (None, 4)
    await far.send(bytes(100_000))
    await near.recv()
    await near.send(b"1234")
    await near.send(b"12345")
    with pytest.raises(TransportClosed):
        await near.send(b"1")
    assert await receive_all(near) == ([], 1009)
    assert await receive_all(far) == ([b"1234"], None)


@bounded
async def test_misuse_is_told():
    near, far = pair(limit=1)
    receiving = asyncio.create_task(near.recv())
    sending = asyncio.create_task(near.send(b"12"))
    await turns()
    with pytest.raises(RuntimeError):
        await near.recv()
    with pytest.raises(RuntimeError):
        await near.send(b"x")
    with pytest.raises(TypeError):
        far.send_now("text")
    receiving.cancel()
    sending.cancel()
    await asyncio.wait([receiving, sending])
    await far.send(b"3")
    assert await near.recv() == b"3"
    assert await far.recv() == b"12"
