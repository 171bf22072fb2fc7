"""The handle of one sent message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reliable_ws.protocol.report import Outcome

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Receipt"]


class Receipt:
    """What ``send()`` returns: wait for it, and the peer's application has taken the message.

    Nothing is lost by not waiting: ``flush()``, ``close()`` and ``report`` cover every message.
    """

    __slots__ = ("_connection", "number")

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self.number = number
        "The message's sequence number."

    def wait(self, timeout: float | None = None) -> None:
        """Return when the message is confirmed.

        Raises :class:`~reliable_ws.NotTaken` or :class:`~reliable_ws.OutcomeUnknown` when it
        never will be, ``TimeoutError`` after ``timeout`` seconds (default: as long as the
        session lives); then it may be waited for again.
        """
        self._connection._confirmation(self.number, timeout)

    @property
    def outcome(self) -> Outcome:
        """What is known now, without waiting."""
        return self._connection._outcome(self.number)

    def __repr__(self) -> str:
        """Number and outcome."""
        return f"<Receipt {self.number} {self.outcome.value}>"
