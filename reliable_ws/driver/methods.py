"""``Methods``: what the peer may ask for, and how a request becomes a Python call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from reliable_ws.protocol.errors import InvalidParams

from .coerce import Converters
from .coerce_libraries import Tries
from .hints import connection_parameter, hints_of, signature_of

__all__ = ["Method", "Methods"]

Bound = tuple[Sequence[Any], Mapping[str, Any]]
"""Arguments of a call."""

IN_ORDER = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

F = TypeVar("F", bound=Callable[..., Any])


class Method:
    """One handler: how its parameters are bound, and how it is run."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.streams = inspect.isasyncgenfunction(function)
        self.is_coroutine = inspect.iscoroutinefunction(function)
        self.generates = inspect.isgeneratorfunction(function)
        self._signature = signature_of(function)
        hints = hints_of(function)
        converters = Converters()
        try:
            self._connection = connection_parameter(self._signature, hints)
            self._converters = {
                key: converters.make(key, hint)
                for key, hint in hints.items()
                if key != self._connection
            }
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        parameters = self._signature.parameters.values()
        self._names = [parameter.name for parameter in parameters]
        self._in_turn = [(hints.get(key), self._converters.get(key)) for key in self._names]
        self._hints = tuple(hint if convert else None for hint, convert in self._in_turn)
        self._least, self._most = 0, -1  # arguments, if only their order has to be known
        if self._connection is None and all(p.kind in IN_ORDER for p in parameters):
            self._least = sum(p.default is p.empty for p in parameters)
            self._most = len(self._names)

    @property
    def needs_loop(self) -> bool:
        """Whether it can only be run by asyncio."""
        return self.is_coroutine or self.streams

    def bind(self, connection: object, params: Any) -> Bound:
        """Return the arguments of the call. Raises :class:`~reliable_ws.InvalidParams`.

        A list becomes positional arguments, a dict with text keys keyword arguments, ``None``
        no arguments, anything else the one argument. A parameter that is annotated with
        ``Connection``, or ``Connection | None``, gets the connection, never what the peer says.
        """
        args: Sequence[Any] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(params, list):
            args = params
        elif isinstance(params, dict) and all(isinstance(key, str) for key in params):
            kwargs = params
        elif params is not None:
            args = (params,)
        try:
            if not kwargs and self._least <= len(args) <= self._most:
                return self._in_order(args), {}
            if self._connection is not None:
                if self._connection in kwargs:
                    raise TypeError(f"{self._connection!r} is not for the peer to say")
                bound = self._with_connection(connection, args, kwargs)
            else:
                bound = self._signature.bind(*args, **kwargs)
            self._convert(bound)
        except (TypeError, ValueError) as error:
            raise InvalidParams("invalid-params", f"{self.name}: {error}") from None
        except RecursionError:
            words = "nested too deeply, or too many alternatives did not fit"
            raise InvalidParams("invalid-params", f"{self.name}: {words}") from None
        except Exception as error:  # a class that was to be built: its words may be confidential
            words = f"{type(error).__name__} while the parameters were built"
            raise InvalidParams("invalid-params", f"{self.name}: {words}") from error
        return bound.args, bound.kwargs

    def _in_order(self, args: Sequence[Any]) -> Sequence[Any]:
        """Convert arguments for plain positional parameters, the way of nearly every call."""
        if not self._converters:
            return args
        if tuple(map(type, args)) == self._hints:  # nothing is to be checked or built
            return args
        tries = Tries()
        values = []
        for value, (hint, convert) in zip(args, self._in_turn, strict=False):
            if convert is None or type(value) is hint:
                values.append(value)
            else:
                values.append(convert(value, tries))
        return values

    def _with_connection(
        self, connection: object, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> inspect.BoundArguments:
        place = self._names.index(self._connection or "")
        name = self._names[place]
        kind = self._signature.parameters[name].kind
        if kind is inspect.Parameter.KEYWORD_ONLY or len(args) < place:
            return self._signature.bind(*args, **kwargs, **{name: connection})
        return self._signature.bind(*args[:place], connection, *args[place:], **kwargs)

    def _convert(self, bound: inspect.BoundArguments) -> None:
        tries = Tries()
        for name, convert in self._converters.items():
            if name not in bound.arguments:
                continue
            value = bound.arguments[name]
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(convert(part, tries) for part in value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: convert(value[key], tries) for key in value}
            else:
                bound.arguments[name] = convert(value, tries)


class Methods:
    """The methods that the peer may request.

    Create one with ``methods = Methods()``, and register each handler with ``@methods.register``.
    Pass it as ``methods=``. A handler runs at most once for each request in a session.

    A coroutine function runs as a task of the event loop. So a slow one delays no other, unless it
    blocks the event loop (``time.sleep``, a computation): then everything waits, and the log says
    so ("the event loop did not run for"). A plain function runs in a thread of the
    loop's default executor, and waits while all threads are busy
    (:meth:`asyncio.loop.set_default_executor` gives more). An async generator function answers
    ``conn.stream()``, also when it is decorated. With :mod:`reliable_ws.sync`, handlers are plain
    functions, and generator functions for streams. Each runs in a thread.

    Parameters are checked against their annotations, and built: plain types, lists, tuples, sets,
    dicts, unions, ``Literal``, enums and dataclasses. With the extra ``typed`` (msgspec, pydantic),
    also dates and times (from ISO 8601), ``UUID``, ``Decimal``, ``TypedDict``, ``NamedTuple``,
    generic dataclasses, the Structs of msgspec, the models and types of pydantic, and the rules of
    both in ``Annotated``. An annotation that cannot be checked is refused where the handler is
    registered; ``Any`` is not checked. The alternatives of a union are tried in their order. A
    dataclass takes no other keys than its fields; what other types take, their libraries say.

    A parameter annotated with ``Connection`` or ``Connection | None`` gets the connection, and the
    peer cannot say what is in it. A result or an item of any of these types is packed, too: in
    plain values, from which the same annotation builds it again.

    If a handler raises :class:`~reliable_ws.RemoteError`, the caller gets its code, message and
    data. For any other exception the caller gets the code ``internal`` without the text, and the
    traceback is logged here.
    """

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    def __repr__(self) -> str:
        """The names that can be requested."""
        return f"<Methods {', '.join(self._methods) or 'none yet'}>"

    def __iter__(self) -> Iterator[Method]:
        """Go through the methods, in the order in which they were registered."""
        return iter(self._methods.values())

    @overload
    def register(self, function: F, /) -> F: ...
    @overload
    def register(self, /, *, name: str) -> Callable[[F], F]: ...
    def register(self, function: Any = None, /, *, name: str | None = None) -> Any:
        """Register a handler under its own name, or under ``name``. Return it unchanged.

        Use it as ``@methods.register`` or ``@methods.register(name="…")``.

        Raises:
            ValueError: A method of that name is registered already, or the handler has no name.
            TypeError: It is no function, or an annotation cannot be checked, or is ``Connection``
                where the connection cannot be given.
        """
        if function is None:
            return functools.partial(self.add, name=name)
        return self.add(function, name)

    def add(self, function: F, name: str | None = None) -> F:
        """Register ``function`` under its own name, or under ``name``. Return it unchanged.

        Raises:
            ValueError: A method of that name is registered already, or the handler has no name.
            TypeError: It is no function, or an annotation cannot be checked, or is ``Connection``
                where the connection cannot be given.
        """
        if not callable(function):
            raise TypeError(f"a method must be a function, not {function!r:.100}")
        key = name or getattr(function, "__name__", "")
        if not key:
            raise ValueError(f"{function!r} has no name of its own: use add(function, name)")
        if key in self._methods:
            raise ValueError(f"there is a method {key!r} already: use another name=")
        self._methods[key] = Method(key, function)
        return function

    def get(self, name: str) -> Method | None:
        """Return the method of this name, or ``None``."""
        return self._methods.get(name)

    def check_threads(self) -> None:
        """Check that every method can run in a thread.

        Raises:
            TypeError: A method is a coroutine function or an async generator function.
        """
        names = [name for name, method in self._methods.items() if method.needs_loop]
        if names:
            raise TypeError(
                f"{', '.join(names)}: coroutine functions need an event loop; for reliable_ws.sync "
                "register plain functions, and generator functions for streams"
            )

    def check_loop(self) -> None:
        """Check that every method can run in an event loop.

        Raises:
            TypeError: A method is a generator function, which only a thread can run.
        """
        names = [name for name, method in self._methods.items() if method.generates]
        if names:
            raise TypeError(
                f"{', '.join(names)}: generator functions are for reliable_ws.sync; for an event "
                "loop register async generator functions"
            )
