"""Streaming replies: order, credit, early stops, errors in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from reliable_ws import (
    Backoff,
    Config,
    InvalidParams,
    MethodNotFound,
    Methods,
    OutcomeUnknown,
    RemoteError,
    RequestTimeout,
    Sessions,
    State,
    connect,
    wrap,
)
from reliable_ws.adapters.memory import pair
from reliable_ws.shared.asking import STREAM_CREDIT
from tests.aio.sockets import through_a_proxy
from tests.aio.stage import (
    iterate,
    now,
    on_stage,
    paired,
    registry,
    settle,
    start,
    take,
    turns,
    until,
)
from tests.support.cancel import cancel_everywhere

PROMPT = {"reconnect": Backoff(0, 1, 0)}


class Tap:
    """A generator that counts what it gives, and notes how it ends."""

    def __init__(self) -> None:
        self.given = 0
        self.ends: list[str] = []
        self.methods = registry(self.numbers, self.forever, self.chunks, self.breaks, self.one)

    async def numbers(self, count: int):
        for n in range(count):
            yield n

    async def forever(self, pause: float):
        try:
            while True:
                self.given += 1
                yield self.given
                await asyncio.sleep(pause)
        except BaseException as error:
            self.ends.append(type(error).__name__)
            raise

    async def chunks(self, size: int):
        """Never waits for anything but the consumer."""
        try:
            while True:
                self.given += 1
                yield bytes(size)
        finally:
            self.ends.append("closed")

    async def breaks(self, after: int):
        for n in range(after):
            yield n
        raise RemoteError("broken", "in the middle", {"after": after})

    async def one(self, value):
        return value


async def all_of(stream):
    return [item async for item in stream]


@on_stage
async def test_items_arrive_in_order_then_the_end():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, _server):
        assert await all_of(client.stream("numbers", [3000])) == list(range(3000))
        assert await all_of(client.stream("numbers", [0])) == []


@on_stage
async def test_streams_both_ways_beside_requests_and_messages():
    tap = Tap()
    async with paired({"methods": tap.methods}, methods=tap.methods) as (_, client, server):
        streams = [all_of(c.stream("numbers", [500])) for c in (client, server) for _ in range(5)]
        requests = [client.request("one", [n]) for n in range(100)]
        for n in range(100):
            await client.send(n)
        results = await asyncio.gather(*streams, *requests, take(server, 100))
        assert results == [list(range(500))] * 10 + list(range(100)) + [list(range(100))]


@on_stage
async def test_the_producer_is_ahead_by_its_credit_and_no_more():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, server):
        size = 1000
        ahead = STREAM_CREDIT // (size + 6) + 1
        async with contextlib.aclosing(client.stream("chunks", [size])) as stream:
            for taken in range(1, 2000):
                await anext(stream)
                if taken % 250 == 0:
                    await turns()
                    assert ahead / 4 < tap.given - taken <= ahead + 1
            assert await client.request("one", [1], timeout=1) == 1
            await client.send("not held up")
            assert await server.recv() == "not held up"
        await until(lambda: tap.ends)


@on_stage
async def test_items_larger_than_the_credit_go_one_by_one():
    tap = Tap()
    size = STREAM_CREDIT * 2
    async with paired(methods=tap.methods) as (_, client, _server):
        async with contextlib.aclosing(client.stream("chunks", [size])) as stream:
            for taken in range(1, 6):
                assert len(await anext(stream)) == size
                await turns()
                assert tap.given <= taken + 2
        await until(lambda: tap.ends)


@on_stage
async def test_a_generator_that_never_waits_starves_nobody():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, _server):
        stream = start(all_of(client.stream("chunks", [1])))
        for n in range(20):
            assert await client.request("one", [n], timeout=1) == n
        stream.cancel()
        await asyncio.wait({stream})
        await until(lambda: tap.ends)
        assert tap.ends == ["closed"]


@on_stage
async def test_leaving_early_closes_the_generator():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, server):
        got = []
        async with contextlib.aclosing(client.stream("forever", [0.1])) as stream:
            async for item in stream:
                got.append(item)
                if item == 3:
                    break
        await until(lambda: tap.ends)
        assert got == [1, 2, 3]
        assert tap.ends[0] in ("CancelledError", "GeneratorExit")
        assert not server._driver.servant.busy
        await until(lambda: not client._session.calls.open)


@on_stage
async def test_leaving_early_closes_a_generator_that_waits_for_credit():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, server):
        async with contextlib.aclosing(client.stream("chunks", [10_000])) as stream:
            await anext(stream)
            await asyncio.sleep(1)
        await until(lambda: tap.ends)
        assert tap.ends == ["closed"]
        await until(lambda: not server._driver.servant.busy)


@on_stage
async def test_an_error_in_the_middle_comes_behind_the_items():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, _server):
        got = []

        async def slowly():
            async for item in client.stream("breaks", [5]):
                got.append(item)
                await asyncio.sleep(1)  # the error is there long before

        with pytest.raises(RemoteError) as caught:
            await slowly()
        assert got == [0, 1, 2, 3, 4]
        assert caught.value.data == {"after": 5}


@on_stage(seeds=(None,))
async def test_what_does_not_stream_and_what_does():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, _server):
        assert await all_of(client.stream("one", ["it"])) == ["it"]
        with pytest.raises(InvalidParams, match="use stream"):
            await client.request("numbers", [1])
        with pytest.raises(MethodNotFound):
            await all_of(client.stream("nothing"))
        with pytest.raises(InvalidParams):
            await all_of(client.stream("numbers", ["many"]))


@on_stage
async def test_a_generator_function_is_refused_with_the_reason(caplog):
    methods = Methods()
    async with paired(methods=methods) as (_, client, _server):

        @methods.register
        def late():
            yield 1

        for refused in (
            lambda: Sessions(methods=methods),
            lambda: connect("ws://x", methods=methods),
            lambda: wrap(pair()[0], methods=methods),
        ):
            with pytest.raises(TypeError, match="late: generator functions are for reliable_ws"):
                refused()
        with pytest.raises(RemoteError, match="the handler failed"):
            await all_of(client.stream("late"))
    assert "late is a generator function: make it an async one" in caplog.text


@on_stage
async def test_an_item_that_cannot_be_sent_ends_the_stream(caplog):
    closed = []

    async def junk():
        try:
            yield 1
            yield object()
        finally:
            closed.append(True)

    async with paired(methods=registry(junk)) as (_, client, _server):
        got = []
        with pytest.raises(RemoteError) as caught:
            await iterate(client.stream("junk"), got)
        assert (got, caught.value.code, closed) == ([1], "internal", [True])
        assert client.state is State.OPEN


@on_stage
async def test_a_deadline_bounds_the_whole_stream():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, _server):
        got = []
        with pytest.raises(RequestTimeout) as caught:
            await iterate(client.stream("forever", [1], timeout=4.5), got)
        assert got == [1, 2, 3, 4, 5]
        assert caught.value.taken is True
        await until(lambda: tap.ends)


@on_stage
async def test_when_the_session_dies_the_stream_fails_behind_its_items():
    tap = Tap()
    async with paired(methods=tap.methods, config=Config(session_ttl=10)) as (stage, client, _s):
        stream = client.stream("forever", [1])
        got = [await anext(stream)]
        await asyncio.sleep(3.5)
        stage.closed = True
        stage.cut()
        with pytest.raises(OutcomeUnknown):
            await iterate(stream, got)
        assert got == [1, 2, 3, 4]
        await until(lambda: tap.ends)


@on_stage
async def test_close_ends_a_stream_that_does_not_and_tells_its_reader():
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, server):
        reading = start(all_of(client.stream("forever", [1])))
        await until(lambda: tap.given)
        began = now()
        closing = start(server.close())
        with pytest.raises(RemoteError) as caught:
            await reading
        assert caught.value.code == "cancelled"
        assert now() - began <= 271
        await settle(client)
        await closing


@on_stage
@pytest.mark.parametrize("size", [1, 5000, 300_000])
async def test_each_item_once_while_the_network_keeps_breaking(size):
    chance = random.Random(size)

    async def parts(count: int):
        for n in range(count):
            yield [n, bytes(size)]
            if n % 20 == 0:
                await asyncio.sleep(0.1)

    async with paired(PROMPT, methods=registry(parts)) as (stage, client, _server):

        async def breaker():
            while True:
                await asyncio.sleep(chance.random() * 0.3)
                stage.cut()

        breaking = start(breaker())
        count = 100 if size > 10_000 else 1000
        numbers = [item[0] async for item in client.stream("parts", [count])]
        breaking.cancel()
        assert numbers == list(range(count))
        assert client.stats.resumes > 0


@on_stage
async def test_an_abandoned_iterator_stops_its_handler():
    """Not closed by hand: by the garbage collector, through asyncio's hooks."""
    tap = Tap()
    async with paired(methods=tap.methods) as (_, client, _server):
        async for _ in client.stream("forever", [1]):
            break
        await until(lambda: tap.ends)


