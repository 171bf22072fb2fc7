"""What an initiator decides: when it opens its next WebSocket, and why a greeting failed."""

from __future__ import annotations

from operator import gt

from reliable_ws.backoff import Backoff, heeded
from reliable_ws.protocol.errors import NotReliablePeer, ReliableWSError, ServerBusy, closed
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import TransportClosed

from .failures import FailedAttempt

__all__ = [
    "CANNOT_REOPEN",
    "OPENS_BY_ITSELF",
    "OPENS_NONE",
    "Reconnect",
    "ending_before_welcome",
    "ending_refused",
    "ending_unusable",
    "greeting_error",
    "is_ended_by_peer",
    "loss_error",
    "resume_error",
]

OPENS_BY_ITSELF = (
    "this connection opens its next WebSocket by itself; to hand it one with resume(), "
    "wrap() with resume_within= and without reopen="
)
"""With two ways to the next WebSocket, each would fence what the other opened."""

OPENS_NONE = (
    "this connection opens no WebSockets: only those of connect(), unless reconnect=False, "
    "and of wrap(…, reopen=…) do"
)
"""Why there is no attempt to begin at once."""

CANNOT_REOPEN = (
    "the WebSocket is gone and there is no way to open another: "
    "wrap() takes reopen=, sessions= or resume_within="
)
"""Why a session without a second WebSocket is lost with its first."""


SHARE = 1 / 4
"""The part of the time that a session has left which one pause may take. So the last attempts fall
inside that time, whatever the back-off has grown to."""

SHORTEST_PAUSE = 0.2
"""Seconds below which a pause is not made shorter because the session is nearly over."""

LOST_BEFORE_WELCOME = "the network was lost before the peer had greeted"
"""Why a first attempt failed, if that says nothing of the peer: the next one may succeed."""


def ending_before_welcome(session: Session, code: int | None, reason: str) -> Ending | None:
    """Return how a session ends that loses its WebSocket like this; ``None``: it does not.

    Before it was welcomed there is one attempt (REFUSE-5).
    """
    if session.incarnation:
        return None
    if code is None:
        return Ending(End.LOST, 1006, reason or LOST_BEFORE_WELCOME)
    if code in (Code.AWAY, Code.BUSY, Code.NO_HELLO):  # "not now"
        return Ending(End.REFUSED, code, reason)
    return None


def greeting_error(
    session: Session, gone: Exception | None, retry_after: float | None
) -> ReliableWSError | None:
    """Return why the first greeting failed; ``None`` if the session was welcomed.

    It was, even if the WebSocket is gone again. ``gone`` is how that was lost, ``retry_after`` the
    seconds that the peer wants us to wait.
    """
    ending = session.ended
    if session.incarnation and ending is None:
        return None
    strange = "the peer does not speak reliable-ws.v1: "
    is_cut = isinstance(gone, TransportClosed) and gone.code is None
    if ending is None or (ending.kind is End.LOST and not is_cut):
        return NotReliablePeer(f"{strange}no Welcome: {gone}")
    if ending.kind is End.VIOLATION or ending.code == Code.VERSION:
        return NotReliablePeer(f"{strange}{ending.reason} ({ending.code})")
    if ending.kind is End.REFUSED and ending.code in (Code.AWAY, Code.BUSY):  # REFUSE-5
        return ServerBusy(ending, session.report(), retry_after)
    return closed(ending, session.report())


def loss_error(code: int | None, reason: str) -> Exception:
    """Return how a WebSocket was lost, as the cause of what is raised for it."""
    return TimeoutError(reason) if code == Code.SILENT else TransportClosed(code, reason)


