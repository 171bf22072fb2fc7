"""A peer that asks for much and receives none of it: what is held for it is bounded."""

from __future__ import annotations

import asyncio

from reliable_ws import Config, Methods, Sessions
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.frames import CallAck, Calls, Fault, Reply, Request
from reliable_ws.protocol.session import Session
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import on_virtual_clock, start, until
from tests.support.inside import driver_of, session_of


class Asker:
    """A client played by hand: it asks, and acks only when it is told to."""

    def __init__(self, methods, config):
        self.sessions = Sessions(methods=methods, config=config)
        self.asked = 0
        self.answers = []

    async def begin(self):
        self.near, far = pair()
        self.serving = start(self.sessions.handle(far, self.handler))
        session = Session("initiator", bytes(16), bytes(32), 0.0)
        await self.near.send(session.dial(0.0).transmit(0.0))
        await self.near.recv()

    async def handler(self, conn):
        await conn.wait_closed()

    async def ask(self, count, method="work"):
        requests = [Request(method, None, 0, b"") for _ in range(count)]
        await self.near.send(encode([Calls(self.asked + 1, requests)]))
        self.asked += count

    async def hear(self, count):
        """Read until so many answers have come in all."""
        while len(self.answers) < count:
            for frame in decode(await self.near.recv(), 2**24):
                if isinstance(frame, Calls):
                    self.answers += [e for e in frame.entries if isinstance(e, Reply | Fault)]

    async def over(self):
        self.near.cut()
        for conn in self.sessions.connections:
            conn.abort()
        await asyncio.wait_for(self.serving, 10)


def working(size):
    """A method ``work`` with answers of this size, and a list of the calls that it has run."""
    ran = []
    methods = Methods()

    @methods.register
    async def work(_):
        ran.append(len(ran))
        return bytes(size)

    return ran, methods


@on_virtual_clock
async def test_no_handler_starts_while_its_peer_receives_nothing():
    """CALL-45"""
    ran, methods = working(600)
    asker = Asker(methods, Config(outbox_bytes=1000))
    await asker.begin()
    await asker.ask(2)
    await asker.hear(2)
    await asker.ask(50)
    await asyncio.sleep(1)
    assert len(ran) == 2
    (conn,) = asker.sessions.connections
    assert session_of(conn).held < 20_000
    while len(asker.answers) < 52:
        before = len(asker.answers)
        await asker.near.send(encode([CallAck(before)]))
        await asker.hear(before + 1)
    assert len(ran) == 52
    await asker.over()


@on_virtual_clock
async def test_nor_when_all_of_it_was_asked_for_at_once():
    """CALL-45"""
    ran, methods = working(600)
    asker = Asker(methods, Config(outbox_bytes=1000))
    await asker.begin()
    await asker.ask(50)
    await asyncio.sleep(1)
    assert len(ran) == 2
    await asker.hear(2)
    while len(asker.answers) < 50:
        before = len(asker.answers)
        await asker.near.send(encode([CallAck(before)]))
        await asker.hear(before + 1)
    assert ran == list(range(50))
    await asker.over()


@on_virtual_clock
async def test_what_waits_is_turned_away_when_the_connection_closes():
    """CALL-45, CALL-11"""
    ran, methods = working(1100)
    asker = Asker(methods, Config(outbox_bytes=1000))
    await asker.begin()
    await asker.ask(1)
    await asker.hear(1)
    await asker.ask(2)
    (conn,) = asker.sessions.connections
    await until(lambda: len(driver_of(conn).rpc_server._postponed) == 2)
    closing = start(conn.close(timeout=5))
    await asker.hear(3)
    assert [answer.code for answer in asker.answers[1:]] == ["closing", "closing"]
    assert ran == [0]
    conn.abort()
    await asyncio.gather(closing, return_exceptions=True)
    await asker.over()
