"""What became of every message: outcomes, and the report that lists them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["End", "Ending", "Outcome", "Report", "Undelivered"]


class Outcome(enum.Enum):
    """What is known of one message (README, guarantee G3), or of a publication at one member."""

    PENDING = "pending"
    "Not final: the session lives."
    CONFIRMED = "confirmed"
    "The peer's application has taken it."
    NOT_TAKEN = "not taken"
    "The peer's application has not taken it and never will. You can safely send it again."
    UNKNOWN = "unknown"
    "It is not known, and will not be, whether the peer's application took it."
    SKIPPED = "skipped"
    """Only of a publication: not sent, as the member was full (``when_full="skip"``), or takes no
    message of this size."""
    DROPPED = "dropped"
    """Only of a publication: not sent, as the member was full and was dropped from the group, or
    it left."""


class End(enum.Enum):
    """Why a session has ended."""

    FINISHED = "finished"
    "As agreed: both directions came to their end."
    ABORTED = "aborted"
    "This side called ``abort()``."
    REFUSED = "refused"
    """The peer said that the session has ended. The code says why: unknown, expired, aborted, or
    a violation."""
    VIOLATION = "violation"
    "The peer broke the protocol."
    EXPIRED = "expired"
    "There was no contact with the peer within ``session_ttl``, or no progress while closing."
    SUPERSEDED = "superseded"
    "Another holder of the same session took over. Do not reconnect."
    LOST = "lost"
    "The WebSocket is gone, and there is no way to open another."


class Ending(NamedTuple):
    """How a session ended."""

    kind: End
    "Why it ended."
    code: int
    "The code (protocol.md, section 12)."
    reason: str
    "The reason that came with the code."

    def __str__(self) -> str:
        """One line for logs; the peer's text is escaped."""
        return f"{self.kind.value} ({self.code}{f', {self.reason!r}' if self.reason else ''})"


class Undelivered(NamedTuple):
    """One message that is not confirmed."""

    number: int
    "Its sequence number."
    outcome: Outcome
    "What is known of it. ``PENDING`` only while the session lives."
    message: Any
    "The message, as the peer would have received it."


@dataclass(frozen=True, slots=True)
class Report:
    """What became of all messages that were sent in one session."""

    sent: int
    "How many messages were accepted."
    confirmed: int
    "How many messages the peer's application has taken."
    undelivered: tuple[Undelivered, ...] = ()
    "One entry for every other message, in sending order."
    ending: Ending | None = None
    "How the session ended. ``None`` while it lives."

    def count(self, outcome: Outcome) -> int:
        """Return how many messages have this outcome."""
        if outcome is Outcome.CONFIRMED:
            return self.confirmed
        return sum(1 for entry in self.undelivered if entry.outcome is outcome)

    @property
    def final(self) -> bool:
        """Whether no outcome in this report can change any more."""
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
