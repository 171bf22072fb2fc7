"""Spans of calls, by OpenTelemetry's conventions for RPC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager
from typing import Any

from reliable_ws.driver.call_contexts import CallContexts
from reliable_ws.driver.methods import Method
from reliable_ws.driver.rpc_server import FaultText
from reliable_ws.protocol.errors import DeliveryError, RemoteError, RequestTimeout
from reliable_ws.protocol.events import Requested

from .driver import Driver
from .pump import Pump
from .rpc_client import PendingRequest, RpcClient
from .rpc_server import RpcServer, Running

__all__ = ["CallTracing", "trace_driver"]

SYSTEM = {"rpc.system.name": "reliable_ws"}

TOO_LATE = "trace_calls() goes before the first request of a connection"


class CallTracing:
    """Makes spans with one tracer."""

    def __init__(self, tracer: Any) -> None:
        from opentelemetry import propagate, trace

        self._tracer = tracer
        self._trace = trace
        self._propagate = propagate

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
                self.failed(span, _type_of(error), _outcome_of(error))
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
        return self._trace.get_current_span()

    def context(self) -> bytes:
        """Return what travels with a request; empty: this trace is not recorded."""
        if not self.current.is_recording():
            return b""
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier)
        return "".join(f"{name}: {value}\n" for name, value in carrier.items()).encode()


def _carrier(context: bytes) -> dict[str, str]:
    """Return the fields of a context; what is not understood is left out."""
    parts = (line.partition(": ") for line in context.decode(errors="replace").splitlines())
    return {name.lower(): value for name, colon, value in parts if colon}


def _type_of(error: BaseException) -> str:
    return error.code if isinstance(error, RemoteError) else type(error).__name__


def _outcome_of(error: BaseException) -> str | None:
    """Return what is known of a request that has no answer: whether it was run."""
    if isinstance(error, RequestTimeout):
        return {True: "taken", False: "not taken"}.get(error.taken, "unknown")  # type: ignore[arg-type]
    if isinstance(error, DeliveryError) and error.report.undelivered:
        return error.report.undelivered[0].outcome.value
    return None


class TracedRpcClient(RpcClient):
    """Requests, each with a span."""

    __slots__ = ("_contexts", "_tracing")

    def __init__(self, pump: Pump, tracing: CallTracing, contexts: CallContexts) -> None:
        super().__init__(pump)
        self._tracing = tracing
        self._contexts = contexts

    def open(self, request: PendingRequest, by: float | None, credit: int) -> int:
        """Queue a request, with its context."""
        number = super().open(request, by, credit)
        if context := self._tracing.context():
            self._contexts.add(number, context)
        return number

    async def request(self, method: str, params: Any, timeout: float | None) -> Any:
        """Ask, and return the answer."""
        with self._tracing.span(method):
            return await super().request(method, params, timeout)

    async def stream(
        self, method: str, params: Any, timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        """Ask for a stream, and yield its items. Its span is no parent of what its reader does."""
        tracing = self._tracing
        span = tracing.start(method)
        items = super().stream(method, params, timeout)
        try:
            with tracing.use(span):  # in here the request is made
                item = await anext(items, self)
            while item is not self:
                yield item
                item = await anext(items, self)
        except Exception as error:
            tracing.failed(span, _type_of(error), _outcome_of(error))
            raise
        finally:
            await items.aclose()
            span.end()


class TracedRpcServer(RpcServer):
    """Requests of the peer, each with a span."""

    __slots__ = ("_contexts", "_tracing")

    _tracing: CallTracing
    _contexts: CallContexts

    async def _run(self, event: Requested, method: Method, running: Running) -> None:
        """Run a handler in a span."""
        with self._tracing.span(method.name, context=self._contexts.take(event.id)):
            await super()._run(event, method, running)

    def fault(self, number: int, text: FaultText) -> None:
        """Answer with a fault, and note it on the span in which this runs."""
        running = self.running.get(number)
        if running is not None and running.worker is asyncio.current_task():
            self._tracing.failed(self._tracing.current, text.code)
        super().fault(number, text)


def trace_driver(driver: Driver, tracing: CallTracing) -> None:
    """Trace the calls of a session that has had none."""
    pump, old = driver.pump, driver.rpc_server
    if driver.rpc_client is not None or old.running:
        raise RuntimeError(TOO_LATE)
    contexts = CallContexts(driver.session)
    pump.contexts = contexts
    if pump.link_io is not None:
        pump.link_io.carry(contexts)
    driver.rpc_client = TracedRpcClient(pump, tracing, contexts)
    server = TracedRpcServer(pump, old._methods)
    server._tracing, server._contexts = tracing, contexts
    server.principal, server.connection = old.principal, old.connection
    driver.rpc_server = server
