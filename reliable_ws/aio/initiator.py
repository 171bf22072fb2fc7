"""The side that opens the WebSockets: one after the other, until its session ends.

Theory of operation. One task (:meth:`Initiator._run`) carries the session over a WebSocket until
that is gone, then opens another one. :class:`~reliable_ws.driver.reconnect.Reconnect` says when,
and :class:`~reliable_ws.driver.failures.FailedAttempts` whether an attempt that fails is followed
by another. Without a way to open WebSockets the task ends with the first one, and
:meth:`Initiator.resume` brings the next.

:meth:`Initiator.start` waits until the first greeting has succeeded or failed. A failure before the
first Welcome is raised there and leaves no session behind. Later failures are events.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from reliable_ws.adapters import adapt
from reliable_ws.driver.failures import FailedAttempt, FailedAttempts, Stage
from reliable_ws.driver.fork import watch_forks
from reliable_ws.driver.options import SessionOptions
from reliable_ws.driver.ownership import AlreadyOwned, take_over
from reliable_ws.driver.reconnect import (
    OPENS_BY_ITSELF,
    OPENS_NONE,
    Reconnect,
    ending_before_welcome,
    ending_refused,
    ending_unusable,
    greeting_error,
    loss_error,
    resume_error,
)
from reliable_ws.driver.session_store import NOT_OPENED
from reliable_ws.driver.status import logger
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport

from .driver import Driver
from .link_io import LinkIO
from .store_port import StorePort
from .waiters import is_cancelled

__all__ = ["Initiator"]

Open = Callable[[], Awaitable[Any]]

OPENING_CANCELLED = "what opens the next WebSocket was cancelled"


class Initiator(Driver):
    """Drives a session from the side that opens its WebSockets."""

    __slots__ = (
        "__weakref__",
        "_attempts",
        "_failure",
        "_open_timeout",
        "_reconnect",
        "_reopen",
        "_retry",
        "_unwelcomed",
        "released",
    )

    def __init__(
        self,
        options: SessionOptions,
        reopen: Open | None,
        *,
        revived: Session | None = None,
        port: StorePort | None = None,
    ) -> None:
        """``revived``: the session that ``port``'s store had kept; else a new one begins."""
        now = asyncio.get_running_loop().time()
        session = revived or options.new_session(
            secrets.token_bytes(16), secrets.token_bytes(32), now
        )
        super().__init__(session, resumable=options.resumable, methods=options.methods, port=port)
        self.pump.wire = options.trace
        self.released: Callable[[], None] | None = None
        "Called when the store has the end of the session: another one may use its name."
        self._reopen = reopen
        self._reconnect = Reconnect(session, options.backoff)
        self._retry = options.retry
        self._attempts: FailedAttempts | None = None  # until one fails
        self._failure: Exception | None = None  # how the newest WebSocket was lost
        self._unwelcomed: Exception | None = None  # the same, if no Welcome came on it
        self._open_timeout: asyncio.Timeout | None = None  # while another one is being opened
        watch_forks(self)

    async def start(self, transport: Transport, *, may_end: bool = False) -> None:
        """Greet on the first WebSocket; return after Welcome, raise if there is none.

        ``may_end``: raise nothing for the end of a session that is being closed.
        """
        self._spawn(self._run(transport))
        try:
            await self.change.wait_for(lambda: self.attempt_over)
        except BaseException:
            self._give_up()
            raise
        failure = greeting_error(self.session, self._failure, self.retry)
        if failure is not None and not (may_end and self.session.ended):
            self._give_up()
            raise failure from self._failure

    def start_offline(self, reopen: Open) -> None:
        """Begin without a WebSocket; the first one is opened as later ones are, and at once."""
        self.opens_late = True
        if self.store is not None:
            self.store.give()  # it has a row before anything is kept with it
        self._reconnect.hasten()
        self._spawn(self._run_late(reopen))

    def _give_up(self) -> None:
        """Be done with a session that was not opened. The next ``connect()`` goes on with it."""
        if self.store is not None and not self.session.ended:
            self.store.leave(NOT_OPENED)
        self.abort()  # no effect on a session that has ended

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> list[Event]:
        self._failure = loss_error(code, reason)
        self._unwelcomed = None if self._opened else self._failure
        return super()._on_detached(code, reason, retry)

    def _ending_for(self, code: int | None, reason: str) -> Ending | None:
        if self.opens_late:
            return super()._ending_for(code, reason)
        ending = ending_before_welcome(self.session, code, reason)
        if ending is not None and ending.kind is End.LOST:
            # With a store: the peer may have begun it, and the next connect() goes on with it.
            self.session.leave_store()
        return ending or super()._ending_for(code, reason)

    def _on_ended(self, ending: Ending) -> None:
        super()._on_ended(ending)
        if self._open_timeout is not None and not self._open_timeout.expired():
            self._open_timeout.reschedule(self.loop.time())  # nobody needs another WebSocket

    def changed(self) -> None:
        """Wake the tasks that wait for the session's state."""
        super().changed()
        if self.released is not None and self.session.ended and self.session.is_kept:
            self.released()
            self.released = None

    def _spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self.hold_task(task)

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        """A task that dies of a bug ends the session: waiters must not wait for ever."""
        super().task_ended(task)
        if task.cancelled():  # by the end of the event loop, nobody else
            self.left_behind()
        elif (error := task.exception()) is not None:
            logger.error("%s: reliable_ws failed, please report it", self.name, exc_info=error)
            self.end(Ending(End.LOST, 1006, "internal error"))

    async def _run(self, first: Transport) -> None:
        """Carry the session over one transport after the other until it ends."""
        transport: Transport | None = first
        while transport is not None:
            self._reconnect.opened(self.loop.time())
            if (link_io := self._begin_link(transport)) is not None:
                await link_io.read(self)
            if self._unwelcomed is not None:
                self._report_failed(self._unwelcomed)
            transport = await self._open_another(self._reopen) if self._reopen else None

    async def _run_late(self, reopen: Open) -> None:
        """Open the first WebSocket, then go on as with one that was given."""
        transport = await self._open_another(reopen)
        if transport is not None:
            await self._run(transport)

    def _begin_link(self, transport: Transport) -> LinkIO | None:
        """Carry the session over this transport from now on; ``None`` if it has ended."""
        if self.session.ended:
            transport.abort()
            return None
        link = self.session.dial(self.loop.time(), transport.max_frame)
        link_io = self.attach(transport, link)
        self.pump.flush()
        return link_io

    async def _open_another(self, reopen: Open) -> Transport | None:
        """Open a WebSocket, with back-off; ``None`` when the session has ended."""
        retry_after, self.retry = self.retry, None
        self._reconnect.lost(self.loop.time(), random.random(), retry_after)  # noqa: S311
        while await self._pause():
            try:
                return take_over(await self._call_reopen(reopen), adapt)
            except AlreadyOwned as error:  # which would carry two sessions, and lose both
                line = "%s: reopen= returned a WebSocket that is in use: have it open a new one"
                logger.error(line, self.name, exc_info=error)
                self.end(ending_unusable(error), error)
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                self._attempt_failed(RuntimeError(f"{OPENING_CANCELLED}: {error!r}"))
            except Exception as error:  # noqa: BLE001 - the next may succeed
                self._attempt_failed(error)
        return None

    def _attempt_failed(self, error: Exception) -> None:
        """Tell of an attempt that failed, and plan the next one, unless it was the last."""
        attempt = self._report_failed(error)
        if attempt is not None:
            chance = random.random()  # noqa: S311
            self._reconnect.failed(self.loop.time(), chance, attempt.retry_after)

    def _report_failed(self, error: Exception) -> FailedAttempt | None:
        """Tell of an attempt that failed; ``None``: the session has ended, maybe of it."""
        if self.session.ended:
            return None
        attempts = self._attempts
        if attempts is None or self.session.obstacle is None:  # the first since the last Welcome
            who = f"session {self.session.id.hex()[:8]}"
            attempts = self._attempts = FailedAttempts(Stage.RESUMING, self._retry, who)
        attempt = attempts.failed(error, self.loop.time())
        self.session.obstacle = (attempt.reason, error)
        if self.notify is not None:
            told = (attempt.status, attempt.reason, 0)
            self.notify("attempt_failed", *told, attempt=attempt)
        if attempts.is_final(attempt):
            self.end(ending_refused(attempt), error)
            return None
        return attempt

    @property
    def next_attempt(self) -> float | None:
        """When the next WebSocket is opened; ``None``: the application has to hand over one."""
        return None if self._reopen is None else self._reconnect.due

    def reconnect_now(self) -> None:
        """Begin the next attempt at once, if there is to be one.

        Raises:
            RuntimeError: This side opens no WebSockets by itself.
        """
        if self._reopen is None:
            raise RuntimeError(OPENS_NONE)
        self._reconnect.hasten()
        self.change.notify_all()

    async def _call_reopen(self, reopen: Open) -> Any:
        try:
            async with asyncio.timeout(self.session.config.open_timeout) as self._open_timeout:
                return await reopen()
        finally:
            self._open_timeout = None

    async def _pause(self) -> bool:
        """Wait before an attempt; whether the session lives on."""
        while pause := self._reconnect.pause(self.loop.time()):
            await self.change.wait(pause)
        return pause is not None

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, greeting on it first.

        Raises:
            RuntimeError: This side opens WebSockets by itself.
            ConnectionClosed: The session has ended.
        """
        if self._reopen is not None:
            raise RuntimeError(OPENS_BY_ITSELF)
        if self.session.ended:
            raise self.session.error()
        transport = take_over(websocket, adapt)
        self.attempt_over = False
        if (link_io := self._begin_link(transport)) is not None:
            self._spawn(link_io.read(self))
        await self.change.wait_for(lambda: self.attempt_over)
        failure = resume_error(self.session)
        if failure is not None:
            raise failure
