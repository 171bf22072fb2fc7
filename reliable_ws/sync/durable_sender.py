"""Messages of a session with a store: kept before they are sent (protocol.md, section 17).

Theory of operation. A message is accepted as without a store, gets its number, and goes to the
store in the same step. The thread waits until the store has it. When the store was full, messages
are taken back, their receipts have no number any more, and whoever waits raises ``StoreFull``. A
receipt is made before the lock is free for the first time: the store may answer from then on.

A message with ``apply=`` takes another way: the store does the application's work and keeps the
message in one commit, and only then it gets its number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from reliable_ws.driver.session_store import (
    NEEDS_STORE,
    WITHDRAWN,
    MayBeWithdrawn,
    Withdrawals,
    accept_applied,
    check_earlier,
    no_room,
    not_in_time,
)
from reliable_ws.driver.validation import check_key, check_work
from reliable_ws.protocol.durable import pack_payload
from reliable_ws.protocol.errors import StoreSlow, behind
from reliable_ws.protocol.frames import MAX_NUMBER
from reliable_ws.protocol.payload import seal
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import Apply

from .pump import Pump
from .sender import Receipt, Sender
from .store_port import StorePort
from .waiters import Answer, Condition, Thresholds, deadline_after

__all__ = ["DurableSender"]


class DurableSender(Sender):
    """The messages of one connection whose session is kept by a store."""

    __slots__ = ("_key_change", "_keys", "_port", "_stored", "withdrawals")

    def __init__(self, pump: Pump, port: StorePort) -> None:
        super().__init__(pump)
        self._port = port
        self._stored = Thresholds(pump.lock)
        self.withdrawals = Withdrawals()
        self._keys: set[str] = set()  # with which something is being sent
        self._key_change = Condition(pump.lock)

    def send(self, message: Any, timeout: float | None) -> Receipt:
        """Accept a message, and return when the store has it."""
        self._port.check_thread()
        return self._send_kept(message, deadline_after(timeout), None)

    def _send_kept(self, message: Any, by: float, key: str | None) -> Receipt:
        payload, weight = seal(message, self._session.codec)
        with self._lock:
            if self.waiters or not self._has_room(weight):
                self._wait_for_room(weight, by)
            receipt = self._take_in(payload, weight, key)
            self._keep(receipt, by)
        return receipt

    def send_nowait(self, message: Any) -> Receipt:
        """Accept a message now, and leave it to the store."""
        payload, weight = seal(message, self._session.codec)
        with self._lock:
            if self.waiters:
                raise behind(len(self.waiters))
            return self._take_in(payload, weight, None)

    def _take_in(self, payload: Any, weight: int, key: str | None) -> Receipt:
        session = self._session
        number = session.send_sealed(payload, weight)
        if key is not None and session.durable is not None:
            session.durable.keys[key] = number
        receipt = KeptReceipt(self, number)
        self.accepted(number)
        return receipt

    # ------------------------------------------------------------------ until it is kept

    def _keep(self, receipt: Receipt, by: float) -> None:
        try:
            self._wait_stored(receipt, by)
        except TimeoutError:
            raise StoreSlow(not_in_time(receipt.number), receipt) from None

    def until_stored(self, receipt: Receipt, timeout: float | None) -> None:
        """Wait until a message is kept."""
        self._port.check_thread()
        with self._lock:
            self._wait_stored(receipt, deadline_after(timeout))

    def _wait_stored(self, receipt: Receipt, by: float) -> None:
        outbox, session = self._outbox, self._session
        while True:
            number = receipt.number
            if number == WITHDRAWN:
                raise no_room()
            if outbox.stored >= number:
                return
            if session.ended:
                raise session.error()
            self._stored.wait(number, by)

    # ------------------------------------------------------------------ what happened

    def stored(self, number: int) -> None:
        """Wake the threads that wait until a message is kept."""
        self._stored.reach(number)

    def withdrawn(self, number: int) -> None:
        """Tell everybody whose message was taken back."""
        self.withdrawals.add(number)
        self._stored.fail(number, no_room)
        self._confirmations.fail(number, no_room)
        self.try_again()

    def settled(self) -> None:
        """Wake the threads that wait: every outcome is known."""
        super().settled()
        self._stored.reach(MAX_NUMBER)

    # ------------------------------------------------------------------ keys, and work

    def send_durably(
        self,
        message: Any,
        timeout: float | None,
        key: str | None,
        apply: Callable[[Any], object] | None,
    ) -> Receipt:
        """Accept a message once for its key; or keep it together with work of the application."""
        check_key(key)
        check_work(apply)
        self._port.check_thread()
        by = deadline_after(timeout)
        if key is None:
            return self._send_once(message, by, None, apply)
        with self._lock:
            while key in self._keys:
                if not self._key_change.wait_for(lambda: key not in self._keys, timeout):
                    raise TimeoutError(f"another thread is sending a message with the key {key!r}")
            self._keys.add(key)
        try:
            return self._known(key, by) or self._send_once(message, by, key, apply)
        finally:
            with self._lock:
                self._keys.discard(key)
                self._key_change.notify_all()

    def _send_once(
        self, message: Any, by: float, key: str | None, apply: Callable[[Any], object] | None
    ) -> Receipt:
        if apply is None:
            return self._send_kept(message, by, key)
        return self._apply(message, by, key, apply)

    def _known(self, key: str, by: float) -> Receipt | None:
        """Return the receipt of the message that has this key already."""
        session = self._session
        with self._lock:
            number = self._number_of(key)
        if not number:
            found = self._port.find(key, by)
            if found is None:
                return None
            session_id, number, facts = found
            if session_id != session.id:
                return EarlierReceipt(self, number, StoredSession.outcome_of(facts, number))
        with self._lock:
            # It may have got a number meanwhile.
            receipt = KeptReceipt(self, self._number_of(key) or number)
            self._keep(receipt, by)
        return receipt

    def _number_of(self, key: str) -> int:
        """Return the number of the message that has this key and is not kept, else 0."""
        durable = self._session.durable
        return 0 if durable is None else durable.keys.get(key, 0)

    def _apply(
        self, message: Any, by: float, key: str | None, work: Callable[[Any], object]
    ) -> Receipt:
        session, outbox, durable = self._session, self._outbox, self._session.durable
        payload, weight = seal(message, session.codec)
        if durable is None:
            raise TypeError(NEEDS_STORE)
        kept = Answer(self._lock)
        apply = Apply(session.id, work, send=pack_payload(payload), key=key)
        with self._lock:
            outbox.check_size(weight)
            if self.waiters or not self._has_room(weight):
                self._wait_for_room(weight, by)
            if session.ended or not outbox.is_open:
                raise session.error()
            durable.applying += 1
            self._pump.flush()  # what was changed before goes to the store before
        self._port.apply(apply, partial(self._applied, kept, (payload, weight, key)))
        with self._lock:
            receipt: Receipt = kept.wait()
        return receipt

    def _applied(
        self,
        kept: Answer,
        sealed: tuple[Any, int, str | None],
        result: Any,
        error: BaseException | None,
    ) -> None:
        """Give a message that the store has its number. Without lock."""
        with self._lock:
            try:
                number, outcome = accept_applied(self._session, sealed, result, error)
            except BaseException as raised:  # noqa: BLE001 - it comes out of the caller's call
                kept.give(None, raised)
            else:
                receipt: Receipt = KeptReceipt(self, number)
                if outcome is not None:
                    receipt = EarlierReceipt(self, number, outcome)
                kept.give(receipt, None)
            self._pump.after_step()


class KeptReceipt(MayBeWithdrawn, Receipt):
    """The receipt of a message of a session with a store: the store may have no room for it."""

    __slots__ = ("_seen",)

    def __init__(self, sender: DurableSender, number: int) -> None:
        self._sender = sender
        self._number = number
        self._seen = sender.withdrawals.count


class EarlierReceipt(Receipt):
    """The receipt of a message that an earlier session of the same store has sent."""

    __slots__ = ("_outcome",)

    def __init__(self, sender: Sender, number: int, outcome: Outcome) -> None:
        super().__init__(sender, number)
        self._outcome = outcome

    def wait(self, timeout: float | None = None) -> None:
        """Return if it is confirmed, else raise what is known."""
        del timeout
        check_earlier(self.number, self._outcome)

    def wait_stored(self, timeout: float | None = None) -> None:
        """Return: the store has it."""

    @property
    def outcome(self) -> Outcome:
        """What the store knows of it."""
        return self._outcome
