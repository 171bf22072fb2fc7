"""A message between the application's value and what travels (protocol.md, section 5).

``str`` and ``bytes`` travel as they are. Any other value is packed on its own, so that a link
never has to understand it: it is decoded only when it is handed over.
"""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import msgpack

from .errors import NotSerializable, PayloadError
from .frames import EXT_VALUE, LONGEST_CODEC_NAME, OVERHEAD, Payload, new_unchecked

__all__ = [
    "DEFAULT_CODEC",
    "MsgpackCodec",
    "PayloadCodec",
    "name_of",
    "open_payload",
    "seal",
    "seal_weight",
    "text_length",
]


class PayloadCodec(Protocol):
    """How values that are neither ``str`` nor ``bytes`` become bytes, and back.

    It packs messages, and what calls carry: the parameters of a request (a list, a dict or one
    value; ``None`` where there are none), the result of a handler (``None`` where it returns
    nothing), each item of a stream, and the ``data`` of a ``RemoteError`` (``None`` where it has
    none). ``str`` and ``bytes`` go past it.

    Both sides need the same, so each greets with the ``name`` of its codec, an optional attribute:
    1 to 32 visible ASCII characters. Without it a codec is called ``custom``. A peer whose codec
    has another name is refused (4415).
    """

    def dumps(self, value: Any, /) -> bytes:
        """Return the value as ``bytes``, of no subclass.

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

    No extension types but msgpack's own timestamp, which is no key of a map. Depth is bounded by
    msgpack (511 levels are packed, 1024 unpacked). A value that a peer packed costs tens of
    milliseconds at most to unpack, because all of these are bounded:

    - its bytes, by ``max_size``. By default 1 MiB, and one of the larger ones of a hostile peer
      would stop an event loop for seconds. Send what is larger as ``bytes``, which nobody parses.
    - the items of all its lists and maps together, by ``max_items``. By default 100,000: a
      megabyte of empty maps would become 78 MB of objects.
    - the keys that are neither text nor bytes, by 8,192: a peer can choose numbers that fall into
      one place of a ``dict``.

    ``dumps`` refuses what is above the limits. Both sides need the same: set them on both.

    A subclass that packs in another way needs a ``name`` of its own.
    """

    name = "msgpack"
    "What a peer is told; the one name that needs no telling."

    def __init__(self, max_items: int = 100_000, max_size: int = 1024 * 1024) -> None:
        self.max_items = max_items
        self.max_size = max_size

    def dumps(self, value: Any, /) -> bytes:
        """Pack, and prove that it can be unpacked: what ``send`` accepts arrives.

        Raises:
            Exception: The value cannot be packed, or could not be unpacked.
        """
        data: bytes = msgpack.packb(value)
        if len(data) > self.max_size:
            raise ValueError(
                f"packed it has {len(data)} bytes, more than MsgpackCodec(max_size="
                f"{self.max_size}) takes; bytes that are no part of a value have no such limit"
            )
        if type(value) not in SCALARS and _items_left(value, self.max_items, PROVED_DEPTH) < 0:
            self.loads(data)
        return data

    def loads(self, data: bytes, /) -> Any:
        """Unpack, within the limits.

        Raises:
            Exception: The bytes are no value, or are above a limit.
        """
        size = len(data)
        if size > self.max_size:
            raise ValueError(f"more than MsgpackCodec(max_size={self.max_size}) bytes")  # MSG-6
        most = min(size, self.max_items)  # an item takes a byte at least
        if size <= HARMLESS:
            return msgpack.unpackb(
                data,
                strict_map_key=False,
                ext_hook=_refuse_extension,
                max_array_len=most,
                max_map_len=most,
            )
        # Memory is taken for what a header announces: see first that it is all there.
        unpacker = msgpack.Unpacker(max_buffer_size=size)
        unpacker.feed(data)
        unpacker.skip()
        bounds = _Bounds(self.max_items)
        # Timestamps cost ten times as much as scalars, and are counted when their list is complete.
        # Where there may be too many, the items are counted with floats in their place.
        if size > 6 * self.max_items and sum(map(data.count, TIMESTAMPS)) > self.max_items:
            with contextlib.suppress(ValueError):
                _unpack(data, most, bounds, timestamp=1)
            if bounds.exceeded:
                raise _too_many(self.max_items)
            bounds = _Bounds(self.max_items)
        try:
            return _unpack(data, most, bounds)
        except ValueError:
            if bounds.exceeded:
                raise
        # Perhaps it was a key that is a number.
        return _unpack(data, most, _Bounds(self.max_items), numeric_keys=True)


UNNAMED = "custom"
"""What a codec is called that has no name."""

DEFAULT_CODEC = MsgpackCodec()

