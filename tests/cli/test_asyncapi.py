"""``asyncapi``: a document of what methods take and return, whose references lead somewhere."""

from __future__ import annotations

import builtins
import dataclasses
import enum
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from reliable_ws import ASGIApp, Connection, Methods, Sessions
from reliable_ws.cli import main
from reliable_ws.cli.asyncapi import document

methods = Methods()


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Order:
    item: str
    count: int = 1
    parts: list[Order] = dataclasses.field(default_factory=list)


@methods.register
async def place(conn: Connection, order: Order, size: Size = Size.SMALL) -> int:
    """Place an order.

    More is said here.
    """
    return order.count


@methods.register(name="watch it")
async def watch(kind: Literal["all", "new"], since: float | None = None) -> AsyncIterator[Order]:
    yield Order(kind)


@methods.register
async def anything(*args: int, **more: Any):
    return None


async def serve(conn: Connection) -> None:
    await conn.wait_closed()


app = ASGIApp(serve, methods=methods)
sessions = Sessions(methods=methods)
nothing = Sessions()


@pytest.fixture(params=["with pydantic", "without"])
def made(request, monkeypatch):
    if request.param == "without":
        real = builtins.__import__

        def without(name, *args, **kwargs):
            if name == "pydantic":
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without)
    return document(methods, "Orders", "2.1")


def resolve(made, reference):
    found = made
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_reference_leads_somewhere(made):
    found = set(references(json.loads(json.dumps(made))))
    assert "#/channels/calls" in found
    assert any("/schemas/" in one for one in found)
    for one in found:
        assert resolve(made, one) is not None


def test_a_method_is_an_operation_with_its_reply(made):
    operation = made["operations"]["place"]
    assert (operation["action"], operation["summary"]) == ("receive", "Place an order.")
    takes = resolve(made, operation["messages"][0]["$ref"])["payload"]
    assert takes["required"] == ["order"]
    assert set(takes["properties"]) == {"order", "size"}
    assert resolve(made, operation["reply"]["messages"][0]["$ref"])["payload"] == {
        "type": "integer"
    }
    order = made["components"]["schemas"]["Order"]
    assert set(order["properties"]) == {"item", "count", "parts"}
    assert order["required"][0] == "item"


def test_a_stream_tells_of_its_items(made):
    operation = made["operations"]["watch_it"]
    assert operation["x-reliable-ws"] == {"method": "watch it", "streams": True}
    (reply,) = operation["reply"]["messages"]
    assert reply["$ref"].endswith("/watch_it_item")
    takes = resolve(made, operation["messages"][0]["$ref"])["payload"]
    assert takes["properties"]["kind"]["enum"] == ["all", "new"]
    assert takes["properties"]["since"]["default"] is None


def test_what_is_not_annotated_is_anything(made):
    operation = made["operations"]["anything"]
    takes = resolve(made, operation["messages"][0]["$ref"])["payload"]
    assert takes == {"type": "object", "properties": {}}
    assert resolve(made, operation["reply"]["messages"][0]["$ref"])["payload"] == {}


@pytest.mark.parametrize("name", ["methods", "app", "sessions"])
def test_the_command_finds_the_methods(capsys, name):
    assert main(["asyncapi", f"{__name__}:{name}", "--title", "Orders"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["asyncapi"], made["info"]["title"]) == ("3.0.0", "Orders")
    assert set(made["operations"]) == {"place", "watch_it", "anything"}


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (__name__, "MODULE:NAME"),
        (f"{__name__}:absent", "cannot import"),
        ("no_such_module:app", "cannot import"),
        (f"{__name__}:nothing", "that has no methods"),
    ],
)
def test_what_has_no_methods_is_refused(capsys, app, words):
    assert main(["asyncapi", app]) == 2
    assert words in capsys.readouterr().err
