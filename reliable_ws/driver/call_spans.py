"""Spans of calls, by OpenTelemetry's conventions for RPC.

Theory of operation. A span that is not sampled costs as much to make as a third of a call. So
:meth:`CallTracing.is_left_out` decides first, by the flag of the trace in which a call is made, and
by chance where there is none, and a call that is left out makes no span.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, cast

from reliable_ws.protocol.errors import DeliveryError, RemoteError, RequestTimeout

__all__ = ["CallTracing", "outcome_of", "type_of"]

SYSTEM = {"rpc.system.name": "reliable_ws"}


class CallTracing:
    """Makes spans with one tracer."""

    def __init__(self, tracer: Any, ratio: float, chance: Callable[[], float]) -> None:
        """``ratio``: how many calls begin a trace, of those that are in none.

        ``chance`` draws a number from 0.0 up to 1.0.
        """
        from opentelemetry import context, propagate, trace

        self._tracer = tracer
        self.ratio = ratio
        self.chance = chance
        self._trace = trace
        self._get_span, self._no_span = trace.get_current_span, trace.INVALID_SPAN
        self.get_context = _reader_of(context)
        "Returns OpenTelemetry's current context; empty: nothing is current."
        self._propagate = propagate
        self._context = context
        # What the handler of a call that is left out runs in: its own spans are left out as well.
        nobody = trace.SpanContext(trace_id=1, span_id=1, is_remote=True)
        self._left_out = trace.set_span_in_context(trace.NonRecordingSpan(nobody))

    def is_left_out(self) -> bool:
        """Whether the call that is made here has no span: its trace is not sampled."""
        get_context = self.get_context
        if not get_context():  # the short way: nothing is current, so no span is
            return self.chance() >= self.ratio
        span = self._get_span()
        if span is self._no_span:
            return self.chance() >= self.ratio
        return not span.get_span_context().trace_flags.sampled

    def begins_none(self) -> bool:
        """Whether a call that is in no trace begins none: drawn anew whenever it is asked."""
        return self.chance() >= self.ratio

    def leave_out(self) -> Any:
        """Let spans that follow here be left out, until :meth:`end_leaving_out`."""
        return self._context.attach(self._left_out)

    def end_leaving_out(self, token: Any) -> None:
        """Take back what :meth:`leave_out` did."""
        self._context.detach(token)

    def start(self, method: str) -> Any:
        """Begin the span of a caller, which somebody has to end."""
        kind = self._trace.SpanKind.CLIENT
        return self._tracer.start_span(
            method, kind=kind, attributes={**SYSTEM, "rpc.method": method}
        )

    def use(self, span: Any) -> AbstractContextManager[Any]:
        """Run a block in a span that does not end with it."""
        return self._trace.use_span(span, record_exception=False, set_status_on_exception=False)

    @contextlib.contextmanager
    def span(self, method: str, *, context: bytes | None = None) -> Generator[Any]:
        """Run a block in a span: the handler's, if there is a context, else the caller's."""
        kinds = self._trace.SpanKind
        parent = None if context is None else self._propagate.extract(_carrier(context))
        with self._tracer.start_as_current_span(
            method,
            context=parent,
            kind=kinds.CLIENT if context is None else kinds.SERVER,
            attributes={**SYSTEM, "rpc.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                self.failed(span, type_of(error), outcome_of(error))
                raise

    def failed(self, span: Any, error_type: str, outcome: str | None = None) -> None:
        """Note that a call failed."""
        span.set_attribute("error.type", error_type)
        if outcome is not None:
            span.set_attribute("reliable_ws.outcome", outcome)
        span.set_status(self._trace.StatusCode.ERROR)

    @property
    def current(self) -> Any:
        """The span in which this runs."""
        return self._get_span()

    def context(self) -> bytes:
        """Return what travels with a request; empty: this trace is not recorded."""
        if not self.get_context():  # the short way: nothing is current, so no span is
            return b""
        if not self.current.is_recording():
            return b""
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier)
        return "".join(f"{name}: {value}\n" for name, value in carrier.items()).encode()


def _reader_of(api: Any) -> Callable[[], Any]:
    """Return what reads OpenTelemetry's current context.

    That is kept in a context variable, unless another way is configured. To read the variable takes
    half the time of ``get_current()``, and this is done for every call. It has no public name, so
    it is found by a value that is put into it.
    """

    def find() -> Callable[[], Any]:
        mark = api.Context()
        api.attach(mark)
        for variable, value in contextvars.copy_context().items():
            if value is mark:
                return variable.get
        raise LookupError

    try:
        read = contextvars.Context().run(find)
        contextvars.Context().run(read)  # where nothing was put into it
    except LookupError:
        return cast("Callable[[], Any]", api.get_current)
    return read


def _carrier(context: bytes) -> dict[str, str]:
    """Return the fields of a context; what is not understood is left out."""
    parts = (line.partition(": ") for line in context.decode(errors="replace").splitlines())
    return {name.lower(): value for name, colon, value in parts if colon}


def type_of(error: BaseException) -> str:
    """Return what the span of a call that failed has as ``error.type``."""
    return error.code if isinstance(error, RemoteError) else type(error).__name__


def outcome_of(error: BaseException) -> str | None:
    """Return what is known of a request that has no answer: whether it was run."""
    if isinstance(error, RequestTimeout):
        return {True: "taken", False: "not taken"}.get(error.taken, "unknown")  # type: ignore[arg-type]
    if isinstance(error, DeliveryError) and error.report.undelivered:
        return error.report.undelivered[0].outcome.value
    return None
