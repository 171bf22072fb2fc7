"""Results and parameters of types that a payload codec does not know, as plain values."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from reliable_ws.protocol.errors import NotSerializable
from reliable_ws.protocol.frames import Payload
from reliable_ws.protocol.payload import PayloadCodec, seal

from .coerce_libraries import to_builtins

__all__ = ["plain", "seal_plain"]

AS_IT_IS = (str, int, float, bytes, bytearray, memoryview, type(None))


def seal_plain(value: Any, codec: PayloadCodec) -> tuple[Payload, int]:
    """Return what travels for a value that the codec did not pack as it is, and its weight.

    Raises:
        NotSerializable: The codec cannot pack it as a plain value either.
    """
    try:
        return seal(plain(value), codec)
    except NotSerializable:
        raise
    except Exception as error:  # a property that raises, a value that contains itself
        raise NotSerializable(f"{type(value).__name__} cannot be sent: {error!r}") from error


def plain(value: Any) -> Any:
    """Return the value in plain types, which the handler's annotations build again.

    A dataclass, a model or a Struct becomes a map, an enumeration's member its value, a set a list;
    with msgspec, what has a text of its own (a date, a UUID, a ``Decimal``) becomes that. Anything
    else stays: the codec may know it.
    """
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, AS_IT_IS):
        return value
    if isinstance(value, dict):
        return {plain(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    dump = getattr(value, "model_dump", None)
    if dump is not None and hasattr(type(value), "__pydantic_validator__"):
        return plain(dump(by_alias=True))
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    return to_builtins(value, plain)