def test_a_stream_cancelled_at_every_suspension():
    for at in ("suspended", "completed"):

        async def scenario(attempt):
            tap = Tap()
            async with paired(methods=tap.methods, config=Config(max_requests=1)) as (_, c, server):

                async def read():
                    async with contextlib.aclosing(c.stream("forever", [0.1], timeout=60)) as items:
                        async for item in items:
                            if item == 4:
                                return

                outcome = await attempt.run(read())
                assert outcome.how == ("cancelled" if outcome.reached else "returned")
                await asyncio.sleep(1)
                assert len(tap.ends) <= 1
                assert not server._driver.servant.busy
                assert not c._session.calls.open
                assert not c._caller._open
                assert await all_of(c.stream("numbers", [3], timeout=1)) == [0, 1, 2]

        assert len(cancel_everywhere(scenario, at=at)) >= 4


@pytest.mark.transport
async def test_over_sockets_with_cuts_in_the_middle():
    tap = Tap()
    async with through_a_proxy(tap.methods) as (proxy, client, _server):
        got = []
        async for item in client.stream("numbers", [20_000]):
            got.append(item)
            if item % 4000 == 1999:
                proxy.reset()
                await client._driver.detached.wait()
        assert got == list(range(20_000))
        async with contextlib.aclosing(client.stream("chunks", [1000])) as stream:
            for taken in range(2000):
                assert len(await anext(stream)) == 1000
                if taken % 500 == 250:
                    proxy.cut()
        assert await client.request("one", [1]) == 1
        assert tap.ends == ["closed"]
        assert client.stats.resumes > 3
