"""One session and the store that keeps it: what both drivers decide alike.

Theory of operation. A driver gives the store what changed (``Session.take_change``) at the end of
each step, and the store works on one change of a session at a time. :meth:`SessionStore.answered`
goes on with what was kept, or could not be. A session whose store has failed is left: nothing more
is given, and it goes on in the next process.
"""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.errors import DeliveryError, KeyExists, ReliableWSError, StoreFull
from reliable_ws.protocol.report import Outcome, Report, Undelivered
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored_session import StoredSession

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
    "MayBeWithdrawn",
    "SessionStore",
    "Withdrawals",
    "accept_applied",
    "check_earlier",
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
    return StoreFull(
        "the store had no room for the message, and it was not accepted: make room on its disk, "
        "and send it again"
    )


def not_in_time(number: int) -> str:
    """Return the words for a message that the store has not kept in time."""
    return (
        f"message {number} is accepted, and the store has not kept it in time: its receipt says "
        "when it has"
    )


class SessionStore:
    """Tells the store's answers to one session."""

    __slots__ = ("_driver", "_is_slow")

    def __init__(self, driver: SessionDriver[Any, Any, Any, Any, Any]) -> None:
        self._driver = driver
        self._is_slow = False  # it was told that the store is

    def answered(self, error: ReliableWSError | None) -> None:
        """Go on with what the store has kept, or with what it could not keep.

        Call ``changed()`` of the driver when this is written.
        """
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


class Withdrawals:
    """Which messages were taken back, as the store had no room for them.

    Their numbers are given to other messages. A receipt remembers how many withdrawals it has seen,
    and asks when its number is read. So nothing leads from the sender to its receipts: most are
    dropped at once, and thousands that live until their messages are kept cost as much time as all
    the rest of a stream.
    """

    __slots__ = ("_upto", "count")

    def __init__(self) -> None:
        self._upto: list[int] = []  # for each of them: the last number that was not taken back
        self.count = 0
        "How often messages were taken back."

    def add(self, number: int) -> None:
        """Note that messages above this number were taken back."""
        self._upto.append(number)
        self.count += 1

    def number_of(self, number: int, seen: int) -> int:
        """Return a message's number, or :data:`WITHDRAWN` if it was taken back.

        ``seen``: how many withdrawals there were when the message had this number.
        """
        return WITHDRAWN if number > min(self._upto[seen:], default=number) else number


class MayBeWithdrawn:
    """Mixed in before a driver's receipt: the store may have no room for its message."""

    __slots__ = ()

    _sender: Any
    "Has the ``withdrawals``."
    _number: int
    _seen: int
    "How many there were when the message got its number."

    @property
    def number(self) -> int:
        """The message's sequence number; -1 for one that the store had no room for."""
        withdrawals: Withdrawals = self._sender.withdrawals
        return withdrawals.number_of(self._number, self._seen)


def check_earlier(number: int, outcome: Outcome) -> None:
    """Raise for a message that an earlier session of the same store has sent, unless confirmed."""
    if outcome is not Outcome.CONFIRMED:
        raise DeliveryError.of(Report(1, 0, (Undelivered(number, outcome, None),), None))


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
