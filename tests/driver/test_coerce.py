"""What is annotated is checked and built, or registering raises."""

from __future__ import annotations

import collections
import dataclasses
import enum
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar

import pytest

from reliable_ws import InvalidParams
from reliable_ws.aio.connection import Connection
from reliable_ws.driver import coerce, coerce_libraries
from reliable_ws.driver.methods import Method

T = TypeVar("T")
AtMost = TypeVar("AtMost", bound=int)
OneOf = TypeVar("OneOf", int, str)
Age = NewType("Age", int)


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Loose(enum.Enum):
    RED = 1

    @classmethod
    def _missing_(cls, value):
        return cls.RED if value == "red" else None


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass
class Circle:
    center: Point
    radius: Annotated[float, "in metres"]
    name: dataclasses.InitVar[str] = ""
    area: float = dataclasses.field(init=False, default=0.0)


@dataclasses.dataclass
class Tree:
    left: Tree | dict[str, Tree] | None = None
    leaf: int = 0


@dataclasses.dataclass
class Picky:
    x: int

    def __post_init__(self):
        if self.x == 0:
            raise ValueError("zero")
        self.y = {1: 1}[self.x]


@dataclasses.dataclass
class Unresolved:
    value: somewhere.Thing  # noqa: F821


@dataclasses.dataclass
class Box(Generic[T]):
    value: T


def method(hint):
    def work(value):
        return value

    work.__annotations__ = {"value": hint}
    return Method("work", work)


def fit(hint, value):
    (result,), _ = method(hint).bind(None, {"value": value})
    return result


@pytest.fixture
def without_msgspec(monkeypatch):
    monkeypatch.setattr(coerce_libraries, "_msgspec", lambda: None)


@pytest.mark.parametrize(
    ("hint", "value", "result"),
    [
        (int, 1, 1),
        (float, 1, 1),
        (bool, True, True),
        (None, None, None),
        (Any, object, object),
        (object, object, object),
        ("int", 1, 1),
        (Color, "red", Color.RED),
        (Color, Color.RED, Color.RED),
        (Size, 1, Size.SMALL),
        (Mode, 3, Mode.READ | Mode.WRITE),
        (Loose, "red", Loose.RED),
        (Point, {"x": 1}, Point(1)),
        (Point, Point(1), Point(1)),
        (Circle, {"center": {"x": 1}, "radius": 2, "name": "c"}, Circle(Point(1), 2, "c")),
        (list[Point], [{"x": 1}], [Point(1)]),
        (dict[str, Color], {"a": "red"}, {"a": Color.RED}),
        (dict[Age, int], {1: 2}, {1: 2}),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, Color], [1, "red"], (1, Color.RED)),
        (tuple, [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (set[int], {1}, {1}),
        (frozenset, [1], frozenset([1])),
        (Sequence[Color], ["red"], [Color.RED]),
        (Mapping[str, Color], {"a": "red"}, {"a": Color.RED}),
        (list, [1], [1]),
        (typing.Dict, {1: "a"}, {1: "a"}),  # noqa: UP006
        (list, [1, "a"], [1, "a"]),
        (int | None, None, None),
        (Optional[Point], {"x": 1}, Point(1)),  # noqa: UP045
        (Point | Circle, {"center": {"x": 1}, "radius": 2}, Circle(Point(1), 2)),
        (list[int] | list[str], ["a"], ["a"]),
        (Literal["a", "b"], "a", "a"),
        (Literal[Color.RED], "red", Color.RED),
        (Age, 5, 5),
        (AtMost, 5, 5),
        (OneOf, "a", "a"),
        (T, "anything", "anything"),
        (Annotated[Age, "in years"], 5, 5),
        (Tree, {"left": {"left": {"leaf": 3}}}, Tree(Tree(Tree(None, 3)))),
    ],
)
@pytest.mark.usefixtures("without_msgspec")
def test_values_that_fit(hint, value, result):
    built = fit(hint, value)
    assert built == result
    assert type(built) is type(result)


