"""What travels is logged in words at level ``DEBUG``."""

from __future__ import annotations

from collections.abc import Callable

from reliable_ws.protocol.words import describe

from .status import logger

__all__ = ["Trace", "trace_of"]

Trace = Callable[[str, bytes | str], None]
"""Called with ``"gets"`` or ``"sends"``, and with a WebSocket message."""


def trace_of(name: str) -> Trace:
    """Return what logs the WebSocket messages of a session in words.

    ``name``: the session, in log lines. Ask for it only where the log is at ``DEBUG``, once for
    each WebSocket: it decodes each message.
    """
    return lambda verb, data: logger.debug("%s %s %s", name, verb, describe(data))
