"""What is said of attempts to open a WebSocket, which of them are final, and what may be new."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from reliable_ws import (
    Backoff,
    Config,
    DeliveryError,
    FailureKind,
    SessionLost,
    State,
    connect,
    wrap,
)
from reliable_ws.testing.memory import pair

from .memory_network import MemoryNetwork, now, on_virtual_clock, turns, until


class HandshakeError(Exception):
    """What a WebSocket library raises for an answer of HTTP."""

    def __init__(self, status, **headers):
        super().__init__(f"HTTP {status}")
        self.response = SimpleNamespace(status_code=status, headers=headers)


def answering(*answers, then=None):
    """A coroutine function that raises these, then opens WebSockets or raises for ever."""
    left = list(answers)

    async def reopen():
        if left:
            raise left.pop(0)
        if isinstance(then, Exception):
            raise then
        return await then.open()

    return reopen


@on_virtual_clock
async def test_a_session_that_is_refused_ends_after_a_few_attempts_and_says_why():
    net = MemoryNetwork()
    refused = HandshakeError(403)
    client, _ = await net.pair(reopen=answering(then=refused), reconnect=Backoff(longest=1))
    receipt = await client.send("x")
    net.cut()
    with pytest.raises(SessionLost, match=r"HTTP 403 \(5 times\)") as lost:
        await client.recv()
    assert lost.value.__cause__ is refused
    assert now() < 10
    with pytest.raises(DeliveryError, match="HTTP 403") as undelivered:
        await receipt
    assert undelivered.value.report.ending == lost.value.ending
    await turns()
    tried = ["attempt_failed"] * 5
    assert net.names() == ["opened", "detached", *tried, "session_lost", "closed"]
    attempts = [event.attempt for event in net.events if event.name == "attempt_failed"]
    assert [attempt.number for attempt in attempts] == [1, 2, 3, 4, 5]
    assert [attempt.final for attempt in attempts] == [False] * 4 + [True]
    event = net.events[2]
    assert (event.connection, event.code, event.reason) == (client, 403, "HTTP 403")
    assert event.attempt.resuming


@on_virtual_clock
async def test_the_policy_may_give_up_at_once_or_never():
    for policy, attempts in ((lambda _: False, 1), (lambda attempt: attempt.number < 9, 9)):
        net = MemoryNetwork()
        reopen = answering(then=HandshakeError(401))
        client, _ = await net.pair(reopen=reopen, retry=policy)
        net.cut()
        with pytest.raises(SessionLost, match="HTTP 401"):
            await client.recv()
        await turns()
        assert net.names().count("attempt_failed") == attempts


@on_virtual_clock
async def test_no_attempt_begins_before_the_server_wants_it():
    net = MemoryNetwork()
    busy = HandshakeError(503, **{"Retry-After": "20"})
    client, _ = await net.pair(reopen=answering(busy, then=net), reconnect=Backoff())
    net.cut()
    began = now()
    await until(lambda: client.stats.resumes)
    assert 20 <= now() - began < 22
    client.abort()
    await turns()


@on_virtual_clock
async def test_a_websocket_without_a_welcome_is_an_attempt_that_failed():
    net = MemoryNetwork()

    class Deaf:
        async def open(self):
            near, far = pair()
            far.cut()
            return near

    deaf = answering(then=Deaf())
    client, _ = await net.pair(reopen=deaf, config=Config(session_ttl=5))
    net.cut()
    with pytest.raises(SessionLost, match="no contact with the peer; last attempt: "):
        await client.recv()
    names = net.names()
    assert names.count("detached") == 1
    assert names.count("attempt_failed") > 2


@on_virtual_clock
async def test_attempts_are_logged_with_their_session(caplog):
    caplog.set_level(logging.INFO, "reliable_ws")
    caplog.clear()
    net = MemoryNetwork()
    client, _ = await net.pair(reopen=answering(HandshakeError(502), then=net))
    net.cut()
    await until(lambda: client.stats.resumes)
    client.abort()
    await turns()
    (line,) = (record for record in caplog.records if "attempt" in record.getMessage())
    assert line.levelname == "INFO"
    assert line.getMessage() == (
        f"session {client.id.hex()[:8]}: attempt 1 to open a WebSocket failed: HTTP 502"
    )


# ------------------------------------------------------------------ at once


@on_virtual_clock
async def test_the_next_attempt_begins_at_once():
    net = MemoryNetwork()
    slow = Backoff(initial=1000, longest=1000)
    client, server = await net.pair(reconnect=slow, config=Config(session_ttl=5000))
    net.cut()
    await until(lambda: client.state is State.DETACHED)
    before = now()
    client.reconnect_now()
    await until(lambda: client.stats.resumes)
    assert now() - before < 0.5
    client.reconnect_now()  # nothing to do
    client.abort()
    client.reconnect_now()
    await server.wait_closed()


@on_virtual_clock
async def test_what_opens_no_websocket_says_so():
    near, far = pair()
    client, server = await asyncio.gather(wrap(near), wrap(far))
    for conn in (client, server):
        with pytest.raises(RuntimeError, match="opens no WebSockets"):
            conn.reconnect_now()
        conn.abort()


# ------------------------------------------------------------------ one session after the other


@on_virtual_clock
async def test_a_loop_over_connect_tells_of_its_attempts_and_raises_what_is_final():
    events = []
    connecting = connect("ws://x", on_event=events.append, reconnect=Backoff(longest=1))
    connecting._dial = answering(OSError("down"), HandshakeError(502), HandshakeError(403))
    with pytest.raises(HandshakeError, match="403"):
        await anext(aiter(connecting))
    await turns()
    kinds = [event.attempt.kind for event in events]
    assert kinds == [FailureKind.PASSING, FailureKind.PASSING, FailureKind.REFUSED]
    assert {(event.name, event.connection) for event in events} == {("attempt_failed", None)}
    assert not events[0].attempt.resuming


def test_options_of_attempts_are_checked_at_the_call():
    with pytest.raises(TypeError, match="retry= must be a plain function"):
        connect("ws://x", retry=5)
    with pytest.raises(TypeError, match="uri must be a URI"):
        connect(5)
