"""Values from the wire against annotations: checked, and built where that is meant."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from typing import Any

__all__ = ["fit"]

PLAIN = (bool, int, float, str, bytes, list, dict, type(None))


def fit(name: str, hint: Any, value: Any) -> Any:
    """Return the value as the annotation wants it.

    Raises:
        TypeError: The value is of another kind.
        ValueError: The value is none of an enumeration's or a ``Literal``'s.
    """
    origin = typing.get_origin(hint)
    if origin is not None:
        return _fit_parts(name, hint, origin, value)
    if not isinstance(hint, type):
        return value
    if hint in PLAIN:
        kinds = (int, float) if hint is float else (hint,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and hint is not bool):
            raise TypeError(f"{name} must be {hint.__name__}, not {type(value).__name__}")
    elif dataclasses.is_dataclass(hint):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise TypeError(f"{name} must be a map, not {type(value).__name__}")
        fields = _fields(hint)
        return hint(**{key: fit(key, fields.get(key), part) for key, part in value.items()})
    elif issubclass(hint, enum.Enum):
        return hint(value)
    return value


def _fit_parts(name: str, hint: Any, origin: Any, value: Any) -> Any:
    kinds = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _fit_any(name, kinds, value)
    if origin is typing.Literal and value not in kinds:
        raise ValueError(f"{name} must be one of {kinds}")
    if origin in (list, tuple, dict):
        fit(name, dict if origin is dict else list, value)
    if origin is list:
        return [fit(name, kinds[0], part) for part in value]
    if origin is dict:
        return {fit(name, kinds[0], k): fit(name, kinds[1], part) for k, part in value.items()}
    if origin is tuple:
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        return tuple(fit(name, kind, part) for kind, part in zip(kinds, value, strict=True))
    return value


def _fit_any(name: str, kinds: tuple[Any, ...], value: Any) -> Any:
    whys = []
    for kind in kinds:
        try:
            return fit(name, kind, value)
        except (TypeError, ValueError) as why:
            whys.append(str(why))
    raise TypeError("; or ".join(whys))


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception:  # noqa: BLE001 - names that only a type checker sees
        return {}
