"""Where a connection stands."""

from __future__ import annotations

import enum

from reliable_ws.protocol.session import Session

__all__ = ["State", "state_of"]


class State(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    "The first greeting is not complete."
    OPEN = "open"
    "A WebSocket carries the session."
    PEER_FINISHED = "peer finished"
    """As ``OPEN``, but the peer sends no more messages. What it sent before can still be taken.
    ``Connection.peer_finished`` says why."""
    DETACHED = "detached"
    "No WebSocket carries the session. Accepted messages wait."
    CLOSING = "closing"
    "``close()`` was called, and the session has not ended."
    CLOSED = "closed"
    "The session has ended."


def state_of(session: Session) -> State:
    """Return where a connection with this session stands."""
    if session.ended:
        return State.CLOSED
    if session.closing:
        return State.CLOSING
    if session.attached:
        return State.OPEN if session.inbox.finish is None else State.PEER_FINISHED
    return State.DETACHED if session.incarnation else State.CONNECTING