SCALARS = frozenset((str, bytes, int, float, bool, type(None)))
"""Types whose values can be unpacked wherever they can be packed, as keys of maps, too."""

TEXTS = frozenset((str, bytes))
"""Types of keys whose hashes no peer can foresee."""

PROVED_DEPTH = 32
"""Levels of containers that are looked through; deeper values are unpacked for a proof."""

HARMLESS = 256
"""Bytes up to which a value costs little, whatever is in it."""

NUMERIC_KEYS = 8_192
"""Most keys of a value that are neither text nor bytes: their hashes can be foreseen."""


TIMESTAMPS = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")
"""How timestamps begin. The same bytes may be inside of something else."""


def _too_many(max_items: int) -> ValueError:
    """Return the error for a value with more items than its codec takes."""
    return ValueError(f"too many items: more than MsgpackCodec(max_items={max_items}) takes")


class _Bounds:
    """Counts what is in a value while it is unpacked; each container is told when it is complete.

    Every item is counted with its container, and containers are counted by themselves: those that
    are complete count before the one that they are in.
    """

    __slots__ = ("_max_items", "containers", "exceeded", "items", "numeric_keys")

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self.items = max_items
        "How many more items there may be."
        self.containers = max_items + 1
        "How many more containers: the outermost is no item."
        self.numeric_keys = NUMERIC_KEYS
        "How many more keys that are neither text nor bytes."
        self.exceeded = False
        "Whether there was too much in all containers."

    def container(self, container: Any) -> Any:
        """Return a list or a map as it is.

        Raises:
            ValueError: There is too much in all of them.
        """
        self.items -= len(container)
        self.containers -= 1
        if self.items < 0 or self.containers < 0:
            self.exceeded = True
            raise _too_many(self._max_items)
        return container

    def pairs(self, pairs: list[tuple[Any, Any]]) -> Any:
        """Return a map. Its keys are looked at before they are hashed.

        Raises:
            ValueError: There is too much in all containers, or too many keys could collide.
        """
        kinds = [type(key) for key, _ in pairs]
        if not TEXTS.issuperset(kinds):
            if not SCALARS.issuperset(kinds):
                raise ValueError("a key of a map is no scalar")
            self.numeric_keys -= len(kinds)
            if self.numeric_keys < 0:
                raise ValueError(f"more than {NUMERIC_KEYS} keys that are neither text nor bytes")
        return self.container(dict(pairs))


def _unpack(
    data: bytes, most: int, bounds: _Bounds, *, numeric_keys: bool = False, timestamp: int = 0
) -> Any:
    """Unpack what is complete."""
    return msgpack.unpackb(
        data,
        strict_map_key=not numeric_keys,
        list_hook=bounds.container,
        object_hook=None if numeric_keys else bounds.container,
        object_pairs_hook=bounds.pairs if numeric_keys else None,
        ext_hook=_refuse_extension,
        max_array_len=most,
        max_map_len=most,
        timestamp=timestamp,
    )


def _items_left(value: Any, most: int, depth: int) -> int:
    """Return how many of ``most`` items a value that was packed leaves.

    Below 0, only trying can tell whether it can be unpacked. Packing does not notice extension
    types, keys that come back unhashable (tuples come back as lists), too many keys that are
    numbers, and too many items. Containers of scalars under keys of text have none of these.
    """
    kind = type(value)
    if kind is dict:
        if not TEXTS.issuperset(map(type, value)):
            return -1
        items: Any = value.values()
    elif kind is list or kind is tuple:
        items = value
    else:
        return most if kind in SCALARS else -1
    most -= len(value)
    if most < 0 or depth == 0:
        return -1
    if SCALARS.issuperset(map(type, items)):
        return most
    for item in items:
        most = _items_left(item, most, depth - 1)
        if most < 0:
            break
    return most


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"msgpack extension type {code} is not carried")


def name_of(codec: PayloadCodec) -> str:
    """Return what a codec is called (HELLO-18)."""
    return getattr(codec, "name", None) or UNNAMED


def is_codec_name(value: Any) -> bool:
    """Whether a codec may be called that: visible ASCII characters, and not many (HELLO-18)."""
    return (
        type(value) is str
        and 0 < len(value) <= LONGEST_CODEC_NAME
        and all("!" <= character <= "~" for character in value)
    )


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
        if type(data) is not bytes:
            raise TypeError(f"dumps() of the payload codec gave {type(data).__name__}, not bytes")
    except Exception as error:
        raise NotSerializable(
            f"{kind.__name__} cannot be sent: {error}. Send str, bytes or what msgpack can pack, "
            "or pass another payload codec"
        ) from error
    return new_unchecked(msgpack.ExtType, (EXT_VALUE, data)), len(data) + OVERHEAD


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
