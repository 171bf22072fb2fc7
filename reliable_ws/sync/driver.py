"""A session among threads: its lock, its timers, how it waits. What it decides is in the base.

A thread holds the session's lock while it runs the core or the decisions in
:mod:`reliable_ws.driver`. They never call out: no read, no write that may block, no handler, no
``on_event``. Threads that do not hold the lock do that.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from reliable_ws.driver.fork import watch_forks
from reliable_ws.driver.handler_end import GOING_AWAY
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.session_driver import SessionDriver
from reliable_ws.driver.session_store import CANNOT_BE_KEPT, KEPT_FOR_NEXT
from reliable_ws.driver.status import log_left_open, tell_interrupted
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.report import Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import SyncTransport

from .durable_sender import DurableSender
from .link_io import LinkIO
from .pump import DurablePump, Pump
from .receiver import Receiver
from .rpc_client import RpcClient
from .rpc_server import RpcServer
from .sender import Sender
from .session_store import SessionStore
from .store_port import StorePort
from .thread_pool import HandlerThreads
from .timers import Timer, call_at
from .waiters import Condition, deadline_after

__all__ = ["Driver"]


class Driver(SessionDriver[Pump, Sender, Receiver, RpcClient, RpcServer]):
    """One session among threads. Where WebSockets come from is for subclasses to know.

    Methods are called with the lock held, unless they say otherwise.
    """

    def __init__(
        self,
        session: Session,
        lock: threading.Lock,
        *,
        resumable: bool,
        methods: Methods | None,
        handlers: HandlerThreads | None = None,
        port: StorePort | None = None,
    ) -> None:
        self.lock = lock
        kind = Pump if port is None else DurablePump
        pump = kind(session, lock, self.dispatch)
        self.change = Condition(lock)
        "Notified when the session is opened, is detached, is to be closed, or has ended."
        super().__init__(
            session,
            pump,
            Sender(pump) if port is None else DurableSender(pump, port),
            Receiver(pump),
            RpcServer(pump, methods, handlers),
            resumable=resumable,
        )
        self.store: SessionStore | None = None
        "The way to the store of a session that has one."
        if port is not None and isinstance(pump, DurablePump):
            self.store = self.receiver.store = SessionStore(self, port, lock, self.change)
            pump.give_to_store = self.store.give
            _run_before_stores()
        watch_forks(self)
        _drivers.add(self)

    def create_rpc_client(self) -> RpcClient:
        """Return what makes requests, from the first one on."""
        if self.rpc_client is None:
            self.rpc_client = RpcClient(self.pump)
        return self.rpc_client

    def attach(
        self, transport: SyncTransport, link: Link, hello: bytes | str | None = None
    ) -> LinkIO:
        """Carry the session over this transport from now on; read with ``link_io.read()``."""
        return self.pump.attach(transport, link, hello)

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket; return when the session is open on it. Without lock."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what decisions need

    def now(self) -> float:
        """Return the time of the clock that all deadlines are in."""
        return time.monotonic()

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Have this called by the thread of the timers, with the lock held."""

        def locked() -> None:
            with self.lock:
                call()

        return call_at(when, locked)

    def changed(self) -> None:
        """Look at the clock anew, and wake the threads that wait for the session's state."""
        self.pump.rearm()
        self.change.notify_all()

    def drop_transport(self) -> None:
        """Drop the transport."""
        if self.pump.link_io is not None:
            self.pump.link_io.transport.abort()

    def _on_ended(self, ending: Ending) -> None:
        super()._on_ended(ending)
        self.pump.cancel_timers()

    # ------------------------------------------------------------------ the end

    @property
    def owes(self) -> bool:
        """Whether the session lives and a message is not confirmed. Without lock."""
        outbox = self.session.outbox
        return not self.session.ended and outbox.confirmed < outbox.messages

    def close(self, code: int, reason: str, timeout: float | None) -> None:
        """Close, and return when the session is over and its transport gone."""
        limit = self.session.config.close_timeout  # also for the WebSocket's own handshake
        by = deadline_after(limit if timeout is None else min(timeout, limit))
        try:
            self.rpc_server.release(threading.current_thread())
            self.start_closing(code, reason, timeout=timeout)
            self.wait_ended(None)
            if self.store is not None:
                self.store.keep(max(0.0, by - time.monotonic()))
            link_io = self.pump.link_io
            if link_io is not None and not link_io.wait_over(by):
                link_io.transport.abort()
        except KeyboardInterrupt as error:  # nobody waits any more
            if self.store is not None and not self.session.ended:  # the next process goes on
                self.store.leave(KEPT_FOR_NEXT)
            self.abort()
            tell_interrupted(self.session, self.name, error)
            raise

    def wait_ended(self, timeout: float | None) -> bool:
        """Return when the session is over, or after so many seconds; whether it is over."""
        self.end_waiters += 1
        try:
            return bool(self.change.wait_for(lambda: self.session.ended, timeout))
        finally:
            self.end_waiters -= 1

    def close_interrupted(self, error: BaseException) -> None:
        """Close within a short limit: ``error`` is no ``Exception``, and has left the block.

        What was accepted is written at once. Another Ctrl-C ends the wait. What is not confirmed
        then is logged, and noted on ``error``. With a store, the next process goes on.
        """
        if self.store is not None:
            try:
                self.keep()
            finally:
                tell_interrupted(self.session, self.name, error)
            return
        self.close(*GOING_AWAY, self.session.config.close_cancelled_timeout)
        tell_interrupted(self.session, self.name, error)

    def keep(self) -> None:
        """Leave the session to the next process; return when its transport is gone.

        Raises:
            RuntimeError: The session has no store.
        """
        if self.store is None:
            raise RuntimeError(CANNOT_BE_KEPT)
        limit = self.session.config.close_cancelled_timeout
        try:
            self.store.keep(limit)
        finally:
            if not self.session.ended:
                self.store.leave(KEPT_FOR_NEXT)
        link_io = self.pump.link_io
        if link_io is not None and not link_io.wait_over(deadline_after(limit)):
            link_io.transport.abort()

    def after_fork(self) -> None:
        """Take no part any more: this process is a child of the session's."""
        # A thread that is not here may hold it, or have been about to: locked() need not tell.
        self.lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - the standard library's way
        self.pump.link_io = None
        with self.lock:
            super().after_fork()


_drivers: weakref.WeakSet[Driver] = weakref.WeakSet()


def _at_exit() -> None:
    """Deliver what was accepted, within a short limit, and tell what is not confirmed then."""
    # Those that have ended have told. Those that owe nothing are left as they are: threads of this
    # program may still take what others owe.
    drivers = list(_drivers)
    for driver in drivers:
        if driver.store is not None and not driver.session.ended:  # the next process goes on
            with driver.lock:
                driver.keep()
    left = [driver for driver in drivers if driver.owes]
    by: dict[Driver, float] = {}
    for driver in left:
        with driver.lock:
            timeout = driver.session.config.close_cancelled_timeout
            by[driver] = time.monotonic() + timeout
            driver.start_closing(*GOING_AWAY, timeout=timeout)
    for driver in left:
        with driver.lock:
            driver.close(*GOING_AWAY, max(0.0, by[driver] - time.monotonic()))
            log_left_open(driver.session, driver.name)


def _run_before_stores() -> None:
    """Have :func:`_at_exit` run before the stores that exist now are closed: last come first."""
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)


atexit.register(_at_exit)
