"""``asyncapi``: what a program's methods take and return, as an AsyncAPI document."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import importlib
import inspect
import json
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

from reliable_ws.driver.hints import connection_parameter, hints_of, signature_of
from reliable_ws.driver.methods import Method, Methods

from .common import FINE, Failure

__all__ = ["add_to", "document"]

DESCRIPTION = """\
Print an AsyncAPI document (3.0, as JSON) of the methods of a program: a Methods object, or the
Sessions or the ASGIApp that has one. What they take and return is described by JSON Schema, made
from their annotations; with pydantic installed, of every type that it knows.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws asyncapi orders:methods > asyncapi.json
  python -m reliable_ws asyncapi orders.app:app --title Orders --version 2.1
"""

PLAIN: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    dict: {"type": "object"},
}
"""Schemas of types that need no library."""

REFERENCE = "#/components/schemas/{model}"


def add_to(commands: Any) -> None:
    """Add this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "asyncapi",
        help="describe the methods of a program as an AsyncAPI document",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("app", metavar="MODULE:NAME", help="where the methods are")
    parser.add_argument("--title", help="default: the module's name")
    parser.add_argument("--version", default="1.0.0", help="of the API (default: 1.0.0)")
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Print the document."""
    module, _, name = args.app.partition(":")
    if not name:
        raise Failure(f"where are the methods? MODULE:NAME, not {args.app!r}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Failure(f"cannot import {args.app}: {error}") from None
    print(json.dumps(document(methods_of(found), args.title or module, args.version), indent=2))
    return FINE


def methods_of(found: Any) -> Methods:
    """Return the methods that an object has, or is."""
    sessions = getattr(found, "sessions", found)
    methods = found if isinstance(found, Methods) else getattr(sessions, "methods", None)
    if not isinstance(methods, Methods):
        raise Failure(f"that has no methods: {found!r:.100}")
    return methods


def document(methods: Methods, title: str, version: str) -> dict[str, Any]:
    """Return the AsyncAPI document of some methods."""
    schemas: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    channel = {"$ref": "#/channels/calls"}
    for method in methods:
        name = _key(method.name)
        takes, gives = f"{name}_request", f"{name}_{'item' if method.streams else 'reply'}"
        messages[takes] = {"name": method.name, "payload": _takes(method, schemas)}
        messages[gives] = {"name": f"{method.name} result", "payload": _gives(method, schemas)}
        said = inspect.getdoc(method.function)
        operations[name] = {
            "action": "receive",
            "channel": channel,
            **({"summary": said.split("\n\n")[0].replace("\n", " ")} if said else {}),
            "messages": [{"$ref": f"#/channels/calls/messages/{takes}"}],
            "reply": {
                "channel": channel,
                "messages": [{"$ref": f"#/channels/calls/messages/{gives}"}],
            },
            "x-reliable-ws": {"method": method.name, "streams": method.streams},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/msgpack",
        "channels": {
            "calls": {
                "address": None,
                "description": "Calls of reliable-ws.v1: at most once, also when networks fail.",
                "messages": messages,
            }
        },
        "operations": operations,
        "components": {"schemas": schemas},
    }


def _key(name: str) -> str:
    """Return a name as a key of the document may be."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _takes(method: Method, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a method's parameters, as an object."""
    signature, hints = signature_of(method.function), hints_of(method.function)
    hidden = connection_parameter(signature, hints)
    properties, required = {}, []
    for name, parameter in signature.parameters.items():
        if name == hidden or parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        properties[name] = _schema(hints.get(name, Any), schemas)
        if parameter.default is parameter.empty:
            required.append(name)
        elif isinstance(parameter.default, str | int | float | bool | None):
            properties[name] = {**properties[name], "default": parameter.default}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {})


def _gives(method: Method, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a method's result, or of the items of its stream."""
    try:
        hint = typing.get_type_hints(method.function).get("return", Any)
    except Exception:  # noqa: BLE001 - an annotation that cannot be read describes nothing
        hint = Any
    if method.streams or method.generates:
        hint = next(iter(typing.get_args(hint)), Any)
    return _schema(hint, schemas)


def _schema(hint: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an annotation; that of classes goes into ``schemas``."""
    if hint in (Any, inspect.Parameter.empty):
        return {}
    try:
        from pydantic import TypeAdapter
    except ImportError:
        return _plain_schema(hint, schemas)
    try:
        schema: dict[str, Any] = TypeAdapter(hint).json_schema(ref_template=REFERENCE)
    except Exception:  # noqa: BLE001 - of a type that pydantic does not know, such as a Struct
        return _plain_schema(hint, schemas)
    schemas.update(schema.pop("$defs", {}))
    return schema


def _plain_schema(hint: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of builtins, containers, enums and dataclasses; ``{}``: anything."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_plain_schema(one, schemas) for one in inner]}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin in (list, set, frozenset, tuple) and inner:
        return {"type": "array", "items": _plain_schema(inner[0], schemas)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _plain_schema(inner[1], schemas)}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [one.value for one in hint]}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        name = hint.__name__
        if name not in schemas:
            schemas[name] = {}  # it may contain itself
            hints = typing.get_type_hints(hint)
            fields = dataclasses.fields(hint)
            schemas[name] = {
                "type": "object",
                "title": name,
                "properties": {f.name: _plain_schema(hints[f.name], schemas) for f in fields},
                "required": [f.name for f in fields if f.default is dataclasses.MISSING],
            }
        return {"$ref": REFERENCE.format(model=name)}
    return {}
