"""What a handler's parameters are annotated with, and which of them is the connection."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

__all__ = [
    "UNIONS",
    "connection_parameter",
    "hints_of",
    "local_names",
    "meaning_of",
    "signature_of",
]

UNIONS = (typing.Union, types.UnionType)
NEITHER_OR_BOTH = {"Connection", "None", "Optional", "Union"}
"""Names in an annotation that means a connection, or none."""


def _innermost(function: Any) -> Any:
    """Return the function itself: without partials, wrappers and the object that is called."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif not hasattr(function, "__globals__") and inspect.ismethod(function.__call__):
            function = function.__call__
        else:
            return function


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the parameters that a caller may give.

    What a partial has given by keyword is given: a peer must not replace it.
    """
    signature = inspect.signature(function)
    given: set[str] = set()
    while isinstance(function, functools.partial):
        given.update(function.keywords)
        function = function.func
    kept = [
        p for p in signature.parameters.values() if p.name not in given or p.kind is p.VAR_KEYWORD
    ]
    return signature.replace(parameters=kept)


def local_names(defined: Any) -> dict[str, Any]:
    """Return the names that a function or class sees of the functions that it is defined in.

    Those functions have to run, as they do while they register a handler: each is a caller of this
    one. The standard library looks at a frame for the same reason, in :mod:`typing` and
    :mod:`collections`.
    """
    path = getattr(defined, "__qualname__", "")
    if "<locals>" not in path:
        return {}
    names: dict[str, Any] = {}
    frame = inspect.currentframe()
    while frame is not None:
        encloses = path.startswith(f"{frame.f_code.co_qualname}.")
        if encloses and frame.f_globals.get("__name__") == defined.__module__:
            names = frame.f_locals | names  # the names of inner functions hide those of outer ones
        frame = frame.f_back
    return names


def _closed_over(function: Any) -> dict[str, Any]:
    """Return the names of outer functions that a function uses."""
    try:
        return dict(inspect.getclosurevars(function).nonlocals)
    except (TypeError, ValueError):  # no Python function; a name without a value yet
        return {}


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters' annotations; a name that cannot be resolved stays a string."""
    inner = _innermost(function)
    names = getattr(inner, "__globals__", {})
    local = local_names(inner) | _closed_over(inner)
    local |= {kind.__name__: kind for kind in getattr(inner, "__type_params__", ())}
    hints: dict[str, Any] = {}
    for name, parameter in signature_of(function).parameters.items():
        hint = parameter.annotation
        if hint is not parameter.empty:
            lone = types.SimpleNamespace(__annotations__={name: hint})
            try:
                hint = typing.get_type_hints(lone, names, local, include_extras=True)[name]
            except Exception:  # noqa: BLE001 - names that only a type checker sees
                hint = str(hint)
            hints[name] = hint
    return hints


def connection_parameter(signature: inspect.Signature, hints: dict[str, Any]) -> str | None:
    """Return the name of the parameter that gets the connection, if there is one.

    Raises:
        TypeError: A connection is wanted where none can be given: inside another type, as one
            alternative of several, more than once, or for ``*args`` or ``**kwargs``.
    """
    wanted = [name for name, hint in hints.items() if any(map(_is_connection, _parts_of(hint, [])))]
    for name in wanted:
        parameter = signature.parameters[name]
        several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if several or not _is_connection_or_none(hints[name]):
            raise TypeError(
                f"{parameter}: the connection is given to one parameter that is annotated with "
                "Connection or Connection | None"
            )
    if len(wanted) > 1:
        raise TypeError(f"{' and '.join(wanted)} are both annotated with Connection: keep one")
    return wanted[0] if wanted else None


def meaning_of(hint: Any) -> Any:
    """Return the type that another name stands for, or the type itself."""
    if typing.get_origin(hint) is typing.Annotated:
        return typing.get_args(hint)[0]
    if isinstance(hint, typing.NewType):
        return hint.__supertype__
    if isinstance(hint, typing.TypeVar) and hint.__bound__ is not None:
        return hint.__bound__
    alias: Any = hint
    if type(alias).__name__ == "TypeAliasType":  # Python 3.12: type Name = ...
        return alias.__value__
    return hint


def _innermost_meaning(hint: Any) -> Any:
    while (meaning := meaning_of(hint)) is not hint:
        hint = meaning
    return hint


def _parts_of(hint: Any, seen: list[Any]) -> Iterator[Any]:
    """Yield every type that an annotation is made of, the annotation itself included."""
    hint = _innermost_meaning(hint)
    if any(hint is other for other in seen):  # a type may contain itself
        return
    seen.append(hint)
    yield hint
    for part in typing.get_args(hint):
        yield from _parts_of(part, seen)


def _is_connection(hint: Any) -> bool:
    if isinstance(hint, str):  # names that only a type checker can see
        return "Connection" in _last_names(hint)
    return isinstance(hint, type) and any(
        base.__name__ == "Connection" and base.__module__.startswith("reliable_ws.")
        for base in hint.__mro__
    )


def _is_connection_or_none(hint: Any) -> bool:
    hint = _innermost_meaning(hint)
    if isinstance(hint, str):
        return _last_names(hint) <= NEITHER_OR_BOTH
    kinds = typing.get_args(hint) if typing.get_origin(hint) in UNIONS else (hint,)
    return all(_is_connection(_innermost_meaning(kind)) or kind is type(None) for kind in kinds)


def _last_names(text: str) -> set[str]:
    """Return the names in an annotation, without the modules that they are in."""
    return {name.rpartition(".")[2] for name in re.findall(r"[^\W\d][\w.]*", text)}
