"""The registry: names, parameters, kinds of handlers, and handlers that misbehave."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import pytest

from reliable_ws import (
    Connection,
    InvalidParams,
    MethodNotFound,
    Methods,
    NotSerializable,
    RemoteError,
    State,
    connect,
    serve,
    wrap,
)
from reliable_ws.adapters.memory import pair
from tests.aio.stage import on_stage, paired, registry, start, turns

if TYPE_CHECKING:
    import somewhere  # type: ignore[import-not-found]


# -- registering -----------------------------------------------------------------------------------


def test_names():
    methods = Methods()

    @methods.register
    def first():
        return 1

    @methods.register(name="other.name")
    def second():
        return 2

    methods.add(functools.partial(second), "third")
    assert (first(), second()) == (1, 2)  # unchanged
    assert [methods.get(name) is not None for name in ("first", "other.name", "third")] == [
        True
    ] * 3
    assert methods.get("second") is None
    with pytest.raises(ValueError, match="'first' already"):
        methods.add(first)
    with pytest.raises(ValueError, match="name"):
        methods.add(functools.partial(second))


# -- parameters ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Order:
    item: str
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be above 0")


async def plain(a, b=2, *rest, c=3, **others):
    return [a, b, list(rest), c, others]


async def typed(text: str, number: int = 0, share: float = 0.0, *, flag: bool = False):
    return [text, number, share, flag]


async def of_order(order: Order, note: str | None = None):
    return [order.item, order.count, note]


async def of_lists(numbers: list[int], names: dict[str, int], any_of: int | str = 0):
    return [numbers, names, any_of]


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


async def of_kinds(size: Size, way: Literal["in", "out"] = "in", at: tuple[int, ...] = ()):
    return [size.name, way, type(at).__name__, list(at)]


async def of_pair(pair: tuple[int, str], orders: list[Order] | None = None):
    return [list(pair), [order.count for order in orders or []]]


async def who(conn: Connection, a: int = 0):
    return [conn.id, a]


async def who_last(a: int, *, conn: somewhere.Connection):
    return [conn.id, a]


async def unknown_names(a: somewhere.Unknown, b: int = 0):
    return [a, b]


async def anything(value: Any):
    return value


@on_stage(seeds=(None,))
@pytest.mark.parametrize(
    ("method", "params", "answer"),
    [
        (plain, [1], [1, 2, [], 3, {}]),
        (plain, [1, 4, 5, 6], [1, 4, [5, 6], 3, {}]),
        (plain, {"a": 1, "c": 0, "d": 7}, [1, 2, [], 0, {"d": 7}]),
        (plain, "one value", ["one value", 2, [], 3, {}]),
        (typed, ["x", 1, 1.5], ["x", 1, 1.5, False]),
        (typed, {"text": "x", "share": 2, "flag": True}, ["x", 0, 2, True]),
        (of_order, [{"item": "pear", "count": 2}], ["pear", 2, None]),
        (of_order, {"order": {"item": "pear"}, "note": "ripe"}, ["pear", 1, "ripe"]),
        (of_lists, [[1, 2], {"a": 1}], [[1, 2], {"a": 1}, 0]),
        (of_lists, [[], {}, "text"], [[], {}, "text"]),
        (of_kinds, ["s"], ["SMALL", "in", "tuple", []]),
        (of_kinds, ["l", "out", [1, 2]], ["LARGE", "out", "tuple", [1, 2]]),
        (of_pair, [[1, "a"]], [[1, "a"], []]),
        (of_pair, [[1, "a"], [{"item": "x"}, {"item": "y", "count": 3}]], [[1, "a"], [1, 3]]),
        (unknown_names, ["x", 1], ["x", 1]),
        (anything, [{"a": 1}], {"a": 1}),
        (anything, [None], None),
        (anything, {1: 2}, {1: 2}),
    ],
)
async def test_parameters_that_fit(method, params, answer):
    async with paired(methods=registry(method)) as (_, client, _server):
        assert await client.request(method.__name__, params) == answer


@on_stage(seeds=(None,))
@pytest.mark.parametrize(
    ("method", "params"),
    [
        (plain, None),
        (plain, {"b": 1}),
        (typed, [1]),
        (typed, ["x", "1"]),
        (typed, ["x", True]),
        (typed, ["x", 1.5]),
        (typed, ["x", 1, "y"]),
        (typed, {"text": "x", "flag": 1}),
        (typed, {"text": "x", "more": 1}),
        (typed, ["x", 1, 1.0, True, 5]),
        (of_order, [{"item": "pear", "colour": "green"}]),
        (of_order, [{}]),
        (of_order, [{"item": 5}]),
        (of_order, [{"item": "pear", "count": 0}]),
        (of_order, ["pear"]),
        (of_order, {"order": {"item": "pear"}, "note": 5}),
        (of_lists, [[1, "2"], {}]),
        (of_lists, [[], {"a": "b"}]),
        (of_lists, [[], {}, None]),
        (of_kinds, ["m"]),
        (of_kinds, ["s", "up"]),
        (of_kinds, ["s", "in", [1, "2"]]),
        (of_kinds, ["s", "in", 5]),
        (of_pair, [[1]]),
        (of_pair, [[1, "a"], [{"item": "x", "count": 0}]]),
        (of_pair, [[1, "a"], [{1: 2}]]),
        (unknown_names, ["x", "y"]),
        (who, {"conn": 1}),
        (who, ["x"]),
        (who_last, {"a": 1, "conn": 2}),
    ],
)
async def test_parameters_that_do_not_fit(method, params):
    async with paired(methods=registry(method)) as (_, client, _server):
        with pytest.raises(InvalidParams) as caught:
            await client.request(method.__name__, params)
        assert method.__name__ in caught.value.message


@on_stage(seeds=(None,))
async def test_a_handler_may_ask_for_its_connection():
    async with paired(methods=registry(who, who_last)) as (_, client, _server):
        assert await client.request("who") == [client.id, 0]
        assert await client.request("who", [5]) == [client.id, 5]
        assert await client.request("who", {"a": 6}) == [client.id, 6]
        assert await client.request("who_last", [7]) == [client.id, 7]


@on_stage(seeds=(None,))
async def test_parameters_that_cannot_be_decoded():
    class Other:
        def dumps(self, value):
            return b"\xc1"

        def loads(self, data):
            return "anything"

    async with paired({"payload_codec": Other()}, methods=registry(anything)) as (_, client, _s):
        with pytest.raises(InvalidParams, match="cannot be decoded"):
            await client.request("anything", [1])
        assert await client.request("anything", "text") == "text"


# -- handlers that misbehave -----------------------------------------------------------------------


class Strange(BaseException):
    pass


class Unshowable(Exception):
    def __str__(self):
        raise RuntimeError


def raising(error):
    async def bad():
        raise error

    return bad


def returning(value):
    async def bad():
        return value

    return bad


BAD = {
    "raises": (raising(LookupError("secret")), "internal"),
    "asserts": (raising(AssertionError()), "internal"),
    "timeout of its own": (raising(TimeoutError()), "internal"),
    "BaseException": (raising(Strange("secret")), "internal"),
    "SystemExit": (raising(SystemExit(3)), "internal"),
    "GeneratorExit": (raising(GeneratorExit()), "internal"),
    "StopIteration": (raising(StopIteration(1)), "internal"),
    "CancelledError": (raising(asyncio.CancelledError()), "cancelled"),
    "group": (raising(ExceptionGroup("g", [ValueError()])), "internal"),
    "unshowable": (raising(Unshowable()), "internal"),
    "junk": (returning(object()), "internal"),
    "surrogates": (returning("\ud800"), "internal"),
    "a coroutine": (returning(test_names), "internal"),
    "too large": (returning(bytes(64 * 2**20 + 1)), "internal"),
    "a code that is no text": (raising(RemoteError(404, "gone")), "404"),
    "a code of nothing": (raising(RemoteError("", "")), "error"),
    "a code that cannot be said": (raising(RemoteError("\ud800", "\ud800")), "?"),
    "a code without end": (raising(RemoteError("x" * 10_000, "y" * 10_000)), "x" * 255),
    "a message that is no text": (raising(RemoteError("e", 5)), "e"),
    "data that cannot be sent": (raising(RemoteError("e", "m", object())), "e"),
    "data that is too large": (raising(RemoteError("e", "m", bytes(64 * 2**20 + 1))), "e"),
}


@on_stage(seeds=(None,))
@pytest.mark.parametrize("what", BAD)
async def test_a_handler_that_misbehaves_fails_its_caller_and_nothing_else(what):
    bad, code = BAD[what]
    async with paired(methods=registry(bad, anything)) as (_, client, server):
        with pytest.raises(RemoteError) as caught:
            await client.request("bad", timeout=5)
        assert caught.value.code == code
        assert "secret" not in str(caught.value)
        await client.send("goes on")
        assert await server.recv() == "goes on"
        assert await client.request("anything", ["goes on"]) == "goes on"
        assert client.state is State.OPEN
        assert not server._driver.servant.busy


@on_stage(seeds=(None,))
async def test_an_unexpected_error_is_logged_with_its_traceback(caplog):
    async with paired(methods=registry(BAD["raises"][0])) as (_, client, _server):
        caplog.clear()
        with pytest.raises(RemoteError):
            await client.request("bad")
        (record,) = caplog.records
        assert "'bad'" in record.message
        assert "secret" in caplog.text


@on_stage(seeds=(None,))
async def test_an_expected_error_is_not_logged(caplog):
    async with paired(methods=registry(raising(RemoteError("no", "money")))) as (
        _,
        client,
        _server,
    ):
        with pytest.raises(RemoteError):
            await client.request("bad")
        with pytest.raises(MethodNotFound):
            await client.request("missing")
        assert not caplog.records


# -- plain functions: in threads, so on a real loop ------------------------------------------------


async def ends(methods):
    near, far = pair()
    return await asyncio.gather(wrap(near), wrap(far, methods=methods))


async def test_plain_functions_run_in_threads_and_block_nobody():
    gate = threading.Event()
    threads = []

    def block(value: int):
        threads.append(threading.current_thread())
        assert gate.wait(10)
        return value

    async with asyncio.timeout(20):
        client, server = await ends(registry(block, anything))
        blocked = [start(client.request("block", [n])) for n in range(3)]
        for n in range(100):
            assert await client.request("anything", [n]) == n
        gate.set()
        assert await asyncio.gather(*blocked) == [0, 1, 2]
        assert threading.current_thread() not in threads
        await asyncio.gather(client.close(), server.close())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LookupError(), "internal"),
        (SystemExit(), "internal"),
        (KeyboardInterrupt(), "internal"),
        (StopIteration(), "internal"),
        (Strange(), "internal"),
        (asyncio.CancelledError(), "cancelled"),
        (RemoteError("mine", "own"), "mine"),
    ],
)
async def test_plain_functions_that_raise(error, code):
    def bad():
        raise error

    async with asyncio.timeout(10):
        client, server = await ends(registry(bad, anything))
        with pytest.raises(RemoteError) as caught:
            await client.request("bad")
        assert caught.value.code == code
        assert await client.request("anything", [1]) == 1
        await asyncio.gather(client.close(), server.close())


async def test_a_plain_function_that_returns_an_awaitable():
    def later(value):
        return anything(value)

    async with asyncio.timeout(10):
        client, server = await ends(registry(later))
        assert await client.request("later", [1]) == 1
        await asyncio.gather(client.close(), server.close())


async def test_a_cancelled_plain_function_goes_on_unheard():
    gate, done = threading.Event(), threading.Event()

    def block():
        gate.wait(10)
        done.set()

    async with asyncio.timeout(20):
        client, server = await ends(registry(block, anything))
        asking = start(client.request("block"))
        await turns()
        asking.cancel()
        assert await client.request("anything", [1]) == 1
        await asyncio.gather(client.close(), server.close())
        gate.set()
        assert await asyncio.to_thread(done.wait, 10)


async def test_a_slow_plain_function_delays_no_message():
    def slow():
        time.sleep(0.2)

    async with asyncio.timeout(20):
        client, server = await ends(registry(slow))
        asking = start(client.request("slow"))
        await client.send("at once")
        assert await server.recv() == "at once"
        assert not asking.done()
        assert await asking is None
        await asyncio.gather(client.close(), server.close())


# -- all ways to a connection ----------------------------------------------------------------------


@pytest.mark.transport
async def test_connect_and_serve_take_methods():
    async def handler(conn):
        answers.append(await conn.request("anything", ["back"]))
        async for _ in conn:
            pass

    answers: list[object] = []
    methods = registry(anything)
    async with (
        asyncio.timeout(20),
        serve(handler, "127.0.0.1", 0, methods=methods) as server,
        connect(f"ws://127.0.0.1:{server.port}", methods=methods, proxy=None) as conn,
    ):
        assert await conn.request("anything", ["there"]) == "there"
        with pytest.raises(NotSerializable):
            await conn.request("anything", object())
    assert answers == ["back"]
