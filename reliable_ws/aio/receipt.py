"""The handle of one sent message."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from reliable_ws.protocol.report import Outcome

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Receipt"]


class Receipt:
    """What ``send()`` returns: await it, and the peer's application has taken the message.

    Awaiting returns ``None`` when the message is confirmed, and raises
    :class:`~reliable_ws.NotTaken` or :class:`~reliable_ws.OutcomeUnknown` when it never will
    be. It waits as long as the session lives; bound it with :func:`asyncio.timeout`.
    Cancelling touches neither the message nor other waiters. Nothing is lost by not awaiting:
    ``flush()``, ``close()`` and ``report`` cover every message. A receipt is awaitable, not a
    coroutine: ``asyncio.gather`` takes it, ``create_task`` does not.
    """

    __slots__ = ("_connection", "number")

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self.number = number
        "The message's sequence number."

    def __await__(self) -> Generator[object, None, None]:
        """Wait for the confirmation."""
        return self._connection._confirmation(self.number)

    @property
    def outcome(self) -> Outcome:
        """What is known now, without waiting."""
        return self._connection._session.outcome(self.number)

    def __repr__(self) -> str:
        """Number and outcome."""
        return f"<Receipt {self.number} {self.outcome.value}>"
