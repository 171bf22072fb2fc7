"""Requests: each is run once at most, and ends in its answer or in what is known."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random

import pytest

from reliable_ws import (
    Backoff,
    Config,
    ConnectionClosed,
    MessageTooLarge,
    MethodNotFound,
    NotSerializable,
    NotTaken,
    OutcomeUnknown,
    RemoteError,
    RequestTimeout,
    State,
    connect,
    serve,
    wrap,
)
from reliable_ws.adapters.memory import pair
from reliable_ws.testing import ChaosProxy
from tests.aio.stage import (
    Stage,
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

FEW = Config(max_requests=4)
PROMPT = {"reconnect": Backoff(0, 1, 0)}


class Desk:
    """Handlers that count, and wait until they may end."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.ended: list[object] = []
        self.cancelled: list[object] = []
        self.gate = asyncio.Event()
        self.methods = registry(self.echo, self.wait, self.stubborn, self.fail)

    async def echo(self, value):
        self.begun.append(value)
        self.ended.append(value)
        return value

    async def wait(self, value):
        self.begun.append(value)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(value)
            raise
        self.ended.append(value)
        return value

    async def stubborn(self, value):
        """Never ends, blocks cancellation."""
        self.begun.append(value)
        while not self.gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.gate.wait()

    async def fail(self, value):
        raise LookupError(value)


# -- answers -------------------------------------------------------------------------------------


@on_stage
async def test_thousands_both_ways_at_once():
    ours, theirs = Desk(), Desk()
    async with paired({"methods": ours.methods}, methods=theirs.methods) as (_, client, server):
        asked = [start(c.request("echo", [n])) for n in range(2000) for c in (client, server)]
        assert await asyncio.gather(*asked) == [n for n in range(2000) for _ in "ab"]
        assert sorted(ours.begun) == sorted(theirs.begun) == list(range(2000))


@on_stage(seeds=(None,))
async def test_values_arrive_as_they_were_sent():
    desk = Desk()
    values = ["", "ü", b"", b"\0\xff", None, True, 2**63, [1, [2]], {"a": {1: b"x"}}]
    values += ["x" * 10**6, b"x" * 3_800, b"x" * 3_793, {"deep": ["x" * 20_000]}]
    async with paired(methods=desk.methods) as (_, client, _server):
        for value in values:
            assert await client.request("echo", [value]) == value


@on_stage
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


@on_stage
async def test_a_request_costs_no_wait():
    """No timer stands between a request and its answer."""
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, _server):
        began = now()
        for n in range(100):
            await client.request("echo", [n], timeout=1)
        assert now() == began


@on_stage(seeds=(None,))
async def test_a_large_request_goes_in_one_go():
    desk = Desk()
    async with paired(methods=desk.methods, limit=2**23) as (_, client, _server):
        began = now()
        assert len(await client.request("echo", [bytes(2**21)])) == 2**21
        assert now() == began


@on_stage
async def test_requests_of_a_loop_over_messages_while_the_peer_floods():
    desk = Desk()
    async with paired(methods=desk.methods, config=Config(window_messages=64)) as (_, client, srv):

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


@on_stage
async def test_a_full_window_both_ways_stops_no_request():
    desk = Desk()
    tight = Config(window_messages=1, outbox_messages=1)
    async with paired({"methods": desk.methods}, methods=desk.methods, config=tight) as (_, *both):
        for conn in both:
            await conn.send("nobody reads this")
        stuck = [start(conn.send("nor this")) for conn in both]
        await turns()
        assert await asyncio.gather(*(c.request("echo", [1], timeout=5) for c in both)) == [1, 1]
        assert not any(task.done() for task in stuck)
        for conn in both:
            assert await take(conn, 2) == ["nobody reads this", "nor this"]
        await asyncio.gather(*stuck)


@on_stage
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


@on_stage
async def test_an_unread_message_holds_back_no_answer_and_a_slow_handler_nothing():
    desk = Desk()
    async with paired(methods=desk.methods, config=Config(idle_timeout=9)) as (_, client, server):
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
        desk.gate.set()
        assert await slow == "slow"


