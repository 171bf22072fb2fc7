"""Requests to the peer: each ends in an answer, or in an error that says what is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from reliable_ws.driver.rpc_client import (
    STREAM_CREDIT,
    OpenRequest,
    OpenRequests,
    request_deadline,
)
from reliable_ws.protocol.payload import open_payload

from .pump import Pump
from .waiters import WaitQueue

__all__ = ["RpcClient"]


class PendingRequest(OpenRequest):
    """One open request of ours, and the task that waits for what becomes of it."""

    __slots__ = ()

    waiter: asyncio.Future[None] | None

    def expire(self) -> None:
        """Time is up."""
        self.expired = True
        self.wake()

    def wake(self) -> None:
        """Wake the task that waits."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class RpcClient(OpenRequests[PendingRequest]):
    """The requests of one connection, from this side."""

    __slots__ = ("_one_by_one", "_pump", "waiters")

    def __init__(self, pump: Pump) -> None:
        super().__init__(pump.session)
        self._pump = pump
        self._one_by_one = False  # the last answer came when nobody else waited for one
        self.waiters = WaitQueue(pump.loop)
        "Who waits for the peer to have room for a request."

    async def request(self, method: str, params: Any, timeout: float | None) -> Any:
        """Ask, and return the answer."""
        by = None if timeout is None else request_deadline(self._pump.loop.time(), timeout)
        payload, weight = self.seal(method, params)
        request = PendingRequest(method, params, payload, weight)
        if not self._can_open:
            await self._wait_for_room(request, by)
        number = self._begin(request, by, 0)
        timer = None if by is None else self._pump.loop.call_at(by, request.expire)
        try:
            while request.answer is None:
                if request.expired:
                    raise self.timed_out(number, method)
                waiter = request.waiter = self._pump.loop.create_future()
                await waiter
            return self._done(number, request)
        finally:
            if timer is not None:
                timer.cancel()
            if number in self._open:
                self.drop(number)

    async def stream(
        self, method: str, params: Any, timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        """Ask for a stream, and yield its items."""
        by = None if timeout is None else request_deadline(self._pump.loop.time(), timeout)
        payload, weight = self.seal(method, params)
        request = PendingRequest(method, params, payload, weight)
        if not self._can_open:
            await self._wait_for_room(request, by)
        number = self._begin(request, by, STREAM_CREDIT)
        timer = None if by is None else self._pump.loop.call_at(by, request.expire)
        try:
            while True:
                while request.items:
                    payload, granted = request.take()
                    if granted:
                        self._session.grant(number, granted)
                        self._pump.wake()
                    yield open_payload(payload, number, self._session.codec)
                if request.answer is not None:
                    self._done(number, request)
                    return
                if request.expired:
                    raise self.timed_out(number, method)
                waiter = request.waiter = self._pump.loop.create_future()
                await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self.drop(number)

    @property
    def _can_open(self) -> bool:
        """Whether a request can go at once: there is room, and nobody is before it."""
        session, calls, waiters = self._session, self._calls, self.waiters
        return (
            len(calls.open) + waiters.notified < calls.limit
            and calls.weight < calls.max_weight
            and not waiters.waiting
            and session.outbox.is_open
            # as `session.exhausted`, without a call
            and session.ended is None
            and session.inbox.finish is None
            and not session.inbox.stopped
        )

    def _begin(self, request: PendingRequest, by: float | None, credit: int) -> int:
        """Send a request for which there is room, and return its number."""
        pump = self._pump
        pump.check_thread()  # before it is accepted
        try:
            number = self.open(request, by, credit)
        except BaseException:
            self.admit()
            raise
        if self._one_by_one and len(self._open) == 1:
            pump.flush()  # nobody else is about to ask, and this task waits
        else:
            pump.wake_for_call()
        return number

    async def _wait_for_room(self, request: PendingRequest, by: float | None) -> None:
        """Return when there is room for one more request; first come, first served."""
        self.check(request)
        try:
            async with asyncio.timeout_at(by):
                while True:
                    self.has_waiters = True
                    await self.waiters.wait()
                    self.check(request)
                    if self._room > 0:
                        return
        except TimeoutError:
            raise self.not_admitted(request) from None

    @property
    def _room(self) -> int:
        """Requests that may be opened besides those that were notified."""
        calls = self._calls
        if calls.weight >= calls.max_weight:
            return 0
        return calls.limit - len(calls.open) - self.waiters.notified

    def admit(self) -> None:
        """Let as many go on as there is room for."""
        if self.waiters.waiting:
            self.waiters.notify(self._room)
        self.has_waiters = bool(self.waiters.waiting)

    def drop(self, number: int) -> bool:
        """Wait no more; whether the request was taken back before it went."""
        if number not in self._open:
            return False
        taken_back = super().drop(number)
        self._pump.wake()
        self.admit()
        return taken_back

    def _done(self, number: int, request: PendingRequest) -> Any:
        """Return the answer, or raise it."""
        self._open.pop(number, None)
        self._one_by_one = not self._open
        return self.result(number, request)

    def settle(self) -> None:
        """Let every request fail to which no answer can come any more; at once (G6)."""
        super().settle()
        self.waiters.notify_all()
