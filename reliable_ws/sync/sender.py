"""Messages to the peer: accepted in call order, and waited for until their outcome is known.

Theory of operation. A thread packs its message without the lock, then takes the lock and accepts
it. A thread for which there is no room waits in ``waiters``, first come first served, and every
later message waits behind it. Who writes what was accepted is decided in :meth:`Sender.accepted`.

A thread that wants to know an outcome waits in ``_confirmations``, by the number of its message.
One ack wakes every thread up to there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reliable_ws.driver.session_store import NEEDS_STORE, WITHDRAWN, no_room
from reliable_ws.driver.status import raise_undelivered
from reliable_ws.driver.validation import check_seconds
from reliable_ws.protocol.errors import behind
from reliable_ws.protocol.frames import MAX_NUMBER, Payload
from reliable_ws.protocol.payload import seal
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.state import Sending

from .pump import Pump
from .waiters import Thresholds, WaitQueue, deadline_after

__all__ = ["Receipt", "Sender"]


class Sender:
    """The messages of one connection, from this side."""

    __slots__ = (
        "_confirmations",
        "_lock",
        "_outbox",
        "_pump",
        "_session",
        "_was_waited_for",
        "waiters",
    )

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._lock = pump.lock
        self._session = pump.session
        self._outbox = pump.session.outbox
        self._confirmations = Thresholds(pump.lock)
        self._was_waited_for = False  # the last message
        self.waiters = WaitQueue(pump.lock)
        "Who waits for room in the outbox."

    @property
    def waiting(self) -> int:
        """How many callers wait for room."""
        return len(self.waiters)

    def send(self, message: Any, timeout: float | None) -> Receipt:
        """Accept a message as soon as there is room for it."""
        payload, weight = seal(message, self._session.codec)
        with self._lock:
            if self.waiters or not self._has_room(weight):
                self._wait_for_room(weight, deadline_after(timeout))
            return Receipt(self, self._accept(payload, weight))

    def send_nowait(self, message: Any) -> Receipt:
        """Accept a message now."""
        return Receipt(self, self.send_sealed_now(*seal(message, self._session.codec)))

    def send_sealed_now(self, payload: Payload, weight: int) -> int:
        """Accept now what is packed already."""
        with self._lock:
            if self.waiters:
                raise behind(len(self.waiters))
            return self._accept(payload, weight)

    def _accept(self, payload: Any, weight: int) -> int:
        number = self._session.send_sealed(payload, weight)
        self.accepted(number)
        return number

    def accepted(self, number: int) -> None:
        """Send what was accepted; with the lock held.

        A message with none before it that waits is sent by its own thread, which is the fastest
        way; and if the last one was waited for, so will this one be: it says so itself. So is what
        makes enough for one write. All else is for the writer: more may follow.
        """
        outbox, pump = self._outbox, self._pump
        alone = number == outbox.confirmed + 1
        if alone and self._was_waited_for:
            self._session.want(number)
        self._was_waited_for = False
        if alone or outbox.total >= pump.flush_at:
            pump.flush()
        else:
            pump.wake()

    def _has_room(self, weight: int) -> bool:
        """Whether a message is accepted, or refused for another reason, at once."""
        return self._session.outbox.state is not Sending.OPEN or self._outbox.has_room(weight)

    def _wait_for_room(self, weight: int, by: float) -> None:
        """Wait behind the threads that came before. Offers are held meanwhile: none overtakes."""
        self._session.hold_offers()
        try:
            self.waiters.wait(lambda: self._has_room(weight), by)
        finally:
            if not self.waiters:
                self._session.resume_offers()

    def flush(self, timeout: float | None) -> None:
        """Wait until everything sent so far is confirmed, or raise."""
        with self._lock:
            number = self._outbox.messages
            self._know(number, deadline_after(timeout))
            report = self._session.report(upto=number)
        raise_undelivered(self._session, report)

    def confirmation(self, number: int, timeout: float | None) -> None:
        """Wait for one message (see :class:`Receipt`)."""
        outbox, report = self._outbox, None
        with self._lock:
            if outbox.confirmed < number:
                self._know(number, deadline_after(timeout))
                if outbox.confirmed < number:
                    report = self._session.report_of(number)
        if report is not None:
            raise_undelivered(self._session, report)

    def _know(self, number: int, by: float) -> None:
        """Wait until the outcome of everything up to ``number`` is known."""
        session, outbox = self._session, self._outbox
        self._was_waited_for = True
        while outbox.confirmed < number and session.outcome(number) is Outcome.PENDING:
            if outbox.wanted < number:
                session.want(number)
            self._pump.flush()  # the lock was free meanwhile
            if outbox.confirmed < number and session.outcome(number) is Outcome.PENDING:
                self._confirmations.wait(number, by)

    def outcome(self, number: int) -> Outcome:
        """Return what is known of one message."""
        with self._lock:
            return self._session.outcome(number)

    # ------------------------------------------------------------------ a store

    def send_durably(
        self,
        message: Any,
        timeout: float | None,
        key: str | None,
        apply: Callable[[Any], object] | None,
    ) -> Receipt:
        """Accept a message with a key, or together with work of the application.

        Raises:
            TypeError: The session has no store.
        """
        del message, timeout, key, apply  # as a session with a store takes them
        raise TypeError(NEEDS_STORE)

    def until_stored(self, receipt: Receipt, timeout: float | None) -> None:
        """Wait until a message is kept.

        Raises:
            TypeError: The session has no store.
        """
        del receipt, timeout
        raise TypeError(NEEDS_STORE)

    # ------------------------------------------------------------------ what happened

    def confirmed(self, number: int) -> None:
        """Everything up to ``number`` is confirmed."""
        self._confirmations.reach(number)
        self.waiters.notify()

    def settled(self) -> None:
        """Every outcome is known."""
        self.confirmed(MAX_NUMBER)

    def stored(self, number: int) -> None:
        """Messages up to ``number`` are kept. Only with a store."""

    def withdrawn(self, number: int) -> None:
        """Messages above ``number`` were taken back. Only with a store."""

    def try_again(self) -> None:
        """Let the first one that waits for room see whether there is some, or it is too late."""
        self.waiters.notify()


class Receipt:
    """What ``send()`` returns. Call :meth:`wait` to wait for the confirmation.

    You need not wait for a receipt: ``flush()``, ``close()`` and ``report`` cover every message.
    """

    __slots__ = ("_number", "_sender")

    def __init__(self, sender: Sender, number: int) -> None:
        self._sender = sender
        self._number = number

    @property
    def number(self) -> int:
        """The message's sequence number; -1 for one that the store had no room for."""
        return self._number

    def wait(self, timeout: float | None = None) -> None:
        """Return when the peer's application has taken the message.

        ``timeout`` is in seconds. Default: as long as the session lives. After a timeout you can
        wait again.

        Raises:
            NotTaken: The peer's application will never take the message. You can safely send it
                again.
            OutcomeUnknown: The session has ended, and it is not known whether the message was
                taken.
            Kept: This process is done with the session, and the store has the message for the next
                one.
            StoreFull: The store had no room for the message. It was not accepted.
            TimeoutError: The message was not confirmed within ``timeout`` seconds.
            TypeError: ``timeout`` is not a number.
        """
        if timeout is not None:
            check_seconds(timeout)
        number = self.number
        if number == WITHDRAWN:
            raise no_room()
        self._sender.confirmation(number, timeout)

    def wait_stored(self, timeout: float | None = None) -> None:
        """Return when the store has the message (``connect(…, store=…)``).

        :meth:`Connection.send` has waited for that already. :meth:`Connection.send_nowait` has not.
        ``timeout`` is in seconds. Default: as long as the session lives.

        Raises:
            StoreFull: The store had no room for it. It was not accepted.
            ConnectionClosed: The session ended before that.
            TimeoutError: The store has not kept it within ``timeout`` seconds. You can wait again.
            TypeError: The session has no store, or ``timeout`` is not a number.
        """
        check_seconds(timeout)
        self._sender.until_stored(self, timeout)

    @property
    def outcome(self) -> Outcome:
        """What is known now. Never waits."""
        if self.number == WITHDRAWN:
            return Outcome.NOT_TAKEN
        return self._sender.outcome(self.number)

    def __repr__(self) -> str:
        """Number and outcome."""
        return f"<Receipt {self.number} {self.outcome.value}>"