# -- errors --------------------------------------------------------------------------------------


@on_stage(seeds=(None,))
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


@on_stage(seeds=(None,))
async def test_a_method_that_is_not_there():
    async with paired() as (_, client, server):
        for conn in (client, server):
            with pytest.raises(MethodNotFound, match="there is no method 'nothing'"):
                await conn.request("nothing")


@on_stage(seeds=(None,))
@pytest.mark.parametrize("name", ["x" * 256, "\ud800"])
async def test_a_name_that_cannot_be_said(name):
    async with paired() as (_, client, _server):
        with pytest.raises(ValueError, match=r"at most 255|surrogates"):
            await client.request(name)
        with pytest.raises(MethodNotFound):
            await client.request("x" * 255)


@on_stage(seeds=(None,))
async def test_what_cannot_be_sent_raises_at_once_and_nothing_is_run():
    desk = Desk()
    small = Config(max_message=10_000, max_requests=1)
    async with paired(methods=desk.methods, server_config=small) as (_, client, _server):
        with pytest.raises(NotSerializable):
            await client.request("echo", [object()])
        busy = start(client.request("wait", [1]))
        await turns()
        waiting = [start(client.request("echo", [value])) for value in (bytes(10_001), "fits")]
        await turns()
        desk.gate.set()
        with pytest.raises(MessageTooLarge):
            await waiting[0]
        assert await waiting[1] == "fits"
        assert await busy == 1
        with pytest.raises(MessageTooLarge):
            await client.request("echo", [bytes(10_001)])
        assert desk.begun == [1, "fits"]
        assert client.state is State.OPEN


@on_stage(seeds=(None,))
async def test_a_peer_that_takes_less_than_an_entry():
    desk = Desk()
    small = Config(max_message=1000)
    async with paired(methods=desk.methods, server_config=small) as (_, client, _server):
        with pytest.raises(MessageTooLarge):
            await client.request("echo", [bytes(1001)])
        assert await client.request("echo", [bytes(900)]) == bytes(900)


# -- deadlines -----------------------------------------------------------------------------------


@on_stage
async def test_a_deadline_reaches_the_handler():
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, _server):
        began = now()
        with pytest.raises(RequestTimeout) as caught:
            await client.request("wait", [1], timeout=5)
        assert now() == began + 5
        assert caught.value.taken is True
        assert isinstance(caught.value, TimeoutError)
        await turns()
        assert desk.cancelled == [1]
        assert await client.request("echo", [2]) == 2


@on_stage
@pytest.mark.parametrize("timeout", [0, -1])
async def test_no_time_at_all(timeout):
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, _server):
        with pytest.raises(RequestTimeout) as caught:
            await client.request("echo", [1], timeout=timeout)
        assert caught.value.taken is False
        await asyncio.sleep(1)
        assert desk.begun == []
        assert client.state is State.OPEN


@on_stage(seeds=(None,))
@pytest.mark.parametrize("timeout", [math.inf, 1e300, math.nan, None])
async def test_as_much_time_as_there_is(timeout):
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, _server):
        assert await client.request("echo", [1], timeout=timeout) == 1


@on_stage
async def test_time_goes_on_while_there_is_no_websocket():
    """A request whose time ran out before it went is never run, though it was replayed."""
    desk = Desk()
    async with paired(methods=desk.methods) as (stage, client, _server):
        stage.closed = True
        stage.cut()
        await until(lambda: client.state is State.DETACHED)
        with pytest.raises(RequestTimeout) as caught:
            await client.request("echo", ["late"], timeout=3)
        assert caught.value.taken is False
        stage.closed = False
        assert await client.request("echo", ["next"], timeout=100) == "next"
        assert desk.begun == ["next"]


