"""Requests to the peer: each ends in an answer, or in an error that says what is known."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, cast

from reliable_ws.protocol.call_codec import LONGEST_NAME
from reliable_ws.protocol.config import HIGHEST
from reliable_ws.protocol.errors import (
    DeliveryError,
    InvalidParams,
    MethodNotFound,
    NotTaken,
    ReliableWSError,
    RemoteError,
    RequestTimeout,
)
from reliable_ws.protocol.events import Faulted, Itemized, Replied
from reliable_ws.protocol.frames import Payload
from reliable_ws.protocol.payload import open_payload, seal, seal_weight
from reliable_ws.protocol.report import Outcome, Report, Undelivered
from reliable_ws.protocol.state import Receiving, Sending

from .pump import Pump
from .waiting import Line

__all__ = ["STREAM_CREDIT", "Caller"]

STREAM_CREDIT = 256 * 1024
"""Bytes of items of one stream that may be on their way or unread."""

NOT_FOUND, BAD_PARAMS, CLOSING, TIMEOUT = "method-not-found", "invalid-params", "closing", "timeout"
"""Codes of faults that mean more than a handler's own (CALL-11)."""


class Waiting:
    """One open request of ours."""

    __slots__ = ("error", "expired", "items", "message", "payload", "result", "timer", "waiter")

    def __init__(self, method: str, params: Any, payload: Payload) -> None:
        self.message = (method, params)
        self.payload = payload
        self.waiter: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.expired = False
        self.result: Payload | None = None
        self.error: BaseException | None = None
        self.items: deque[Payload] | None = None  # until the first one comes

    @property
    def ended(self) -> bool:
        """Whether the answer is known."""
        return self.result is not None or self.error is not None

    def expire(self) -> None:
        """Time is up."""
        self.expired = True
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self) -> None:
        """Return when there is something to look at."""
        self.waiter = asyncio.get_running_loop().create_future()
        await self.waiter


