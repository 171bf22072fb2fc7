"""The library converses with the built package of JavaScript, as its users have it.

The package is an initiator, so our side is the acceptor in every scenario with an honest peer. The
hostile peer plays both roles. The vectors are played by the package's own tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import reliable_ws
from reliable_ws import Config, Connection, DeliveryError, Outcome
from tests.interop.conversing import (
    PATIENCE,
    SMALL,
    converse,
    digest,
    exchange,
    listen,
    message,
    message_of_theirs,
    peer,
    rest,
)

BAD = [
    "gap",
    "ack-never-sent",
    "wrong-key",
    "stale-attempt",
    "data-before-welcome",
    "unknown-critical-type",
    "truncated",
]
pytestmark = pytest.mark.transport


@pytest.mark.parametrize("config", [None, SMALL], ids=["defaults", "small"])
async def test_every_message_comes_back_as_it_went(config):
    messages = [message(i) for i in range(200)]
    back, result = await converse(exchange(messages), "echo", config=config)
    assert back == messages
    assert (result["messages"], result["digest"]) == (200, digest(messages))
    assert (result["confirmed"], result["links"]) == (200, 1)


@pytest.mark.parametrize("config", [None, SMALL], ids=["defaults", "small"])
async def test_the_peer_is_told_that_all_was_taken(config):
    taken, result = await converse(listen, "send", "200", config=config)
    assert taken == [message_of_theirs(i) for i in range(1, 201)]
    assert (result["confirmed"], result["not taken"], result["unknown"]) == (200, [], [])


@pytest.mark.parametrize("size", [1_000_000, 5_000_000])
async def test_a_large_message_in_either_direction(size):
    config = Config(max_frame=65536)
    data = bytes((i * 31 + (i >> 8)) & 255 for i in range(size))

    async def echo(connection: Connection) -> str:
        got = await connection.recv()
        await connection.send(got)
        assert [each async for each in connection] == []
        await connection.close()
        return hashlib.sha256(got).hexdigest()

    got, result = await converse(echo, "large", str(size), config=config)
    assert got == hashlib.sha256(data).hexdigest()
    assert (result["messages"], result["digest"]) == (1, digest([data]))


@pytest.mark.parametrize("each", [1, 7])
async def test_cuts_lose_and_double_nothing(each):
    messages = [message(i) for i in range(100)]
    back, result = await converse(exchange(messages), "cut", str(each), config=SMALL)
    assert back == messages
    assert result["digest"] == digest(messages)
    assert result["inOrder"] is True
    assert result["cuts"] >= 100 // 16
    assert result["links"] > result["cuts"] // 2


async def test_a_message_goes_on_in_its_middle():
    config = Config(max_frame=4096)
    messages = ["é" * 30_000, b"\xff" * 50_000, {"deep": ["x" * 40_000]}]
    back, result = await converse(exchange(messages), "cut", "99", "5", config=config)
    assert back == messages
    assert result["digest"] == digest(messages)
    assert result["cuts"] >= 3


async def test_a_peer_that_takes_late():
    messages = [message(i) for i in range(100)]
    back, result = await converse(exchange(messages), "late", config=SMALL)
    assert back == messages
    assert (result["confirmed"], result["links"]) == (100, 1)


async def test_a_stop_settles_every_message():
    async def talk(connection: Connection) -> reliable_ws.Report:
        for i in range(20):
            await connection.send(i)
        with pytest.raises(DeliveryError) as caught:
            await connection.flush()
        assert [each async for each in rest(connection)] == []
        with contextlib.suppress(DeliveryError):
            await connection.close()
        assert caught.value.report.confirmed == 1
        return connection.report

    report, result = await converse(talk, "stop")
    received, confirmed, handed, stopped, ranges = result["counters"]
    assert (confirmed, handed, stopped, ranges) == (1, 1, True, [])
    assert 3 <= received <= 21
    assert report.confirmed == 1
    assert [entry.number for entry in report.undelivered] == list(range(2, 21))
    assert {entry.outcome for entry in report.undelivered} == {Outcome.NOT_TAKEN}


async def test_our_stop_is_believed():
    """We close with messages unread: the peer knows of each what became of it."""

    async def talk(connection: Connection) -> int:
        taken = await connection.recv()
        assert taken == message_of_theirs(1)
        await connection.close()
        return 1

    taken, result = await converse(talk, "send", "50")
    assert result["confirmed"] == taken
    assert result["not taken"] == list(range(2, 51))
    assert result["unknown"] == []


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_initiator_is_refused(name):
    codes: list[int | None] = []

    async def handler(connection: Connection) -> None:
        with contextlib.suppress(reliable_ws.ConnectionClosed):
            await connection.recv()
        codes.append(connection.close_code)

    async with (
        asyncio.timeout(PATIENCE),
        reliable_ws.serve(handler, "127.0.0.1", 0) as server,
        peer("connect", f"ws://127.0.0.1:{server.port}", "bad", name) as other,
    ):
        await other.result()
    if name == "data-before-welcome":
        assert codes == []
    else:
        assert codes == [4400 if name in ("unknown-critical-type", "truncated") else 4422]


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_acceptor_is_left(name):
    async with asyncio.timeout(PATIENCE), peer("serve", "0", "bad", name) as other:
        port = (await other.event("event", "listening"))["port"]
        with pytest.raises(reliable_ws.ReliableWSError):
            async with reliable_ws.connect(
                f"ws://127.0.0.1:{port}", reconnect=reliable_ws.Backoff(initial=0.01)
            ) as connection:
                await connection.recv()
        await other.result()


async def test_calls_both_ways_and_cuts():
    """Each side asks the other while links are lost: every answer comes, once (CALL-22)."""
    methods = reliable_ws.Methods()
    runs: list[int] = []

    @methods.register
    def add(a: int, b: int) -> int:
        runs.append(a)
        return a + b

    @methods.register
    async def count(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    @methods.register
    def fail() -> None:
        raise reliable_ws.RemoteError("broken", "it fails")

    @methods.register
    def echo(text: str) -> str:
        return text

    async def talk(connection: Connection) -> list[Any]:
        for each in range(30):
            await connection.send(each)
        answers = [await connection.request("double", [each, each + 1]) for each in range(5)]
        letters = [letter async for letter in connection.stream("letters", ["abc"])]
        assert await connection.recv() == "done"
        await connection.finish()
        assert [each async for each in connection] == []
        await connection.close()
        return [answers, letters]

    (answers, letters), result = await converse(talk, "calls", "40", methods=methods)
    assert answers == [[2 * each, 2 * each + 2] for each in range(5)]
    assert letters == ["a", "b", "c"]
    assert result["sums"] == [each + 1 for each in range(40)]
    assert sorted(runs) == list(range(40))
    assert result["items"] == list(range(40))
    assert (result["fault"], result["big"]) == (["broken", "broken: it fails"], 50_000)
    assert (result["messages"], result["cuts"] > 1) == (30, True)
