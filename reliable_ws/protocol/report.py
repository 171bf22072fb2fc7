"""What became of every message: outcomes, and the report that lists them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .frames import Code

__all__ = ["End", "Ending", "LazyReport", "Outcome", "Report", "Run", "Undelivered"]


UNKNOWN_HERE = (
    ": the server was restarted, the session was away for too long, or another worker or server "
    "has it (docs/proxies.md)"
)
"""What a client cannot see, and has to look into."""


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
    KEPT = "kept"
    """Not final: this process is done with the session, and the store has the message for the next
    one."""
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
    KEPT = "kept"
    "It has not: this process is done with it, and the store has it for the next one."
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
        """One line for logs; the peer's text is escaped, and an unknown session explained."""
        why = UNKNOWN_HERE if (self.kind, self.code) == (End.REFUSED, Code.UNKNOWN) else ""
        return f"{self.kind.value} ({self.code}{f', {self.reason!r}' if self.reason else ''}){why}"


class Undelivered(NamedTuple):
    """One message that is not confirmed."""

    number: int
    "Its sequence number."
    outcome: Outcome
    "What is known of it. ``PENDING`` only while the session lives."
    message: Any
    "The message, as the peer would have received it."


class Run(NamedTuple):
    """Messages one behind the other with the same outcome, which is not *confirmed*."""

    first: int
    last: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
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
        return self.count(Outcome.PENDING) == self.count(Outcome.KEPT) == 0

    @property
    def first_undelivered(self) -> int | None:
        """The number of the first message that is not confirmed, or ``None``."""
        return self.undelivered[0].number if self.undelivered else None

    def _fields(self) -> tuple[Any, ...]:
        return self.sent, self.confirmed, self.undelivered, self.ending

    def __eq__(self, other: object) -> bool:
        """Whether both say the same."""
        return self._fields() == other._fields() if isinstance(other, Report) else NotImplemented

    def __hash__(self) -> int:
        """Make equal reports equal as keys, too."""
        return hash(self._fields())

    def __str__(self) -> str:
        """Counts in one line."""
        words = [f"{self.sent} sent", f"{self.confirmed} confirmed"]
        words += [
            f"{count} {outcome.value}"
            for outcome in (Outcome.NOT_TAKEN, Outcome.UNKNOWN, Outcome.KEPT, Outcome.PENDING)
            if (count := self.count(outcome))
        ]
        return ", ".join(words) + (f"; {self.ending}" if self.ending else "")


class LazyReport(Report):
    """A report that lists its entries when they are looked at first.

    Each error of a session has a report. To list 32,000 messages takes a tenth of a second, and
    most reports are only counted, or never looked at. What it lists is known when it is made.
    """

    __slots__ = ("_entries", "_list", "_runs")

    _entries: tuple[Undelivered, ...] | None
    _list: Callable[[], tuple[Undelivered, ...]]
    _runs: Sequence[Run]

    def __init__(
        self,
        sent: int,
        runs: Sequence[Run],
        ending: Ending | None,
        list_entries: Callable[[], tuple[Undelivered, ...]],
    ) -> None:
        lacking = sum(run.last - run.first + 1 for run in runs)
        values = (sent, sent - lacking, ending, runs, list_entries, None)
        names = ("sent", "confirmed", "ending", "_runs", "_list", "_entries")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)  # it is frozen

    @property
    def undelivered(  # pyright: ignore[reportIncompatibleVariableOverride] - it is frozen
        self,
    ) -> tuple[Undelivered, ...]:
        """One entry for every other message, in sending order."""
        entries = self._entries
        if entries is None:
            entries = self._list()
            object.__setattr__(self, "_entries", entries)
        return entries

    @property
    def first_undelivered(self) -> int:
        """The number of the first message that is not confirmed."""
        return self._runs[0].first

    def count(self, outcome: Outcome) -> int:
        """Return how many messages have this outcome."""
        if outcome is Outcome.CONFIRMED:
            return self.confirmed
        return sum(run.last - run.first + 1 for run in self._runs if run.outcome is outcome)

    def __repr__(self) -> str:
        """As that of any report."""
        return repr(Report(*self._fields()))

    def __reduce__(self) -> tuple[type[Report], tuple[Any, ...]]:
        """Be copied and pickled as a plain report."""
        return Report, self._fields()
