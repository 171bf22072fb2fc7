"""``Methods``: what the peer may ask for, and how a request becomes a Python call."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from reliable_ws.protocol.errors import InvalidParams

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Method", "Methods"]

F = TypeVar("F", bound=Callable[..., Any])

PLAIN = (bool, int, float, str, bytes, list, dict)
"""Annotations that are checked as they are; dataclasses are built; anything else is let through."""


class Method:
    """One handler: how its parameters are bound, and how it is run."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.streams = inspect.isasyncgenfunction(function)
        self._signature = inspect.signature(function)
        try:
            hints = typing.get_type_hints(function)
        except Exception:  # noqa: BLE001 - names that only a type checker sees
            hints = {}
        hints.pop("return", None)
        self._connection = next((key for key, hint in hints.items() if _is_connection(hint)), None)
        self._hints = {key: hint for key, hint in hints.items() if key != self._connection}

    def bind(self, connection: Connection, params: Any) -> inspect.BoundArguments:
        """Return the arguments of the call. Raises :class:`~reliable_ws.InvalidParams`.

        A list becomes positional arguments, a dict with text keys keyword arguments, ``None``
        no arguments, anything else the one argument. A parameter that is annotated with
        ``Connection`` gets the connection.
        """
        args: Sequence[Any] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(params, list):
            args = params
        elif isinstance(params, dict) and all(isinstance(key, str) for key in params):
            kwargs = dict(params)
        elif params is not None:
            args = (params,)
        try:
            if self._connection is not None:
                if self._connection in kwargs:
                    raise TypeError(f"{self._connection!r} is not for the peer to say")
                return self._checked(self._with_connection(connection, args, kwargs))
            return self._checked(self._signature.bind(*args, **kwargs))
        except TypeError as error:
            raise InvalidParams("invalid-params", f"{self.name}: {error}") from None

    def _with_connection(
        self, connection: Connection, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> inspect.BoundArguments:
        names = list(self._signature.parameters)
        place = names.index(self._connection or "")
        kind = self._signature.parameters[names[place]].kind
        if kind is inspect.Parameter.KEYWORD_ONLY or len(args) < place:
            return self._signature.bind(*args, **kwargs, **{names[place]: connection})
        return self._signature.bind(*args[:place], connection, *args[place:], **kwargs)

    def _checked(self, bound: inspect.BoundArguments) -> inspect.BoundArguments:
        for name, hint in self._hints.items():
            if name in bound.arguments:
                parameter = self._signature.parameters[name]
                if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                    continue
                bound.arguments[name] = _fit(name, hint, bound.arguments[name])
        return bound

    async def run(self, bound: inspect.BoundArguments) -> Any:
        """Run the handler: a coroutine function here, a plain one in a thread of its own."""
        if inspect.iscoroutinefunction(self.function):
            return await self.function(*bound.args, **bound.kwargs)
        result = await asyncio.to_thread(self.function, *bound.args, **bound.kwargs)
        return await result if inspect.isawaitable(result) else result


class Methods:
    """A registry of request handlers: ``methods = Methods()``, then ``@methods.register``.

    Coroutine functions run as tasks of the event loop; plain functions run in a thread
    (:func:`asyncio.to_thread`), so that they cannot block it; async generator functions answer
    ``conn.stream()``. An exception becomes a fault for the caller: ``RemoteError`` with its
    code, message and data, anything else as ``internal``, logged here, without its text.
    """

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    @overload
    def register(self, function: F, /) -> F: ...
    @overload
    def register(self, *, name: str) -> Callable[[F], F]: ...
    def register(self, function: F | None = None, /, *, name: str | None = None) -> Any:
        """Register a handler under its own name, or under ``name``. Returns it unchanged.

        Raises ``ValueError`` if there is one of that name already.
        """
        if function is None:
            return lambda decorated: self.add(decorated, name)
        return self.add(function, name)

    def add(self, function: F, name: str | None = None) -> F:
        """Register ``function``; see :meth:`register`."""
        key = name or function.__name__
        if key in self._methods:
            raise ValueError(f"there is a method {key!r} already")
        self._methods[key] = Method(key, function)
        return function

    def get(self, name: str) -> Method | None:
        """Return the handler of this name."""
        return self._methods.get(name)


def _is_connection(hint: Any) -> bool:
    return isinstance(hint, type) and any(
        base.__name__ == "Connection" and base.__module__.startswith("reliable_ws.")
        for base in hint.__mro__
    )


def _fit(name: str, hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return hint(**value)
    if hint in PLAIN:
        kinds = (int, float) if hint is float else (hint,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and hint is not bool):
            raise TypeError(f"{name} must be {hint.__name__}, not {type(value).__name__}")
    return value