class Caller:
    """The requests of one connection, from this side."""

    __slots__ = ("_calls", "_one_by_one", "_open", "_pump", "_session", "line")

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._session = pump.session
        self._calls = pump.session.calls
        self._open: dict[int, Waiting] = {}
        self._one_by_one = False  # the last answer came when nobody else waited for one
        self.line = Line()
        "Who waits for the peer to have room for a request."

    # ------------------------------------------------------------------ asking

    async def request(self, method: str, params: Any, timeout: float | None) -> Any:
        """Ask, and return the answer."""
        by = None if timeout is None else self._by(timeout)
        waiting = self._prepare(method, params)
        if self.line or self._room <= 0:
            await self._turn(waiting, by)
        number = self._begin(waiting, by, 0)
        try:
            while not waiting.ended:
                if waiting.expired:
                    raise self._timed_out(number, method)
                waiter = waiting.waiter = self._pump.loop.create_future()
                await waiter
            return self._result(number, waiting)
        finally:
            if waiting.timer is not None:
                waiting.timer.cancel()
            if number in self._open:
                self._drop(number)

    async def stream(
        self, method: str, params: Any, timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        """Ask for a stream, and yield its items."""
        by = None if timeout is None else self._by(timeout)
        waiting = self._prepare(method, params)
        if self.line or self._room <= 0:
            await self._turn(waiting, by)
        number = self._begin(waiting, by, STREAM_CREDIT)
        taken = granted = 0
        try:
            while True:
                while waiting.items:
                    payload = waiting.items.popleft()
                    taken += seal_weight(payload)
                    if taken - granted >= STREAM_CREDIT // 2:
                        granted = taken
                        self._calls.grant(number, taken + STREAM_CREDIT)
                        self._pump.wake()
                    yield open_payload(payload, number, self._session.codec)
                if waiting.ended:
                    self._result(number, waiting)
                    return
                if waiting.expired:
                    raise self._timed_out(number, method)
                await waiting.wait()
        finally:
            if waiting.timer is not None:
                waiting.timer.cancel()
            self._drop(number)

    def _by(self, timeout: float) -> float | None:
        """Return when time is up; what a deadline cannot say is none."""
        return self._pump.loop.time() + timeout if timeout < HIGHEST else None

    def _prepare(self, method: str, params: Any) -> Waiting:
        """Return a request that is not begun yet. Raises for what cannot be sent."""
        short = method.isascii() and len(method) <= LONGEST_NAME
        if not short and len(method.encode()) > LONGEST_NAME:
            raise ValueError(f"a method's name has at most {LONGEST_NAME} bytes")
        waiting = Waiting(method, params, seal(params, self._session.codec)[0])
        self._check(waiting)
        return waiting

    def _begin(self, waiting: Waiting, by: float | None, credit: int) -> int:
        """Send a request for which there is room, and return its number."""
        try:
            number = self._calls.request(waiting.message[0], waiting.payload, by, credit)
        except BaseException:
            self.admit()
            raise
        self._open[number] = waiting
        if by is not None:
            waiting.timer = self._pump.loop.call_at(by, waiting.expire)
        if self._one_by_one and len(self._open) == 1:
            self._pump.flush()  # nobody else is about to ask, and this task waits
        else:
            self._pump.wake()
        return number

    async def _turn(self, waiting: Waiting, by: float | None) -> None:
        """Return when there is room for one more request; first come, first served."""
        try:
            async with asyncio.timeout_at(by):
                while True:
                    await self.line.wait()
                    self._check(waiting)
                    if self._room > 0:
                        return
        except TimeoutError:
            raise RequestTimeout(waiting.message[0], taken=False) from None

    @property
    def _room(self) -> int:
        """Requests that may be opened besides those whose turn has come."""
        return self._calls.limit - len(self._calls.open) - self.line.called

    def admit(self) -> None:
        """Let as many go on as there is room for."""
        self.line.call(self._room)

    def _check(self, waiting: Waiting) -> None:
        """Raise where no answer can come any more (CLOSE-5)."""
        session = self._session
        if session.ended or session.closing:
            raise session.error()
        if session.sending is not Sending.OPEN or session.receiving is not Receiving.OPEN:
            raise self._undelivered(0, waiting, taken=False)
        if session.incarnation and not self._calls.limit:
            raise NotTakenByPeer("the peer does not take requests")

    def _timed_out(self, number: int, method: str) -> RequestTimeout:
        taken = self._calls.was_taken(number)
        return RequestTimeout(method, False if self._drop(number) else taken)

    def _drop(self, number: int) -> bool:
        """Wait no more; whether the request was taken back before it went."""
        if self._open.pop(number, None) is None:
            return False
        taken_back = self._calls.cancel(number)
        self._pump.wake()
        self.admit()
        return taken_back

    def _result(self, number: int, waiting: Waiting) -> Any:
        self._open.pop(number, None)
        self._one_by_one = not self._open
        if waiting.error is not None:
            raise waiting.error
        return open_payload(cast("Payload", waiting.result), number, self._session.codec)

    # ------------------------------------------------------------------ what the peer says

    def replied(self, event: Replied) -> None:
        """Hand the answer to whoever asked."""
        waiting = self._open.get(event.id)
        if waiting is not None:
            waiting.result = event.payload
            waiting.wake()

    def faulted(self, event: Faulted) -> None:
        """Hand the error to whoever asked."""
        waiting = self._open.get(event.id)
        if waiting is not None:
            waiting.error = self._error(event, waiting)
            waiting.wake()

    def itemized(self, event: Itemized) -> None:
        """Hand an item to whoever reads the stream."""
        waiting = self._open.get(event.id)
        if waiting is not None:
            if waiting.items is None:
                waiting.items = deque()
            waiting.items.append(event.payload)
            waiting.wake()

    def _error(self, event: Faulted, waiting: Waiting) -> ReliableWSError:
        if event.payload == b"":  # a handler's own error of such a code has data (CALL-11)
            if event.code == CLOSING:
                return self._undelivered(event.id, waiting, taken=False)
            if event.code == TIMEOUT:
                return RequestTimeout(waiting.message[0], taken=True)
        try:
            data = open_payload(event.payload, event.id, self._session.codec)
        except ReliableWSError:
            data = None
        kind = {NOT_FOUND: MethodNotFound, BAD_PARAMS: InvalidParams}.get(event.code, RemoteError)
        return kind(event.code, event.message, data if data != b"" else None)

    def settle(self) -> None:
        """Let every request fail to which no answer can come any more; at once (G6)."""
        session = self._session
        over = session.ended or session.closing or session.receiving is not Receiving.OPEN
        for number, waiting in self._open.items():
            taken = self._calls.was_taken(number)
            if taken is not False and number not in self._calls.open:
                continue  # its answer came in the same step
            if not waiting.ended and (over or taken is False):
                if self._calls.cancel(number):
                    taken = False
                waiting.error = self._undelivered(number, waiting, taken=taken)
                waiting.wake()
        self.line.call_all()

    def _undelivered(self, number: int, waiting: Waiting, *, taken: bool | None) -> DeliveryError:
        outcome = Outcome.NOT_TAKEN if taken is False else Outcome.UNKNOWN
        entry = Undelivered(number, outcome, waiting.message)
        return DeliveryError.of(Report(1, 0, (entry,), self._session.ended))


class NotTakenByPeer(NotTaken):
    """A request to a peer that takes none."""

    def __init__(self, words: str) -> None:
        ReliableWSError.__init__(self, words)
        self.report = Report(1, 0)
