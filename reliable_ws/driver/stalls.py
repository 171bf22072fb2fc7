"""Since when nothing has moved: looked at now and then, so that no message costs anything for it.

Theory of operation. A direction has a mark: the newest number at a look, and the time. Once that
number has passed, the next look sets the mark anew, as TCP does to measure round-trip times. While
it has not, the message of that number waits since then at least, and so do those before it. The
driver looks when its timer fires anyway, so while a session is open that is at least every third of
``Config.idle_timeout``; and when its WebSocket is lost, and when somebody asks. A scrape of metrics
asks thousands of sessions. A mark is two attributes, which it reads, and a session in which nothing
waits has no :class:`Stalls`. It looks only where that changes something: a mark has passed, or a
window is full, or was at the last look.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from reliable_ws.protocol.deadline import LONG_AGO
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.unused import UNUSED

from .window_watch import FULL

__all__ = ["Looking", "Stalls", "is_own_window_full", "is_waiting", "is_window_full"]

WARN_AFTER = 10.0
"""Seconds after which callers that wait for room in the outbox are worth a warning."""

READER_STOPPED_AFTER = 30.0
"""Seconds after which a full window from which the application takes nothing is worth a warning.
Work on one message may well take 10 seconds, and the application goes on then."""

STALL_LOOK_INTERVAL = 0.5
"""Seconds between two looks: a look through many requests takes time."""


class Looking(Protocol):
    """What takes note of since when something has waited."""

    def ticked(self, now: float) -> str:
        """Take note, now and then; return a warning if one is due."""
        raise NotImplementedError


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
    if outbox.transmitted - outbox.confirmed >= peer.window_messages:
        return True
    return _weight_upto(session, outbox.transmitted + 1) > peer.window_bytes


def is_peer_window_full(session: Session) -> bool:
    """Whether the peer takes next to nothing, since its application has taken too little.

    Also if no message waits for room there: an outbox of the same size is full just then, and those
    that wait are the callers of ``send()``.
    """
    outbox = session.outbox
    peer, transmitted = outbox.peer, outbox.transmitted
    if transmitted - outbox.confirmed >= FULL * peer.window_messages:
        return True
    room = FULL * peer.window_bytes
    if outbox.total - outbox.released < room:
        return False
    return _weight_upto(session, transmitted) >= room or is_window_full(session)


def _weight_upto(session: Session, number: int) -> int:
    """Return the weight of what is not confirmed, up to a message of ours.

    Other threads ask as well: 0 if the peer has confirmed that message just then.
    """
    outbox = session.outbox
    try:
        return outbox.end_of(number) - outbox.released
    except IndexError:
        return 0


def is_own_window_full(session: Session) -> bool:
    """Whether the peer can send next to nothing, since our application has taken too little."""
    inbox = session.inbox
    waiting = inbox.received - inbox.confirmed
    return waiting >= FULL * inbox.max_messages or inbox.held >= FULL * inbox.max_bytes


class Stalls:
    """Since when messages and calls of one session have waited."""

    __slots__ = (
        "_begun",
        "_calls_looked_at",
        "_handed",
        "_looked_at",
        "_seen",
        "_since_handed",
        "_warned",
        "_warned_in",
        "full_here",
        "full_there",
        "mark_in",
        "mark_out",
        "since_in",
        "since_out",
        "was_full_here",
        "was_full_there",
    )

    def __init__(self) -> None:
        self.mark_out = self.mark_in = 0
        "The marks: a number of ours that is to be confirmed, one of the peer's that we are to."
        self.since_out = self.since_in = 0.0
        "When they were set."
        # When requests were seen first: ours by number, and those whose handlers run here.
        self._begun: dict[int, float] = UNUSED
        self._seen: dict[int, float] = UNUSED
        self._looked_at = self._calls_looked_at = LONG_AGO
        self.was_full_there = self.was_full_here = False
        "Whether the peer's window, and ours, was full at the last look."
        self.full_there = 0.0
        "Seconds that the peer's window was full, as far as seen."
        self.full_here = 0.0
        "Seconds that our own window was full, as far as seen."
        self._warned = 0  # of the message of this number, that it waits
        # What the application had taken at the last look, and since when that and a full window of
        # ours have been seen. The newest message at the last warning about that.
        self._handed = self._warned_in = 0
        self._since_handed = 0.0

    @property
    def is_blank(self) -> bool:
        """Whether it knows nothing that would be missed once nothing waits."""
        return not (self.full_there or self.full_here)

    def look(self, session: Session, now: float) -> None:
        """Take note of where the messages stand; again soon after that: no effect."""
        if now < self._looked_at + STALL_LOOK_INTERVAL:
            return
        elapsed, self._looked_at = now - self._looked_at, now
        outbox, inbox = session.outbox, session.inbox
        # A direction in which nothing waits has a mark that has passed, and a window with room.
        is_full_there = is_full_here = False
        confirmed, newest = outbox.confirmed, outbox.last - (outbox.finish is not None)
        if confirmed < newest:
            if confirmed >= self.mark_out:
                self.mark_out, self.since_out = newest, now
            is_full_there = is_peer_window_full(session)
        if inbox.confirmed < inbox.received:
            if inbox.confirmed >= self.mark_in:
                self.mark_in, self.since_in = inbox.received, now
            is_full_here = is_own_window_full(session)
        if is_full_here and (inbox.handed != self._handed or not self.was_full_here):
            self._handed, self._since_handed = inbox.handed, now
        # Windows that were full at the last look and are full now have been so in between.
        if is_full_there and self.was_full_there:
            self.full_there += elapsed
        if is_full_here and self.was_full_here:
            self.full_here += elapsed
        self.was_full_there, self.was_full_here = is_full_there, is_full_here

    def look_at_calls(self, asked: Collection[int], running: Collection[int], now: float) -> None:
        """Take note of the numbers of our open requests, and of those whose handlers run here."""
        if now < self._calls_looked_at + STALL_LOOK_INTERVAL:
            return
        self._calls_looked_at = now
        if asked or self._begun:
            self._begun = {number: self._begun.get(number, now) for number in asked}
        if running or self._seen:
            self._seen = {number: self._seen.get(number, now) for number in running}

    def is_worth_a_warning(self, confirmed: int, now: float) -> bool:
        """Whether our messages have waited for :data:`WARN_AFTER`: once for each that is marked."""
        if self.mark_out == self._warned or self.unconfirmed_for(confirmed, now) < WARN_AFTER:
            return False
        self._warned = self.mark_out
        return True

    def has_reader_stopped(self, session: Session, now: float) -> bool:
        """Whether our window is full, and nothing was taken for :data:`READER_STOPPED_AFTER`.

        Once, until the application has taken all that waited then. So an application that takes one
        message a minute is told of once in a window, not at each message.
        """
        inbox = session.inbox
        if not self.was_full_here or not inbox.queue or inbox.handed < self._warned_in:
            return False
        if inbox.handed != self._handed or now - self._since_handed < READER_STOPPED_AFTER:
            return False
        self._warned_in = inbox.received
        return True

    def unconfirmed_for(self, confirmed: int, now: float) -> float:
        """Return for how long our message behind ``confirmed`` has waited for the peer, at least.

        0.0: none is known to wait.
        """
        return now - self.since_out if confirmed < self.mark_out else 0.0

    def untaken_for(self, confirmed: int, now: float) -> float:
        """Return the same for the peer's messages: until our application has confirmed them."""
        return now - self.since_in if confirmed < self.mark_in else 0.0

    def asked_for(self, number: int, now: float) -> float:
        """Return for how many seconds a request of ours has waited for its answer, at least."""
        return now - self._begun.get(number, now)

    def running_for(self, number: int, now: float) -> float:
        """Return for how many seconds a handler has run, at least."""
        return now - self._seen.get(number, now)
