"""Annotations that are strings, of types that a function defines."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

import pytest

from reliable_ws import InvalidParams, Methods


@dataclasses.dataclass
class Point:
    """Others of this name are local below."""

    z: int


def call(methods: Methods, name: str, *params: Any) -> Any:
    method = methods.get(name)
    assert method is not None
    args, kwargs = method.bind(None, list(params))
    return method.function(*args, **kwargs)


def test_types_of_the_function_that_registers_are_found():
    @dataclasses.dataclass
    class Item:
        count: int

    @dataclasses.dataclass
    class Order:
        items: list[Item]
        next: Order | None = None

    methods = Methods()

    @methods.register
    def place(order: Order):
        return order

    @methods.register(name="first")
    def _first(order: Order):
        return order.items[0]

    wanted = Order([Item(1)], Order([]))
    assert call(methods, "place", {"items": [{"count": 1}], "next": {"items": []}}) == wanted
    assert call(methods, "first", {"items": [{"count": 2}]}) == Item(2)
    with pytest.raises(InvalidParams, match="count must be int"):
        call(methods, "place", {"items": [{"count": "x"}]})


def test_the_innermost_name_counts():
    @dataclasses.dataclass
    class Point:
        x: int

    def outer():
        methods = Methods()

        class Handlers:
            def move(self, to: Point):
                return to

        methods.register(Handlers().move)
        return call(methods, "move", {"x": 1})

    def inner():
        @dataclasses.dataclass
        class Point:
            y: int

        methods = Methods()

        @methods.register
        def move(to: Point):
            return to

        assert call(methods, "move", {"y": 1}) == Point(1)

    assert outer() == Point(1)
    inner()


def paints():
    def paint(color: Color):  # noqa: F821
        return color

    return paint


def test_names_of_a_function_that_only_registers_are_not_taken():
    """It may use the same name for something else."""
    Color = Point  # noqa: F841, N806
    with pytest.raises(TypeError, match="'Color' cannot be resolved"):
        Methods().register(paints())


def test_what_a_handler_uses_is_found_when_its_function_has_returned():
    def make():
        @dataclasses.dataclass
        class Job:
            size: int

        def run(job: Job):
            return isinstance(job, Job)

        def forget(job: Job):
            return job

        return run, forget

    run, forget = make()
    methods = Methods()
    methods.register(run)
    assert call(methods, "run", {"size": 1})
    with pytest.raises(TypeError, match=r"'Job' cannot be resolved; .* register the handler"):
        methods.register(forget)


def test_a_name_that_is_defined_too_late_is_refused():
    def run(job: Job):
        return Job(job)

    with pytest.raises(TypeError, match="'Job' cannot be resolved"):
        Methods().register(run)
    Job = int  # noqa: N806
    assert run(1)


def test_fields_that_a_library_cannot_resolve_are_refused_with_advice():
    class Item(TypedDict):
        count: int

    class Order(TypedDict):
        item: Item

    def place(order: Order):
        return order

    with pytest.raises(TypeError, match="If its fields have types that a function defines"):
        Methods().register(place)
