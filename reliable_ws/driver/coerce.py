"""Values from the wire against annotations: checked, and built where that is meant.

Theory of operation. When a handler is registered, :class:`Converters` makes a *converter* of each
annotation: a function that returns the value as it is wanted, or raises. Plain types, containers,
unions, enumerations and dataclasses are done here. The other types are done by msgspec where it is
installed, and those of pydantic by pydantic. There is no third way: for an annotation that none of
them can check, no converter can be made.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from .coerce_libraries import (
    Converter,
    Tries,
    by_library,
    has_msgspec,
    is_of_pydantic,
    rules_of,
)
from .hints import UNIONS, local_names, meaning_of

__all__ = ["Converter", "Converters", "Tries"]

PLAIN = (bool, int, float, str, bytes, type(None))

SEQUENCES: dict[Any, Callable[[Any], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
"""What an array becomes."""

MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Converters:
    """Makes converters for the annotations of one handler."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], _Later] = {}  # of types that may contain themselves

    def make(self, name: str, hint: Any) -> Converter:
        """Return the converter of a parameter, or of a field of that name.

        Raises:
            TypeError: Values cannot be checked against this annotation.
        """
        if isinstance(hint, list | dict | set):  # what cannot be hashed is no type
            _refuse(name, hint)
        if not rules_of(hint):
            converter = self._by_another_name(name, hint) or self._plain(name, hint)
            converter = converter or self._container(name, hint)
            if converter is not None:
                return converter
        return by_library(name, hint, self.make) or _refuse(name, hint)

    def _by_another_name(self, name: str, hint: Any) -> Converter | None:
        meaning = meaning_of(hint)
        if meaning is not hint:
            return self._once(name, hint, lambda: self.make(name, meaning))
        if isinstance(hint, typing.TypeVar):
            return self._union(name, hint.__constraints__ or (Any,))
        return None

    def _plain(self, name: str, hint: Any) -> Converter | None:
        if hint in (Any, object):
            return _anything
        if hint in PLAIN:
            return functools.partial(_check_plain, name, hint)
        if typing.get_origin(hint) is typing.Literal:
            return functools.partial(_choose, name, typing.get_args(hint))
        if isinstance(hint, enum.EnumMeta):
            return functools.partial(_find_member, name, hint)
        if _is_plain_dataclass(hint):
            return self._once(name, hint, lambda: self._dataclass(name, hint))
        return None

    def _container(self, name: str, hint: Any) -> Converter | None:
        kind, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
        if kind in UNIONS:
            return self._union(name, parts)
        if kind is tuple and parts and parts[-1] is not ...:
            return functools.partial(_build_tuple, name, [self.make(name, part) for part in parts])
        if kind in SEQUENCES:
            item = self.make(name, parts[0]) if parts else _anything
            return functools.partial(_build_sequence, name, SEQUENCES[kind], item)
        if kind in MAPPINGS:
            key, value = (self.make(name, part) for part in parts or (Any, Any))
            return functools.partial(_build_map, name, key, value)
        return None

    def _once(self, name: str, hint: Any, make: Callable[[], Converter]) -> Converter:
        """Return the same converter wherever a type that may contain itself is met again."""
        later = self._made.get((name, id(hint)))
        if later is None:
            later = self._made[name, id(hint)] = _Later(hint)
            later.converter = make()
        return later.convert

    def _union(self, name: str, kinds: tuple[Any, ...]) -> Converter:
        return functools.partial(_take_first, [self.make(name, kind) for kind in kinds])

    def _dataclass(self, name: str, hint: Any) -> Converter:
        try:
            names = local_names(hint) | {hint.__name__: hint}
            hints = typing.get_type_hints(hint, localns=names, include_extras=True)
        except NameError as error:
            raise TypeError(f"{name}: {hint.__name__}: {error}; {SEEN}") from None
        fields = {}
        for key in inspect.signature(hint).parameters:
            of_field = hints.get(key, Any)
            if isinstance(of_field, dataclasses.InitVar):
                of_field = of_field.type
            fields[key] = self.make(key, of_field)
        return functools.partial(_build_dataclass, name, hint, fields)


