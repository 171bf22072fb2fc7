"""What the adapters of websockets, with and without threads, make of the library's options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from websockets.typing import Subprotocol

__all__ = [
    "MAX_SIZE",
    "MaxSize",
    "cookies_set",
    "max_frame_of",
    "names_of",
    "selecting",
    "smallest",
    "typed",
]

MAX_SIZE = 1024 * 1024  # the library's own default

MaxSize = int | tuple[int | None, int | None] | None


def names_of(*functions: Callable[..., Any]) -> frozenset[str]:
    """Return the names of options that these functions take."""
    return frozenset(
        parameter.name
        for function in functions
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ) - {"self", "protocol_factory", "uri", "handler"}


def cookies_set(ws: Any) -> list[str]:
    """Return the ``Set-Cookie`` lines of a client's handshake."""
    return list(ws.response.headers.get_all("Set-Cookie"))


def typed(names: Sequence[str] | None) -> list[Subprotocol] | None:
    """Return subprotocols as the library wants them; ``None``: none is offered (LINK-7)."""
    return None if names is None else [Subprotocol(name) for name in names]


def selecting(
    names: Sequence[Subprotocol] | None,
) -> Callable[[Any, Sequence[Subprotocol]], Subprotocol | None]:
    """Return what selects the first of these that is offered, and refuses nobody."""

    def select(_: Any, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((name for name in names or () if name in offered), None)

    return select


def smallest(max_size: MaxSize) -> int | None:
    """Return the largest message that passes all limits of a ``max_size``."""
    sizes = max_size if isinstance(max_size, tuple) else (max_size,)
    return min((size for size in sizes if size is not None), default=None)


def max_frame_of(ws: Any) -> int | None:
    """Return the largest message that a connection takes.

    Undocumented, but without it the default is as good a guess as any.
    """
    holder = getattr(ws, "protocol", ws)
    if hasattr(holder, "max_message_size"):  # asyncio and sync from 16.0 on
        return smallest((holder.max_message_size, getattr(holder, "max_fragment_size", None)))
    return smallest(getattr(holder, "max_size", MAX_SIZE))