class Reconnect:
    """When an initiator opens its next WebSocket, or that it opens none.

    Call :meth:`opened` when a WebSocket begins to carry the session, :meth:`lost` when it is
    gone, :meth:`failed` when no other could be opened; then wait as :meth:`pause` says.
    """

    __slots__ = (
        "_attempt",
        "_backoff",
        "_due",
        "_hurry",
        "_progress",
        "_session",
        "_since",
        "_welcomes",
    )

    def __init__(self, session: Session, backoff: Backoff) -> None:
        self._session = session
        self._backoff = backoff
        self._attempt = 0  # failed attempts, and WebSockets that were not good, in a row
        self._due = 0.0  # when to open the next one
        self._hurry = False  # whether the next attempt begins without a pause
        # When the newest WebSocket began, and where the session stood then.
        self._since = 0.0
        self._welcomes = 0
        self._progress = session.progress

    def opened(self, now: float) -> None:
        """Note that a WebSocket carries the session from now on; it has not greeted yet."""
        self._since = now
        self._welcomes = self._session.welcomes
        self._progress = self._session.progress
        self._hurry = False

    def lost(self, now: float, chance: float, retry_after: float | None) -> None:
        """Plan an attempt after the end of a WebSocket.

        ``chance`` is in [0, 1), ``retry_after`` the seconds that the peer wants us to wait. After a
        WebSocket that was good the delays begin anew.
        """
        if self._was_good(now):
            self._attempt = 0
        self._plan(now, chance, retry_after)

    def _was_good(self, now: float) -> bool:
        """Whether the newest WebSocket was welcomed, and carried something new or lasted."""
        session = self._session
        if session.welcomes == self._welcomes:
            return False
        moved = any(map(gt, session.progress, self._progress))
        return moved or now - self._since >= self._backoff.stable

    def failed(self, now: float, chance: float, retry_after: float | None = None) -> None:
        """Plan an attempt after one that failed; ``retry_after`` as for :meth:`lost`."""
        self._plan(now, chance, retry_after)

    @property
    def due(self) -> float:
        """When the next attempt begins, or has begun."""
        return self._due

    def hasten(self) -> None:
        """Begin the next attempt at once, unless a WebSocket carries the session."""
        if not self._session.attached:
            self._hurry = True
            self._attempt = 0

    def _plan(self, now: float, chance: float, retry_after: float | None) -> None:
        backoff = self._backoff
        left = self._left(now)
        # Wait as long as the peer asks, if the session lives on for long enough.
        asked = heeded(retry_after, min(backoff.longest, left / 2), chance)
        # Bound the limit and not the delay: what is random stays so.
        limit = min(backoff.delay(self._attempt, 1.0), max(left * SHARE, SHORTEST_PAUSE))
        self._due = now + asked + chance * limit
        self._attempt += 1

    def _left(self, now: float) -> float:
        """Return the seconds until the first of both sides gives the session up.

        The peer's end is not final for us: while it remembers the session, it tells the outcomes.
        So when its time is up, only our own counts.
        """
        ours, theirs = self._session.deadline - now, self._session.peer_deadline - now
        return max(0.0, min(ours, theirs) if theirs > 0 else ours)

    def pause(self, now: float) -> float | None:
        """Return the seconds until the attempt; ``None``: the session has ended, make none.

        Ask again whenever the session's state has changed: a close cuts a long pause short.
        """
        session = self._session
        if session.ended:
            return None
        if self._hurry:
            self._hurry = False
            return 0.0
        if session.closing:
            self._due = min(self._due, now + max(self._left(now) * SHARE, SHORTEST_PAUSE))
        return max(0.0, self._due - now)


def is_ended_by_peer(session: Session) -> bool:
    """Whether a session that is over was lost, or ended by the peer before we ended it."""
    if session.ended is None or session.ended.kind not in (End.FINISHED, End.ABORTED):
        return True
    return session.inbox.finish is not None


def resume_error(session: Session) -> ReliableWSError | None:
    """Return why ``resume()`` failed; ``None`` if the session is open on its WebSocket."""
    if session.ended:
        return session.error()
    return None if session.attached else NotReliablePeer("no Welcome on this WebSocket")


def ending_refused(attempt: FailedAttempt) -> Ending:
    """Return how a session ends when no other attempt follows this one."""
    tried = f" ({attempt.of_this_kind} times)" if attempt.of_this_kind > 1 else ""
    return Ending(End.LOST, 1006, f"no WebSocket can be opened: {attempt.reason}{tried}")


def ending_unusable(error: Exception) -> Ending:
    """Return how a session ends whose ``reopen`` gave a WebSocket that is in use."""
    return Ending(End.LOST, 1006, f"reopen= returned what cannot be used: {error}")
