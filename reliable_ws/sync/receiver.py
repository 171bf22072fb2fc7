"""Messages from the peer: handed over in order, to the thread that asked first.

Theory of operation. Messages wait in the session's inbox, not here. A thread takes one with the
lock held, in the same step in which it sees that there is one. If there is none, or another thread
has come before, it waits in ``waiters``. It decodes what it took without the lock.

One iterator over messages at a time: see :class:`~reliable_ws.driver.iterators.Iterators`.
Deliveries may be shared by several workers, since each is confirmed by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from reliable_ws.driver.delivery import BaseDelivery, log_left_out
from reliable_ws.driver.iterators import Iterators
from reliable_ws.driver.log_limit import LogLimit
from reliable_ws.driver.session_store import CONFIRM_NEEDS_STORE
from reliable_ws.driver.validation import check_work
from reliable_ws.driver.window_watch import WindowWatch
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.errors import ConnectionClosed, ConnectionClosedOK, PayloadError
from reliable_ws.protocol.payload import open_payload

from .pump import Pump
from .session_store import SessionStore
from .waiters import Answer, WaitQueue, deadline_after

__all__ = ["Delivery", "Receiver"]

T = TypeVar("T")


class Receiver:
    """The messages of one connection, from the other side."""

    __slots__ = (
        "_applying",
        "_inbox",
        "_iterators",
        "_lock",
        "_log_limit",
        "_pump",
        "_session",
        "store",
        "waiters",
    )

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._lock = pump.lock
        self._session = pump.session
        self._inbox = pump.session.inbox
        self._iterators = Iterators()
        self._log_limit: LogLimit | None = None  # until a line is to be logged
        self.waiters = WaitQueue(pump.lock)
        "Who waits for a message."
        self.store: SessionStore | None = None
        "What keeps confirmations, if anything does."
        self._applying: dict[int, Answer] = {}  # work of the application, by the delivery's number

    def take(self, timeout: float | None) -> Any:
        """Take the next message, and confirm it in the same step."""
        inbox = self._inbox
        with self._lock:
            if self.waiters.threads or not inbox.queue:
                self._arrival(deadline_after(timeout))
            payload = self._session.take()
            number = inbox.handed
            if inbox.due:  # as `session.due`, without a call
                self._pump.poll()
        return open_payload(payload, number, self._session.codec)

    def messages(self) -> Iterator[Any]:
        """Iterate over messages until the peer has finished."""
        iterators, inbox, lock = self._iterators, self._inbox, self._lock
        take, codec, threads = self._session.take, self._session.codec, self.waiters.threads
        with lock:
            me = iterators.begin()
        while True:
            try:
                with lock:  # once for each message
                    if iterators.newest != me:
                        iterators.refuse()
                    if threads or not inbox.queue:
                        iterators.waiting = True
                        self._arrival(NEVER)
                    payload = take()
                    number = inbox.handed
                    if inbox.due:  # as `session.due`, without a call
                        self._pump.poll()
                message = open_payload(payload, number, codec)
            except ConnectionClosed as error:
                if self._ends_iteration(error):
                    return
                raise
            except PayloadError as error:
                self._leave_out(error)
                continue
            finally:
                iterators.waiting = False
            yield message

    def deliveries(self, name: str) -> Iterator[Delivery]:
        """Iterate over messages that are confirmed when their work is done.

        ``name``: the session, in log lines.
        """
        if self._pump.window_watch is None:
            self._pump.window_watch = WindowWatch(self._session, name)
        while True:
            try:
                with self._lock:
                    if not self._inbox.queue or self.waiters:
                        self._arrival(NEVER)
                    number, payload = self._session.deliver()
            except ConnectionClosed as error:
                if self._ends_iteration(error):
                    return
                raise
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
        log_left_out(self._pump.name, error, limit, time.monotonic())

    def _ends_iteration(self, error: ConnectionClosed) -> bool:
        """Whether this end of messages is one that iterators do not raise."""
        return isinstance(error, ConnectionClosedOK) or self._session.closing

    def _arrival(self, by: float) -> None:
        """Return when a message can be taken, first come first served."""
        inbox = self._inbox
        if not (inbox.queue or self._session.exhausted):
            self._pump.flush()  # nobody in this thread adds anything before the next message
        self.waiters.wait(self._can_read, by)
        if not inbox.queue:
            raise self._session.error()

    def _can_read(self) -> bool:
        return bool(self._inbox.queue) or self._session.exhausted

    @property
    def waited_for(self) -> bool:
        """Whether a thread waits for a message."""
        return bool(self.waiters)

    def wake_if_over(self) -> None:
        """Wake the first one that waits: it lets the next one look."""
        self.waiters.notify()

    @property
    def session_id(self) -> bytes:
        """The id of the session."""
        return self._session.id

    def confirm_applied(self, number: int, work: Callable[[Any], Any]) -> Any:
        """Confirm what was delivered, together with work of the application.

        Raises:
            TypeError: ``work`` is no plain function, or the session has no store.
            StoreError: The store could not keep it. So does what ``work`` raises come out.
        """
        check_work(work)
        store = self.store
        if store is None:
            raise TypeError(CONFIRM_NEEDS_STORE)
        store.port.check_thread()
        with self._lock:
            if self._session.is_confirmed(number):
                return None
            answer = self._applying.get(number)
            is_first = answer is None
            if answer is None:
                answer = self._applying[number] = Answer(self._lock)
        if is_first:
            store.confirm(number, work, answer)
        with self._lock:
            try:
                return answer.wait()
            finally:
                if self._applying.get(number) is answer and answer.is_there:
                    del self._applying[number]

    def confirm(self, number: int) -> None:
        """Confirm what was delivered."""
        with self._lock:
            self._session.confirm(number)
            if self._session.due:
                self._pump.poll()


class Delivery(BaseDelivery):
    """A message that you confirm when your work is done.

    ``with delivery as message: …`` confirms the message when the block ends without an exception.
    After an exception the message stays unconfirmed. You can call ``confirm()`` later. A message
    that is never confirmed ends as *unknown* for the sender. Until then it occupies the sender's
    window.

    Attributes:
        message: The message.
        number: Its sequence number.
        redelivered: Whether the message may have been delivered before, to an earlier process of
            yours.
    """

    __slots__ = ()

    _receiver: Receiver

    @overload
    def confirm(self) -> None: ...

    @overload
    def confirm(self, *, apply: Callable[[Any], T]) -> T | None: ...

    def confirm(self, *, apply: Callable[[Any], T] | None = None) -> T | None:
        """Confirm the message. A second call has no effect.

        You can confirm deliveries in any order. With a store and ``apply``, the store calls
        ``apply(db)`` in its thread and keeps what it writes and the confirmation in one commit,
        both or neither. ``db`` has ``execute`` and ``executemany``. The call waits for that, and
        returns what ``apply`` returns, or ``None`` if the message was confirmed before. If
        ``apply`` raises, nothing is kept, the message stays unconfirmed, and the exception comes
        out of the call. If Ctrl-C interrupts the call, the work goes on.

        Raises:
            ConfirmTooLate: The session has ended, and its counters are final.
            StoreError: The store could not keep it.
            TypeError: ``apply`` is no plain function, or the session has no store.
            RuntimeError: This is the work of another ``apply=``.
        """
        if apply is not None:
            result: T | None = self._receiver.confirm_applied(self.number, apply)
            return result
        self._receiver.confirm(self.number)
        return None

    def __enter__(self) -> Any:
        """Return the message."""
        return self.message

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: object
    ) -> None:
        """Confirm unless the block raised."""
        if kind is None:
            self.confirm()
