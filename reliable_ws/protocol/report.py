"""What became of every message: outcomes, and the report that lists them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["End", "Ending", "Outcome", "Report", "Undelivered"]


class Outcome(enum.Enum):
    """What is known of one message that ``send()`` accepted (design guarantee G3)."""

    PENDING = "pending"
    "Nothing final yet: the session lives."
    CONFIRMED = "confirmed"
    "The peer's application has taken it."
    NOT_TAKEN = "not taken"
    "The peer's application has not taken it and never will: safe to send again elsewhere."
    UNKNOWN = "unknown"
    "Nobody reachable can say (the two-generals remainder)."


class End(enum.Enum):
    """Why a session is over; few cases, one value."""

    FINISHED = "finished"
    "As agreed: both directions came to their end."
    ABORTED = "aborted"
    "This side called ``abort()``."
    REFUSED = "refused"
    "The peer said that it is over: unknown, expired, aborted, broken rules (see the code)."
    VIOLATION = "violation"
    "The peer broke the protocol."
    EXPIRED = "expired"
    "No contact with the peer within ``session_ttl``, or no progress while closing."
    SUPERSEDED = "superseded"
    "Another holder of the same session took over: do not reconnect."
    LOST = "lost"
    "The WebSocket is gone and there is no way to open another."


class Ending(NamedTuple):
    """How a session ended."""

    kind: End
    code: int
    reason: str

    def __str__(self) -> str:
        """One line for logs; the peer's text is escaped."""
        return f"{self.kind.value} ({self.code}{f', {self.reason!r}' if self.reason else ''})"


class Undelivered(NamedTuple):
    """One message that is not confirmed."""

    number: int
    "Its sequence number."
    outcome: Outcome
    "PENDING only while the session lives."
    message: Any
    "The message as the peer would have received it."


@dataclass(frozen=True, slots=True)
class Report:
    """What became of everything that was sent in one session."""

    sent: int
    "Messages accepted."
    confirmed: int
    "Messages that the peer's application has taken."
    undelivered: tuple[Undelivered, ...] = ()
    "One entry for every other message, in sending order."
    ending: Ending | None = None
    "How the session ended; ``None`` while it lives."

    def count(self, outcome: Outcome) -> int:
        """How many messages have this outcome."""
        if outcome is Outcome.CONFIRMED:
            return self.confirmed
        return sum(1 for entry in self.undelivered if entry.outcome is outcome)

    @property
    def final(self) -> bool:
        """Whether nothing in this report can change any more."""
        return not any(entry.outcome is Outcome.PENDING for entry in self.undelivered)

    def __str__(self) -> str:
        """Counts in one line."""
        words = [f"{self.sent} sent", f"{self.confirmed} confirmed"]
        words += [
            f"{count} {outcome.value}"
            for outcome in (Outcome.NOT_TAKEN, Outcome.UNKNOWN, Outcome.PENDING)
            if (count := self.count(outcome))
        ]
        return ", ".join(words) + (f"; {self.ending}" if self.ending else "")
