"""One session and the store that keeps it: what both drivers decide alike.

Theory of operation. A driver gives the store what changed (``Session.take_change``) at the end of
each step, and the store works on one change of a session at a time. :meth:`SessionStore.answered`
goes on with what was kept, or could not be. A session whose store has failed is left: nothing more
is given, and it goes on in the next process.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, Protocol, TypeVar

from reliable_ws.protocol.errors import KeyExists, StoreError, StoreFull
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.snapshot import StoredSession

from .session_driver import SessionDriver
from .status import logger

__all__ = [
    "CANNOT_BE_KEPT",
    "CONFIRM_NEEDS_STORE",
    "KEPT_FOR_NEXT",
    "NEEDS_STORE",
    "NOT_OPENED",
    "STORE_SLOW",
    "WITHDRAWN",
    "SessionStore",
    "Unstored",
    "accept_applied",
    "no_room",
    "not_in_time",
]

STORE_SLOW = 5.0
"""Seconds that one commit may take before ``store_slow`` is told."""

WITHDRAWN = -1
"""The number of a message that the store had no room for."""

KEPT_FOR_NEXT = "kept for the next process"
NOT_OPENED = "the connection was not opened"
NEEDS_STORE = "a session without a store keeps nothing: pass store= to connect() or serve()"
CONFIRM_NEEDS_STORE = (
    "confirm(apply=) needs a session with a store: pass store= to connect() or serve()"
)
CANNOT_BE_KEPT = "a session without a store cannot be kept: pass store= to connect() or serve()"


def no_room() -> StoreFull:
    """Return the error for a message that the store had no room for."""
    return StoreFull("the store had no room for the message, and it was not accepted")


def not_in_time(number: int) -> str:
    """Return the words for a message that the store has not kept in time."""
    return f"message {number} is accepted, and the store has not kept it in time"


class SessionStore:
    """Tells the store's answers to one session."""

    __slots__ = ("_driver", "_is_slow")

    def __init__(self, driver: SessionDriver[Any, Any, Any, Any, Any]) -> None:
        self._driver = driver
        self._is_slow = False  # it was told that the store is

    def answered(self, error: StoreError | None) -> None:
        """Go on with what the store has kept, or with what it could not keep."""
        driver = self._driver
        session, now = driver.session, driver.now()
        self._is_slow = False
        if error is None:
            driver.dispatch(session.kept(now))
        elif isinstance(error, StoreFull):
            logger.warning("%s: %s", driver.name, error)
            driver.dispatch(session.unkept(now))
        else:
            self.leave(str(error), error)
        driver.changed()

    def tell_slow(self) -> None:
        """Tell, once, that the store has worked on one commit for :data:`STORE_SLOW` seconds."""
        if not self._is_slow:
            self._is_slow = True
            words = f"the store has worked on one commit for {STORE_SLOW:g} s"
            logger.warning("%s: %s", self._driver.name, words)
            if self._driver.notify is not None:
                self._driver.notify("store_slow", None, words, 0)

    def leave(self, reason: str, cause: Exception | None = None) -> None:
        """Be done with the session: it goes on in another process, from what the store has."""
        driver = self._driver
        driver.dispatch(driver.session.leave(driver.now(), reason, cause))


class Numbered(Protocol):
    """A receipt."""

    number: int


ReceiptT = TypeVar("ReceiptT", bound=Numbered)


class Unstored(Generic[ReceiptT]):
    """The receipts of messages that the store has not kept yet.

    A message that the store has no room for is taken back, and its number is given to another one.
    So its receipt gets the number :data:`WITHDRAWN`.
    """

    __slots__ = ("_receipts",)

    def __init__(self) -> None:
        self._receipts: deque[ReceiptT] = deque()  # in order of their numbers, nearly

    def add(self, receipt: ReceiptT) -> None:
        """Add a receipt."""
        self._receipts.append(receipt)

    def stored(self, number: int) -> None:
        """Messages up to this number are kept."""
        receipts = self._receipts
        while receipts and receipts[0].number <= number:
            receipts.popleft()

    def withdrawn(self, number: int) -> None:
        """Messages above this number are taken back."""
        receipts, self._receipts = self._receipts, deque()
        for receipt in receipts:
            if receipt.number > number:
                receipt.number = WITHDRAWN
            else:
                self._receipts.append(receipt)


def accept_applied(
    session: Session,
    sealed: tuple[Any, int, str | None],
    result: Any,
    error: BaseException | None,
) -> tuple[int, Outcome | None]:
    """Give a message that the store has kept with the application's work its number.

    ``sealed``: the packed message, its weight, its key. ``result`` and ``error``: what the store
    said. The outcome is ``None``, or that of a message that another session or process sends.

    Raises:
        BaseException: ``error``, if the message was not kept.
    """
    durable = session.durable
    if durable is None:
        raise TypeError(NEEDS_STORE)
    durable.applying -= 1
    if isinstance(error, KeyExists):  # another session of this store was quicker
        _session_id, number, facts = error.found
        return number, StoredSession.outcome_of(facts, number)
    if error is not None:
        raise error
    if durable.closed:
        return 0, Outcome.KEPT
    row, _value = result
    return session.accept_kept(row, *sealed), None
