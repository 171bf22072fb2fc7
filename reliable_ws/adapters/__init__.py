"""Adapters: one small module per library, each turning its WebSocket into a ``Transport``.

Nothing is imported before an object of that library is at hand.
"""

from __future__ import annotations

import functools
import importlib
import re
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal, cast

from reliable_ws.transport import Transport

__all__ = ["Library", "adapt", "check_release", "name_of", "refuse_what_is_none", "role_of"]


@dataclass(frozen=True, slots=True)
class Library:
    """A library that has an adapter here."""

    objects: str
    "What of it can be adapted, for people."
    oldest: str
    "The oldest release that will do."
    adapter: str
    "The module here that has ``adapt(ws, *, max_frame=None, …) -> Transport``."
    distribution: str
    "What pip calls it."


# By the top-level package of the class of the object, or of one of its bases.
_LIBRARIES = {
    "aiohttp": Library("WebSockets of aiohttp, server and client", "3.10", "aiohttp", "aiohttp"),
    "channels": Library("consumers of Channels", "4.1", "channels", "channels"),
    "falcon": Library("WebSockets of Falcon", "4.0", "falcon", "falcon"),
    "httpx2": Library("AsyncWebSocketSession of httpx2", "2.16.2", "httpx_ws", "httpx2"),
    "httpx_ws": Library("AsyncWebSocketSession of httpx-ws", "0.9", "httpx_ws", "httpx-ws"),
    "litestar": Library("WebSockets of Litestar", "2.10", "litestar", "litestar"),
    "picows": Library(
        "a PicowsTransport, connections of picows.websockets", "2.3", "picows_websockets", "picows"
    ),
    "quart": Library("quart.websocket", "0.20", "quart", "quart"),
    "sanic": Library("WebSockets of Sanic's own server", "25.12", "sanic", "sanic"),
    "starlette": Library("WebSockets of Starlette and FastAPI", "0.37.2", "starlette", "starlette"),
    "tornado": Library(
        "a WebSocketHandler or WebSocketClientConnection of Tornado", "6.4", "tornado", "tornado"
    ),
    "websockets": Library("connections of websockets", "13.1", "websockets", "websockets"),
}

_DRIVERS = ("reliable_ws.aio.", "reliable_ws.sync.")
"""Where connections are made, and what is to become one."""

_TRIO = ("trio_websocket.", "websockets.trio.")


def adapt(ws: object, *, max_frame: int | None = None, **options: Any) -> Transport:
    """Return a transport for an open WebSocket of any supported library.

    A :class:`~reliable_ws.transport.Transport` is returned as it is. ``max_frame`` is the largest
    message that the WebSocket takes, in bytes; by default what it says, or what its library takes
    unless it was told otherwise. Other ``options`` go to the adapter of the library (for
    websockets: :func:`reliable_ws.adapters.websockets.adapt`).

    Raises ``TypeError`` for an object that is no WebSocket of a supported library, or for an
    option that its adapter does not know, ``ValueError`` for a WebSocket that is not open or is
    being read by someone else, and ``ImportError`` for a library that is too old.
    """
    from .blocking import is_blocking

    if is_blocking(ws):
        raise TypeError(
            f"the methods of {name_of(ws)} block: use reliable_ws.sync, for programs with threads"
        )
    if max_frame is not None:
        options["max_frame"] = max_frame
    if _is_transport(ws):
        if options:
            raise TypeError(f"a transport takes no options: {', '.join(options)}")
        return cast("Transport", ws)
    if any(f"{base.__module__}.".startswith(_TRIO) for base in type(ws).__mro__):
        raise TypeError(
            f"{name_of(ws)} runs on trio, reliable_ws on asyncio: open the WebSocket with "
            "websockets.asyncio, or run both inside trio by trio-asyncio (docs/frameworks.md)"
        )
    # Walking the bases finds subclasses that users made of a library's WebSocket, from the bottom
    # up: their packages may be called like another library. A proxy (quart.websocket) says by
    # __class__ what it stands for.
    for base in reversed(ws.__class__.__mro__):
        library = _LIBRARIES.get(base.__module__.partition(".")[0])
        if library is not None:
            check_release(library)
            adapter = importlib.import_module(f"reliable_ws.adapters.{library.adapter}")
            return cast("Transport", adapter.adapt(ws, **options))
    refuse_what_is_none(ws)
    raise TypeError(
        f"no adapter for {name_of(ws)}. Supported: "
        f"{', '.join(sorted({library.objects for library in _LIBRARIES.values()}))}. "
        "For any other WebSocket write a class with the members of "
        "reliable_ws.transport.Transport (send, send_now, recv, close, abort, "
        "max_frame, websocket) around it and pass an instance of that."
    )


def role_of(transport: object) -> Literal["initiator", "acceptor"] | None:
    """Return which side of its WebSocket a transport is, ``None`` where it does not tell.

    It tells by an attribute ``role``. A client is the initiator, a server the acceptor.
    """
    role = getattr(transport, "role", None)
    return role if role in {"initiator", "acceptor"} else None


def _is_transport(ws: object) -> bool:
    # A class has the members of its instances, yet is none.
    return isinstance(ws, Transport) and not isinstance(ws, type)


@functools.cache
def check_release(library: Library) -> None:
    """Raise ``ImportError`` for a library that is too old."""
    try:
        installed = metadata.version(library.distribution)
    except metadata.PackageNotFoundError:  # it is here all the same, so somebody knows better
        return
    if _numbers(installed) < _numbers(library.oldest):
        raise ImportError(
            f"{library.distribution} {installed} is too old for reliable_ws: "
            f"pip install '{library.distribution}>={library.oldest}'"
        )


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


def refuse_what_is_none(ws: object) -> None:
    """Raise ``TypeError`` for what is often taken for an open WebSocket, and is none."""
    if isinstance(ws, str):
        raise TypeError(
            f"{ws!r:.80} is no open WebSocket: connect() opens one at a URI, "
            "wrap() takes one that is open"
        )
    if type(ws).__module__.startswith(_DRIVERS):
        raise TypeError(
            f"{name_of(ws)} is no WebSocket, it is reliable already: use it as it is, or wrap "
            "another WebSocket"
        )


def name_of(ws: object) -> str:
    """Return what an object is, for people."""
    cls = ws if isinstance(ws, type) else type(ws)
    what = "the class " if isinstance(ws, type) else ""
    return f"{what}{cls.__module__}.{cls.__qualname__}"
