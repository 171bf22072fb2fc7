"""Since when nothing has moved: looked at now and then, so that no message costs anything for it.

Theory of operation. A :class:`Mark` remembers the newest number of a direction, and the time. Once
that number has passed, it takes the next one, as TCP does to measure round-trip times. While it has
not, the message of that number waits since then at least, and so do those before it. The driver
looks when its timer fires anyway, so while a session is open that is at least every third of
``Config.idle_timeout``; and when its WebSocket is lost, and when somebody asks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from reliable_ws.protocol.session import Session

from .window_watch import FULL

__all__ = ["Looking", "Stalls", "is_waiting", "is_window_full"]

WARN_AFTER = 10.0
"""Seconds after which callers that wait for room in the outbox are worth a warning."""

STALL_LOOK_INTERVAL = 0.5
"""Seconds between two looks: a look through many requests takes time."""


class Looking(Protocol):
    """What takes note of since when something has waited."""

    def ticked(self, now: float) -> str:
        """Take note, now and then; return a warning if one is due."""
        raise NotImplementedError


class Mark:
    """Since when a position has not come to a number."""

    __slots__ = ("number", "since")

    def __init__(self) -> None:
        self.number = 0
        self.since = 0.0

    def look(self, passed: int, newest: int, now: float) -> None:
        """Take note of where a direction stands."""
        if passed >= self.number:
            self.number, self.since = newest, now

    def age(self, passed: int, now: float) -> float:
        """Return for how many seconds something has waited, at least; 0.0: nothing is known to."""
        return now - self.since if passed < self.number else 0.0


def is_waiting(session: Session) -> bool:
    """Whether anything waits, in either direction."""
    outbox, inbox = session.outbox, session.inbox
    return bool(
        outbox.confirmed != outbox.last
        or inbox.confirmed != inbox.received
        or session.outgoing_calls.open
        or session.incoming_calls.served
    )


def is_window_full(session: Session) -> bool:
    """Whether a message of ours waits for room in the peer's window."""
    outbox = session.outbox
    if outbox.transmitted >= outbox.messages:
        return False
    peer = outbox.peer
    weight = outbox.end_of(outbox.transmitted + 1) - outbox.released
    in_window = outbox.transmitted - outbox.confirmed
    return in_window >= peer.window_messages or weight > peer.window_bytes


def is_own_window_full(session: Session) -> bool:
    """Whether the peer can send next to nothing, since our application has taken too little."""
    inbox = session.inbox
    waiting = inbox.received - inbox.confirmed
    return waiting >= FULL * inbox.max_messages or inbox.held >= FULL * inbox.max_bytes


class Stalls:
    """Since when messages and calls of one session have waited."""

    __slots__ = (
        "_begun",
        "_looked_at",
        "_seen",
        "_warned",
        "_was_full_here",
        "_was_full_there",
        "confirmed",
        "full_here",
        "full_there",
        "taken",
    )

    def __init__(self) -> None:
        self.confirmed = Mark()
        "Our messages, until the peer's application has taken them."
        self.taken = Mark()
        "The peer's messages, until our application has taken and confirmed them."
        # When requests were seen first: ours by number, and those whose handlers run here.
        self._begun: dict[int, float] = {}
        self._seen: dict[int, float] = {}
        self._looked_at = float("-inf")
        self._was_full_there = self._was_full_here = False
        self.full_there = 0.0
        "Seconds that our messages waited for room in the peer's window, as far as seen."
        self.full_here = 0.0
        "Seconds that our own window was full, as far as seen."
        self._warned = 0  # of the message of this number, that it waits

    def look(
        self, session: Session, asked: Collection[int], running: Collection[int], now: float
    ) -> None:
        """Take note of where the session stands; again soon after that: no effect.

        ``asked``: the numbers of our open requests. ``running``: those of requests whose handlers
        run.
        """
        if now < self._looked_at + STALL_LOOK_INTERVAL:
            return
        elapsed, self._looked_at = now - self._looked_at, now
        outbox, inbox = session.outbox, session.inbox
        # Windows that were full at the last look and are full now have been so in between.
        is_full_there, is_full_here = is_window_full(session), is_own_window_full(session)
        if is_full_there and self._was_full_there:
            self.full_there += elapsed
        if is_full_here and self._was_full_here:
            self.full_here += elapsed
        self._was_full_there, self._was_full_here = is_full_there, is_full_here
        self.confirmed.look(outbox.confirmed, outbox.messages, now)
        self.taken.look(inbox.confirmed, inbox.received, now)
        if asked or self._begun:
            self._begun = {number: self._begun.get(number, now) for number in asked}
        if running or self._seen:
            self._seen = {number: self._seen.get(number, now) for number in running}

    def is_worth_a_warning(self, confirmed: int, now: float) -> bool:
        """Whether our messages have waited for :data:`WARN_AFTER`: once for each that is marked."""
        mark = self.confirmed
        if mark.number == self._warned or mark.age(confirmed, now) < WARN_AFTER:
            return False
        self._warned = mark.number
        return True

    def asked_for(self, number: int, now: float) -> float:
        """Return for how many seconds a request of ours has waited for its answer, at least."""
        return now - self._begun.get(number, now)

    def running_for(self, number: int, now: float) -> float:
        """Return for how many seconds a handler has run, at least."""
        return now - self._seen.get(number, now)
