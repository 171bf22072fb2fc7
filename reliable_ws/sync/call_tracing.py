"""Spans of calls among threads."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

from reliable_ws.driver.call_contexts import CallContexts, begin_tracing
from reliable_ws.driver.call_spans import CallTracing, outcome_of, type_of
from reliable_ws.driver.methods import Method
from reliable_ws.driver.rpc_server import FaultText
from reliable_ws.protocol.events import Requested

from .driver import Driver
from .pump import Pump
from .rpc_client import RpcClient
from .rpc_server import RpcServer, Running

__all__ = ["trace_driver"]


class TracedRpcClient(RpcClient):
    """Requests, each with a span."""

    __slots__ = ("_contexts", "_tracing")

    def __init__(self, pump: Pump, tracing: CallTracing, contexts: CallContexts) -> None:
        super().__init__(pump)
        self._tracing = tracing
        self._contexts = contexts
        self.on_open = self._add_context

    def _add_context(self, number: int) -> None:
        """Have the span in which this runs travel with a request, if there is one."""
        if context := self._tracing.context():
            self._contexts.add(number, context)

    def request(self, method: str, params: Any, timeout: float | None) -> Any:
        """Ask, and return the answer. Without the lock."""
        if self._tracing.is_left_out():
            return super().request(method, params, timeout)
        with self._tracing.span(method):
            return super().request(method, params, timeout)

    def stream(self, method: str, params: Any, timeout: float | None) -> Generator[Any, None, None]:
        """Ask for a stream, and yield its items. Without the lock."""
        if self._tracing.is_left_out():
            return super().stream(method, params, timeout)
        return self._traced(method, params, timeout)

    def _traced(
        self, method: str, params: Any, timeout: float | None
    ) -> Generator[Any, None, None]:
        """Yield the items of a stream, whose span is no parent of what its reader does."""
        tracing = self._tracing
        span = tracing.start(method)
        items = super().stream(method, params, timeout)
        try:
            with tracing.use(span):  # in here the request is made
                item = next(items, self)
            while item is not self:
                yield item
                item = next(items, self)
        except Exception as error:
            tracing.failed(span, type_of(error), outcome_of(error))
            raise
        finally:
            items.close()
            span.end()


class TracedRpcServer(RpcServer):
    """Requests of the peer, each with a span."""

    __slots__ = ("_contexts", "_tracing")

    _tracing: CallTracing
    _contexts: CallContexts

    def _run(self, event: Requested, method: Method, running: Running) -> None:
        """Run a handler, in a span unless the call is left out. Without the lock."""
        tracing, context = self._tracing, self._contexts.take(event.id)
        if context or not tracing.begins_none():
            with tracing.span(method.name, context=context):
                super()._run(event, method, running)
            return
        token = tracing.leave_out()
        try:
            super()._run(event, method, running)
        finally:
            tracing.end_leaving_out(token)

    def fault(self, number: int, text: FaultText) -> None:
        """Answer with a fault, and note it on the span in which this runs."""
        running = self.running.get(number)
        if running is not None and running.worker is threading.current_thread():
            self._tracing.failed(self._tracing.current, text.code)
        super().fault(number, text)


def trace_driver(driver: Driver, tracing: CallTracing) -> None:
    """Trace the calls of a session that has had none. With the lock held."""
    contexts = begin_tracing(driver)
    pump, old = driver.pump, driver.rpc_server
    driver.rpc_client = TracedRpcClient(pump, tracing, contexts)
    server = TracedRpcServer(pump, old._methods, old._handlers)
    server._tracing, server._contexts = tracing, contexts
    server.principal, server.connection = old.principal, old.connection
    driver.rpc_server = server
