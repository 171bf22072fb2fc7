"""The registry: names and parameters."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
from typing import TYPE_CHECKING, Any, Literal

import pytest

from reliable_ws import Connection, InvalidParams, Methods, NotSerializable, connect, serve
from tests.aio.memory_network import on_virtual_clock, paired, registry

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


async def anything(value: Any):
    return value


@on_virtual_clock(seeds=(None,))
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
        (anything, [{"a": 1}], {"a": 1}),
        (anything, [None], None),
        (anything, {1: 2}, {1: 2}),
    ],
)
async def test_parameters_that_fit(method, params, answer):
    async with paired(methods=registry(method)) as (_, client, _server):
        assert await client.request(method.__name__, params) == answer


@on_virtual_clock(seeds=(None,))
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


@on_virtual_clock(seeds=(None,))
async def test_a_handler_may_ask_for_its_connection():
    async with paired(methods=registry(who, who_last)) as (_, client, _server):
        assert await client.request("who") == [client.id, 0]
        assert await client.request("who", [5]) == [client.id, 5]
        assert await client.request("who", {"a": 6}) == [client.id, 6]
        assert await client.request("who_last", [7]) == [client.id, 7]


@on_virtual_clock(seeds=(None,))
async def test_parameters_that_cannot_be_decoded():
    class Other:
        name = "msgpack"  # which it is not

        def dumps(self, value):
            return b"\xc1"

        def loads(self, data):
            return "anything"

    async with paired({"payload_codec": Other()}, methods=registry(anything)) as (_, client, _s):
        with pytest.raises(InvalidParams, match="cannot be decoded"):
            await client.request("anything", [1])
        assert await client.request("anything", "text") == "text"


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
        asyncio.timeout(60),
        serve(handler, "127.0.0.1", 0, methods=methods) as server,
        connect(f"ws://127.0.0.1:{server.port}", methods=methods, proxy=None) as conn,
    ):
        assert await conn.request("anything", ["there"]) == "there"
        with pytest.raises(NotSerializable):
            await conn.request("anything", object())
    assert answers == ["back"]
