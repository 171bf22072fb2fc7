"""Which WebSockets belong to a connection already: none can carry two sessions."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["AlreadyOwned", "check_free", "own", "release", "take_over"]

T = TypeVar("T")


class AlreadyOwned(ValueError):
    """A WebSocket belongs to a connection already, which alone may use it."""


_owners: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""By the id of a WebSocket, as not every library's can be hashed: its transport, which keeps it."""


def take_over(websocket: object, adapt: Callable[[object], T]) -> T:
    """Return a transport for a WebSocket that belongs to a connection from now on.

    It also raises what ``adapt`` raises.

    Raises:
        ValueError: The WebSocket belongs to a connection already.
    """
    check_free(websocket)
    transport = adapt(websocket)
    own(websocket, transport)
    return transport


def check_free(websocket: object) -> None:
    """Raise ``ValueError`` for a WebSocket that belongs to a connection, and do not touch it."""
    if id(websocket) in _owners:
        raise AlreadyOwned(
            "the WebSocket is wrapped already: it belongs to a connection, which alone may use it"
        )


def own(websocket: object, transport: Any) -> None:
    """Note that a WebSocket belongs to a connection for as long as this transport is in use."""
    if transport is not websocket:
        websocket = transport.websocket  # behind a proxy it is another object
        check_free(websocket)
    with contextlib.suppress(TypeError):  # a class of the user's, with slots
        _owners[id(websocket)] = transport


def release(transport: Any) -> None:
    """Note that a transport is over: some libraries open their WebSocket again."""
    for websocket in (transport, transport.websocket):
        if _owners.get(id(websocket)) is transport:
            del _owners[id(websocket)]
