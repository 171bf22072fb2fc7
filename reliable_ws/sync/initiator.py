"""The side that opens the WebSockets: one after the other, in a thread, until its session ends.

Theory of operation. As in :mod:`reliable_ws.aio.initiator`, with a thread where that has a task. A
call that opens a WebSocket runs in a thread of its own, since it cannot be cancelled. When it takes
too long, or the session ends, it is left behind, and the WebSocket that it returns later is dropped
(:class:`Attempt`).
"""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from reliable_ws.adapters import adapt_blocking as adapt
from reliable_ws.driver.failures import FailedAttempt, FailedAttempts, Stage
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
from reliable_ws.transport import SyncTransport

from .driver import Driver
from .link_io import LinkIO
from .store_port import StorePort
from .timers import start

__all__ = ["Initiator"]

Open = Callable[[], Any]


class Initiator(Driver):
    """Drives a session from the side that opens its WebSockets."""

    def __init__(
        self,
        options: SessionOptions,
        reopen: Open | None,
        *,
        revived: Session | None = None,
    ) -> None:
        """``revived``: the session that the store had kept; else a new one begins."""
        session = revived or options.new_session(
            secrets.token_bytes(16), secrets.token_bytes(32), time.monotonic()
        )
        lock = threading.Lock()
        super().__init__(
            session,
            lock,
            resumable=options.resumable,
            methods=options.methods,
            port=None if options.store is None else StorePort(options.store, lock),
        )
        self.pump.wire = options.trace
        self.released: Callable[[], None] | None = None
        "Called when the store has the end of the session: another one may use its name."
        self._reopen = reopen
        self._reconnect = Reconnect(session, options.backoff)
        self._retry = options.retry
        self._attempts: FailedAttempts | None = None  # until one fails
        self._failure: Exception | None = None  # how the newest WebSocket was lost
        self._unwelcomed: Exception | None = None  # the same, if no Welcome came on it

    def start(self, transport: SyncTransport, *, may_end: bool = False) -> None:
        """Greet on the first WebSocket; return after Welcome, raise if there is none.

        ``may_end``: raise nothing for the end of a session that is being closed.
        """
        self._spawn(self._run, transport)
        with self.lock:
            try:
                self.change.wait_for(lambda: self.attempt_over)
            except BaseException:
                self._give_up()
                raise
            failure = greeting_error(self.session, self._failure, self.retry)
            if may_end and self.session.ended:
                failure = None
            if failure is not None:
                self._give_up()
        if failure is not None:
            raise failure from self._failure

    def start_offline(self, reopen: Open) -> None:
        """Begin without a WebSocket; the first one is opened as later ones are, and at once."""
        self.opens_late = True
        with self.lock:
            if self.store is not None:
                self.store.give()  # it has a row before anything is kept with it
        self._reconnect.hasten()
        self._spawn(self._run_late, reopen)

    def _give_up(self) -> None:
        """Be done with a session that was not opened. The next ``connect()`` goes on with it."""
        if self.store is not None and not self.session.ended:
            self.store.leave(NOT_OPENED)
        self.abort()  # no effect on a session that has ended

    def changed(self) -> None:
        """Wake the threads that wait for the session's state."""
        super().changed()
        if self.released is not None and self.session.ended and self.session.is_kept:
            self.released()
            self.released = None

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

    def _spawn(self, work: Callable[[Any], None], given: Any) -> None:
        """Work in a thread; a bug there ends the session: waiters must not wait for ever."""

        def guarded() -> None:
            try:
                work(given)
            except BaseException:  # noqa: BLE001 - logged; SystemExit of the application, too
                logger.exception("%s: reliable_ws failed, please report it", self.name)
                with self.lock:
                    self.end(Ending(End.LOST, 1006, "internal error"))

        start(guarded)

    def _run(self, first: SyncTransport) -> None:
        """Carry the session over one transport after the other until it ends."""
        transport: SyncTransport | None = first
        while transport is not None:
            self._reconnect.opened(time.monotonic())
            self._run_link(transport)
            if self._unwelcomed is not None:
                self._report_failed(self._unwelcomed)
            transport = self._open_another(self._reopen) if self._reopen else None

    def _run_late(self, reopen: Open) -> None:
        """Open the first WebSocket, then go on as with one that was given."""
        transport = self._open_another(reopen)
        if transport is not None:
            self._run(transport)

    def _run_link(self, transport: SyncTransport) -> None:
        """Carry the session over this transport until the transport is gone."""
        with self.lock:
            link_io = self._begin_link(transport)
        if link_io is not None:
            link_io.read()

    def _begin_link(self, transport: SyncTransport) -> LinkIO | None:
        """Carry the session over this transport from now on; ``None`` if it has ended."""
        if self.session.ended:
            transport.abort()
            return None
        return self.attach(transport, self.session.dial(time.monotonic(), transport.max_frame))

    def _open_another(self, reopen: Open) -> SyncTransport | None:
        """Open a WebSocket, with back-off; ``None`` when the session has ended."""
        retry_after, self.retry = self.retry, None
        self._reconnect.lost(time.monotonic(), random.random(), retry_after)  # noqa: S311
        while self._pause():
            try:
                return take_over(self._call_reopen(reopen), adapt)
            except AlreadyOwned as error:  # which would carry two sessions, and lose both
                line = "%s: reopen= returned a WebSocket that is in use: have it open a new one"
                logger.error(line, self.name, exc_info=error)
                with self.lock:
                    self.end(ending_unusable(error), error)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next may succeed
                self._attempt_failed(error)
        return None

    def _attempt_failed(self, error: Exception) -> None:
        """Tell of an attempt that failed, and plan the next one, unless it was the last."""
        attempt = self._report_failed(error)
        if attempt is not None:
            chance = random.random()  # noqa: S311
            self._reconnect.failed(time.monotonic(), chance, attempt.retry_after)

    def _report_failed(self, error: Exception) -> FailedAttempt | None:
        """Tell of an attempt that failed; ``None``: the session has ended, maybe of it."""
        if self.session.ended:
            return None
        attempts = self._attempts
        if attempts is None or self.session.obstacle is None:  # the first since the last Welcome
            who = f"session {self.session.id.hex()[:8]}"
            attempts = self._attempts = FailedAttempts(Stage.RESUMING, self._retry, who)
        attempt = attempts.failed(error, time.monotonic())  # logs: without the lock
        with self.lock:
            self.session.obstacle = (attempt.reason, error)
            if self.notify is not None:
                told = (attempt.status, attempt.reason, 0)
                self.notify("attempt_failed", *told, attempt=attempt)
        if attempts.is_final(attempt):  # calls the application: without the lock
            with self.lock:
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

    def _call_reopen(self, reopen: Open) -> Any:
        """Call ``reopen`` in a thread: one that hangs is left behind."""
        attempt = Attempt(self, reopen)
        start(attempt.run)
        with self.lock:
            return attempt.wait(self.session.config.open_timeout)

    def _pause(self) -> bool:
        """Wait before an attempt; whether the session lives on."""
        with self.lock:
            while pause := self._reconnect.pause(time.monotonic()):
                self.change.wait(pause)
            return pause is not None

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, greeting on it first. Without lock.

        Raises:
            RuntimeError: This side opens WebSockets by itself.
            ConnectionClosed: The session has ended.
        """
        if self._reopen is not None:
            raise RuntimeError(OPENS_BY_ITSELF)
        with self.lock:
            if self.session.ended:
                raise self.session.error()
        transport = take_over(websocket, adapt)
        with self.lock:  # in one step: the end of an older WebSocket is not that of this attempt
            self.attempt_over = False
            link_io = self._begin_link(transport)
        if link_io is not None:
            self._spawn(LinkIO.read, link_io)
        with self.lock:
            self.change.wait_for(lambda: self.attempt_over or self.session.ended)
            failure = resume_error(self.session)
        if failure is not None:
            raise failure


class Attempt:
    """One call of ``reopen`` in a thread, which is waited for no longer than it is of use."""

    def __init__(self, driver: Driver, reopen: Open) -> None:
        self._driver = driver
        self._reopen = reopen
        self._websocket: Any = None
        self._error: BaseException | None = None
        self._is_done = self._is_left = False

    def run(self) -> None:
        """Call it; without the lock."""
        try:
            self._websocket = self._reopen()
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            self._error = error
        with self._driver.lock:
            self._is_done = True
            self._driver.changed()
        if self._is_left and self._error is None:
            with contextlib.suppress(Exception):  # it may be no WebSocket at all
                take_over(self._websocket, adapt).abort()

    def wait(self, timeout: float) -> Any:
        """Return what it returned, or raise what it raised; with the lock held.

        Raises:
            TimeoutError: It has not returned within ``timeout`` seconds. It is left behind.
            RuntimeError: It raised something that ends a thread.
        """
        driver = self._driver
        driver.change.wait_for(lambda: self._is_done or driver.session.ended, timeout)
        if not self._is_done:
            self._is_left = True
            raise TimeoutError(f"reopen= took longer than {timeout} s")
        if isinstance(self._error, Exception):
            raise self._error
        if self._error is not None:
            raise RuntimeError(f"{type(self._error).__name__} in a thread") from self._error
        return self._websocket
