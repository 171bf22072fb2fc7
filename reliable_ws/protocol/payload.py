"""A message between the application's value and what travels (protocol.md, section 5).

``str`` and ``bytes`` travel as they are. Any other value is packed on its own, so that a link
never has to understand it: it is decoded only when it is handed over.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgpack

from .errors import NotSerializable, PayloadError
from .frames import EXT_VALUE, OVERHEAD, Payload

__all__ = ["MsgpackCodec", "PayloadCodec", "open_payload", "seal", "seal_weight", "text_length"]


class PayloadCodec(Protocol):
    """How values that are neither ``str`` nor ``bytes`` become bytes, and back."""

    def dumps(self, value: Any, /) -> bytes:
        """Return the value as bytes.

        Raises:
            Exception: Anything means that the value cannot be sent.
        """
        ...

    def loads(self, data: bytes, /) -> Any:
        """Return the value again.

        Raises:
            Exception: Anything means that the bytes are no value.
        """
        ...


class MsgpackCodec:
    """The default: plain msgpack. Tuples come back as lists; keys may be of any scalar type.

    No extension types but msgpack's own timestamp. Depth is bounded by msgpack (511 levels are
    packed, 1024 unpacked); every container by ``max_items``, because a megabyte of empty maps
    becomes 78 MB of objects.
    """

    def __init__(self, max_items: int = 1_000_000) -> None:
        self.max_items = max_items

    def dumps(self, value: Any, /) -> bytes:
        """Pack, and prove that it can be unpacked: what ``send`` accepts arrives.

        Raises:
            Exception: The value cannot be packed, or could not be unpacked.
        """
        data: bytes = msgpack.packb(value)
        if type(value) not in SCALARS and not _comes_back(value, self.max_items, PROVED_DEPTH):
            self.loads(data)
        return data

    def loads(self, data: bytes, /) -> Any:
        """Unpack, within the limits.

        Raises:
            Exception: The bytes are no value, or are above a limit.
        """
        return msgpack.unpackb(
            data,
            strict_map_key=False,
            ext_hook=_refuse_extension,
            max_array_len=self.max_items,
            max_map_len=self.max_items,
        )


SCALARS = frozenset((str, bytes, int, float, bool, type(None)))
"""Types whose values can be unpacked wherever they can be packed, as keys of maps, too."""

PROVED_DEPTH = 32
"""Levels of containers that are looked through; deeper values are unpacked for a proof."""


def _comes_back(value: Any, max_items: int, depth: int) -> bool:
    """Whether a value that was packed can be unpacked; ``False`` where only trying can tell.

    Packing does not notice extension types, keys that come back unhashable (tuples come back as
    lists), and too many items. Containers of scalars have none of these.
    """
    kind = type(value)
    if kind is dict:
        if not SCALARS.issuperset(map(type, value)):
            return False
        items: Any = value.values()
    elif kind is list or kind is tuple:
        items = value
    else:
        return kind in SCALARS
    if len(value) > max_items or depth == 0:
        return False
    if SCALARS.issuperset(map(type, items)):
        return True
    return all(_comes_back(item, max_items, depth - 1) for item in items)


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"msgpack extension type {code} is not carried")


def seal(message: Any, codec: PayloadCodec) -> tuple[Payload, int]:
    """Return what travels for ``message``, and its weight.

    Nothing mutable is kept: what the caller changes later is not sent.

    Raises:
        NotSerializable: The codec cannot pack it.
    """
    kind = type(message)
    if kind is bytes:
        return message, len(message) + OVERHEAD
    try:
        if kind is str:
            return message, text_length(message) + OVERHEAD
        if isinstance(message, str):
            return seal(str.__str__(message), codec)
        if isinstance(message, bytes | bytearray | memoryview):
            return seal(bytes(message), codec)
        data = codec.dumps(message)
    except Exception as error:
        raise NotSerializable(
            f"{kind.__name__} cannot be sent: {error}. Send str, bytes or what msgpack can pack, "
            "or pass another payload codec"
        ) from error
    return msgpack.ExtType(EXT_VALUE, data), len(data) + OVERHEAD


def seal_weight(payload: Payload) -> int:
    """Return the weight of a payload that is sealed already."""
    if type(payload) is bytes:
        return len(payload) + OVERHEAD
    if type(payload) is str:
        return text_length(payload) + OVERHEAD
    content = payload.data if isinstance(payload, msgpack.ExtType) else payload
    return len(content) + OVERHEAD


def text_length(text: str) -> int:
    """Return how many bytes a text takes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def open_payload(payload: Payload, number: int, codec: PayloadCodec) -> Any:
    """Return the application's value.

    Raises:
        PayloadError: The codec cannot unpack it (MSG-4). It has the message's ``number``.
    """
    if not isinstance(payload, msgpack.ExtType):
        return payload
    try:
        return codec.loads(payload.data)
    except Exception as error:
        raise PayloadError(number, payload.data, f"{type(error).__name__}: {error}") from error
