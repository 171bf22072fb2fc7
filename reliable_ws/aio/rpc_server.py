"""Requests from the peer: each runs in a task of its own, and each gets exactly one answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from reliable_ws.driver.methods import Method, Methods
from reliable_ws.driver.rpc_server import (
    BAD_PARAMS,
    CANCELLED,
    INTERNAL,
    TIMEOUT,
    FaultText,
    RunningRequest,
    RunningRequests,
)
from reliable_ws.protocol.errors import InvalidParams, NotSerializable
from reliable_ws.protocol.events import Cancelled, Requested
from reliable_ws.protocol.payload import open_payload, seal
from reliable_ws.protocol.unused import UNUSED

from .pump import Pump
from .thread_call import run_in_thread

__all__ = ["RpcServer", "Running", "start"]

EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
"""What has a task begin at once, where it can."""

ITEMS_IN_A_ROW = 256
"""Items of a stream after which the loop runs in any case."""


def start(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, None],
    name: str,
    context: Context | None = None,
) -> asyncio.Task[None]:
    """Return a task that runs a handler: at once up to where it waits, from Python 3.12 on.

    ``context``: the context to run it in. Default: a copy of the caller's.
    """
    if loop.get_task_factory() is None:  # as create_task() does, without a call
        return asyncio.Task(work, loop=loop, name=name, context=context, **EAGER)
    return loop.create_task(work, name=name, context=context)


class Running(RunningRequest):
    """One request that is being worked on, in a task."""

    __slots__ = ()

    worker: asyncio.Task[None] | None
    waiter: asyncio.Future[None] | None

    def wake(self) -> None:
        """Let the handler look whether it may send its next item."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class RpcServer(RunningRequests[Running]):
    """The requests of one connection, from the other side."""

    __slots__ = ("_pump", "connection")

    def __init__(self, pump: Pump, methods: Methods | None) -> None:
        super().__init__(pump.session, methods)
        self.connection: object = None
        "What a handler gets that asks for its ``Connection``."
        self._pump = pump

    def method_of(self, number: int, running: Running) -> str:
        """Return what a handler that runs was asked for: the name of its task."""
        return f"request {number}" if running.worker is None else running.worker.get_name()

    def start(self, event: Requested, method: Method) -> None:
        """Run the handler of a request in a task of its own."""
        if self.running is UNUSED:
            self.running = {}
        number, name, _payload, _by, credit = event
        running = self.running[number] = Running(credit)
        running.worker = start(self._pump.loop, self._run(event, method, running), name)

    def cancelled(self, event: Cancelled) -> None:
        """Stop working: nobody waits for the answer."""
        running = self.running.get(event.id)
        if running is not None:
            self._cancel(event.id, running)

    def _cancel(self, number: int, running: Running) -> None:
        task = running.worker
        if task is None:  # it is just about to begin
            return
        task.cancel()
        running.end()
        coroutine: Any = task.get_coro()
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:  # it never will begin
            self._give_up(number, "cancelled before it was run")

    def abort(self) -> None:
        """Cancel everything: nobody can be answered any more."""
        self.turn_away()
        for number, running in list(self.running.items()):
            self._cancel(number, running)

    async def _run(self, event: Requested, method: Method, running: Running) -> None:
        """Run the handler of a request, and answer. The body of the handler's task."""
        number, _name, payload, by, credit = event
        is_eager = running.worker is None
        if is_eager:
            running.worker = asyncio.current_task()
        queue = self._session.call_queue
        if queue.weight >= queue.most_held and number in self.running and not self.closing:
            del self.running[number]  # others have answered since this task was made
            self.postpone(event)
            return
        try:
            # The short way of nearly every request, then those with a stream or a deadline.
            if method.is_coroutine and by is None and not credit:
                params = open_payload(payload, number, self._codec)
                args, kwargs = method.bind(self.connection, params)
                result = await method.function(*args, **kwargs)
            elif by is None:
                result = await self._work(event, method, running)
            else:
                async with asyncio.timeout_at(by):
                    result = await self._work(event, method, running)
            # Answer with the result, or with a fault that says why there is none.
            try:
                answer, weight = seal(result, self._codec)
            except NotSerializable:
                answer, weight = self.seal_plain(method, result)
            self._session.reply(number, answer, weight)
        except KeyboardInterrupt:
            self.fault(number, FaultText(INTERNAL, "the handler failed"))
            raise
        except BaseException as error:
            if self._pump.loop.is_closed():  # the program ends: no answer can be sent
                raise
            if number not in self._abandoned:
                self._answer(event, error)
        finally:
            # A close may wait for the last handler.
            self._ended(number)
            if self.on_idle is not None and not self.running:
                self.on_idle()
        # Answer now if nobody else is about to.
        if self.running or is_eager:
            self._pump.wake_for_call()
        else:
            self._pump.flush()

    async def _work(self, event: Requested, method: Method, running: Running) -> Any:
        """Run the handler, and send the items if it is a stream."""
        number = event.id
        params = open_payload(event.payload, number, self._codec)
        args, kwargs = method.bind(self.connection, params)
        if method.is_coroutine:
            result = await method.function(*args, **kwargs)
        elif method.streams:
            result = method.function(*args, **kwargs)
        else:
            left = functools.partial(self._leave, number)
            result = await run_in_thread(method.function, args, kwargs, left)
        # What it returns tells whether it streams: a decorator may hide what it decorates.
        if inspect.isgenerator(result):
            raise TypeError(f"{method.name} is a generator function: make it an async one")
        if not event.credit:
            if inspect.isasyncgen(result):
                raise InvalidParams(BAD_PARAMS, f"{method.name} streams: use stream()")
            return result
        if not inspect.isasyncgen(result):
            await self._item(method, number, result, running)
            return None
        async with contextlib.aclosing(result):
            async for item in result:
                await self._item(method, number, item, running)
        return None

    def _leave(self, number: int, working: asyncio.Future[Any]) -> None:
        """Go on without a thread that runs on, and has the place of its request (CALL-6)."""
        if number in self.running and not self.closing:
            self.keep_place(number)
            working.add_done_callback(lambda _: self.free_place(number))

    async def _item(self, method: Method, number: int, item: Any, running: Running) -> None:
        """Send one item of a stream once there is credit left (CALL-7)."""
        try:
            payload, weight = seal(item, self._codec)
        except NotSerializable:
            payload, weight = self.seal_plain(method, item)
        while not self.may_send(running):
            running.waiter = self._pump.loop.create_future()
            await running.waiter
        if running.over:  # nobody waits for items, but the handler has not ended
            raise asyncio.CancelledError
        self._session.item(number, payload, weight)
        running.sent += weight
        running.items += 1
        if running.items % ITEMS_IN_A_ROW == 0:
            await asyncio.sleep(0)  # a generator that never waits must not starve the loop
        self._pump.wake()
        self._pump.write_first()

    def _answer(self, event: Requested, error: BaseException) -> None:
        """Turn whatever ended a handler into a fault: never a traceback on the wire."""
        late = event.by is not None and event.by <= self._pump.loop.time()
        if isinstance(error, TimeoutError) and late:
            text = FaultText(TIMEOUT, "the deadline passed while it ran")
        elif isinstance(error, asyncio.CancelledError):
            text = FaultText(CANCELLED, "the handler was cancelled")
        else:
            text = self.explain(event, error, self._pump.loop.time())
        self.fault(event.id, text)

    def fault(self, number: int, text: FaultText) -> None:
        """Answer with a fault."""
        super().fault(number, text)
        self._pump.wake()
