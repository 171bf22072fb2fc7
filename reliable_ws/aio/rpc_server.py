"""Requests from the peer: each runs in a task of its own, and each gets exactly one answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
from collections.abc import Coroutine
from typing import Any

from reliable_ws.driver.methods import Method, Methods
from reliable_ws.driver.rpc_server import BAD_PARAMS, CANCELLED, INTERNAL, TIMEOUT, Answering, Said
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.errors import InvalidParams
from reliable_ws.protocol.events import Cancelled, Granted, Requested
from reliable_ws.protocol.payload import open_payload, seal

from .pump import Pump
from .waiters import Line, Signal

__all__ = ["RpcServer"]

BURST = 256
"""Items of a stream after which the loop runs in any case."""

GRACE = 1.0
"""Seconds that a cancelled handler has to end before its caller is told without it."""


def start(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], name: str
) -> asyncio.Task[None]:
    """Return a task that runs a handler: at once up to where it waits, from Python 3.12 on."""
    if sys.version_info >= (3, 12) and loop.get_task_factory() is None:
        options: dict[str, Any] = {"eager_start": True}
        return asyncio.Task(work, loop=loop, name=name, **options)
    return loop.create_task(work, name=name)


class Flow:
    """One stream that the peer reads: what it may still be sent (CALL-7)."""

    __slots__ = ("granted", "items", "line", "over", "sent")

    def __init__(self, credit: int) -> None:
        self.granted = credit
        self.sent = 0
        self.items = 0
        self.line = Line()
        self.over = False

    def end(self) -> None:
        """Let no item go any more."""
        self.over = True
        self.line.call()


class RpcServer(Answering):
    """The requests of one connection, from the other side."""

    __slots__ = (
        "_drained_by",
        "_draining",
        "_flows",
        "_idle",
        "_pump",
        "_running",
        "connection",
    )

    def __init__(self, pump: Pump, methods: Methods | None) -> None:
        super().__init__(pump.session, methods)
        self.connection: object = None
        "What a handler gets that asks for its ``Connection``."
        self._pump = pump
        self._running: dict[int, asyncio.Task[None] | None] = {}  # None: about to begin
        self._flows: dict[int, Flow] = {}
        self._idle = Signal()
        self._drained_by: float = NEVER
        self._draining: asyncio.Timeout | None = None

    @property
    def busy(self) -> bool:
        """Whether any handler runs that owes an answer."""
        return bool(self._running)

    def requested(self, event: Requested) -> None:
        """Start to work on a request."""
        now = 0.0 if event.by is None else self._pump.loop.time()
        method = self.find(event, now)
        if method is not None:
            self._running[event.id] = None
            if event.credit:
                self._flows[event.id] = Flow(event.credit)
            task = start(self._pump.loop, self._run(event, method), event.method)
            if event.id in self._running:  # else it has ended
                self._running[event.id] = task

    def cancelled(self, event: Cancelled) -> None:
        """Stop working: nobody waits for the answer."""
        task = self._running.get(event.id)
        if task is not None:
            self._cancel(event.id, task)

    def _cancel(self, number: int, task: asyncio.Task[None]) -> None:
        task.cancel()
        flow = self._flows.get(number)
        if flow is not None:
            flow.end()
        coroutine: Any = task.get_coro()
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:  # it never will begin
            self.fault(number, Said(CANCELLED, "cancelled before it was run"))
            self._ended(number)

    def granted(self, event: Granted) -> None:
        """Go on with a stream."""
        flow = self._flows.get(event.id)
        if flow is not None:
            flow.granted = max(flow.granted, event.total)
            flow.line.call()

    def eased(self) -> None:
        """Go on with every stream: the peer has received what waited for it."""
        for flow in self._flows.values():
            flow.line.call()

    def abort(self) -> None:
        """Cancel everything: nobody can be answered any more."""
        self.turn_away()
        for number, task in list(self._running.items()):
            if task is not None:
                self._cancel(number, task)
        self._idle.set()

    def release(self, task: asyncio.Task[Any] | None) -> None:
        """Expect no answer from the handler in this task: it closes the connection itself."""
        for number, running in list(self._running.items()):
            if task is not None and running is task:
                self.fault(number, Said(CANCELLED, "its handler closed the connection"))
                self._ended(number)

    async def drain(self) -> None:
        """Turn new requests away, wait for those that run, then cancel what is left."""
        self.turn_away()
        session = self._pump.session
        try:
            async with asyncio.timeout_at(self._drained_by) as self._draining:
                while self._running and not session.ended:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            self.abort()
            tasks = [task for task in self._running.values() if task is not None]
            if tasks:
                await asyncio.wait(tasks, timeout=GRACE)
            for number in list(self._running):
                self.fault(number, Said(CANCELLED, "cancelled, and it does not end"))
                self._ended(number)
        finally:
            self._draining = None

    def hurry(self, by: float) -> None:
        """Let :meth:`drain` wait until then at most."""
        self._drained_by = min(by, self._drained_by)
        if self._draining is not None and not self._draining.expired():
            self._draining.reschedule(self._drained_by)

    async def _run(self, event: Requested, method: Method) -> None:
        number, _name, payload, by, credit = event
        if self._running[number] is None:  # an eager task
            self._running[number] = asyncio.current_task()
        try:
            if method.is_coroutine and by is None and not credit:  # nearly every one
                params = open_payload(payload, number, self._codec)
                args, kwargs = method.bind(self.connection, params)
                result = await method.function(*args, **kwargs)
            elif by is None:
                result = await self._work(event, method)
            else:
                async with asyncio.timeout_at(by):
                    result = await self._work(event, method)
            self._session.reply(number, *seal(result, self._codec))
        except KeyboardInterrupt:
            self.fault(number, Said(INTERNAL, "the handler failed"))
            raise
        except BaseException as error:
            if self._pump.loop.is_closed():  # nobody is there any more
                raise
            if number not in self._left:
                self._answer(event, error)
        finally:
            self._ended(number)
        self._pump.wake_for_call()

    async def _work(self, event: Requested, method: Method) -> Any:
        """Run the handler, and send the items if it is a stream."""
        number = event.id
        params = open_payload(event.payload, number, self._codec)
        args, kwargs = method.bind(self.connection, params)
        flow = self._flows.get(number)
        if method.generates:
            raise TypeError(f"{method.name} is a generator function: make it an async one")
        if method.streams:
            if flow is None:
                raise InvalidParams(BAD_PARAMS, f"{method.name} streams: use stream()")
            items = method.function(*args, **kwargs)
            async with contextlib.aclosing(items):
                async for item in items:
                    await self._item(number, item, flow)
            return None
        if method.is_coroutine:
            result = await method.function(*args, **kwargs)
        else:
            result = await method.run_in_thread(
                args, kwargs, functools.partial(self._leave, number)
            )
        if flow is None:
            return result
        await self._item(number, result, flow)
        return None

    def _leave(self, number: int, working: asyncio.Future[Any]) -> None:
        """Go on without a thread that runs on, and has the place of its request (CALL-6)."""
        if number in self._running and not self.closing:
            self.keep_place(number)
            working.add_done_callback(lambda _: self.free_place(number))

    def _ended(self, number: int) -> None:
        self._running.pop(number, None)
        flow = self._flows.pop(number, None)
        if flow is not None:
            flow.end()
        if not self._running:
            self._idle.set()

    async def _item(self, number: int, item: Any, flow: Flow) -> None:
        """Send one item of a stream once there is credit left (CALL-7)."""
        payload, weight = seal(item, self._codec)
        while not flow.over and (flow.sent >= flow.granted or self._session.call_queue.crowded):
            await flow.line.wait()
        if flow.over:  # its handler goes on all the same
            raise asyncio.CancelledError
        self._session.item(number, payload, weight)
        flow.sent += weight
        flow.items += 1
        if flow.items % BURST == 0:
            await asyncio.sleep(0)  # a generator that never waits must not starve the loop
        self._pump.wake()

    def _answer(self, event: Requested, error: BaseException) -> None:
        """Turn whatever ended a handler into a fault: never a traceback on the wire."""
        late = event.by is not None and event.by <= self._pump.loop.time()
        if isinstance(error, TimeoutError) and late:
            said = Said(TIMEOUT, "the deadline passed while it ran")
        elif isinstance(error, asyncio.CancelledError):
            said = Said(CANCELLED, "the handler was cancelled")
        else:
            said = self.explain(event, error)
        self.fault(event.id, said)

    def fault(self, number: int, said: Said) -> None:
        """Answer with a fault."""
        super().fault(number, said)
        self._pump.wake()