@on_stage
async def test_a_deadline_is_judged_again_at_the_replay():
    """The first WebSocket took it and lost it; the second one knows what is left of its time."""
    desk = Desk()
    left = []

    async def measure():
        began = now()
        try:
            await asyncio.sleep(1000)
        finally:
            left.append(now() - began)

    desk.methods.register(measure)
    async with paired(methods=desk.methods) as (stage, client, _server):
        stage.wire.freeze()
        first = start(client.request("echo", ["lost"], timeout=4))
        second = start(client.request("measure", timeout=50))
        await turns()
        stage.closed = True
        stage.cut()
        with pytest.raises(RequestTimeout) as caught:
            await first
        assert caught.value.taken is False or caught.value.taken is None
        await asyncio.sleep(1)
        stage.closed = False
        with pytest.raises(RequestTimeout):
            await second
        await turns()
        assert desk.begun == []
        assert len(left) == 1
        assert 20 < left[0] < 46


@on_stage
async def test_an_answer_that_is_late_is_ignored():
    desk = Desk()

    async def late():
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.sleep(100)
        await asyncio.sleep(1)
        return "late"

    desk.methods.register(late)
    async with paired(methods=desk.methods, config=FEW) as (_, client, _server):
        for _ in range(10):
            with pytest.raises(RequestTimeout):
                await client.request("late", timeout=1)
        await asyncio.sleep(10)
        assert await client.request("echo", [1]) == 1
        assert client.state is State.OPEN


@on_stage
async def test_an_answer_in_the_moment_of_the_timeout_is_no_loss():
    """Whoever is first: a result or a timeout, and the connection goes on."""
    outcomes = set()
    for tenths in range(8, 13):

        async def slow(tenths=tenths):
            await asyncio.sleep(tenths / 10)
            return "answer"

        async with paired(methods=registry(slow)) as (_, client, _server):
            try:
                outcomes.add(await client.request("slow", timeout=1))
            except RequestTimeout:
                outcomes.add("timeout")
    assert outcomes == {"answer", "timeout"}


# -- cancellation --------------------------------------------------------------------------------


@on_stage
async def test_cancelling_the_caller_cancels_the_handler():
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, _server):
        asking = start(client.request("wait", [1]))
        await until(lambda: desk.begun)
        asking.cancel()
        await until(lambda: desk.cancelled)
        assert desk.begun == desk.cancelled == [1]


@on_stage
async def test_cancelling_at_once_runs_nothing():
    """Not sent yet, or sent together with its cancellation: the slot is free again."""
    desk = Desk()
    async with paired(methods=desk.methods, config=FEW) as (_, client, server):
        for patience in (1, 2, 3, 4, 5) * 4:
            asking = start(client.request("wait", [patience]))
            await turns(patience)
            asking.cancel()
        await asyncio.sleep(1)
        assert desk.begun == desk.cancelled
        assert not server._driver.servant.busy
        desk.gate.set()
        asked = [client.request("wait", [n], timeout=1) for n in range(10)]
        assert await asyncio.gather(*asked) == list(range(10))


@on_stage
async def test_a_request_and_its_cancellation_in_one_envelope():
    desk = Desk()
    async with paired(methods=desk.methods, config=FEW) as (stage, client, server):
        stage.wire.freeze()
        asking = [start(client.request("wait", [n])) for n in range(4)]
        await turns()
        for task in asking:
            task.cancel()
        await turns()
        stage.wire.thaw()
        await asyncio.sleep(1)
        assert desk.begun == desk.cancelled
        assert not server._driver.servant.busy
        desk.gate.set()
        assert await client.request("wait", ["next"], timeout=1) == "next"


@on_stage
async def test_who_waits_for_room_gets_that_of_an_abandoned_request():
    desk = Desk()
    one = Config(max_requests=1)
    async with paired(methods=desk.methods, server_config=one) as (_, client, _server):
        first = start(client.request("wait", [1]))
        await until(lambda: desk.begun)
        second = start(client.request("echo", [2]))
        await turns()
        first.cancel()
        async with asyncio.timeout(1):
            assert await second == 2


@on_stage
async def test_what_was_cancelled_while_detached_is_never_run():
    desk = Desk()
    async with paired(methods=desk.methods) as (stage, client, _server):
        stage.closed = True
        stage.cut()
        await until(lambda: client.state is State.DETACHED)
        asking = start(client.request("wait", ["never"]))
        await turns()
        asking.cancel()
        await turns()
        stage.closed = False
        assert await client.request("echo", [1]) == 1
        assert desk.begun == [1]


