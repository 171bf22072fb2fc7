"""CallbackTransport: what libraries with callbacks share."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws.adapters.callback import RECEIVE_LIMIT, CallbackTransport
from reliable_ws.transport import PushTransport, TransportClosed


class Fed(CallbackTransport):
    def __init__(self):
        super().__init__(None, "acceptor", None)
        self.calls = []

    async def _close(self, code, reason):
        self.calls.append((code, reason))

    def _pause(self):
        self.calls.append("pause")

    def _resume(self):
        self.calls.append("resume")


@pytest.fixture
def fed():
    return Fed()


async def test_what_was_fed_comes_before_the_end(fed):
    fed.feed(b"one")
    fed.feed("two")
    fed.feed_end(4000, "bye")
    fed.feed(b"too late")
    fed.feed_end(4001, "again")
    assert [await fed.recv(), await fed.recv()] == [b"one", "two"]
    with pytest.raises(TransportClosed) as end:
        await fed.recv()
    assert (end.value.code, end.value.reason) == (4000, "bye")


async def test_sending_ends_with_what_was_fed_although_it_was_not_received(fed):
    fed.feed(b"one")
    fed.feed_end(4000)
    with pytest.raises(TransportClosed):
        fed.send_now(b"late")
    with pytest.raises(TransportClosed):
        await fed.send(b"late")


async def test_messages_are_pushed_once_nothing_waits(fed):
    assert isinstance(fed, PushTransport)
    pushed = []
    fed.feed(b"before")
    fed.push_to(pushed.append)
    fed.feed(b"in order")
    assert [await fed.recv(), await fed.recv()] == [b"before", b"in order"]
    fed.feed(b"pushed")
    fed.feed("a text is not")
    fed.feed(b"nor what comes behind it")
    assert pushed == [b"pushed"]
    assert [await fed.recv(), await fed.recv()] == ["a text is not", b"nor what comes behind it"]


async def test_the_library_is_held_back_and_let_go(fed):
    fed.feed(bytes(RECEIVE_LIMIT))
    fed.feed(b"more")
    waiting = asyncio.create_task(fed.room())
    await asyncio.sleep(0)
    assert (fed.calls, waiting.done()) == (["pause"], False)
    await fed.recv()
    await waiting
    assert fed.calls == ["pause", "resume"]


@pytest.mark.parametrize("verb", ["close", "abort", "end"])
async def test_nobody_is_held_back_for_a_reader_that_will_not_come(fed, verb):
    fed.feed(bytes(RECEIVE_LIMIT))
    if verb == "close":
        await fed.close(4000, "enough")
        assert fed.calls == ["pause", "resume", (4000, "enough")]
    elif verb == "abort":
        fed.abort()
    else:
        fed.feed_end()
    await fed.room()


async def test_nothing_is_taken_in_behind_the_own_close(fed):
    await fed.close()
    fed.feed(b"late")
    with pytest.raises(TransportClosed):
        await fed.recv()
