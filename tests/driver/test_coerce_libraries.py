"""Types that msgspec and pydantic check, among those that are checked here."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import pytest

from reliable_ws import InvalidParams, MsgpackCodec, NotSerializable
from reliable_ws.driver.methods import Method
from reliable_ws.driver.plain import plain, seal_plain
from reliable_ws.protocol.payload import open_payload

msgspec = pytest.importorskip("msgspec")
pydantic = pytest.importorskip("pydantic")

T = TypeVar("T")
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
ID = uuid.UUID(int=7)


class Options(TypedDict, total=False):
    depth: int


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Event(msgspec.Struct):
    when: dt.datetime
    cause: Event | None = None


class User(pydantic.BaseModel):
    name: str
    age: Annotated[int, pydantic.Field(gt=0)] = 1


class Booking(msgspec.Struct):
    user: User


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    price: decimal.Decimal
    user: User | None = None


@dataclasses.dataclass
class Box(Generic[T]):
    value: T


class Kind(enum.Enum):
    BIG = "big"


def method(hint):
    def work(value):
        return value

    work.__annotations__ = {"value": hint}
    return Method("work", work)


def fit(hint, value):
    (result,), _ = method(hint).bind(None, {"value": value})
    return result


VALUES = [
    (dt.datetime, NOW),
    (dt.date, NOW.date()),
    (dt.time, NOW.time()),
    (dt.timedelta, dt.timedelta(seconds=90)),
    (uuid.UUID, ID),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (Options, {"depth": 1}),
    (Pair, Pair(1)),
    (Event, Event(NOW, Event(NOW))),
    (User, User(name="Ada", age=36)),
    (Booking, Booking(User(name="Ada"))),
    (Order, Order(ID, decimal.Decimal("9.99"), User(name="Ada"))),
    (Box[int], Box(1)),
    (Box[User], Box(User(name="Ada"))),
    (list[Event | None], [None, Event(NOW)]),
    (dict[uuid.UUID, Order], {ID: Order(ID, decimal.Decimal(1))}),
    (set[uuid.UUID], {ID}),
    (Annotated[int, msgspec.Meta(gt=3)], 4),
    (Annotated[int, pydantic.Field(gt=3)], 4),
    (Annotated[dt.datetime, pydantic.Field(gt=NOW - dt.timedelta(1))], NOW),
    (dict[Kind, bytes], {Kind.BIG: b"\xff"}),
]


@pytest.mark.parametrize(("hint", "value"), VALUES)
def test_a_result_of_one_side_is_a_parameter_of_the_other(hint, value):
    codec = MsgpackCodec()
    payload, _ = seal_plain(value, codec)
    built = fit(hint, open_payload(payload, 1, codec))
    assert built == value
    assert type(built) is type(value)


@pytest.mark.parametrize(
    ("hint", "value", "words"),
    [
        (dt.datetime, "tomorrow", "value: Invalid RFC3339"),
        (dt.datetime, 5, "got `int`"),
        (uuid.UUID, "x", "Invalid UUID"),
        (decimal.Decimal, "abc", "Invalid decimal"),
        (decimal.Decimal, [1], "Expected `decimal`"),
        (bytes, "aGk=", "must be bytes"),
        (Options, {"depth": "1"}, "Expected `int`"),
        (Pair, {"left": 1}, "Expected `array`"),
        (Event, {"when": 1}, "$.when"),
        (User, {"name": 1}, "value.name: Input should be a valid string"),
        (User, {"name": "Ada", "age": 0}, "value.age: Input should be greater than 0"),
        (User, "Ada", "valid dictionary"),
        (Booking, {"user": {"name": 1}}, "value: "),
        (Order, {"id": "x", "price": 1}, "id: Invalid UUID"),
        (Box[int], {"value": "x"}, "Expected `int`"),
        (set[Annotated[int, msgspec.Meta(gt=3)]], [1], ">= 4"),
        (Annotated[int, pydantic.Field(gt=3)], 3, "greater than 3"),
        (Annotated[int, pydantic.Field(gt=3)], "5", "must be int"),
    ],
)
def test_what_does_not_fit_is_the_callers_mistake(hint, value, words):
    with pytest.raises(InvalidParams) as caught:
        fit(hint, value)
    assert words in caught.value.message


class Opaque:
    pass


class OfOpaque(msgspec.Struct):
    value: Opaque


@pytest.mark.parametrize(
    "hint",
    [
        OfOpaque,
        Box[Opaque],
        list[Opaque],
        Annotated[Opaque, pydantic.Field(gt=3)],
        Annotated[Event, pydantic.Field(gt=3)],
    ],
)
def test_what_the_libraries_do_not_know_is_refused_where_it_is_registered(hint):
    with pytest.raises(TypeError, match="work: value"):
        method(hint)


def test_what_has_no_plain_form_stays_as_it_is():
    opaque = Opaque()
    assert plain([opaque]) == [opaque]
    with pytest.raises(NotSerializable, match="Opaque"):
        seal_plain(OfOpaque(opaque), MsgpackCodec())
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotSerializable, match="RecursionError"):
        seal_plain(endless, MsgpackCodec())


def test_a_bare_list_is_any_list():
    assert fit(list, [1, "a"]) == [1, "a"]