def test_a_request_cancelled_at_every_suspension():
    """Answered or not, nothing is left: no slot, no handler, no waiter."""
    for at in ("suspended", "completed"):
        for crowded in (False, True):

            async def scenario(attempt, *, crowded=crowded):
                desk = Desk()
                config = Config(max_requests=2)
                async with paired(methods=desk.methods, config=config) as (_, client, server):
                    busy = [start(client.request("wait", [n])) for n in range(2 * crowded)]
                    await turns()
                    asyncio.get_running_loop().call_later(5, desk.gate.set)
                    outcome = await attempt.run(client.request("echo", ["it"], timeout=60))
                    assert outcome.how == ("cancelled" if outcome.reached else "returned")
                    assert not outcome.swallowed
                    await asyncio.gather(*busy)
                    await asyncio.sleep(1)
                    assert desk.begun.count("it") <= 1
                    assert not client._caller._open
                    assert not client._session.calls.open
                    assert not server._driver.servant.busy
                    asked = (client.request("echo", [n], timeout=1) for n in range(5))
                    assert await asyncio.gather(*asked) == list(range(5))

            cases = cancel_everywhere(scenario, at=at)
            assert len(cases) == 2 + crowded


# -- backpressure --------------------------------------------------------------------------------


@on_stage
async def test_no_more_requests_are_open_than_the_peer_takes():
    running = most = 0

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return number

    async with paired(methods=registry(work), server_config=FEW) as (_, client, _server):
        began = now()
        asked = [start(client.request("work", [n])) for n in range(40)]
        assert await asyncio.gather(*asked) == list(range(40))
        assert most == 4
        assert now() == pytest.approx(began + 10)


@on_stage
async def test_whoever_waits_for_room_is_served_in_turn():
    order = []

    async def work(number):
        order.append(number)
        await asyncio.sleep(1)

    async with paired(methods=registry(work), server_config=FEW) as (_, client, _server):
        asked = []
        for n in range(100):
            asked.append(start(client.request("work", [n])))
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
        assert order == list(range(100))


@on_stage
async def test_time_runs_while_waiting_for_room():
    desk = Desk()
    one = Config(max_requests=1)
    async with paired(methods=desk.methods, server_config=one) as (_, client, _server):
        busy = start(client.request("wait", [1]))
        await until(lambda: desk.begun)
        with pytest.raises(RequestTimeout) as caught:
            await client.request("echo", [2], timeout=3)
        assert caught.value.taken is False
        desk.gate.set()
        assert await busy == 1
        assert desk.begun == [1]


# -- across WebSockets -----------------------------------------------------------------------------


@on_stage(seeds=range(8))
async def test_each_is_run_once_while_the_network_keeps_breaking():
    chance = random.Random(7)
    ours, theirs = Desk(), Desk()
    few = Config(max_requests=50)
    async with paired(
        PROMPT | {"methods": ours.methods}, methods=theirs.methods, config=few, limit=3000
    ) as (stage, client, server):

        async def breaker():
            while True:
                await asyncio.sleep(chance.random())
                [stage.cut, stage.freeze, stage.wire.freeze, stage.wire.peer.abort][
                    chance.randrange(4)
                ]()

        async def ask(conn, n):
            await asyncio.sleep(chance.random() * 30)
            return await conn.request("echo", [n])

        breaking = start(breaker())
        asked = [ask(conn, n) for n in range(300) for conn in (client, server)]
        assert await asyncio.gather(*asked) == [n for n in range(300) for _ in "ab"]
        breaking.cancel()
        assert sorted(ours.begun) == sorted(theirs.begun) == list(range(300))
        assert client.stats.resumes > 5


@on_stage
async def test_a_cut_at_each_turn_of_one_request():
    """Between request, execution and reply: run once, answered once."""
    for patience in range(12):
        desk = Desk()
        desk.gate.set()
        async with paired(PROMPT, methods=desk.methods) as (stage, client, _server):
            asking = start(client.request("wait", [bytes(50_000)]))
            await turns(patience)
            stage.cut()
            assert await asking == bytes(50_000)
            assert len(desk.begun) == len(desk.ended) == 1


