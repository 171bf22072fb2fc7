"""Requests to the peer: each ends in an answer, or in an error that says what is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from reliable_ws.driver.rpc_client import STREAM_CREDIT, OpenRequest, OpenRequests
from reliable_ws.protocol.config import HIGHEST
from reliable_ws.protocol.errors import RequestTimeout
from reliable_ws.protocol.payload import open_payload
from reliable_ws.protocol.state import Receiving, Sending

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
        self.waiters = WaitQueue()
        "Who waits for the peer to have room for a request."

    async def request(self, method: str, params: Any, timeout: float | None) -> Any:
        """Ask, and return the answer."""
        by = None if timeout is None else self._by(timeout)
        waiting = PendingRequest(method, params, *self.seal(method, params))
        if not self._can_ask:
            await self._turn(waiting, by)
        number = self._begin(waiting, by, 0)
        timer = None if by is None else self._pump.loop.call_at(by, waiting.expire)
        try:
            while waiting.answer is None:
                if waiting.expired:
                    raise self.timed_out(number, method)
                waiter = waiting.waiter = self._pump.loop.create_future()
                await waiter
            self._open.pop(number, None)
            self._one_by_one = not self._open
            return self.result(number, waiting)
        finally:
            if timer is not None:
                timer.cancel()
            if number in self._open:
                self.drop(number)

    async def stream(
        self, method: str, params: Any, timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        """Ask for a stream, and yield its items."""
        by = None if timeout is None else self._by(timeout)
        waiting = PendingRequest(method, params, *self.seal(method, params))
        if not self._can_ask:
            await self._turn(waiting, by)
        number = self._begin(waiting, by, STREAM_CREDIT)
        timer = None if by is None else self._pump.loop.call_at(by, waiting.expire)
        try:
            while True:
                while waiting.items:
                    payload, granted = waiting.take()
                    if granted:
                        self._session.grant(number, granted)
                        self._pump.wake()
                    yield open_payload(payload, number, self._session.codec)
                if waiting.answer is not None:
                    self._open.pop(number, None)
                    self._one_by_one = not self._open
                    self.result(number, waiting)
                    return
                if waiting.expired:
                    raise self.timed_out(number, method)
                waiter = waiting.waiter = self._pump.loop.create_future()
                await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self.drop(number)

    def _by(self, timeout: float) -> float | None:
        """Return when time is up; what a deadline cannot say is none."""
        return self._pump.loop.time() + timeout if timeout < HIGHEST else None

    @property
    def _can_ask(self) -> bool:
        """Whether a request can go at once: there is room, and no other task waits for some."""
        session, calls, waiters = self._session, self._calls, self.waiters
        return (
            len(calls.open) + waiters.notified < calls.limit
            and not waiters.waiting
            and session.outbox.state is Sending.OPEN
            and session.inbox.state is Receiving.OPEN
        )

    def _begin(self, waiting: PendingRequest, by: float | None, credit: int) -> int:
        """Send a request for which there is room, and return its number."""
        try:
            number = self.open(waiting, by, credit)
        except BaseException:
            self.admit()
            raise
        if self._one_by_one and len(self._open) == 1:
            self._pump.flush()  # nobody else is about to ask, and this task waits
        else:
            self._pump.wake_for_call()
        return number

    async def _turn(self, waiting: PendingRequest, by: float | None) -> None:
        """Return when there is room for one more request; first come, first served."""
        self.check(waiting)
        try:
            async with asyncio.timeout_at(by):
                while True:
                    await self.waiters.wait()
                    self.check(waiting)
                    if self._room > 0:
                        return
        except TimeoutError:
            raise RequestTimeout(waiting.message[0], taken=False) from None

    @property
    def _room(self) -> int:
        """Requests that may be opened besides those whose turn has come."""
        return self._calls.limit - len(self._calls.open) - self.waiters.notified

    def admit(self) -> None:
        """Let as many go on as there is room for."""
        if self.waiters.waiting:
            self.waiters.notify(self._room)

    def drop(self, number: int) -> bool:
        """Wait no more; whether the request was taken back before it went."""
        if number not in self._open:
            return False
        taken_back = super().drop(number)
        self._pump.wake()
        self.admit()
        return taken_back

    def settle(self) -> None:
        """Let every request fail to which no answer can come any more; at once (G6)."""
        super().settle()
        self.waiters.notify_all()