@pytest.mark.parametrize(
    ("hint", "value", "words"),
    [
        (int, "1", "value must be int, not str"),
        (int, True, "value must be int, not bool"),
        (None, 0, "value must be None"),
        (str, b"bytes", "must be str"),
        (bytes, "text", "must be bytes"),
        (Color, "blue", "'blue' is not a valid Color"),
        (Color, ["red"], "valid Color"),
        (Size, True, "must be a int of Size, not bool"),
        (Size, 1.0, "not float"),
        (Loose, "blue", "valid Loose"),
        (Point, [1], "must be a map"),
        (Point, {1: 2}, "Point has no field 1"),
        (Point, {"x": "text"}, "x must be int"),
        (Point, {"x": 1, "z": 1}, "Point has no field 'z'"),
        (Point, {}, "'x'"),
        (Circle, {"center": {"x": 1}, "radius": 2, "area": 5}, "no field 'area'"),
        (list[int], ["text"], "must be int"),
        (list[int], "text", "must be list"),
        (list, 5, "must be list"),
        (set[Point], [{"x": 1}], "unhashable"),
        (dict[str, int], [1], "must be dict"),
        (dict[str, int], {1: 1}, "must be str"),
        (tuple[int, int], [1], "must have 2 items, not 1"),
        (Sequence[int], ["a"], "must be int"),
        (int | None, "text", "must be int, not str; or value must be None"),
        (Literal["a", "b"], "c", "must be one of"),
        (Literal[1], True, "must be one of"),
        (Literal[1], 1.0, "must be one of"),
        (Age, "5", "must be int"),
        (AtMost, "5", "must be int"),
        (Picky, {"x": 0}, "zero"),
        (Picky, {"x": 2}, "KeyError while the parameters were built"),
        (Point | Circle, {"x": "a"}, "x must be int"),
    ],
)
@pytest.mark.usefixtures("without_msgspec")
def test_values_that_do_not_fit(hint, value, words):
    with pytest.raises(InvalidParams) as caught:
        fit(hint, value)
    assert words in caught.value.message


@pytest.mark.parametrize(
    "hint",
    [
        complex,
        Callable,
        Callable[[int], int],
        Iterator[int],
        type[int],
        typing.Never,
        collections.OrderedDict,
        list["somewhere.Thing"],  # noqa: F821
        "somewhere.Thing",
        dict[str, list[complex]],
        Unresolved,
        Point | complex,
        [int],
    ],
)
@pytest.mark.parametrize("has_msgspec", [True, False])
def test_what_cannot_be_checked_is_refused_where_it_is_registered(hint, has_msgspec, monkeypatch):
    if not has_msgspec:
        monkeypatch.setattr(coerce_libraries, "_msgspec", lambda: None)
    with pytest.raises(TypeError, match="work: value"):
        method(hint)


@pytest.mark.usefixtures("without_msgspec")
def test_the_refusal_names_what_would_help():
    with pytest.raises(TypeError, match=r"pip install 'reliable-ws\[typed\]'"):
        method(Box[int])


def test_args_and_kwargs_are_checked_one_by_one():
    def work(*args: Color, **more: int):
        return args, more

    bound = Method("work", work).bind(None, ["red", "red"])
    assert bound == ((Color.RED, Color.RED), {})
    assert Method("work", work).bind(None, {"a": 1}) == ((), {"a": 1})
    for params in (["red", "blue"], {"a": "text"}):
        with pytest.raises(InvalidParams):
            Method("work", work).bind(None, params)


def test_a_value_that_is_nested_without_end_is_the_callers_mistake():
    value = None
    for _ in range(5_000):
        value = {"left": value}
    with pytest.raises(InvalidParams, match="nested too deeply"):
        fit(Tree, value)


def test_alternatives_do_not_double_the_work_with_each_level(monkeypatch):
    monkeypatch.setattr(coerce.Tries, "left", 1_000)
    value = {"leaf": "no number"}
    for _ in range(60):
        value = {"left": value}
    with pytest.raises(InvalidParams, match="too many alternatives"):
        fit(Tree, value)


@pytest.mark.python
@pytest.mark.skipif(not hasattr(typing, "TypeAliasType"), reason="Python 3.12: type Name = ...")
def test_types_with_a_name_of_their_own_may_contain_themselves():
    names: dict[str, Any] = {"Connection": Connection}
    exec(
        "type Json = dict[str, Json] | list[Json] | str | int | None\n"
        "type Conn = Connection | None\n"
        "def work(value: Json, conn: Conn = None): pass\n",
        names,
    )
    work = Method("work", names["work"])
    assert work.bind("the connection", [{"k": [1, None]}]) == (
        ({"k": [1, None]}, "the connection"),
        {},
    )
    with pytest.raises(InvalidParams, match="not float"):
        work.bind("the connection", [{"k": [1.5]}])
