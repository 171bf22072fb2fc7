"""Requests from the peer: each runs in a thread, and each gets exactly one answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from reliable_ws.driver.methods import Method, Methods
from reliable_ws.driver.rpc_server import BAD_PARAMS, CANCELLED, Answering, Said
from reliable_ws.protocol.errors import InvalidParams
from reliable_ws.protocol.events import Cancelled, Granted, Requested
from reliable_ws.protocol.payload import open_payload, seal

from .pump import Pump
from .thread_pool import work
from .waiters import Change

__all__ = ["RpcServer"]


class Running:
    """One request of the peer that is being worked on."""

    __slots__ = ("granted", "sent", "thread")

    def __init__(self, credit: int) -> None:
        self.granted = credit
        self.sent = 0
        self.thread: threading.Thread | None = None


class Left(Exception):
    """Nobody waits for the items of a stream any more."""


class RpcServer(Answering):
    """The requests of one connection, from the other side.

    A thread cannot be stopped: a handler that nobody waits for any more runs on, and what it
    returns is dropped. The lock is held unless a method says otherwise.
    """

    __slots__ = ("_change", "_lock", "_pump", "_running", "connection")

    def __init__(self, pump: Pump, methods: Methods | None) -> None:
        super().__init__(pump.session, methods)
        self.connection: object = None
        "What a handler gets that asks for its ``Connection``."
        self._pump = pump
        self._lock = pump.lock
        self._methods.check_threads()
        self._running: dict[int, Running] = {}
        self._change = Change(pump.lock)  # a handler ended, or may go on

    @property
    def busy(self) -> bool:
        """Whether any handler runs that owes an answer."""
        return bool(self._running)

    def requested(self, event: Requested) -> None:
        """Start to work on a request."""
        method = self.find(event, time.monotonic())
        if method is not None:
            self._running[event.id] = running = Running(event.credit)
            work(lambda: self._run(event, method, running))

    def cancelled(self, event: Cancelled) -> None:
        """Expect no answer any more: nobody waits for it."""
        if event.id in self._running:
            self._ended(event.id)
            self.keep_place(event.id)

    def granted(self, event: Granted) -> None:
        """Go on with a stream."""
        running = self._running.get(event.id)
        if running is not None:
            running.granted = max(running.granted, event.total)
            self._change.notify_all()

    def eased(self) -> None:
        """Go on with every stream: the peer has received what waited for it."""
        self._change.notify_all()

    def abort(self) -> None:
        """Expect nothing any more: nobody can be answered."""
        self.turn_away()
        self._running.clear()
        self._change.notify_all()

    def release(self) -> None:
        """Expect no answer from a handler in this thread: it closes the connection itself."""
        for number, running in list(self._running.items()):
            if running.thread is threading.current_thread():
                self._dismiss(number, "its handler closed the connection")

    def drain(self, by: float) -> None:
        """Turn new requests away and wait for those that run; what is late is given up."""
        self.turn_away()
        self._change.wait_for(lambda: not self._running, max(0.0, by - time.monotonic()))
        for number in list(self._running):
            self._dismiss(number, "it does not end")

    def _dismiss(self, number: int, words: str) -> None:
        if number in self._running:
            self.fault(number, Said(CANCELLED, words))
            self._ended(number)

    def _ended(self, number: int) -> None:
        self._running.pop(number, None)
        self._change.notify_all()

    def _run(self, event: Requested, method: Method, running: Running) -> None:
        """Run a handler, and answer. Without the lock."""
        running.thread = threading.current_thread()
        try:
            result = self._work(event, method, running)
            payload, weight = seal(result, self._codec)
            self._answer(event.id, lambda: self._session.reply(event.id, payload, weight))
        except Left:
            self._answer(event.id, None)
        except BaseException as error:  # noqa: BLE001 - in a thread it ends nothing but the handler
            said = self.explain(event, error)
            self._answer(event.id, lambda: self.fault(event.id, said))

    def _answer(self, number: int, queue: Any) -> None:
        """Queue the answer, if it is still expected."""
        with self._lock:
            if number in self._running:
                queue()
                self._ended(number)
            else:
                self.free_place(number)
            self._pump.wake(alone=not self._running)

    def _work(self, event: Requested, method: Method, running: Running) -> Any:
        """Run the handler, and send the items if it is a stream."""
        params = open_payload(event.payload, event.id, self._codec)
        args, kwargs = method.bind(self.connection, params)
        if method.needs_loop:
            raise TypeError(f"{method.name} is a coroutine function: it needs an event loop")
        if method.generates and not event.credit:
            raise InvalidParams(BAD_PARAMS, f"{method.name} streams: use stream()")
        result = method.function(*args, **kwargs)
        if not event.credit:
            return result
        self._send_items(event.id, result if method.generates else [result], running)
        return None

    def _send_items(self, number: int, items: Iterable[Any], running: Running) -> None:
        """Send each item of a stream once there is credit left (CALL-7)."""
        try:
            for item in items:
                payload, weight = seal(item, self._codec)
                with self._lock:
                    self._change.wait_for(lambda: self._may_send(number, running))
                    if number not in self._running:
                        raise Left
                    self._session.item(number, payload, weight)
                    running.sent += weight
                    self._pump.wake()
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _may_send(self, number: int, running: Running) -> bool:
        """Whether an item may go now, or never."""
        has_credit = running.sent < running.granted and not self._session.call_queue.crowded
        return has_credit or number not in self._running
