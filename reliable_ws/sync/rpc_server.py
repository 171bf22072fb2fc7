"""Requests from the peer: each runs in a thread, and each gets exactly one answer."""

from __future__ import annotations

import inspect
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from reliable_ws.driver.methods import Method, Methods
from reliable_ws.driver.rpc_server import (
    BAD_PARAMS,
    TIMEOUT,
    FaultText,
    RunningRequest,
    RunningRequests,
)
from reliable_ws.protocol.errors import InvalidParams, NotSerializable
from reliable_ws.protocol.events import Cancelled, Requested
from reliable_ws.protocol.frames import Payload
from reliable_ws.protocol.payload import open_payload, seal
from reliable_ws.protocol.unused import UNUSED

from .pump import Pump
from .thread_pool import HandlerThreads, Job
from .waiters import Condition

__all__ = ["RpcServer"]


class Running(RunningRequest):
    """One request of the peer that is being worked on, in a thread."""

    __slots__ = ("_change", "method")

    def __init__(self, event: Requested, change: Condition) -> None:
        super().__init__(event.credit)
        self.method = event.method
        self._change = change

    def wake(self) -> None:
        """Let the thread look whether it may send its next item."""
        self._change.notify_all()


class StreamOver(Exception):
    """Nobody waits for the items of a stream any more."""


class RpcServer(RunningRequests[Running]):
    """The requests of one connection, from the other side.

    A thread cannot be stopped: a handler that nobody waits for any more runs on, and what it
    returns is dropped. ``Config.max_handlers`` bounds the threads, and a server has a total for all
    of its sessions: further requests wait, and a thread that has answered takes the next one. The
    lock is held unless a method says otherwise.
    """

    __slots__ = ("_change", "_handlers", "_lock", "_pump", "_threads", "_waiting", "connection")

    def __init__(
        self, pump: Pump, methods: Methods | None, handlers: HandlerThreads | None
    ) -> None:
        """``handlers``: the threads that all sessions of a server share; ``None``: its own."""
        super().__init__(pump.session, methods)
        self._handlers = handlers or HandlerThreads(pump.session.config.max_handlers)
        self.connection: object = None
        "What a handler gets that asks for its ``Connection``."
        self._pump = pump
        self._lock = pump.lock
        self._change = Condition(pump.lock)  # a stream may go on, or is over
        self._threads = 0  # that run handlers, or that wait to be among the server's
        self._waiting: deque[tuple[Requested, Method, Running]] = deque()  # for a thread

    def method_of(self, number: int, running: Running) -> str:
        """Return what a handler that runs was asked for."""
        del number  # its thread knows the method
        return running.method

    def start(self, event: Requested, method: Method) -> None:
        """Run the handler of a request in a thread, once there is one."""
        if self.running is UNUSED:
            self.running = {}
        running = self.running[event.id] = Running(event, self._change)
        self._waiting.append((event, method, running))
        self._begin_thread()

    def eased(self, now: float) -> None:
        """Go on with streams and requests: the peer has received what waited for it."""
        super().eased(now)
        for _ in range(len(self._waiting)):
            self._begin_thread()

    def _begin_thread(self) -> None:
        """Let one more thread run what waits for one, if there may be one more."""
        if self._threads < self._session.config.max_handlers:
            self._threads += 1
            self._handlers.begin(self._run_waiting)

    def cancelled(self, event: Cancelled) -> None:
        """Expect no answer any more: nobody waits for it."""
        if event.id in self.running:
            self._ended(event.id)
            self.keep_place(event.id)

    def abort(self) -> None:
        """Expect nothing any more: nobody can be answered."""
        self.turn_away()
        self._waiting.clear()
        for number in list(self.running):
            self._ended(number)

    def _run_waiting(self) -> Job | None:
        """Run the handler that waits longest; return what this thread does next. Without lock."""
        with self._lock:
            if not self._may_run:
                return self._next()
            event, method, running = self._waiting.popleft()
        if self._may_begin(event):
            self._run(event, method, running)
        with self._lock:
            return self._next()

    @property
    def _may_run(self) -> bool:
        """Whether a handler waits for a thread and may begin.

        What was taken before the peer had many answers to receive waits here for it (CALL-45).
        """
        return bool(self._waiting) and (self.closing or not self._session.call_queue.crowded)

    def _next(self) -> Job | None:
        """Return what a thread does next that has run a handler."""
        if self._may_run:
            return self._handlers.next(self._run_waiting)
        self._threads -= 1
        return self._handlers.next(None)

    def _may_begin(self, event: Requested) -> bool:
        """Whether the answer is still waited for. Without the lock."""
        if event.id not in self.running:
            self._answer(event.id, None)
            return False
        if event.by is not None and event.by <= time.monotonic():
            text = FaultText(TIMEOUT, "the deadline had passed before it was run")
            self._answer(event.id, lambda: self.fault(event.id, text))
            return False
        return True

    def _run(self, event: Requested, method: Method, running: Running) -> None:
        """Run a handler, and answer. Without the lock."""
        running.worker = threading.current_thread()
        try:
            result = self._work(event, method, running)
            payload, weight = self._seal(method, result)
            self._answer(event.id, lambda: self._session.reply(event.id, payload, weight))
        except StreamOver:
            self._answer(event.id, None)
        except BaseException as error:  # noqa: BLE001 - in a thread it ends nothing but the handler
            text = self.explain(event, error, time.monotonic())
            self._answer(event.id, lambda: self.fault(event.id, text))

    def _answer(self, number: int, queue: Any) -> None:
        """Queue the answer, if it is still expected."""
        with self._lock:
            if number in self.running:
                queue()
                self._ended(number)
            else:
                self.free_place(number)
            self._pump.wake(alone=not self.running)
            if self.on_idle is not None and not self.running:
                self.on_idle()

    def _work(self, event: Requested, method: Method, running: Running) -> Any:
        """Run the handler, and send the items if it is a stream."""
        params = open_payload(event.payload, event.id, self._codec)
        args, kwargs = method.bind(self.connection, params)
        if method.needs_loop:
            raise TypeError(f"{method.name} is a coroutine function: it needs an event loop")
        result = method.function(*args, **kwargs)
        # What it returns tells whether it streams: a decorator may hide what it decorates.
        streams = inspect.isgenerator(result)
        if not event.credit:
            if streams:
                raise InvalidParams(BAD_PARAMS, f"{method.name} streams: use stream()")
            return result
        self._send_items(event.id, method, result if streams else [result], running)
        return None

    def _seal(self, method: Method, result: Any) -> tuple[Payload, int]:
        """Return a result as it travels, and its weight."""
        try:
            return seal(result, self._codec)
        except NotSerializable:
            return self.seal_plain(method, result)

    def _send_items(
        self, number: int, method: Method, items: Iterable[Any], running: Running
    ) -> None:
        """Send each item of a stream once there is credit left (CALL-7)."""
        try:
            for item in items:
                payload, weight = self._seal(method, item)
                with self._lock:
                    self._change.wait_for(lambda: self.may_send(running))
                    if running.over:
                        raise StreamOver
                    self._session.item(number, payload, weight)
                    running.sent += weight
                    self._pump.wake()
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
