"""The side that opens the WebSockets: one after the other, until its session ends."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from reliable_ws.adapters import adapt
from reliable_ws.driver.fork import mind_forks
from reliable_ws.driver.options import SessionOptions
from reliable_ws.driver.ownership import AlreadyOwned, take_over
from reliable_ws.driver.reconnect import (
    OPENS_BY_ITSELF,
    Reconnect,
    lost_as,
    refused_websocket,
    resume_error,
    unmet,
    why_not_met,
)
from reliable_ws.driver.status import logger, tell_left_open
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport

from .driver import Driver
from .waiters import is_cancelled

__all__ = ["Initiator"]

Open = Callable[[], Awaitable[Any]]


class Initiator(Driver):
    """Drives a session from the side that opens its WebSockets."""

    __slots__ = ("__weakref__", "_dialing", "_failure", "_reconnect", "_reopen")

    def __init__(self, options: SessionOptions, reopen: Open | None) -> None:
        session = Session(
            "initiator",
            secrets.token_bytes(16),
            secrets.token_bytes(32),
            asyncio.get_running_loop().time(),
            options.config,
            options.codec,
        )
        super().__init__(session, resumable=options.resumable, methods=options.methods)
        self._reopen = reopen
        self._reconnect = Reconnect(session, options.backoff)
        self._failure: Exception | None = None  # how the newest WebSocket was lost
        self._dialing: asyncio.Timeout | None = None  # while another one is being opened
        mind_forks(self)

    async def start(self, transport: Transport) -> None:
        """Greet on the first WebSocket; return after Welcome, raise if there is none."""
        self._spawn(self._keep(transport))
        try:
            await self.change.wait_for(lambda: self.met)
        except BaseException:
            self.abort()
            raise
        failure = why_not_met(self.session, self._failure)
        if failure is not None:
            self.abort()
            raise failure from self._failure

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> list[Event]:
        self._failure = lost_as(code, reason)
        return super()._on_detached(code, reason, retry)

    def _ending_for(self, code: int | None, reason: str) -> Ending | None:
        return unmet(self.session, code, reason) or super()._ending_for(code, reason)

    def _on_ended(self, ending: Ending) -> None:
        super()._on_ended(ending)
        if self._dialing is not None and not self._dialing.expired():
            self._dialing.reschedule(self.loop.time())  # nobody needs another WebSocket

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
            self.end(Ending(End.LOST, 1006, "internal error"))

    async def _keep(self, first: Transport) -> None:
        """Carry the session over one transport after the other until it ends."""
        transport: Transport | None = first
        while transport is not None:
            self._reconnect.carried(self.loop.time())
            await self._carry(transport)
            transport = await self._open_another(self._reopen) if self._reopen else None

    async def _carry(self, transport: Transport) -> None:
        """Carry the session over this transport until the transport is gone."""
        if self.session.ended:
            transport.abort()
            return
        link = self.session.dial(self.loop.time(), transport.max_frame)
        link_io = self.attach(transport, link)
        self.pump.flush()
        await link_io.read()

    async def _open_another(self, reopen: Open) -> Transport | None:
        """Open a WebSocket, with back-off; ``None`` when the session has ended."""
        asked, self.retry = self.retry, None
        self._reconnect.lost(self.loop.time(), random.random(), asked)  # noqa: S311
        while await self._pause():
            try:
                return take_over(await self._dial(reopen), adapt)
            except AlreadyOwned as error:  # which would carry two sessions, and lose both
                logger.error("reopen= returned a WebSocket that is in use", exc_info=error)
                self.end(refused_websocket(error))
            except (Exception, asyncio.CancelledError) as error:  # the next may succeed
                if isinstance(error, asyncio.CancelledError) and is_cancelled():
                    raise
                logger.debug("opening a WebSocket failed: %r", error)
                self._reconnect.failed(self.loop.time(), random.random())  # noqa: S311
        return None

    async def _dial(self, reopen: Open) -> Any:
        try:
            async with asyncio.timeout(self.session.config.open_timeout) as self._dialing:
                return await reopen()
        finally:
            self._dialing = None

    async def _pause(self) -> bool:
        """Wait before an attempt; whether the session lives on."""
        while pause := self._reconnect.pause(self.loop.time()):
            await self.change.wait(pause)
        return pause is not None

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, greeting on it first."""
        if self._reopen is not None:
            raise RuntimeError(OPENS_BY_ITSELF)
        if self.session.ended:
            raise self.session.error()
        transport = take_over(websocket, adapt)
        self.met = False
        self._spawn(self._carry(transport))
        await self.change.wait_for(lambda: self.met)
        failure = resume_error(self.session)
        if failure is not None:
            raise failure
