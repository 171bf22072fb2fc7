"""The table of libraries that have an adapter, and the one rule by which an object is found in it.

Walk the classes that an object is made of, from ``object`` down to its own, and take the first
whose module is in the table; of several places that match, the longest. From the bottom up,
because a subclass may be a user's, in a package that is called like another library.

Nothing of a library is imported before an object of it is at hand.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import weakref
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal, cast

from reliable_ws.transport import SyncTransport, Transport

__all__ = ["adapt", "adapt_blocking", "check_installed", "role_of"]

RunsOn = Literal["asyncio", "threads", "trio"]


@dataclass(frozen=True, slots=True)
class Library:
    """A library that has an adapter here."""

    objects: str
    "What of it can be adapted, in words."
    oldest: str
    "The oldest release that works."
    adapter: str
    "The module here that has ``adapt(ws, *, max_frame=None, …)``."
    distribution: str
    "What pip calls it."
    runs_on: RunsOn = "asyncio"
    "What its methods need: an event loop of asyncio or of trio, or threads that may block."


_TEST_SESSIONS = "WebSocket sessions of the test clients of Starlette, FastAPI and Litestar"

# By the package or module in which the class of the object is defined, or one of its bases.
_LIBRARIES = {
    "aiohttp": Library("WebSockets of aiohttp, server and client", "3.10", "aiohttp", "aiohttp"),
    "blacksheep": Library("WebSockets of BlackSheep", "2.6", "blacksheep", "blacksheep"),
    "channels": Library("consumers of Channels", "4.1", "channels", "channels"),
    "curl_cffi": Library("AsyncWebSocket of curl_cffi", "0.17", "curl_cffi", "curl_cffi"),
    "falcon": Library("WebSockets of Falcon", "4.0", "falcon", "falcon"),
    "httpx2": Library("AsyncWebSocketSession of httpx2", "2.16.2", "httpx_ws", "httpx2"),
    "httpx_ws": Library("AsyncWebSocketSession of httpx-ws", "0.9", "httpx_ws", "httpx-ws"),
    "litestar": Library("WebSockets of Litestar", "2.10", "litestar", "litestar"),
    "litestar.testing": Library(
        _TEST_SESSIONS, "2.10", "starlette_testclient", "litestar", runs_on="threads"
    ),
    "picows": Library(
        "a PicowsTransport, connections of picows.websockets", "2.3", "picows_websockets", "picows"
    ),
    "pyodide": Library("js.WebSocket in Pyodide", "314.0", "pyodide", "pyodide-py"),
    "quart": Library("quart.websocket", "0.20", "quart", "quart"),
    "sanic": Library("WebSockets of Sanic's own server", "25.12", "sanic", "sanic"),
    "simple_websocket.ws": Library(
        "Server and Client of simple-websocket, which Flask-Sock hands out",
        "1.1",
        "simple_websocket",
        "simple-websocket",
        runs_on="threads",
    ),
    "starlette": Library("WebSockets of Starlette and FastAPI", "0.37.2", "starlette", "starlette"),
    "starlette.testclient": Library(
        _TEST_SESSIONS, "0.37", "starlette_testclient", "starlette", runs_on="threads"
    ),
    "tornado": Library(
        "a WebSocketHandler or WebSocketClientConnection of Tornado", "6.4", "tornado", "tornado"
    ),
    "trio_websocket": Library("", "", "", "trio-websocket", runs_on="trio"),
    "websocket": Library(
        "WebSocket of websocket-client",
        "1.9.1",
        "websocket_client",
        "websocket-client",
        runs_on="threads",
    ),
    "websockets": Library("connections of websockets", "13.1", "websockets.asyncio", "websockets"),
    "websockets.sync": Library(
        "connections of websockets.sync", "13.1", "websockets.sync", "websockets", runs_on="threads"
    ),
    "websockets.trio": Library("", "", "", "websockets", runs_on="trio"),
}

_PROTOCOLS: dict[RunsOn, Any] = {"asyncio": Transport, "threads": SyncTransport}

_DRIVERS = ("reliable_ws.aio.", "reliable_ws.sync.")
"""Where connections are made, and what is to become one."""


def adapt(ws: object, *, max_frame: int | None = None, **options: Any) -> Transport:
    """Return a transport for an open WebSocket of any supported library with coroutines.

    A :class:`~reliable_ws.transport.Transport` is returned as it is. ``max_frame`` is the largest
    message that the WebSocket takes, in bytes; by default what it says, or what its library takes
    unless it was told otherwise. Other ``options`` go to the adapter of the library (for
    websockets: :func:`reliable_ws.adapters.websockets.asyncio.adapt`).

    Raises:
        TypeError: The object is no WebSocket of a supported library, its methods block, its
            adapter does not know an option, or a transport lacks a member.
        ValueError: The WebSocket is not open, or is being read by someone else.
        ImportError: The library is too old.

    """
    return cast("Transport", _adapt(ws, "asyncio", max_frame, options))


def adapt_blocking(ws: object, *, max_frame: int | None = None, **options: Any) -> SyncTransport:
    """Return a transport for an open WebSocket of any supported library whose methods block.

    As :func:`adapt`, for :mod:`reliable_ws.sync`. A
    :class:`~reliable_ws.transport.SyncTransport` is returned as it is.

    Raises:
        TypeError: The object is no WebSocket of a supported library, its methods are awaited, its
            adapter does not know an option, or a transport lacks a member.
        ValueError: The WebSocket is not open, or is being read by someone else.
        ImportError: The library is too old.

    """
    return cast("SyncTransport", _adapt(ws, "threads", max_frame, options))


def role_of(transport: object) -> Literal["initiator", "acceptor"] | None:
    """Return which side of its WebSocket a transport is, ``None`` where it does not tell.

    A client is the initiator, a server the acceptor.
    """
    role = getattr(transport, "role", None)
    return role if role in {"initiator", "acceptor"} else None


def _adapt(ws: object, runs_on: RunsOn, max_frame: int | None, options: dict[str, Any]) -> object:
    if max_frame is not None:
        options["max_frame"] = max_frame
    if _is_transport(ws, runs_on):
        if options:
            raise TypeError(f"a transport takes no options: {', '.join(options)}")
        _check_transport(ws)
        return ws
    library = _library_of(ws)
    if library is None or library.runs_on != runs_on:
        raise TypeError(_what_is_wrong(ws, library, runs_on))
    _check_release(library)
    adapter = importlib.import_module(f"reliable_ws.adapters.{library.adapter}")
    return adapter.adapt(ws, **options)


def _is_transport(ws: object, runs_on: RunsOn) -> bool:
    # A class has the members of its instances, yet is none. Those of a Transport and of a
    # SyncTransport have the same names, but only the former's have to be awaited.
    if not isinstance(ws, _PROTOCOLS[runs_on]) or isinstance(ws, type):
        return False
    transport: Any = ws
    return inspect.iscoroutinefunction(transport.recv) is (runs_on == "asyncio")


def _check_transport(transport: object) -> None:
    try:
        weakref.ref(transport)
    except TypeError:
        raise TypeError(
            f"{_name_of(transport)} cannot be weakly referenced: add '__weakref__' to its __slots__"
        ) from None


def _library_of(ws: object) -> Library | None:
    # A proxy (quart.websocket) says by __class__ what it stands for.
    for base in reversed(ws.__class__.__mro__):
        place = base.__module__
        while place:
            if place in _LIBRARIES:
                return _LIBRARIES[place]
            place = place.rpartition(".")[0]
    return None


def check_installed(place: str) -> None:
    """Raise ``ImportError`` if the library of this place is too old."""
    _check_release(_LIBRARIES[place])


@functools.cache
def _check_release(library: Library) -> None:
    """Raise ``ImportError`` for a library that is too old."""
    try:
        installed = metadata.version(library.distribution)
    except metadata.PackageNotFoundError:  # installed in another way: do not check
        return
    if _numbers(installed) < _numbers(library.oldest):
        raise ImportError(
            f"{library.distribution} {installed} is too old for reliable_ws: "
            f"pip install '{library.distribution}>={library.oldest}'"
        )


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


def _what_is_wrong(ws: object, library: Library | None, runs_on: RunsOn) -> str:
    """Say why an object is no WebSocket that can be taken over, and what would be."""
    name, protocol = _name_of(ws), _PROTOCOLS[runs_on]
    members = [member for member in vars(protocol) if not member.startswith("_")]
    missing = [member for member in members if not hasattr(ws, member)]
    if isinstance(ws, str):
        return (
            f"{ws!r:.80} is no open WebSocket: connect() opens one at a URI, "
            "wrap() takes one that is open"
        )
    if type(ws).__module__.startswith(_DRIVERS):
        return (
            f"{name} is no WebSocket, it is reliable already: use it as it is, or wrap "
            "another WebSocket"
        )
    if library is not None and library.runs_on == "trio":
        return (
            f"{name} runs on trio, reliable_ws on asyncio: open the WebSocket with "
            "websockets.asyncio, or run reliable_ws inside trio: within 'async with "
            "trio_asyncio.open_loop():' enter 'trio_asyncio.aio_as_trio(reliable_ws.connect(uri))' "
            "(docs/frameworks.md, Trio)"
        )
    if runs_on == "asyncio" and (library is not None or _is_transport(ws, "threads")):
        return f"the methods of {name} block: use reliable_ws.sync, for programs with threads"
    if runs_on == "threads" and (library is not None or _is_transport(ws, "asyncio")):
        return f"{name} is awaited: use reliable_ws.wrap, not reliable_ws.sync"
    if len(missing) < len(members) / 2 and not isinstance(ws, type):
        return (
            f"{name} is no reliable_ws.transport.{protocol.__name__}: "
            f"it lacks {', '.join(missing)} (docs/adapters.md)"
        )
    known = sorted({entry.objects for entry in _LIBRARIES.values() if entry.runs_on == runs_on})
    asgi = ""
    if runs_on == "asyncio":
        asgi = (
            "Of a framework that hands out ASGI's callables, pass "
            "reliable_ws.adapters.asgi.ASGITransport(receive, send). "
        )
    return (
        f"no adapter for {name}. Supported: {', '.join(known)}. {asgi}For any other "
        f"WebSocket write a class with the members of reliable_ws.transport.{protocol.__name__} "
        f"({', '.join(members)}) around it and pass an instance of that (docs/adapters.md)"
    )


def _name_of(ws: object) -> str:
    """Return what an object is, for people."""
    cls = ws if isinstance(ws, type) else type(ws)
    what = "the class " if isinstance(ws, type) else ""
    return f"{what}{cls.__module__}.{cls.__qualname__}"