@on_stage
async def test_an_answer_made_while_there_is_no_websocket():
    desk = Desk()
    async with paired(methods=desk.methods) as (stage, client, _server):
        asking = start(client.request("wait", [1]))
        await until(lambda: desk.begun)
        stage.closed = True
        stage.cut()
        desk.gate.set()
        await until(lambda: desk.ended)
        stage.closed = False
        assert await asking == 1
        assert desk.begun == [1]


# -- ends ----------------------------------------------------------------------------------------


@on_stage
async def test_when_the_session_dies_every_request_fails_at_once():
    desk = Desk()
    brief = Config(session_ttl=10, max_requests=3)
    async with paired(methods=desk.methods, config=brief) as (stage, client, _server):
        arrived = [start(client.request("wait", [n])) for n in range(3)]
        await until(lambda: len(desk.begun) == 3)
        await asyncio.sleep(1)
        queued = start(client.request("wait", ["queued"]))
        stage.closed = True
        stage.cut()
        began = now()
        results = await asyncio.gather(*arrived, queued, return_exceptions=True)
        assert now() - began <= 11
        assert [type(r) for r in results[:3]] == [OutcomeUnknown] * 3
        assert isinstance(results[3], NotTaken | ConnectionClosed)
        with pytest.raises(ConnectionClosed):
            await client.request("echo", [1])
        await turns()
        assert sorted(desk.cancelled) == [0, 1, 2]


@on_stage
async def test_what_never_left_is_not_taken():
    desk = Desk()
    async with paired(methods=desk.methods, config=Config(session_ttl=10)) as (stage, client, _s):
        stage.closed = True
        stage.cut()
        await until(lambda: client.state is State.DETACHED)
        with pytest.raises(NotTaken) as caught:
            await client.request("echo", [1])
        (entry,) = caught.value.report.undelivered
        assert entry.message == ("echo", [1])
        assert desk.begun == []


@on_stage
async def test_abort_fails_every_request_at_once():
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, server):
        asking = start(client.request("wait", [1]))
        backwards = start(server.request("nothing"))
        await until(lambda: desk.begun)
        began = now()
        client.abort()
        for task in (asking, backwards):
            with pytest.raises((NotTaken, OutcomeUnknown, MethodNotFound)):
                await task
        await until(lambda: desk.cancelled)
        assert now() - began < 1


@on_stage
async def test_closing_fails_our_requests_and_cancels_their_handlers():
    desk = Desk()
    one = Config(max_requests=2)
    async with paired(methods=desk.methods, config=one) as (_, client, _server):
        asking = [start(client.request("wait", [n])) for n in range(2)]
        await until(lambda: len(desk.begun) == 2)
        queued = start(client.request("wait", ["queued"]))
        await turns()
        closing = start(client.close())
        for task in asking:
            with pytest.raises(OutcomeUnknown):
                await task
        with pytest.raises(ConnectionClosed):
            await queued
        await closing
        assert sorted(desk.cancelled) == [0, 1]


@on_stage
async def test_what_close_calls_not_taken_is_never_run():
    """Queued in the same turn as the close, hence not sent: it is taken back."""
    desk = Desk()
    for patience in range(4):
        async with paired(methods=desk.methods) as (_, client, server):
            before = len(desk.begun)
            asking = start(client.request("echo", [patience]))
            await turns(patience)
            closing = start(client.close())
            (result,) = await asyncio.gather(asking, return_exceptions=True)
            await closing
            await settle(server)
            if isinstance(result, NotTaken | ConnectionClosed):
                assert len(desk.begun) == before
            else:
                assert result == patience or isinstance(result, OutcomeUnknown)


@on_stage
async def test_close_lets_handlers_end_and_turns_new_ones_away():
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, server):
        asking = start(client.request("wait", [1]))
        await until(lambda: desk.begun)
        closing = start(server.close())
        await turns()
        with pytest.raises(NotTaken):
            await client.request("echo", [2])
        desk.gate.set()
        assert await asking == 1
        await settle(client)
        await closing
        assert desk.begun == [1]


