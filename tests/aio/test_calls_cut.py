"""Calls over a network that is cut: nested, behind a flood, slow, and cancelled at every point."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import Backoff, Config, NotTaken, OutcomeUnknown
from tests.aio.memory_network import on_virtual_clock, paired, registry, rest, start, turns, until
from tests.aio.sockets import through_a_proxy
from tests.support.calls import session_calls
from tests.support.cancel import cancel_everywhere
from tests.support.inside import session_of

PROMPT = {"reconnect": Backoff(0, 1, 0)}
CUTS = (None, 0, 2, 4, 6, 9, 14)
"""Turns of the event loop after which the network is cut."""


# -- cancelled at every point ----------------------------------------------------------------------


async def cut_after(net, patience):
    if patience is not None:
        await turns(patience)
        net.cut()


@pytest.mark.parametrize("at", ["suspended", "completed"])
@pytest.mark.parametrize("patience", CUTS)
def test_a_request_cancelled_at_every_suspension(patience, at):
    """Run once at most; nothing of it is left, at either end."""

    async def scenario(attempt):
        begun = []

        async def work(value):
            begun.append(value)
            await asyncio.sleep(5)
            return value

        async with paired(PROMPT, methods=registry(work)) as (net, client, server):
            cutting = start(cut_after(net, patience))
            outcome = await attempt.run(client.request("work", [bytes(9000)], timeout=60))
            assert outcome.how == ("cancelled" if outcome.reached else "returned")
            await cutting
            await asyncio.sleep(1)
            assert len(begun) <= 1
            assert not session_calls(session_of(client)).open
            assert not session_calls(session_of(server)).served
            assert await client.request("work", ["next"]) == "next"
            assert begun[-1] == "next"
            await asyncio.sleep(1)
            assert (
                session_calls(session_of(client)).held
                == session_calls(session_of(server)).held
                == 0
            )

    assert len(cancel_everywhere(scenario, at=at)) >= 2


@pytest.mark.parametrize("at", ["suspended", "completed"])
@pytest.mark.parametrize("patience", CUTS)
def test_a_stream_cancelled_at_every_suspension(patience, at):
    """Each item once and in order as far as it is read; its generator is closed."""

    async def scenario(attempt):
        begun, ended = [], []

        async def count(upto):
            begun.append(upto)
            try:
                for n in range(upto):
                    yield n
                    await asyncio.sleep(n % 2)
            finally:
                ended.append(upto)

        async with paired(PROMPT, methods=registry(count)) as (net, client, server):
            cutting = start(cut_after(net, patience))
            got = []

            async def read():
                async with contextlib.aclosing(client.stream("count", [6], timeout=60)) as items:
                    async for item in items:
                        got.append(item)  # noqa: PERF401 - what came before an exception counts

            outcome = await attempt.run(read())
            assert outcome.how == ("cancelled" if outcome.reached else "returned")
            await cutting
            await asyncio.sleep(2)
            assert got == list(range(6))[: len(got)]
            assert outcome.reached or len(got) == 6
            assert len(begun) == len(ended) <= 1
            assert [item async for item in client.stream("count", [3])] == [0, 1, 2]
            await asyncio.sleep(1)
            for conn in (client, server):
                assert not session_calls(session_of(conn)).open
                assert not session_calls(session_of(conn)).served
                assert session_calls(session_of(conn)).held == 0

    assert len(cancel_everywhere(scenario, at=at)) >= 4


# -- over sockets, through a proxy that cuts -------------------------------------------------------


@pytest.mark.transport
async def test_nested_calls_while_the_network_breaks():
    """Three levels and more, both directions, through handlers that wait for each other."""
    ends, begun = [], []
    broken = asyncio.Event()

    def diver(end):
        async def dive(name, depth):
            begun.append((end, name, depth))
            if depth == 0:
                return [name]
            if depth == 1:
                await broken.wait()  # the whole nest is open while the network breaks
            return [*await ends[end].request("dive", [name, depth - 1]), depth]

        return registry(dive)

    async with through_a_proxy(diver(1), diver(0)) as (proxy, *both):
        ends += both
        nests = [start(both[n % 2].request("dive", [n, 3 + n % 3])) for n in range(30)]
        await until(lambda: sum(depth == 1 for _, _, depth in begun) == 30)
        proxy.reset()
        broken.set()
        for n, answer in enumerate(await asyncio.gather(*nests)):
            assert answer == [n, *range(1, 4 + n % 3)]
        assert len(begun) == len(set(begun)) == sum(4 + n % 3 for n in range(30))
        assert both[0].stats.resumes >= 1


@pytest.mark.transport
async def test_requests_in_a_loop_over_messages_while_the_peer_floods():
    """The window is full of messages, and the network breaks: the answers come all the same."""
    asked = []

    async def note(number):
        asked.append(number)
        return number

    async def flood(conn):
        for number in range(600):
            await conn.send(number)
        await conn.finish()

    got = []
    config = Config(window_messages=16, outbox_messages=16)
    async with through_a_proxy(registry(note), config=config, handler=flood) as (
        proxy,
        client,
        _server,
    ):
        with contextlib.suppress(NotTaken, OutcomeUnknown):  # asked when the peer has finished
            async for number in client:
                got.append(await client.request("note", [number]))
                if number % 150 == 75:
                    proxy.reset()
        assert got == list(range(len(got)))
        assert len(got) >= 580
        assert asked[: len(got)] == got
        assert len(asked) == len(set(asked))
        assert client.stats.resumes >= 3


@on_virtual_clock
async def test_a_slow_handler_stops_no_ack_no_heartbeat_and_nobody_else():
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        return "at last"

    async def quick(value):
        return value

    async with paired(PROMPT, methods=registry(slow, quick)) as (net, client, server):
        taking, waiting = start(rest(server)), start(client.request("slow"))
        await asyncio.sleep(60)  # longer than a silent link would live: heartbeats go on
        assert client.stats.resumes == 0
        for number in range(100):
            await client.send(number)
            assert await client.request("quick", [number], timeout=1) == number
        await client.flush(timeout=1)
        assert not waiting.done()
        net.cut()
        assert await client.request("quick", ["resumed"], timeout=1) == "resumed"
        assert client.stats.resumes == 1
        gate.set()
        assert await waiting == "at last"
        await client.close()
        assert await taking == list(range(100))


@pytest.mark.transport
async def test_callers_that_give_up_while_the_network_breaks():
    """Half of them are cancelled, whenever; the others are answered, and nothing is left."""
    begun = []

    async def work(number):
        begun.append(number)
        await asyncio.sleep(0)
        return number

    async with through_a_proxy(registry(work), config=Config(max_requests=20)) as (
        proxy,
        client,
        server,
    ):

        async def ask(number):
            asking = start(client.request("work", [number]))
            await turns(number % 40)
            if number % 100 == 50:
                proxy.reset()
            if number % 2:
                asking.cancel()
            return (await asyncio.gather(asking, return_exceptions=True))[0]

        for first in range(0, 400, 40):
            answers = await asyncio.gather(*(ask(n) for n in range(first, first + 40)))
            for number, answer in enumerate(answers, first):
                assert answer == number or (number % 2 and isinstance(answer, BaseException))
        assert len(begun) == len(set(begun)) >= 200
        assert client.stats.resumes >= 3
        assert await client.request("work", ["last"]) == "last"
        await until(
            lambda: (
                not session_calls(session_of(client)).open
                and not session_calls(session_of(client)).held
            )
        )
        await until(
            lambda: (
                not session_calls(session_of(server)).served
                and not session_calls(session_of(server)).held
            )
        )
