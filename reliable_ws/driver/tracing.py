"""What travels: in words in the log at level ``DEBUG``, and in the file of ``trace=``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Protocol

from reliable_ws.protocol.session import Session
from reliable_ws.protocol.words import describe
from reliable_ws.wire_trace import LinkTrace, WireTrace

from .status import logger, name_of

__all__ = ["Trace", "trace_of"]


class Trace(Protocol):
    """Takes note of what one WebSocket carries."""

    def __call__(self, verb: str, data: bytes | str, /) -> None:
        """``verb``: ``"gets"`` or ``"sends"``, with a WebSocket message."""

    def lost(self, code: int | None, reason: str) -> None:
        """The WebSocket is gone; ``None``: without a close frame."""


def trace_of(
    session: Session, principal: Hashable, wire: WireTrace | None, clock: Callable[[], float]
) -> Trace | None:
    """Return what takes note of a WebSocket that begins to carry a session; ``None``: nothing.

    Ask once for each WebSocket, and call nothing where it is ``None``: it decodes each message.
    """
    traces: list[Trace] = []
    if logger.isEnabledFor(logging.DEBUG):
        traces.append(LogTrace(name_of(session.id, principal)))
    if wire is not None:
        traces.append(LinkTrace(wire, session, clock))
    return _All(traces) if len(traces) > 1 else traces[0] if traces else None


class LogTrace:
    """Logs the WebSocket messages of a session in words."""

    def __init__(self, name: str) -> None:
        """``name``: the session, in log lines."""
        self._name = name

    def __call__(self, verb: str, data: bytes | str) -> None:
        """Log one message."""
        logger.debug("%s %s %s", self._name, verb, describe(data))

    def lost(self, code: int | None, reason: str) -> None:
        """Log that the WebSocket is gone."""
        ended = "without a close frame" if code is None else f"with {int(code)}"
        logger.debug("%s loses its WebSocket %s: %s", self._name, ended, reason)


class _All:
    """Several of them."""

    def __init__(self, traces: list[Trace]) -> None:
        self._traces = traces

    def __call__(self, verb: str, data: bytes | str) -> None:
        for trace in self._traces:
            trace(verb, data)

    def lost(self, code: int | None, reason: str) -> None:
        for trace in self._traces:
            trace.lost(code, reason)