@on_stage
async def test_close_waits_for_a_handler_that_is_slow():
    """Longer than for a peer that makes no progress: the network is not to blame."""
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, server):
        asking = start(client.request("wait", [1]))
        await until(lambda: desk.begun)
        closing = start(server.close())
        await asyncio.sleep(200)
        desk.gate.set()
        assert await asking == 1
        await settle(client)
        await closing


@on_stage
async def test_close_does_not_wait_for_a_handler_whose_caller_is_out_of_reach():
    desk = Desk()
    async with paired(methods=desk.methods) as (stage, client, server):
        asking = start(client.request("wait", [1]))
        await until(lambda: desk.begun)
        closing = start(server.close())
        await turns()
        stage.closed = True
        stage.cut()
        began = now()
        await closing
        assert now() - began <= server._session.config.session_ttl + 1
        assert desk.cancelled == [1]
        client.abort()
        with pytest.raises(OutcomeUnknown):
            await asking


@on_stage
@pytest.mark.parametrize("method", ["wait", "stubborn"])
@pytest.mark.parametrize(("timeout", "patience"), [(None, 270), (100, 75), (8, 6)])
async def test_close_cancels_what_does_not_end_and_tells_its_caller(method, timeout, patience):
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, server):
        asking = start(client.request(method, [1]))
        await until(lambda: desk.begun)
        began = now()
        closing = start(server.close(timeout=timeout))
        with pytest.raises(RemoteError) as caught:
            await asking
        assert caught.value.code == "cancelled"
        assert patience - 0.01 <= now() - began <= patience + 1.1  # GRACE for the stubborn
        await settle(client)
        await closing
        desk.gate.set()
        await turns()


@on_stage
async def test_a_cancelled_close_goes_on_though_handlers_run():
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, server):
        asking = start(client.request("wait", [1]))
        await until(lambda: desk.begun)
        closing = start(server.close())
        await turns()
        closing.cancel()
        await turns()
        desk.gate.set()
        assert await asking == 1
        await settle(client)
        async with asyncio.timeout(30):
            await server.wait_closed()


@on_stage
async def test_a_second_close_may_shorten_the_first_though_handlers_run():
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, server):
        asking = start(client.request("stubborn", [1]))
        await until(lambda: desk.begun)
        began = now()
        first, second = start(server.close()), start(server.close(timeout=4))
        with pytest.raises(RemoteError):
            await asking
        await settle(client)
        await asyncio.gather(first, second)
        assert now() - began <= 5
        desk.gate.set()
        await turns()


@on_stage
@pytest.mark.parametrize("verb", ["close", "finish", "abort"])
async def test_a_handler_ends_the_connection_itself(verb):
    done = asyncio.Event()

    async def bye():
        try:
            ending = getattr(ends[1], verb)()
            if ending is not None:
                await ending
        finally:
            done.set()
        return "bye"

    ends = []
    async with paired(methods=registry(bye)) as (_, *both):
        ends += both
        asking = start(both[0].request("bye"))
        began = now()
        if verb == "finish":  # an answer that is owed goes first
            assert await asking == "bye"
        else:
            with pytest.raises((RemoteError, OutcomeUnknown)):
                await asking
        await settle(both[0])
        await done.wait()
        assert now() - began < 8


@on_stage
async def test_after_finish_answers_still_go_and_nothing_breaks():
    """Half-close: what is owed is answered; what comes later is turned away, or unknown."""
    desk = Desk()
    async with paired({"methods": desk.methods}, methods=desk.methods) as (_, client, server):
        asking = start(client.request("wait", [1]))
        backwards = start(server.request("wait", [2]))
        await until(lambda: len(desk.begun) == 2)
        await server.send("last")
        await server.finish()
        with pytest.raises(NotTaken):
            await client.request("echo", [3])
        with pytest.raises(NotTaken):
            await server.request("echo", [3])
        desk.gate.set()
        assert await asking == 1
        assert await backwards == 2
        assert [m async for m in client] == ["last"]
        await client.close()
        assert client.close_code == server.close_code == 1000
        assert sorted(desk.begun) == [1, 2]


