"""The side that opens the WebSockets: one after the other, until its session ends."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from reliable_ws.adapters import adapt
from reliable_ws.backoff import Backoff
from reliable_ws.driver.fork import mind_forks
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.ownership import take_over
from reliable_ws.driver.reconnect import OPENS_BY_ITSELF, patience, unmet, why_not_met
from reliable_ws.driver.status import logger, tell_left_open
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import NotReliablePeer
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.report import Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport, TransportClosed

from .driver import Driver
from .waiters import is_cancelled

__all__ = ["Initiator"]

Open = Callable[[], Awaitable[Transport]]


class Initiator(Driver):
    """Drives a session from the side that opens its WebSockets."""

    __slots__ = ("__weakref__", "_backoff", "_opening", "_pause", "_reopen", "_unwelcome")

    def __init__(
        self,
        config: Config,
        codec: PayloadCodec | None,
        *,
        reopen: Open | None,
        backoff: Backoff | None,
        resumable: bool,
        methods: Methods | None,
    ) -> None:
        now = asyncio.get_running_loop().time()
        session = Session(
            "initiator", secrets.token_bytes(16), secrets.token_bytes(32), now, config, codec
        )
        super().__init__(session, resumable=resumable, methods=methods)
        self._reopen = reopen
        self._backoff = backoff or Backoff()
        self._unwelcome: Exception | None = None
        "How the newest WebSocket was lost."
        self._opening: asyncio.Timeout | None = None
        self._pause: asyncio.Timeout | None = None  # before the next attempt
        mind_forks(self)

    async def start(self, transport: Transport) -> None:
        """Greet on the first WebSocket; return after Welcome, raise if there is none."""
        self._spawn(self._keep(transport))
        try:
            await self._opened_or_detached()
        except BaseException:
            self.abort()
            raise
        failure = why_not_met(self.session, self._unwelcome)
        if failure is not None:
            self.abort()
            raise failure from self._unwelcome

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> None:
        is_silent = code == Code.SILENT
        self._unwelcome = TimeoutError(reason) if is_silent else TransportClosed(code, reason)
        super()._on_detached(code, reason, retry)

    def _ending_for(self, code: int | None, reason: str) -> Ending | None:
        return unmet(self.session, code, reason) or super()._ending_for(code, reason)

    async def _opened_or_detached(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self.opened, self.detached)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self.keep(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        """A task that dies of a bug ends the session: waiters must not wait for ever."""
        if task.cancelled():  # by the end of the event loop, nobody else
            tell_left_open(self.session)
        elif (error := task.exception()) is not None:
            logger.error("reliable_ws failed", exc_info=error)
            self.resume_failed("internal error")

    async def _keep(self, transport: Transport) -> None:
        """Carry the session over one transport after the other until it ends."""
        attempt = 0
        while True:
            began = self.loop.time()
            await self.carry(transport)
            if self.session.ended or self._reopen is None:
                return
            if self.loop.time() - began >= self._backoff.stable:
                attempt = 0
            next_transport = await self._open_another(attempt)
            if next_transport is None:
                return
            transport = next_transport
            attempt += 1

    async def carry(self, transport: Transport) -> None:
        """Carry the session over this transport until the transport is gone."""
        if self.session.ended:
            transport.abort()
            return
        link = self.session.dial(self.loop.time(), transport.max_frame)
        link_io = self.attach(transport, link)
        self.pump.flush()
        await link_io.read()

    async def _open_another(self, attempt: int) -> Transport | None:
        """Open a WebSocket, with back-off, as long as the session lives."""
        if self._reopen is None:
            return None
        while True:
            delay = self._backoff.delay(attempt, random.random(), self.retry)  # noqa: S311
            self.retry = None
            if await self._ends_within(min(delay, patience(self.session, self.loop.time()))):
                return None
            try:
                async with asyncio.timeout(self.session.config.open_timeout) as self._opening:
                    transport = await self._reopen()
            except (Exception, asyncio.CancelledError) as error:  # the next may succeed
                if isinstance(error, asyncio.CancelledError) and is_cancelled():
                    raise
                logger.debug("opening a WebSocket failed: %r", error)
                attempt += 1
                continue
            finally:
                self._opening = None
            if self.session.ended:
                transport.abort()
                return None
            return transport

    def _on_ended(self, ending: Ending) -> None:
        super()._on_ended(ending)
        if self._opening is not None and not self._opening.expired():
            self._opening.reschedule(self.loop.time())  # nobody needs another WebSocket

    async def _ends_within(self, delay: float) -> bool:
        try:
            async with asyncio.timeout(delay) as self._pause:
                await self.ended.wait()
        except TimeoutError:
            return False
        finally:
            self._pause = None
        return True

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin to close; a pause between attempts that is too long for that is cut short."""
        super().start_closing(code, reason, timeout=timeout)
        pause = self._pause
        if pause is not None and not pause.expired() and (when := pause.when()) is not None:
            pause.reschedule(min(when, self.loop.time() + patience(self.session, self.loop.time())))

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, greeting on it first."""
        if self._reopen is not None:
            raise RuntimeError(OPENS_BY_ITSELF)
        if self.session.ended:
            raise self.session.error()
        transport = take_over(websocket, adapt)
        self.detached.clear()
        self.opened.clear()
        self._spawn(self.carry(transport))
        await self._opened_or_detached()
        if self.session.ended:
            raise self.session.error()
        if not self.session.attached:
            raise NotReliablePeer("no Welcome on this WebSocket")
