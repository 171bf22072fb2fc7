"""Traces of calls for OpenTelemetry: a span at the caller, and one at the handler, in one trace.

It needs the extra ``reliable-ws[otel]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reliable_ws.aio.call_tracing import CallTracing, trace_driver
from reliable_ws.aio.connection import Connection
from reliable_ws.aio.serve import Server
from reliable_ws.aio.sessions import Sessions

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["trace_calls"]


def trace_calls(target: Sessions | Server | Connection, *, tracer: Tracer | None = None) -> None:
    """Trace the calls of a connection, or of all sessions that a server begins from now on.

    A request has a span at its caller and one at its handler, by OpenTelemetry's conventions for
    RPC. They are of one trace if both sides trace, also if the request is sent again on another
    WebSocket. The context travels in a frame of its own, which a peer that does not trace skips.

    Args:
        target: ``Sessions``, a server or a connection; not those of ``reliable_ws.sync``.
        tracer: Default: that of the global tracer provider.

    Raises:
        ImportError: opentelemetry-api is not installed.
        RuntimeError: The connection has made or got requests already.
        TypeError: The target is something else.
    """
    from opentelemetry import trace

    tracing = CallTracing(tracer or trace.get_tracer("reliable_ws"))
    given: Any = target
    if isinstance(given, Server):
        given = given.sessions
    if isinstance(given, Sessions):
        given.trace_calls(tracing)
    elif isinstance(given, Connection):
        trace_driver(given._driver, tracing)
    else:
        raise TypeError(f"calls are traced of a server or a connection, not of {given!r:.100}")
