"""Messages from the peer: handed over in order, to the task that asked first.

Theory of operation. Messages wait in the session's inbox, not here. :meth:`Receiver.arrival` waits
for one, :meth:`Receiver.take` takes it. There must be no ``await`` between the two: so a task that
is cancelled has either taken a message and returned it, or taken nothing. :meth:`Receiver.messages`
waits by itself: that is what idle connections do, and it saves the memory of a coroutine for each.

Tasks that wait are in ``waiters``. ``waiters.notified`` counts the tasks that were woken and have
not run yet. That many messages are theirs, so a task that comes later must wait behind them.

One iterator over messages at a time: see :class:`Iterators`. Deliveries may be shared by several
workers, since each delivery is confirmed by itself.

A long run of messages is taken without a look at the event loop, at most ``MAX_RECEIVES`` in a row.
A task that has to wait flushes first: what it has sent and confirmed goes now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar, overload

from msgpack import ExtType

from reliable_ws.driver.delivery import BaseDelivery, log_left_out
from reliable_ws.driver.iterators import Iterators
from reliable_ws.driver.log_limit import LogLimit
from reliable_ws.driver.session_store import CONFIRM_NEEDS_STORE
from reliable_ws.driver.validation import check_work
from reliable_ws.driver.window_watch import WindowWatch
from reliable_ws.protocol.errors import ConnectionClosed, ConnectionClosedOK, PayloadError
from reliable_ws.protocol.payload import open_payload

from .pump import Pump
from .waiters import DONE, WaitQueue

__all__ = ["Delivery", "Receiver"]

T = TypeVar("T")

MAX_RECEIVES = 1024
"""Messages taken in a row, without waiting, before one yields to the event loop."""


class Receiver:
    """The messages of one connection, from the other side."""

    __slots__ = (
        "_applying",
        "_inbox",
        "_iterators",
        "_log_limit",
        "_pump",
        "_session",
        "_until_yield",
        "apply",
        "waiters",
    )

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._session = pump.session
        self._inbox = pump.session.inbox
        self._until_yield = MAX_RECEIVES
        self._iterators = Iterators()
        self._log_limit: LogLimit | None = None  # until a line is to be logged
        self.waiters = WaitQueue(pump.loop)
        "Who waits for a message."
        self.apply: Callable[[int, Callable[[Any], Any]], asyncio.Future[Any]] | None = None
        "With a store: does work of the application, and confirms a delivery with it."
        self._applying: dict[int, asyncio.Future[Any]] | None = None  # by the delivery's number

    async def arrival(self, timeout: float | None) -> None:
        """Return when a message can be taken; no await may stand between this and taking it."""
        self._until_yield -= 1
        if self._until_yield < 0:
            self._until_yield = MAX_RECEIVES
            await asyncio.sleep(0)
        while (waiter := self._enter()) is not None:
            try:
                if timeout is None:
                    await waiter
                else:
                    async with asyncio.timeout(timeout):
                        await waiter
            except BaseException:
                self.waiters.leave(waiter)
                raise
            self.waiters.notified -= 1
            if self._inbox.queue:
                return

    def _enter(self) -> asyncio.Future[None] | None:
        """Return what to wait for, behind the tasks that came before; ``None``: take a message.

        If the wait is cancelled, leave ``waiters``, else lower ``waiters.notified``.

        Raises:
            ConnectionClosed: No message can come any more.
        """
        waiters, inbox = self.waiters, self._inbox
        if len(inbox.queue) > waiters.notified and not waiters.waiting:
            return None
        if not inbox.queue and self._session.exhausted:
            raise self._session.error()
        if self._pump.awake:
            self._pump.flush()  # nobody in this task adds anything before the next message
        return waiters.enter()

    def take(self) -> Any:
        """Take the next message, and confirm it in the same step."""
        session = self._session
        payload = session.take()
        if self._inbox.due:
            self._pump.taken()
        if self.waiters.waiting and self._inbox.finish is not None:
            self.wake_if_over()
        if type(payload) is ExtType:
            return open_payload(payload, self._inbox.handed, session.codec)
        return payload

    async def messages(self) -> AsyncIterator[Any]:  # noqa: PLR0915 - two ways without calls
        """Iterate over messages until the peer has finished."""
        waiters, inbox, session = self.waiters, self._inbox, self._session
        iterators = self._iterators
        me = iterators.begin()
        inbox.end_run()  # that of an iterator before this one
        while True:
            if iterators.newest != me:
                iterators.refuse()
            iterators.waiting = True
            try:
                # As `arrival`.
                self._until_yield -= 1
                if self._until_yield < 0:
                    self._until_yield = MAX_RECEIVES
                    await asyncio.sleep(0)
                while (waiter := self._enter()) is not None:
                    try:
                        await waiter
                    except BaseException:
                        waiters.leave(waiter)
                        raise
                    waiters.notified -= 1
                    if inbox.queue:
                        break
            except ConnectionClosed as error:
                if self._ends_iteration(error):
                    return
                raise
            finally:
                iterators.waiting = False
            try:
                message = self.take()
            except PayloadError as error:
                self._leave_out(error)
                continue
            yield message
            # The short way: what has arrived together is handed over without a look at whoever
            # else waits, and what nobody waits for is confirmed without a call.
            queue = inbox.queue
            if not queue or waiters.notified or waiters.waiting or iterators.newest != me:
                continue
            run = inbox.begin_run(self._until_yield)
            self._until_yield -= len(run)
            next_one = queue.popleft
            for number in run:
                if inbox.run is not run:
                    self._until_yield += run.stop - number
                    break
                payload = next_one()
                inbox.handed = inbox.confirmed = number
                if type(payload) is ExtType:
                    try:
                        payload = open_payload(payload, number, session.codec)
                    except PayloadError as error:
                        self._leave_out(error)
                        continue
                yield payload

    async def deliveries(self, name: str) -> AsyncIterator[Delivery]:
        """Iterate over messages that are confirmed when their work is done.

        ``name``: the session, in log lines.
        """
        if self._pump.window_watch is None:
            self._pump.window_watch = WindowWatch(self._session, name)
        while True:
            try:
                await self.arrival(None)
            except ConnectionClosed as error:
                if self._ends_iteration(error):
                    return
                raise
            number, payload = self._session.deliver()
            if self.waiters.waiting:
                self.wake_if_over()
            try:
                message = open_payload(payload, number, self._session.codec)
            except PayloadError as error:
                self.confirm(number)
                self._leave_out(error)
                continue
            yield Delivery(self, number, message, number <= self._inbox.redelivered_upto)

    def _leave_out(self, error: PayloadError) -> None:
        """Go on without a message that cannot be decoded: it is taken (MSG-4)."""
        limit = self._log_limit = self._log_limit or LogLimit()
        log_left_out(self._pump.name, error, limit, self._pump.loop.time())

    def _ends_iteration(self, error: ConnectionClosed) -> bool:
        """Whether this is how an iteration ends without raising."""
        return isinstance(error, ConnectionClosedOK) or self._session.closing

    @property
    def session_id(self) -> bytes:
        """The id of the session."""
        return self._session.id

    async def confirm_applied(self, number: int, work: Callable[[Any], Any]) -> Any:
        """Confirm what was delivered, together with work of the application.

        Raises:
            TypeError: ``work`` is no plain function, or the session has no store.
            StoreError: The store could not keep it. So does what ``work`` raises come out.
        """
        check_work(work)
        if self.apply is None:
            raise TypeError(CONFIRM_NEEDS_STORE)
        self._pump.check_thread()
        if self._session.is_confirmed(number):
            return None
        applying = self._applying = self._applying or {}
        done = applying.get(number)
        if done is None:
            done = applying[number] = self.apply(number, work)
            done.add_done_callback(lambda _done: applying.pop(number))
        return await asyncio.shield(done)

    def confirm(self, number: int) -> None:
        """Confirm what was delivered."""
        self._pump.check_thread()
        self._session.confirm(number)
        if self._session.due:
            self._pump.taken()

    @property
    def waited_for(self) -> bool:
        """Whether a task waits for a message."""
        return bool(self.waiters.waiting)

    # ------------------------------------------------------------------ what happened

    def wake_if_over(self) -> None:
        """Wake readers that nothing more can come for."""
        if not self._inbox.queue and self._session.exhausted:
            self.waiters.notify_all()


class Delivery(BaseDelivery):
    """A message that you confirm when your work is done.

    ``async with delivery as message: …`` confirms the message when the block ends without an
    exception. After an exception the message stays unconfirmed. You can call ``confirm()`` later. A
    message that is never confirmed ends as *unknown* for the sender. Until then it occupies the
    sender's window.

    Attributes:
        message: The message.
        number: Its sequence number.
        redelivered: Whether the message may have been delivered before, to an earlier process of
            yours.
    """

    __slots__ = ()

    _receiver: Receiver

    @overload
    def confirm(self) -> Awaitable[None]: ...

    @overload
    def confirm(self, *, apply: Callable[[Any], T]) -> Coroutine[Any, Any, T]: ...

    def confirm(self, *, apply: Callable[[Any], T] | None = None) -> Awaitable[T | None]:
        """Confirm the message. A second call has no effect.

        The call confirms at once. You may ``await`` it, which waits for nothing. You can confirm
        deliveries in any order. With a store and ``apply``, you must ``await`` the call: the
        store calls ``apply(db)`` in its thread and keeps what it writes and the confirmation
        in one commit, both or neither. ``db`` has ``execute`` and ``executemany``. What ``apply``
        returns is returned, or ``None`` if the message was confirmed before. If it raises, nothing
        is kept, the message stays unconfirmed, and the exception comes out of the call. If you
        cancel the call, the work goes on.

        Raises:
            ConfirmTooLate: The session has ended, and its counters are final.
            StoreError: The store could not keep it.
            TypeError: ``apply`` is no plain function, or the session has no store.
        """
        if apply is not None:
            return self._receiver.confirm_applied(self.number, apply)
        self._receiver.confirm(self.number)
        return DONE

    async def __aenter__(self) -> Any:
        """Return the message."""
        return self.message

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: object
    ) -> None:
        """Confirm unless the block raised."""
        if kind is None:
            self.confirm()
