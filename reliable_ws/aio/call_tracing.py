"""Spans of calls in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextvars import Context, copy_context
from typing import Any

from reliable_ws.driver.call_contexts import CallContexts, begin_tracing
from reliable_ws.driver.call_spans import CallTracing, outcome_of, type_of
from reliable_ws.driver.methods import Method
from reliable_ws.driver.rpc_server import FaultText
from reliable_ws.protocol.events import Requested
from reliable_ws.protocol.unused import UNUSED

from .driver import Driver
from .pump import Pump
from .rpc_client import RpcClient
from .rpc_server import RpcServer, Running, start

__all__ = ["trace_driver"]


class TracedRpcClient(RpcClient):
    """Requests, each with a span."""

    __slots__ = ("_contexts", "_spans", "_tracing")

    def __init__(self, pump: Pump, tracing: CallTracing, contexts: CallContexts) -> None:
        super().__init__(pump)
        self._tracing = tracing
        self._contexts = contexts
        self._spans = 0  # requests and streams that have one

    def _begin_span(self) -> None:
        self._spans += 1
        self.on_open = self._add_context

    def _end_span(self) -> None:
        self._spans -= 1
        if not self._spans:
            self.on_open = None

    def _add_context(self, number: int) -> None:
        """Have the span in which this runs travel with a request, if there is one."""
        if context := self._tracing.context():
            self._contexts.add(number, context)

    def request(self, method: str, params: Any, timeout: float | None) -> Any:
        """Return a coroutine that asks, and returns the answer."""
        # As is_left_out(). Python 3.11 calls what is in a local variable faster.
        tracing = self._tracing
        get_context, chance = tracing.get_context, tracing.chance
        if tracing.is_left_out() if get_context() else chance() >= tracing.ratio:
            return RpcClient.request(self, method, params, timeout)  # less work than super()
        return self._traced(method, params, timeout)

    async def _traced(self, method: str, params: Any, timeout: float | None) -> Any:
        """Ask in a span."""
        self._begin_span()
        try:
            with self._tracing.span(method):
                return await super().request(method, params, timeout)
        finally:
            self._end_span()

    def stream(self, method: str, params: Any, timeout: float | None) -> AsyncGenerator[Any, None]:
        """Ask for a stream, and yield its items."""
        if self._tracing.is_left_out():
            return super().stream(method, params, timeout)
        return self._traced_stream(method, params, timeout)

    async def _traced_stream(
        self, method: str, params: Any, timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        """Yield the items of a stream, whose span is no parent of what its reader does."""
        tracing = self._tracing
        span = tracing.start(method)
        self._begin_span()
        items = super().stream(method, params, timeout)
        try:
            with tracing.use(span):  # in here the request is made
                item = await anext(items, self)
            while item is not self:
                yield item
                item = await anext(items, self)
        except Exception as error:
            tracing.failed(span, type_of(error), outcome_of(error))
            raise
        finally:
            await items.aclose()
            self._end_span()
            span.end()


class TracedRpcServer(RpcServer):
    """Requests of the peer, each with a span."""

    __slots__ = ("_contexts", "_left_out", "_tracing")

    _tracing: CallTracing
    _contexts: CallContexts
    _left_out: Context

    def start(self, event: Requested, method: Method) -> None:
        """Run the handler of a request in a task of its own, in a span unless it is left out."""
        number, name, _payload, _by, credit = event  # each by its name takes a lookup
        tracing, contexts = self._tracing, self._contexts
        said = contexts.take(number) if contexts.received else b""
        if self.running is UNUSED:
            self.running = {}
        running = self.running[number] = Running(credit)
        chance = tracing.chance
        if said or chance() < tracing.ratio:  # a call that is in no trace may begin one
            work, context = self._traced(said, event, method, running), None
        else:
            work, context = self._run(event, method, running), self._left_out.copy()
        running.worker = start(self._pump.loop, work, name, context)

    async def _traced(
        self, said: bytes, event: Requested, method: Method, running: Running
    ) -> None:
        """Run a handler in a span. The body of its task."""
        with self._tracing.span(method.name, context=said):
            await self._run(event, method, running)
        if event in self._postponed:
            self._contexts.put_back(event.id, said)

    def fault(self, number: int, text: FaultText) -> None:
        """Answer with a fault, and note it on the span in which this runs."""
        running = self.running.get(number)
        if running is not None and running.worker is asyncio.current_task():
            self._tracing.failed(self._tracing.current, text.code)
        super().fault(number, text)


def trace_driver(driver: Driver, tracing: CallTracing) -> None:
    """Trace the calls of a session that has had none."""
    contexts = begin_tracing(driver)
    pump, old = driver.pump, driver.rpc_server
    driver.rpc_client = TracedRpcClient(pump, tracing, contexts)
    server = TracedRpcServer(pump, old._methods)
    server._tracing, server._contexts, server._left_out = tracing, contexts, copy_context()
    server._left_out.run(tracing.leave_out)
    server.principal, server.connection = old.principal, old.connection
    driver.rpc_server = server
