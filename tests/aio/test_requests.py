"""Requests: each is run once at most, and ends in its answer or in what is known."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import (
    Config,
    MessageTooLarge,
    MethodNotFound,
    NotSerializable,
    NotTaken,
    OutcomeUnknown,
    RemoteError,
    State,
)
from tests.aio.call_handlers import CallHandlers
from tests.aio.memory_network import (
    MemoryNetwork,
    now,
    on_virtual_clock,
    paired,
    registry,
    settle,
    start,
    take,
    turns,
)

# -- answers -------------------------------------------------------------------------------------


@on_virtual_clock
async def test_thousands_both_ways_at_once():
    ours, theirs = CallHandlers(), CallHandlers()
    async with paired({"methods": ours.methods}, methods=theirs.methods) as (_, client, server):
        asked = [start(c.request("echo", [n])) for n in range(2000) for c in (client, server)]
        assert await asyncio.gather(*asked) == [n for n in range(2000) for _ in "ab"]
        assert sorted(ours.begun) == sorted(theirs.begun) == list(range(2000))


@on_virtual_clock(seeds=(None,))
async def test_values_arrive_as_they_were_sent():
    calls = CallHandlers()
    values = ["", "ü", b"", b"\0\xff", None, True, 2**63, [1, [2]], {"a": {1: b"x"}}]
    values += ["x" * 10**6, b"x" * 3_800, b"x" * 3_793, {"deep": ["x" * 20_000]}]
    async with paired(methods=calls.methods) as (_, client, _server):
        for value in values:
            assert await client.request("echo", [value]) == value


@on_virtual_clock
async def test_answers_come_in_whatever_order_the_handlers_end():
    async def later(seconds):
        await asyncio.sleep(seconds)
        return seconds

    async with paired(methods=registry(later)) as (_, client, _server):
        order = []

        async def ask(seconds):
            order.append(await client.request("later", [seconds]))

        await asyncio.gather(*(ask(seconds) for seconds in (3, 1, 2)))
        assert order == [1, 2, 3]


@on_virtual_clock
async def test_a_request_costs_no_wait():
    """No timer stands between a request and its answer."""
    calls = CallHandlers()
    async with paired(methods=calls.methods) as (_, client, _server):
        began = now()
        for n in range(100):
            await client.request("echo", [n], timeout=1)
        assert now() == began


@on_virtual_clock(seeds=(None,))
async def test_a_large_request_goes_in_one_go():
    calls = CallHandlers()
    async with paired(methods=calls.methods, limit=2**23) as (_, client, _server):
        began = now()
        size = 2**20 - 16  # of a value: MSG-6
        assert len(await client.request("echo", [bytes(size)])) == size
        assert now() == began


@on_virtual_clock
async def test_requests_of_a_loop_over_messages_while_the_peer_floods():
    calls = CallHandlers()
    async with paired(methods=calls.methods, config=Config(window_messages=64)) as (_, client, srv):

        async def flood():
            for n in range(1000):
                await srv.send(n)
            await srv.finish()

        flooding = start(flood())
        got = []
        with contextlib.suppress(NotTaken, OutcomeUnknown):  # asked when the peer has finished
            async for message in client:
                got.append(await client.request("echo", [message]))  # noqa: PERF401
        await flooding
        assert got == list(range(len(got)))
        assert len(got) > 800


@on_virtual_clock
async def test_a_full_window_both_ways_stops_no_request():
    calls = CallHandlers()
    tight = Config(window_messages=1, outbox_messages=1)
    methods = calls.methods
    async with paired({"methods": methods}, methods=methods, config=tight) as (_, *both):
        for conn in both:
            await conn.send("nobody reads this")
        stuck = [start(conn.send("nor this")) for conn in both]
        await turns()
        assert await asyncio.gather(*(c.request("echo", [1], timeout=5) for c in both)) == [1, 1]
        assert not any(task.done() for task in stuck)
        for conn in both:
            assert await take(conn, 2) == ["nobody reads this", "nor this"]
        await asyncio.gather(*stuck)


@on_virtual_clock
async def test_nested_calls_never_deadlock():
    async def dive(depth, conn=None):
        raise NotImplementedError

    def diver(end):
        async def dive(depth):
            return 0 if depth == 0 else 1 + await ends[end].request("dive", [depth - 1])

        return registry(dive)

    ends = []
    async with paired({"methods": diver(0)}, methods=diver(1), config=Config(max_requests=64)) as (
        _,
        *both,
    ):
        ends += both
        assert await both[0].request("dive", [100], timeout=10) == 100
        many = [both[n % 2].request("dive", [20], timeout=10) for n in range(6)]
        assert await asyncio.gather(*many) == [20] * 6


@on_virtual_clock
async def test_an_unread_message_holds_back_no_answer_and_a_slow_handler_nothing():
    calls = CallHandlers()
    async with paired(methods=calls.methods, config=Config(idle_timeout=9)) as (_, client, server):
        slow = start(client.request("wait", ["slow"]))
        for n in range(100):
            await client.send(n)
        await asyncio.sleep(60)  # heartbeats went on
        assert client.state is State.OPEN
        assert client.stats.resumes == 0
        assert await client.request("echo", [1], timeout=1) == 1
        assert await take(server, 100) == list(range(100))
        await client.flush(timeout=1)
        assert not slow.done()
        calls.gate.set()
        assert await slow == "slow"


# -- errors --------------------------------------------------------------------------------------


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize(
    ("code", "message", "data"),
    [
        ("no-money", "you have 3", {"have": 3}),
        ("x", "", None),
        ("closing", "not what it seems", None),
        ("timeout", "of the database", [1]),
        ("cancelled", "by me", 0),
        ("x" * 255, "y" * 1000, "z" * 100_000),
    ],
)
async def test_an_error_of_a_handler_arrives_whole(code, message, data):
    async def fail():
        raise RemoteError(code, message, data)

    async with paired(methods=registry(fail)) as (_, client, _server):
        with pytest.raises(RemoteError) as caught:
            await client.request("fail")
        error = caught.value
        assert (type(error), error.code, error.message) == (RemoteError, code, message)
        assert error.data == data


@on_virtual_clock(seeds=(None,))
async def test_a_method_that_is_not_there():
    async with paired() as (_, client, server):
        for conn in (client, server):
            with pytest.raises(MethodNotFound, match="there is no method 'nothing'"):
                await conn.request("nothing")


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize("name", ["x" * 256, "\ud800"])
async def test_a_name_that_cannot_be_said(name):
    async with paired() as (_, client, _server):
        with pytest.raises(ValueError, match=r"at most 255|surrogates"):
            await client.request(name)
        with pytest.raises(MethodNotFound):
            await client.request("x" * 255)


@on_virtual_clock(seeds=(None,))
async def test_what_cannot_be_sent_raises_at_once_and_nothing_is_run():
    calls = CallHandlers()
    small = Config(max_message=10_000, max_requests=1)
    async with paired(methods=calls.methods, server_config=small) as (_, client, _server):
        with pytest.raises(NotSerializable):
            await client.request("echo", [object()])
        busy = start(client.request("wait", [1]))
        await turns()
        waiting = [start(client.request("echo", [value])) for value in (bytes(10_001), "fits")]
        await turns()
        calls.gate.set()
        with pytest.raises(MessageTooLarge):
            await waiting[0]
        assert await waiting[1] == "fits"
        assert await busy == 1
        with pytest.raises(MessageTooLarge):
            await client.request("echo", [bytes(10_001)])
        assert calls.begun == [1, "fits"]
        assert client.state is State.OPEN


@on_virtual_clock(seeds=(None,))
async def test_a_peer_that_takes_less_than_an_entry():
    calls = CallHandlers()
    small = Config(max_message=1000)
    async with paired(methods=calls.methods, server_config=small) as (_, client, _server):
        with pytest.raises(MessageTooLarge):
            await client.request("echo", [bytes(1001)])
        assert await client.request("echo", [bytes(900)]) == bytes(900)


# -- all ways to a connection ----------------------------------------------------------------------


@on_virtual_clock(seeds=(None,))
async def test_all_ways_to_a_connection_take_methods():
    calls = CallHandlers()
    net = MemoryNetwork(methods=calls.methods)
    client, server = await net.pair(methods=calls.methods)
    assert await client.request("echo", [1]) == 1
    assert await server.request("echo", [2]) == 2
    await settle(client, server)