@on_stage
async def test_a_request_that_crosses_the_peers_finish_is_truthful():
    for patience in range(8):
        desk = Desk()
        async with paired(methods=desk.methods) as (_, client, server):
            await server.finish()
            await turns(patience)
            try:
                result = await client.request("echo", [1], timeout=10)
            except NotTaken:
                assert desk.begun == []
            except OutcomeUnknown:
                result = None
            else:
                assert result == 1
            await client.close()
            assert client.close_code == 1000


@on_stage
@pytest.mark.parametrize("size", [10, 500_000])
async def test_finish_does_not_overtake_what_was_asked(size):
    desk = Desk()
    async with paired({"methods": desk.methods}, methods=desk.methods) as (_, client, server):
        asked = [start(server.request("echo", [bytes(size)])) for _ in range(5)]
        while len(server._session.calls.open) < 5:  # noqa: ASYNC110 - before they are sent
            await asyncio.sleep(0)
        await server.finish()
        assert [len(answer) for answer in await asyncio.gather(*asked)] == [size] * 5
        await client.close()
        assert client.close_code == 1000


@on_stage
async def test_the_report_counts_no_requests():
    desk = Desk()
    async with paired(methods=desk.methods) as (_, client, server):
        for n in range(10):
            await client.request("echo", [n])
        await client.send("message")
        assert await server.recv() == "message"
        await client.flush()
        assert client.report.sent == client.report.confirmed == 1


@on_stage
async def test_a_frame_limit_is_kept_by_requests_and_messages_together():
    desk = Desk()
    async with paired(methods=desk.methods, max_frame=4096) as (stage, client, server):
        reading = start(take(server, 200))
        asked = []
        for n in range(200):
            await client.send(bytes(n * 20))
            asked.append(start(client.request("echo", [bytes(n * 20)])))
        assert [len(a) for a in await asyncio.gather(*asked)] == [n * 20 for n in range(200)]
        assert [len(m) for m in await reading] == [n * 20 for n in range(200)]
        assert stage.names() == ["opened"]


@on_stage(seeds=(None,))
async def test_without_sessions_a_lost_websocket_fails_requests_at_once():
    near, far = pair()
    desk = Desk()
    client, server = await asyncio.gather(wrap(near), wrap(far, methods=desk.methods))
    asking = start(client.request("wait", [1]))
    await until(lambda: desk.begun)
    await asyncio.sleep(1)
    near.cut()
    with pytest.raises(OutcomeUnknown):
        await asking
    await until(lambda: desk.cancelled)
    await asyncio.gather(client.wait_closed(), server.wait_closed())


@on_stage(seeds=(None,))
async def test_all_ways_to_a_connection_take_methods():
    desk = Desk()
    stage = Stage(methods=desk.methods)
    client, server = await stage.pair(methods=desk.methods)
    assert await client.request("echo", [1]) == 1
    assert await server.request("echo", [2]) == 2
    await settle(client, server)


# -- over sockets ----------------------------------------------------------------------------------


@pytest.mark.transport
async def test_over_sockets_through_a_network_that_keeps_breaking():
    ours, theirs = Desk(), Desk()
    accepted: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def handler(conn):
        accepted.set_result(conn)
        async for _ in conn:
            pass

    async with (
        asyncio.timeout(30),
        serve(handler, "127.0.0.1", 0, methods=theirs.methods) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(
            proxy.uri(), methods=ours.methods, reconnect=Backoff(0.01, longest=0.1), proxy=None
        ) as client,
    ):
        served = await accepted
        answers = 0

        async def ask(conn, first):
            nonlocal answers
            for n in range(first, 400, 8):
                assert await conn.request("echo", [n], timeout=20) == n
                answers += 1
                if answers % 50 == 0:
                    proxy.reset()  # others are on their way

        await asyncio.gather(*(ask(c, n) for n in range(8) for c in (client, served)))
        assert sorted(ours.begun) == sorted(theirs.begun) == list(range(400))
        assert client.stats.resumes > 3
