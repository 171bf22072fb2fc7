"""``conn.explain()``: what waits, for whom, and since when; the same words in ``repr``."""

from __future__ import annotations

import asyncio
import contextlib
import json

from reliable_ws import Config, Methods, State
from reliable_ws.testing import pair, virtual_clock

SMALL = Config(window_messages=4)


def kinds(conn):
    return [reason.kind for reason in conn.explain().reasons]


@virtual_clock
async def test_nothing_waits():
    async with pair() as (client, server, _network):
        await client.send("x")
        assert await server.recv() == "x"
        await asyncio.sleep(1)
        explanation = client.explain()
        assert str(explanation) == "nothing waits"
        assert (explanation.waits_for, explanation.seconds) == ("nobody", 0.0)
        assert repr(client) == f"<Connection {client.id.hex()[:8]} initiator open>"


@virtual_clock
async def test_the_application_there_takes_nothing():
    """What the peer has received and not taken is told apart from what its window keeps here."""
    async with pair(config=SMALL) as (client, server, _network):
        for number in range(4):
            await client.send(number)
        await asyncio.sleep(1)
        client.explain()  # a look
        await asyncio.sleep(41)
        (reason,) = client.explain().reasons
        assert (reason.kind, reason.waits_for, reason.count) == (
            "not-taken-there",
            "peer's application",
            4,
        )
        assert reason.seconds == 41
        assert reason.words == "the peer's application has not taken 4 messages for 41 s"
        assert repr(client).endswith(f" initiator open: {reason.words}>")
        (here,) = server.explain().reasons
        assert (here.kind, here.waits_for) == ("not-taken-here", "application")
        assert here.words.startswith("your application has not taken 4 messages for 42 s")
        for _ in range(4):
            await server.recv()
        await asyncio.sleep(1)
        assert kinds(client) == kinds(server) == []


@virtual_clock
async def test_a_heartbeat_is_a_look_so_nobody_has_to_have_asked():
    async with pair() as (client, _server, _network):
        await client.send("x")
        await asyncio.sleep(60)
        (reason,) = client.explain().reasons
        assert 60 - Config().idle_timeout / 3 - 1 < reason.seconds <= 60


@virtual_clock
async def test_a_full_outbox_and_a_full_window():
    config = Config(window_messages=4, outbox_messages=6)
    async with pair(config=config) as (client, _server, _network):
        for number in range(6):
            await client.send(number)
        sending = asyncio.create_task(client.send(6))
        await asyncio.sleep(1)
        reasons = {reason.kind: reason for reason in client.explain().reasons}
        assert list(reasons) == ["outbox-full", "not-taken-there", "window-full"]
        assert reasons["outbox-full"].words == (
            "the outbox is full (6 messages, 42 bytes): send() waits (1 caller)"
        )
        assert reasons["window-full"].count == 2
        assert "2 messages cannot be sent: the peer's window is full" in str(client.explain())
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


@virtual_clock
async def test_deliveries_that_nobody_confirms():
    async with pair() as (client, server, _network):
        await client.send("x")
        await client.send("y")
        async for _delivery in server.deliveries():
            break
        assert kinds(server) == ["not-confirmed-here", "not-taken-here"]
        assert "your application has not confirmed 1 delivery" in str(server.explain())


@virtual_clock
async def test_detached_with_the_reason_and_the_next_attempt():
    async with pair() as (client, server, network):
        network.refuse()
        network.cut()
        await asyncio.sleep(12)
        client_words, server_words = str(client.explain()), str(server.explain())
        assert client.state is server.state is State.DETACHED
        assert client_words.startswith(
            "no WebSocket carries the session for 12 s; the last attempt"
        )
        assert "; the next attempt is " in client_words
        assert client_words.endswith("; it is given up in 108 s")
        assert server_words == (
            "no WebSocket carries the session for 12 s; the client has not come back; "
            "it is given up in 108 s"
        )
        assert client.explain().waits_for == "network"
        assert server.explain().waits_for == "peer"
        assert f"initiator detached: {client_words}>" in repr(client)
        network.accept()


@virtual_clock
async def test_a_peer_that_is_silent():
    async with pair() as (client, _server, network):
        network.stall()
        await asyncio.sleep(15)
        (reason,) = client.explain().reasons
        assert (reason.kind, reason.waits_for) == ("silent", "peer")
        assert reason.words.startswith("the peer is silent for 15 s; its WebSocket is given up in")
        network.resume()


@virtual_clock
async def test_requests_and_the_handlers_that_run_for_them():
    methods = Methods()

    @methods.register
    async def add() -> None:
        await asyncio.sleep(1000)

    async with pair(methods=methods) as (client, server, _network):
        asking = [asyncio.create_task(client.request("add")) for _ in range(5)]
        await asyncio.sleep(1)
        client.explain()
        server.explain()
        await asyncio.sleep(89.5)
        lines = [reason.words for reason in client.explain().reasons]
        assert lines == ["request 'add' waits for its answer for 90 s"] * 3 + [
            "and 2 requests more"
        ]
        lines = [reason.words for reason in server.explain().reasons]
        assert lines == ["the handler of 'add' runs for 90 s"] * 3 + ["and 2 handlers more"]
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


@virtual_clock
async def test_a_close_and_the_end():
    async with pair() as (client, _server, _network):
        await client.send("x")
        closing = asyncio.create_task(client.close(timeout=5))
        await asyncio.sleep(1)
        assert kinds(client)[-1] == "closing"
        with contextlib.suppress(Exception):
            await closing
        assert str(client.explain()).startswith("the session has ended: ")
        assert client.explain().waits_for == "nobody"


@virtual_clock
async def test_the_same_as_plain_values():
    async with pair() as (client, _server, _network):
        await client.send("x")
        await asyncio.sleep(1)
        told = json.loads(json.dumps(client.explain().as_dict()))
        assert told["line"] == str(client.explain())
        assert told["waits_for"] == "peer's application"
        assert told["reasons"][0]["count"] == 1


@virtual_clock
async def test_callers_that_wait_for_long_are_logged_once(caplog):
    async with pair(config=SMALL) as (client, server, _network):
        for number in range(4):
            await client.send(number)
        sending = asyncio.create_task(client.send(4))
        await asyncio.sleep(60)
        (line,) = [line for line in caplog.messages if "send() waits" in line]
        name = f"session {client.id.hex()[:8]}"
        assert line.startswith(f"{name}: the outbox is full (4 messages, 28 bytes): send() waits")
        assert "; the peer's application has not taken 4 messages for 1" in line
        await server.recv()
        await sending


@virtual_clock
async def test_an_application_that_stopped_taking_is_logged_once_at_its_own_side(caplog):
    """The peer hears of it only once its outbox is full, too."""
    config = Config(window_messages=4, outbox_messages=100)
    for taking, sending in ((0, 1), (1, 0)):
        caplog.clear()
        async with pair(config=config) as both:
            for number in range(8):
                await both[sending].send(number)
            await asyncio.sleep(20)
            assert caplog.messages == []
            await asyncio.sleep(600)
            (line,) = caplog.messages
            assert line.startswith(
                f"session {both[taking].id.hex()[:8]}: 4 messages wait here and fill the window, "
                "and the application has taken none for 30 s"
            )
            assert [await both[taking].recv() for _ in range(8)] == list(range(8))
