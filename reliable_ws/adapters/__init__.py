"""Adapters: one small module per library, each turning its WebSocket into a ``Transport``.

Nothing is imported before an object of that library is at hand.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal, cast

from reliable_ws.transport import Transport

__all__ = ["adapt", "role_of"]

# Top-level package of a connection's class -> the module here that adapts it. Such a module has
# adapt(ws, **options) -> Transport and role_of(ws).
_LIBRARIES = {"websockets": "reliable_ws.adapters.websockets"}


def adapt(ws: object, **options: Any) -> Transport:
    """Return a transport for an open WebSocket of any supported library.

    A :class:`~reliable_ws.transport.Transport` is returned as it is; ``options`` go to the
    adapter of the library (for websockets: :func:`reliable_ws.adapters.websockets.adapt`).

    Raises ``TypeError`` for an object that is no connection of a supported library, or for an
    option that its adapter does not know, and ``ValueError`` for a connection that is not open
    or is being read by someone else.
    """
    if _is_transport(ws):
        if options:
            raise TypeError(f"a transport takes no options: {', '.join(options)}")
        return cast("Transport", ws)
    module = _module_of(ws)
    if module is None:
        raise TypeError(
            f"no adapter for {_name(ws)}. Supported: connections of {', '.join(_LIBRARIES)}. "
            "For any other WebSocket write a class with the members of "
            "reliable_ws.transport.Transport (send, send_now, recv, close, abort, "
            "max_frame, websocket) around it and pass an instance of that."
        )
    return cast("Transport", module.adapt(ws, **options))


def role_of(ws: object) -> Literal["initiator", "acceptor"] | None:
    """Return which side of the connection ``ws`` is, ``None`` where that cannot be known.

    A client is the initiator, a server the acceptor. A transport may tell by an attribute
    ``role``. Never raises.
    """
    if _is_transport(ws):
        role = getattr(ws, "role", None)
    else:
        module = _module_of(ws)
        role = None if module is None else module.role_of(ws)
    return role if role in {"initiator", "acceptor"} else None


def _is_transport(ws: object) -> bool:
    # A class has the members of its instances, yet is none.
    return isinstance(ws, Transport) and not isinstance(ws, type)


def _module_of(ws: object) -> Any:
    # Walking the bases finds subclasses that users made of a library's connection.
    for base in type(ws).__mro__:
        name = _LIBRARIES.get(base.__module__.partition(".")[0])
        if name is not None:
            return importlib.import_module(name)
    return None


def _name(ws: object) -> str:
    cls = ws if isinstance(ws, type) else type(ws)
    what = "the class " if isinstance(ws, type) else ""
    return f"{what}{cls.__module__}.{cls.__qualname__}"
