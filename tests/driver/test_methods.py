"""How a request becomes a Python call: registering, binding, coercing."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import TYPE_CHECKING

import pytest

from reliable_ws import InvalidParams, Methods
from reliable_ws.aio.connection import Connection
from reliable_ws.driver.methods import Method

if TYPE_CHECKING:
    import somewhere  # type: ignore[import-not-found]


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass
class Unresolved:
    value: somewhere.Thing


def bind(function, params, connection=None):
    return Method("work", function).bind(connection, params)


def call(function, params, connection=None):
    args, kwargs = bind(function, params, connection)
    return function(*args, **kwargs)


# ------------------------------------------------------------------ registering


@pytest.mark.parametrize("wrong", [5, "add", None])
def test_what_is_no_function_is_no_method(wrong):
    with pytest.raises(TypeError, match="a method must be a function, not"):
        Methods().add(wrong, "name")


def test_methods_are_found_by_name():
    methods = Methods()

    @methods.register
    def first():
        pass

    @methods.register(name="other")
    def second():
        pass

    assert methods.get("first").function is first
    assert methods.get("other").function is second
    assert methods.get("second") is None
    with pytest.raises(ValueError, match="already"):
        methods.add(first)
    with pytest.raises(ValueError, match="no name"):
        methods.add(functools.partial(first))


def test_each_driver_refuses_what_it_cannot_run():
    def generate():
        yield

    async def work():
        pass

    for_threads, for_loops = Methods(), Methods()
    for_threads.add(generate)
    for_loops.add(work)
    for_threads.check_threads()
    for_loops.check_loop()
    with pytest.raises(TypeError, match="generate: generator functions"):
        for_threads.check_loop()
    with pytest.raises(TypeError, match="work: coroutine functions"):
        for_loops.check_threads()


# ------------------------------------------------------------------ binding


def two(a, b=2):
    return a, b


def keyword(a, *, b: int = 3):
    return a, b


@pytest.mark.parametrize(
    ("function", "params", "result"),
    [
        (two, [1], (1, 2)),
        (two, [1, 5], (1, 5)),
        (two, {"a": 1, "b": 5}, (1, 5)),
        (two, "text", ("text", 2)),
        (keyword, [1], (1, 3)),
        (keyword, {"a": 1, "b": 5}, (1, 5)),
        (lambda: "none", None, "none"),
        (lambda *args, **_more: args, [1, 2], (1, 2)),
        (lambda **more: more, {"a": 1}, {"a": 1}),
        (lambda a: a, {1: 2}, {1: 2}),  # keys that are no text: one argument
    ],
)
def test_parameters_are_bound(function, params, result):
    assert call(function, params) == result


@pytest.mark.parametrize(
    ("function", "params"),
    [(two, []), (two, [1, 2, 3]), (two, {"c": 1}), (keyword, [1, 2]), (keyword, {"b": "text"})],
)
def test_parameters_that_do_not_fit(function, params):
    with pytest.raises(InvalidParams, match="work: "):
        bind(function, params)


def in_front(conn: Connection, a):
    return conn, a


def behind(a, b=2, conn: Connection = None):
    return conn, (a, b)


def by_keyword(a, *, conn: Connection):
    return conn, a


@pytest.mark.parametrize(
    ("function", "params", "given"),
    [
        (in_front, [1], 1),
        (in_front, {"a": 1}, 1),
        (behind, [1], (1, 2)),
        (behind, [1, 5], (1, 5)),
        (by_keyword, [1], 1),
    ],
)
def test_a_handler_may_have_its_connection(function, params, given):
    assert call(function, params, "the connection") == ("the connection", given)


def test_the_peer_does_not_say_which_connection():
    with pytest.raises(InvalidParams, match="'conn' is not for the peer to say"):
        bind(in_front, {"conn": 1, "a": 2})
