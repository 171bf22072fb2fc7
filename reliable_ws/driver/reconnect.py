"""What an initiator decides on its way to a session, and back to one."""

from __future__ import annotations

import math

from reliable_ws.protocol.errors import NotReliablePeer, ReliableWSError, closed
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import TransportClosed

__all__ = ["NO_OTHER", "OPENS_BY_ITSELF", "patience", "unmet", "why_not_met"]

OPENS_BY_ITSELF = (
    "this connection opens its next WebSocket by itself; to hand it one with resume(), "
    "wrap() with resume_within= and without reopen="
)
"""Two ways to the next WebSocket would compete: each would fence what the other opened."""

NO_OTHER = (
    "the WebSocket is gone and there is no way to open another: "
    "wrap() takes reopen=, sessions= or resume_within="
)
"""Why a session without a second WebSocket is lost with its first."""


CUT = "the network was lost before the peer had greeted"
"""What a first attempt fails of that says nothing of the peer: the next one may do better."""


def unmet(session: Session, code: int | None, reason: str) -> Ending | None:
    """Return how a session ends that loses its WebSocket like this; ``None``: it does not.

    Before it was welcomed there is one attempt (REFUSE-5).
    """
    if session.incarnation:
        return None
    if code is None:
        return Ending(End.LOST, 1006, reason or CUT)
    if code in (Code.BUSY, Code.NO_HELLO):  # "not now"
        return Ending(End.REFUSED, code, reason)
    return None


def why_not_met(session: Session, gone: Exception | None) -> ReliableWSError | None:
    """Return what the first greeting failed of; ``None`` if the session was welcomed.

    It was, even if the WebSocket is gone again. ``gone`` is how that was lost.
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
    return closed(ending, session.report())


def patience(session: Session, now: float) -> float:
    """Longest pause before the next attempt: closing leaves time for a few, not for many."""
    if not session.closing or session.ended:
        return math.inf
    return max((session.deadline - now) / 4, 0.2)
