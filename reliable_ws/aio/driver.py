"""A session in an event loop: how it waits, and when it writes. What it decides is in the base."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from reliable_ws.driver.handler_end import GOING_AWAY
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.session_driver import SessionDriver
from reliable_ws.driver.session_store import CANNOT_BE_KEPT, KEPT_FOR_NEXT
from reliable_ws.driver.status import log_left_open, tell_interrupted
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.session import Session
from reliable_ws.store import Apply
from reliable_ws.transport import Transport

from .durable_sender import DurableSender
from .link_io import LinkIO
from .pump import Pump
from .receiver import Receiver
from .rpc_client import RpcClient
from .rpc_server import RpcServer
from .sender import Sender
from .session_store import SessionStore
from .store_port import StorePort
from .waiters import Condition

__all__ = ["Driver"]


class Driver(SessionDriver[Pump, Sender, Receiver, RpcClient, RpcServer]):
    """One session in an event loop. Where WebSockets come from is for subclasses to know."""

    __slots__ = ("change", "is_left", "is_told", "loop", "store", "tasks")

    GRACE: ClassVar[float] = 1.0

    def __init__(
        self,
        session: Session,
        *,
        resumable: bool,
        methods: Methods | None,
        port: StorePort | None = None,
    ) -> None:
        pump = Pump(session, self.dispatch)
        self.loop = pump.loop
        self.change = Condition(pump.loop)
        "Notified when the session is opened, is detached, is to be closed, or has ended."
        self.tasks: list[asyncio.Task[Any]] | tuple[()] = ()
        "What works for this session in the background."
        self.is_told = False
        "Whether somebody tells of what the end of the event loop leaves undelivered."
        self.is_left = False
        "Whether the task that reads was cancelled, and reads on."
        super().__init__(
            session,
            pump,
            Sender(pump) if port is None else DurableSender(pump, port),
            Receiver(pump),
            RpcServer(pump, methods),
            resumable=resumable,
        )
        self.store = None if port is None else SessionStore(self, port, self.change)
        "The way to the store of a session that has one."
        if port is not None:
            self.receiver.apply = partial(self._apply, port)

    def _apply(
        self, port: StorePort, number: int, work: Callable[[Any], Any]
    ) -> asyncio.Future[Any]:
        """Confirm a delivery together with work of the application, in one commit."""
        done: asyncio.Future[Any] = self.loop.create_future()
        apply = Apply(self.session.id, work, delivery=number)
        port.apply(apply, partial(self._applied, number, done))
        return done

    def _applied(
        self, number: int, done: asyncio.Future[Any], result: Any, error: BaseException | None
    ) -> None:
        if error is None:
            self.dispatch(self.session.confirm_applied(number, self.loop.time()))
        if done.done():  # its caller was cancelled
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def create_rpc_client(self) -> RpcClient:
        """Return what makes requests, from the first one on."""
        self.rpc_client = RpcClient(self.pump)
        return self.rpc_client

    def hold_task(self, task: asyncio.Task[Any]) -> None:
        """Refer to a task until it is done: the event loop does not. Then call `task_ended`."""
        self.tasks = [*self.tasks, task]
        task.add_done_callback(self.task_ended)

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        """Deal with the end of a task that was held."""
        self.tasks = [one for one in self.tasks if one is not task]

    def attach(self, transport: Transport, link: Link, hello: bytes | str | None = None) -> LinkIO:
        """Carry the session over this transport from now on; read with ``link_io.read()``."""
        return self.pump.attach(transport, link, hello)

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket; return when the session is open on it."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what decisions need

    def now(self) -> float:
        """Return the event loop's time."""
        return self.loop.time()

    def call_at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Have this called by the event loop."""
        return self.loop.call_at(when, call)

    def changed(self) -> None:
        """Wake the tasks that wait for the session's state, and set the timer again."""
        self.pump.rearm()
        self.change.notify_all()

    def flush_last_frames(self) -> None:
        """Write now: the last word goes before anybody hears of the end."""
        self.pump.flush()

    def drop_transport(self) -> None:
        """Write what there is room for, then drop the transport."""
        if self.pump.link_io is not None:
            self.pump.link_io.flush()
            self.pump.link_io.abort()

    # ------------------------------------------------------------------ the end

    async def close(self, code: int, reason: str, timeout: float | None) -> None:
        """Close, and return when the session is over and its transport gone."""
        limit = self.session.config.close_timeout  # also for the WebSocket's own handshake
        by = self.loop.time() + (limit if timeout is None else min(timeout, limit))
        self.rpc_server.release(asyncio.current_task())
        self.start_closing(code, reason, timeout=timeout)
        await self.wait_ended()
        if self.store is not None:
            await self.store.keep(max(0.0, by - self.loop.time()))
        link_io = self.pump.link_io
        if link_io is not None:
            await link_io.closed(by)

    async def close_interrupted(self, error: BaseException) -> None:
        """Close within a short limit: ``error`` is no ``Exception``, and has left the block.

        What was accepted is written at once. Another cancellation ends the wait. What is not
        confirmed then is logged, and noted on ``error``.
        """
        if not self.loop.is_running():  # a coroutine is closed behind the end of its event loop
            return
        self.is_told = True
        if self.is_kept_when_interrupted:
            try:
                await self.keep()
            finally:
                tell_interrupted(self.session, self.name, error)
            return
        try:
            await self.close(*GOING_AWAY, self.session.config.close_cancelled_timeout)
        finally:
            self.abort(*GOING_AWAY)  # no effect on a session that has ended
            tell_interrupted(self.session, self.name, error)

    @property
    def is_kept_when_interrupted(self) -> bool:
        """Whether a cancellation, or its like, leaves the session to the next process."""
        return self.store is not None

    async def keep(self) -> None:
        """Leave the session to the next process; return when its transport is gone.

        Raises:
            RuntimeError: The session has no store.
        """
        if self.store is None:
            raise RuntimeError(CANNOT_BE_KEPT)
        limit = self.session.config.close_cancelled_timeout
        try:
            await self.store.keep(limit)
        finally:
            if not self.session.ended:
                self.store.leave(KEPT_FOR_NEXT)
        link_io = self.pump.link_io
        if link_io is not None:
            await link_io.closed(self.loop.time() + limit)

    def reads_on(self) -> bool:
        """Whether the task that reads goes on, now that it was cancelled.

        Only the end of the event loop cancels it. The session is closed within a short limit; a
        second cancellation ends that.
        """
        if self.is_left or self.session.ended:
            return False
        self.is_left = True
        if self.store is not None:
            self.store.leave(KEPT_FOR_NEXT)
            return True
        self.start_closing(*GOING_AWAY, timeout=self.session.config.close_cancelled_timeout)
        return True

    def left_behind(self) -> None:
        """End, after the task that reads was cancelled: nothing carries the session any more."""
        if not self.is_told and (self.is_left or not self.session.ended):
            log_left_open(self.session, self.name)
        if self.store is not None and not self.session.ended:
            self.store.leave(KEPT_FOR_NEXT)
        self.abort(*GOING_AWAY)  # no effect on a session that has ended

    async def wait_ended(self) -> None:
        """Return when the session is over."""
        self.end_waiters += 1
        try:
            await self.change.wait_for(lambda: self.session.ended)
        finally:
            self.end_waiters -= 1

    def after_fork(self) -> None:
        """Take no part any more: this process is a child of the session's."""
        self.pump.link_io = None
        self.pump.give_to_store = None
        super().after_fork()
