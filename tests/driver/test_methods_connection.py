"""No peer can say what is in the parameter that gets the connection, however it is annotated."""

import functools
from typing import TYPE_CHECKING, Annotated, NewType, Optional, TypeVar

import pytest

from reliable_ws import InvalidParams
from reliable_ws.aio.connection import Connection
from reliable_ws.driver.methods import Method

if TYPE_CHECKING:
    import typing

    import somewhere  # type: ignore[import-not-found]


def bind(function, params, connection=None):
    return Method("work", function).bind(connection, params)


def call(function, params, connection=None):
    args, kwargs = bind(function, params, connection)
    return function(*args, **kwargs)


class Mine(Connection):
    """A class of the application's."""


Alias = NewType("Alias", Connection)
C = TypeVar("C", bound=Connection)


def or_none(a, conn: Connection | None = None):
    return conn, a


def optional(a, conn: Optional[Connection] = None):  # noqa: UP045 - the older way to write it
    return conn, a


def in_words(a, conn: "Connection | None" = None):
    return conn, a


def unseen(a, conn: "somewhere.Connection | None" = None):
    return conn, a


def unseen_optional(a, conn: "typing.Optional[somewhere.Connection]" = None):  # noqa: UP045
    return conn, a


def annotated(a, conn: Annotated["Connection | None", "said by the library"] = None):
    return conn, a


def derived(a, conn: Mine | None = None):
    return conn, a


def named(a, conn: Alias = None):
    return conn, a


def bound(a, conn: C = None):
    return conn, a


def with_more(*args, **more):
    return in_words(*args, **more)


class Desk:
    def work(self, a, conn: "Connection | None" = None):
        return conn, a

    def __call__(self, a, conn: "Connection | None" = None):
        return conn, a


@pytest.mark.parametrize(
    "function",
    [
        or_none,
        optional,
        in_words,
        unseen,
        unseen_optional,
        annotated,
        derived,
        named,
        bound,
        Desk().work,
        Desk(),
        functools.partial(or_none),
        functools.partial(in_words),
        functools.wraps(in_words)(with_more),
    ],
)
def test_the_peer_never_supplies_the_connection_however_it_is_annotated(function):
    for params in ([1], {"a": 1}):
        assert call(function, params, "the connection") == ("the connection", 1)
    for params in ([1, "the peer's"], {"a": 1, "conn": "the peer's"}):
        with pytest.raises(InvalidParams):
            bind(function, params, "the connection")


def test_what_a_partial_gives_is_not_for_the_peer_to_say():
    work = functools.partial(or_none, conn="a database")
    assert call(work, [1]) == ("a database", 1)
    for params in ([1, 2], {"a": 1, "conn": 2}):
        with pytest.raises(InvalidParams):
            bind(work, params)


def twice(conn: Connection, other: Connection | None = None):
    return conn, other


def many(*conns: Connection):
    return conns


def more(**conns: Connection):
    return conns


def inside(conns: list[Connection]):
    return conns


def inside_unseen(conns: "list[somewhere.Connection]"):
    return conns


def either(conn: Connection | int):
    return conn


@pytest.mark.parametrize("function", [twice, many, more, inside, inside_unseen, either])
def test_a_place_that_no_connection_can_fill_is_refused_where_it_is_registered(function):
    with pytest.raises(TypeError, match=r"work: .*Connection"):
        Method("work", function)
