"""Requests to the peer: each ends in an answer, or in an error that says what is known."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator
from typing import Any

from reliable_ws.driver.rpc_client import (
    STREAM_CREDIT,
    OpenRequest,
    OpenRequests,
    request_deadline,
)
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.frames import Payload
from reliable_ws.protocol.payload import open_payload

from .pump import Pump
from .waiters import Waiter, WaitQueue, deadline_after

__all__ = ["RpcClient"]

ABANDON_TIMEOUT = 0.1
"""Seconds that a stream which is left tries to say so at once."""

ABANDON_INTERVAL = 0.001
"""Seconds between two looks whether it can."""


class PendingRequest(OpenRequest):
    """One open request of ours, and the thread that waits for what becomes of it."""

    __slots__ = ("_waiter",)

    def __init__(self, method: str, params: Any, payload: Payload, weight: int) -> None:
        super().__init__(method, params, payload, weight)
        self._waiter = Waiter()

    def wake(self) -> None:
        """Let the thread look."""
        self._waiter.wake()

    def wait(self, lock: threading.Lock, by: float) -> bool:
        """Return when there is something to look at; ``False`` when time is up."""
        if not self._waiter.wait(lock, by):
            return False
        self._waiter = Waiter()
        return True


class RpcClient(OpenRequests[PendingRequest]):
    """The requests of one connection, from this side. Its lock is held unless it says otherwise."""

    __slots__ = ("_abandoned", "_lock", "_pump", "waiters")

    def __init__(self, pump: Pump) -> None:
        super().__init__(pump.session)
        self._pump = pump
        self._lock = pump.lock
        self._abandoned: deque[int] = deque()  # streams that were left while the lock was taken
        self.waiters = WaitQueue(pump.lock)
        "Who waits for the peer to have room for a request."

    def request(self, method: str, params: Any, timeout: float | None) -> Any:
        """Ask, and return the answer. Without the lock."""
        by = request_deadline(time.monotonic(), timeout)
        until = NEVER if by is None else by
        request = PendingRequest(method, params, *self.seal(method, params))
        with self._lock:
            number = self._begin(request, by, 0)
            try:
                while request.answer is None:
                    if not request.wait(self._lock, until):
                        raise self.timed_out(number, method)
            finally:
                self._end(number, request)
        return self.result(number, request)

    def stream(self, method: str, params: Any, timeout: float | None) -> Generator[Any, None, None]:
        """Ask for a stream, and yield its items. Without the lock."""
        by = request_deadline(time.monotonic(), timeout)
        until = NEVER if by is None else by
        request = PendingRequest(method, params, *self.seal(method, params))
        with self._lock:
            number = self._begin(request, by, STREAM_CREDIT)
        try:
            while (payload := self._next_item(number, request, until)) is not None:
                yield open_payload(payload, number, self._session.codec)
            self.result(number, request)
        finally:
            self._abandon(number)

    def _next_item(self, number: int, request: PendingRequest, until: float) -> Payload | None:
        """Take the next item of a stream, or ``None`` if it has ended. Without the lock."""
        with self._lock:
            while not request.items:
                if request.answer is not None:
                    return None
                if not request.wait(self._lock, until):
                    raise self.timed_out(number, request.message[0])
            payload, granted = request.take()
            if granted:
                self._session.grant(number, granted)
                self._pump.wake()
            return payload

    def _begin(self, request: PendingRequest, by: float | None, credit: int) -> int:
        """Send a request as soon as there is room, and return its number."""
        self.check(request)
        if self.waiters or not self.is_admitted(request):
            self.has_waiters = True
            try:
                self.waiters.wait(lambda: self.is_admitted(request), NEVER if by is None else by)
            except TimeoutError:
                raise self.not_admitted(request) from None
            self.check(request)
        number = self.open(request, by, credit)
        self._pump.wake(alone=len(self._open) == 1)
        return number

    def drop(self, number: int) -> bool:
        """Wait no more; whether the request was taken back before it went."""
        if number not in self._open:
            return False
        taken_back = super().drop(number)
        self._pump.wake()
        self.admit()
        return taken_back

    def _end(self, number: int, request: PendingRequest) -> None:
        """Go: there is an answer, or nobody waits for it any more."""
        if request.answer is None:
            self.drop(number)
        else:
            self._open.pop(number, None)
            self.admit()

    def settle(self) -> None:
        """Let every request fail to which no answer can come any more; at once (G6)."""
        super().settle()
        self.waiters.notify()

    def _abandon(self, number: int) -> None:
        """End a stream. Without the lock, for which a finalizer must not wait.

        The garbage collector may run a generator's end in a thread that holds it.
        """
        self._abandoned.append(number)
        self.has_waiters = True
        by = deadline_after(ABANDON_TIMEOUT)
        while self._lock.locked():
            if time.monotonic() >= by:
                return
            time.sleep(ABANDON_INTERVAL)
        with self._lock:  # and not acquire(): Ctrl-C, as that returns, would leave it taken
            self.admit()

    def admit(self) -> None:
        """End streams that were left, and let the next one ask if there is room."""
        self.has_waiters = False  # before the look: a finalizer sets it without the lock
        while self._abandoned:
            self.drop(self._abandoned.popleft())
        if self.waiters:
            self.has_waiters = True
            self.waiters.notify()
