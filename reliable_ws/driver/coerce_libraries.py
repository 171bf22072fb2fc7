"""Types that libraries check, where these are installed: pydantic its own, msgspec the rest."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from .hints import meaning_of

__all__ = [
    "Converter",
    "Tries",
    "by_library",
    "has_msgspec",
    "is_of_pydantic",
    "rules_of",
    "to_builtins",
]

MOST_TRIES = 100_000
"""Alternatives of unions that may not fit the parameters of one request."""

NATIVE = (bytes, bytearray, memoryview)
"""Types that a codec carries and msgspec would write as text."""


class Tries:
    """Counts the alternatives of unions that did not fit, in the parameters of one request.

    In a type that contains itself, the work could double with each level of the peer's value.
    """

    left = MOST_TRIES

    def failed(self) -> None:
        """Count one more. Raises ``RecursionError`` if there were too many."""
        self.left -= 1
        if self.left < 0:
            raise RecursionError


Converter: TypeAlias = Callable[[Any, Tries], Any]
"""Returns the value as the annotation wants it. Raises ``TypeError`` or ``ValueError``."""

Make: TypeAlias = Callable[[str, Any], Converter]


def by_library(name: str, hint: Any, make: Make) -> Converter | None:
    """Return the converter of a type that a library can check. ``make`` makes those of parts."""
    return _by_pydantic(name, hint, make) or _by_msgspec(name, hint)


def is_of_pydantic(kind: Any) -> bool:
    """Whether it is a model, a dataclass or another type of pydantic's."""
    return isinstance(kind, type) and (
        hasattr(kind, "__pydantic_validator__") or hasattr(kind, "__get_pydantic_core_schema__")
    )


def rules_of(hint: Any) -> set[str]:
    """Return the libraries whose rules for values an ``Annotated`` has: msgspec, or pydantic."""
    libraries = {type(rule).__module__.partition(".")[0] for rule in _metadata_of(hint)}
    return libraries & {"annotated_types", "msgspec", "pydantic"}


def _metadata_of(hint: Any) -> tuple[Any, ...]:
    """Return what ``Annotated`` says beside the type."""
    return hint.__metadata__ if typing.get_origin(hint) is typing.Annotated else ()


def _by_pydantic(name: str, hint: Any, make: Make) -> Converter | None:
    """Return the converter of a type of pydantic's, or of another one with its rules."""
    rules = rules_of(hint)
    if not is_of_pydantic(hint) and (not rules or "msgspec" in rules):
        return None
    try:
        import pydantic

        adapter: Any = pydantic.TypeAdapter(hint)
    except Exception:  # noqa: BLE001 - it is not installed, or does not know the type
        return None
    if not rules:
        return functools.partial(_validate, name, adapter)
    base = make(name, meaning_of(hint))
    return lambda value, tries: _validate(name, adapter, base(value, tries), tries, strict=True)


def _validate(
    name: str, adapter: Any, value: Any, _tries: Tries, *, strict: bool | None = None
) -> Any:
    try:
        return adapter.validate_python(value, strict=strict)
    except ValueError as error:
        errors = getattr(error, "errors", None)
        if errors is None:
            raise
        whys = [f"{'.'.join(map(str, (name, *e['loc'])))}: {e['msg']}" for e in errors()]
        raise ValueError("; ".join(whys)) from None


def has_msgspec() -> bool:
    """Whether msgspec is installed."""
    return _msgspec() is not None


@functools.cache
def _msgspec() -> Any:
    """Return the library, or ``None`` where it is not installed."""
    try:
        import msgspec
    except ImportError:
        return None
    return msgspec


def _by_msgspec(name: str, hint: Any) -> Converter | None:
    """Return the converter of whatever msgspec can check."""
    msgspec = _msgspec()
    if msgspec is None or rules_of(hint) - {"msgspec"}:
        return None
    try:
        msgspec.msgpack.Decoder(hint)
        custom = list(_custom_types(msgspec.inspect.type_info(hint), set()))
    except Exception:  # noqa: BLE001 - a type that it does not know, or names that it cannot resolve
        return None
    if not all(map(is_of_pydantic, custom)):
        return None
    convert = functools.partial(
        msgspec.convert, type=hint, builtin_types=NATIVE, dec_hook=_build_model
    )

    def converter(value: Any, _tries: Tries) -> Any:
        try:
            return convert(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None

    return converter


def _custom_types(info: Any, seen: set[int]) -> Iterator[type]:
    """Yield the types in a type that msgspec does not know by itself."""
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, tuple):
        for part in info:
            yield from _custom_types(part, seen)
    elif type(info).__name__ == "CustomType":
        yield info.cls
    elif type(info).__module__ == "msgspec.inspect":
        for field in info.__struct_fields__:
            yield from _custom_types(getattr(info, field), seen)


def _build_model(kind: type, value: Any) -> Any:
    import pydantic

    return pydantic.TypeAdapter(kind).validate_python(value)


def to_builtins(value: Any, plain: Callable[[Any], Any]) -> Any:
    """Return what msgspec makes of a value, ``plain`` of its parts that it does not know.

    The value itself where msgspec is not installed, or does not know it either.
    """
    msgspec = _msgspec()

    def other(part: Any) -> Any:
        if part is value:
            raise NotImplementedError
        return plain(part)

    if msgspec is None:
        return value
    try:
        return msgspec.to_builtins(value, builtin_types=NATIVE, enc_hook=other)
    except NotImplementedError:
        return value
