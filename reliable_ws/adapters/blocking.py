"""Adapters for WebSockets whose methods block, each a ``SyncTransport``.

Nothing is imported before an object of that library is at hand.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any, cast

from reliable_ws.transport import SyncTransport

from . import Library, check_release, name_of, refuse_what_is_none

__all__ = ["adapt", "is_blocking"]

_TEST_SESSIONS = "WebSocket sessions of the test clients of Starlette, FastAPI and Litestar"

# By where the class of the object is defined, or one of its bases.
_LIBRARIES = {
    "websockets.sync": Library(
        "connections of websockets.sync", "13.1", "websockets_sync", "websockets"
    ),
    "websocket": Library(
        "WebSocket of websocket-client", "1.9.1", "websocket_client", "websocket-client"
    ),
    "starlette.testclient": Library(_TEST_SESSIONS, "0.37", "test_sessions", "starlette"),
    "litestar.testing": Library(_TEST_SESSIONS, "2.10", "test_sessions", "litestar"),
}


def adapt(ws: object, **options: Any) -> SyncTransport:
    """Return a transport for an open WebSocket of any supported library that blocks.

    A :class:`~reliable_ws.transport.SyncTransport` is returned as it is; ``options`` go to the
    adapter of the library.

    Raises ``TypeError`` for an object that is no connection of a supported library, or for an
    option that its adapter does not know, and ``ValueError`` for a connection that is not open
    or is being read by someone else.
    """
    if _is_transport(ws):
        if options:
            raise TypeError(f"a transport takes no options: {', '.join(options)}")
        return cast("SyncTransport", ws)
    library = _library_of(ws)
    if library is None:
        refuse_what_is_none(ws)
        raise TypeError(_what_is_wrong(ws))
    check_release(library)
    adapter = importlib.import_module(f"reliable_ws.adapters.{library.adapter}")
    return cast("SyncTransport", adapter.adapt(ws, **options))


def is_blocking(ws: object) -> bool:
    """Whether ``ws`` is for :mod:`reliable_ws.sync`."""
    return _is_transport(ws) or _library_of(ws) is not None


def _is_transport(ws: object) -> bool:
    # A class has the members of its instances, yet is none; those of a Transport have the same
    # names, but have to be awaited.
    return (
        isinstance(ws, SyncTransport)
        and not isinstance(ws, type)
        and not inspect.iscoroutinefunction(ws.recv)
    )


def _library_of(ws: object) -> Library | None:
    # Walking the bases finds subclasses that users made of a library's WebSocket.
    for base in type(ws).__mro__:
        for place, library in _LIBRARIES.items():
            if f"{base.__module__}.".startswith(f"{place}."):
                return library
    return None


def _what_is_wrong(ws: object) -> str:
    verb = getattr(ws, "recv", None) or getattr(ws, "receive", None)
    if inspect.iscoroutinefunction(verb):
        return f"{name_of(ws)} is awaited: use reliable_ws.wrap, not reliable_ws.sync"
    return (
        f"no adapter for {name_of(ws)}. Supported: "
        f"{', '.join(sorted({library.objects for library in _LIBRARIES.values()}))}. For any other "
        "WebSocket whose methods block write a class with the members of "
        "reliable_ws.transport.SyncTransport (send, recv, close, abort, max_frame, websocket) "
        "around it and pass an instance of that."
    )
