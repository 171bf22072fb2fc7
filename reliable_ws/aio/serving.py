"""Requests from the peer: each runs in a task of its own, and each gets exactly one answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from reliable_ws.protocol.errors import (
    InvalidParams,
    MessageTooLarge,
    NotSerializable,
    PayloadError,
    RemoteError,
)
from reliable_ws.protocol.events import Cancelled, Granted, Requested
from reliable_ws.protocol.payload import open_payload, seal

from .calling import BAD_PARAMS, CLOSING, NOT_FOUND, TIMEOUT
from .methods import Method, Methods
from .waiting import Line

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Servant"]


BURST = 256
"""Items of a stream after which the loop runs in any case."""


class Running:
    """One request of the peer that is being worked on."""

    __slots__ = ("granted", "items", "line", "sent", "task")

    def __init__(self, credit: int) -> None:
        self.granted = credit
        self.sent = 0
        self.items = 0
        self.line = Line()
        self.task: asyncio.Task[None] | None = None


class Servant:
    """The requests of one connection, from the other side."""

    def __init__(self, connection: Connection, methods: Methods | None) -> None:
        self._connection = connection
        self._calls = connection._session.calls
        self._codec = connection._session.codec
        self._methods = methods or Methods()
        self._running: dict[int, Running] = {}
        self._idle = asyncio.Event()
        self.closing = False
        "Whether new requests are turned away (CALL-11)."

    @property
    def busy(self) -> bool:
        """Whether any handler runs."""
        return bool(self._running)

    def requested(self, event: Requested) -> None:
        """Start to work on a request."""
        method = self._methods.get(event.method)
        if self.closing:
            self._fault(event.id, CLOSING, "the connection is being closed")
        elif method is None:
            self._fault(event.id, NOT_FOUND, f"there is no method {event.method[:64]!r}")
        elif event.by is not None and event.by <= self._connection._loop.time():
            self._fault(event.id, TIMEOUT, "the deadline had passed before it was run")
        else:
            running = Running(event.credit)
            self._running[event.id] = running
            running.task = self._connection._loop.create_task(self._run(event, method, running))

    def cancelled(self, event: Cancelled) -> None:
        """Stop working: nobody waits for the answer."""
        running = self._running.get(event.id)
        if running is not None and running.task is not None:
            running.task.cancel()

    def granted(self, event: Granted) -> None:
        """Go on with a stream."""
        running = self._running.get(event.id)
        if running is not None:
            running.granted = max(running.granted, event.total)
            running.line.call()

    def abort(self) -> None:
        """Cancel everything: the session is over."""
        for running in self._running.values():
            if running.task is not None:
                running.task.cancel()

    async def drain(self, timeout: float) -> None:
        """Turn new requests away, wait for those that run, then cancel what is left."""
        self.closing = True
        try:
            async with asyncio.timeout(timeout):
                while self._running:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            self.abort()
            await asyncio.wait([r.task for r in self._running.values() if r.task is not None])

    async def _run(self, event: Requested, method: Method, running: Running) -> None:
        number = event.id
        try:
            async with asyncio.timeout_at(event.by):
                params = open_payload(event.payload, number, self._codec)
                bound = method.bind(self._connection, params)
                if not method.streams:
                    result = await method.run(bound)
                elif not event.credit:
                    raise InvalidParams(BAD_PARAMS, f"{method.name} streams: use stream()")
                else:
                    result = None
                    async for item in method.function(*bound.args, **bound.kwargs):
                        await self._item(number, item, running)
                if event.credit and not method.streams:
                    await self._item(number, result, running)
                    result = None
                payload, _weight = seal(result, self._codec)
                self._calls.reply(number, payload)
        except BaseException as error:
            self._answer(event, error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        finally:
            del self._running[number]
            if not self._running:
                self._idle.set()
            self._connection._wake()

    async def _item(self, number: int, item: Any, running: Running) -> None:
        """Send one item of a stream once there is credit left (CALL-7)."""
        payload, weight = seal(item, self._codec)
        while running.sent >= running.granted:
            await running.line.wait()
        self._calls.item(number, payload)
        running.sent += weight
        running.items += 1
        if running.items % BURST == 0:
            await asyncio.sleep(0)  # a generator that never waits must not starve the loop
        self._connection._wake()

    def _answer(self, event: Requested, error: BaseException) -> None:
        """Turn whatever ended a handler into a fault: never a traceback on the wire."""
        match error:
            case TimeoutError() if self._expired(event):
                self._fault(event.id, TIMEOUT, "the deadline passed while it ran")
            case RemoteError(code=code, message=message, data=data):
                self._fault(event.id, code, message, data)
            case PayloadError():
                self._fault(event.id, BAD_PARAMS, "the parameters cannot be decoded")
            case NotSerializable() | MessageTooLarge():
                self._fault(event.id, "internal", "the result cannot be sent")
                self._log(event, error)
            case asyncio.CancelledError():
                self._fault(event.id, "cancelled", "the handler was cancelled")
            case _:
                self._fault(event.id, "internal", "the handler failed")
                self._log(event, error)

    def _expired(self, event: Requested) -> bool:
        return event.by is not None and event.by <= self._connection._loop.time()

    @staticmethod
    def _log(event: Requested, error: BaseException) -> None:
        from .connection import logger

        logger.error("the handler of %r failed", event.method, exc_info=error)

    def _fault(self, number: int, code: str, message: str, data: Any = None) -> None:
        try:
            payload = b"" if data is None else seal(data, self._codec)[0]
        except NotSerializable:
            payload = b""
        self._calls.fault(number, code[:255] or "error", message[:1000], payload)
        self._connection._wake()
