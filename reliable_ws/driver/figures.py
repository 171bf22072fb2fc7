"""Figures of many sessions together, for metrics: they are read, and no message pays for them.

Theory of operation. A session counts in positions anyway: how far it has sent, and how far the
peer has confirmed. :meth:`Figures.add` adds up the positions of a session that lives, and
:meth:`Figures.add_ended` those of one that has ended, once. So a counter is what ended sessions
have left, and the positions of those that live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.session import Session

from .stalls import Stalls

__all__ = ["Figures", "add_all", "figures_of_server"]

STALLED = 10.0
"""Seconds after which a message that waits to be taken makes its session count as stalled."""


@dataclass(slots=True)
class Figures:
    """What all sessions of a server, or of some connections, have done together.

    The first part are counters, which only grow. The others are of this moment. Ages are lower
    bounds, as those of :meth:`Connection.explain`.
    """

    sent: int = 0
    "Messages that ``send()`` accepted."
    transmitted: int = 0
    "Messages of them that were given to a WebSocket."
    confirmed: int = 0
    "Messages of them that the peers' applications have taken."
    not_taken: int = 0
    "Messages of sessions that have ended which the peer never took, and never will."
    unknown: int = 0
    "Messages of sessions that have ended of which nobody knows whether they were taken."
    received: int = 0
    "Messages that have arrived from peers."
    taken: int = 0
    "Messages of them that were handed to the application."
    acknowledged: int = 0
    "Messages of them that the application has confirmed."
    resumes: int = 0
    "WebSockets that carried a session after its first."
    replayed: int = 0
    "Messages that were sent again."
    window_full_peers: float = 0.0
    "Seconds that messages waited for room in peers' windows, over all sessions, as far as seen."
    window_full_here: float = 0.0
    "Seconds that our windows were full: our application took too little."
    ended: Counter[str] = field(default_factory=Counter)
    "Sessions that have ended, by :class:`~reliable_ws.End`."
    refused: Counter[int] = field(default_factory=Counter)
    "WebSockets that were refused, by code (protocol.md, section 12)."

    sessions: Counter[str] = field(default_factory=Counter)
    "Sessions that live, by :class:`~reliable_ws.State`."
    outbox_messages: int = 0
    "Messages that wait for the peers' confirmations."
    outbox_bytes: int = 0
    "Bytes of them."
    outbox_seconds: float = 0.0
    "For how long the oldest of them has waited."
    outbox_stalled: int = 0
    "Sessions in which one has waited for 10 seconds."
    inbox_messages: int = 0
    "Messages that wait to be taken and confirmed here."
    inbox_bytes: int = 0
    "Bytes of them."
    inbox_seconds: float = 0.0
    "For how long the oldest of them has waited."
    inbox_stalled: int = 0
    "Sessions in which one has waited for 10 seconds."
    requests: int = 0
    "Requests of ours that wait for their answers."
    handlers: int = 0
    "Handlers of requests that run here."

    def add(self, session: Session, stalls: Stalls | None, state: str, now: float) -> None:
        """Add a session that lives."""
        outbox, inbox = session.outbox, session.inbox
        self._count(session, stalls)
        sessions = self.sessions
        sessions[state] = sessions.get(state, 0) + 1
        confirmed, received = outbox.confirmed, inbox.received
        if confirmed < outbox.last:
            self.outbox_messages += len(outbox)
            self.outbox_bytes += outbox.held
            if stalls is not None:
                age = stalls.confirmed.age(confirmed, now)
                self.outbox_seconds = max(self.outbox_seconds, age)
                self.outbox_stalled += age >= STALLED
        if inbox.confirmed < received:
            self.inbox_messages += received - inbox.confirmed
            self.inbox_bytes += inbox.held
            if stalls is not None:
                age = stalls.taken.age(inbox.confirmed, now)
                self.inbox_seconds = max(self.inbox_seconds, age)
                self.inbox_stalled += age >= STALLED
        self.requests += len(session.outgoing_calls.open)
        self.handlers += len(session.incoming_calls.served)

    def add_ended(self, session: Session, stalls: Stalls | None) -> None:
        """Add a session that has ended: call it once for each."""
        self._count(session, stalls)
        if session.ended is not None:
            self.ended[session.ended.kind.value] += 1
        if session.outbox.confirmed < session.outbox.messages:
            report = session.report()
            self.not_taken += report.count(Outcome.NOT_TAKEN)
            self.unknown += report.count(Outcome.UNKNOWN)

    def _count(self, session: Session, stalls: Stalls | None) -> None:
        """Add the positions of a session."""
        outbox, inbox = session.outbox, session.inbox
        messages = outbox.messages
        if messages:
            self.sent += messages
            self.transmitted += min(outbox.transmitted, messages)
            self.confirmed += min(outbox.confirmed, messages)
        if inbox.received:
            finish = inbox.finish is not None
            self.received += inbox.received - finish
            self.taken += inbox.handed
            self.acknowledged += min(inbox.confirmed, inbox.received - finish)
        self.resumes += session.resumes
        self.replayed += session.replayed
        if stalls is not None:
            self.window_full_peers += stalls.full_there
            self.window_full_here += stalls.full_here

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            values[name] = dict(value) if isinstance(value, Counter) else value
        return values

    def copy(self) -> Figures:
        """Return figures that others can be added to."""
        values = self.as_dict()
        for name in ("ended", "refused", "sessions"):
            values[name] = Counter(values[name])
        return Figures(**values)


TRIES = 5
"""How often figures are read again, in another thread, because a session has ended meanwhile."""


class Counted(Protocol):
    """What drives a session."""

    session: Session
    stalls: Stalls | None

    def now(self) -> float:
        """Return the time."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Take note of since when something has waited."""


def add_all(figures: Figures, counted: Iterable[tuple[Counted, str]]) -> None:
    """Add the sessions that live, each with its state."""
    now = None
    for driver, state in counted:
        if now is None:
            now = driver.now()
        driver.look(now)
        if driver.session.ended is None:
            figures.add(driver.session, driver.stalls, state, now)


def figures_of_server(
    living: Callable[[], list[tuple[Counted, str]]],
    left: Figures,
    refused: dict[int, int],
) -> Figures:
    """Return what all sessions of a server have done together.

    ``living`` returns those that live, each with its state; ``left``: what the others have left.
    """
    figures = Figures()
    for _ in range(TRIES):
        counted, ended = living(), left.ended.total()
        figures = left.copy()
        add_all(figures, counted)
        if left.ended.total() == ended:  # else one is missing, or was counted twice
            break
    figures.refused.update(refused)
    return figures