class _Later:
    """A converter that is used before it is made, by a type that contains itself."""

    def __init__(self, hint: Any) -> None:
        self.hint = hint  # referred to, so that no other type gets its id
        self.converter: Converter = _anything

    def convert(self, value: Any, tries: Tries) -> Any:
        return self.converter(value, tries)


SEEN = (
    "import it where the program runs, not only under TYPE_CHECKING; define it in a module, or "
    "register the handler in the function that defines it, below it"
)


TRY_EXTRA = (
    "; with pip install 'reliable-ws[typed]' also datetime, UUID, Decimal, NamedTuple, TypedDict, "
    "generic dataclasses and the Structs of msgspec"
)


LOCAL_FIELDS = ". If its fields have types that a function defines, define these in a module"


def _refuse(name: str, hint: Any) -> typing.NoReturn:
    if isinstance(hint, str):
        raise TypeError(f"{name}: the annotation {hint!r} cannot be resolved; {SEEN}")
    extra = "" if has_msgspec() else TRY_EXTRA
    local = LOCAL_FIELDS if "<locals>" in getattr(hint, "__qualname__", "") else ""
    raise TypeError(
        f"{name}: no value from the peer can be checked against {hint!r}. Annotate it with plain "
        f"types, containers and unions of them, dataclasses or enums{extra}; or with Any, which "
        f"is not checked{local}"
    )


# ------------------------------------------------------------------ plain types


def _anything(value: Any, _tries: Tries) -> Any:
    return value


def _wrong(name: str, expected: str, value: Any) -> TypeError:
    return TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def _check_plain(name: str, kind: type, value: Any, _tries: Tries) -> Any:
    kinds = (int, float) if kind is float else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(name, "None" if kind is type(None) else kind.__name__, value)
    return value


def _choose(name: str, choices: tuple[Any, ...], value: Any, _tries: Tries) -> Any:
    for choice in choices:
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        if type(plain) is type(value) and plain == value:
            return choice
    raise ValueError(f"{name} must be one of {choices}")


def _find_member(name: str, kind: Any, value: Any, _tries: Tries) -> Any:
    if isinstance(value, kind):
        return value
    member = kind(value)
    if member.value == value and type(member.value) is not type(value):  # True == 1 == 1.0
        raise _wrong(name, f"a {type(member.value).__name__} of {kind.__name__}", value)
    return member


def _take_first(alternatives: list[Converter], value: Any, tries: Tries) -> Any:
    whys = []
    for alternative in alternatives:
        try:
            return alternative(value, tries)
        except (TypeError, ValueError) as why:
            tries.failed()
            whys.append(str(why))
    raise TypeError("; or ".join(whys)[:LONGEST_WHY])


LONGEST_WHY = 1_000
"""Characters of what is said about a union: unions in unions would say the more."""


def _array(name: str, value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(name, "list", value)
    return value


def _build_sequence(
    name: str, kind: Callable[[Any], Any], part: Converter, value: Any, tries: Tries
) -> Any:
    if isinstance(value, set | frozenset) and kind in (set, frozenset):
        value = list(value)  # of a codec that carries sets
    return kind([part(each, tries) for each in _array(name, value)])


def _build_tuple(name: str, parts: list[Converter], value: Any, tries: Tries) -> Any:
    if len(_array(name, value)) != len(parts):
        raise ValueError(f"{name} must have {len(parts)} items, not {len(value)}")
    return tuple(part(each, tries) for part, each in zip(parts, value, strict=True))


def _build_map(name: str, key: Converter, part: Converter, value: Any, tries: Tries) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(name, "dict", value)
    return {key(each, tries): part(value[each], tries) for each in value}


# ------------------------------------------------------------------ dataclasses


def _is_plain_dataclass(hint: Any) -> bool:
    """Whether it is a dataclass that is not generic: whose fields have the types that they say."""
    return (
        isinstance(hint, type)
        and dataclasses.is_dataclass(hint)
        and typing.Generic not in hint.__mro__
        and not is_of_pydantic(hint)
    )


def _build_dataclass(
    name: str, kind: Any, fields: dict[str, Converter], value: Any, tries: Tries
) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, dict):
        raise _wrong(name, "a map", value)
    unknown = next((key for key in value if key not in fields), None)
    if unknown is not None:
        raise TypeError(f"{kind.__name__} has no field {unknown!r:.100}")
    return kind(**{key: fields[key](part, tries) for key, part in value.items()})
