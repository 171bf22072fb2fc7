"""Traces of calls for OpenTelemetry: a span at the caller, and one at the handler, in one trace.

It needs the extra ``reliable-ws[otel]``.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from reliable_ws import sync
from reliable_ws.aio.call_tracing import trace_driver
from reliable_ws.aio.connection import Connection
from reliable_ws.aio.serve import Server
from reliable_ws.aio.sessions import Sessions
from reliable_ws.driver.call_spans import CallTracing
from reliable_ws.sync.call_tracing import trace_driver as trace_driver_of_threads

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["trace_calls"]


def trace_calls(target: Any, *, tracer: Tracer | None = None, ratio: float = 1.0) -> None:
    """Trace the calls of a connection, or of all sessions that a server begins from now on.

    Sessions that a store has kept count as well, until their peers are back.

    A request has a span at its caller and one at its handler, by OpenTelemetry's conventions for
    RPC. They are of one trace if both sides trace, also if the request is sent again on another
    WebSocket. The context travels in a frame of its own, which a peer that does not trace skips.

    A call that is made in a trace which is not sampled has no span. Of the calls that are made in
    no trace, ``ratio`` says how many begin one. A call without a span costs nearly nothing, while
    one whose span the tracer's sampler drops costs several times as much as the call. So leave it
    to ``ratio``, at both sides.

    Args:
        target: ``Sessions``, a server or a connection, of this package or of ``reliable_ws.sync``.
        tracer: Default: that of the global tracer provider.
        ratio: From 0.0 (only calls that are made, or arrive, in a trace that is sampled) to 1.0
            (all of them).

    Raises:
        ImportError: opentelemetry-api is not installed.
        RuntimeError: The connection has made or got requests already.
        TypeError: The target is something else.
        ValueError: ``ratio`` is not between 0.0 and 1.0.
    """
    from opentelemetry import trace

    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"ratio= must be between 0.0 and 1.0, not {ratio!r}")
    chance = random.random  # of no use to anybody who guesses it
    tracing = CallTracing(tracer or trace.get_tracer("reliable_ws"), ratio, chance)
    if isinstance(target, (Server, sync.Server)):
        target = target.sessions
    if isinstance(target, (Sessions, sync.Sessions)):
        target.trace_calls(tracing)
    elif isinstance(target, Connection):
        trace_driver(target._driver, tracing)
    elif isinstance(target, sync.Connection):
        with target._driver.lock:
            trace_driver_of_threads(target._driver, tracing)
    else:
        raise TypeError(f"calls are traced of a server or a connection, not of {target!r:.100}")
