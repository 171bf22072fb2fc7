"""A session as plain values, and back: what a durable store keeps (RESUME-7)."""

from __future__ import annotations

from typing import Any

from .config import Config
from .frames import Limits
from .payload import PayloadCodec, seal_weight
from .session import Session

__all__ = ["restore", "snapshot"]


def snapshot(session: Session) -> dict[str, Any]:
    """Return what must survive a crash, as plain values. The session has not ended.

    Of the peer's direction only what the application has confirmed: the rest comes again.
    """
    outbox = session.outbox
    return {
        "role": session.role,
        "id": session.id,
        "key": session.key,
        "incarnation": session.incarnation,
        "attempt": session.attempt,
        "peer": tuple(session.peer),
        "sent": outbox.confirmed,
        "messages": [payload for _number, payload in outbox.unconfirmed()],
        "finish": None if outbox.finish is None else tuple(outbox.finish)[1:],
        "confirmed": session.inbox.confirmed,
    }


def restore(
    values: dict[str, Any],
    now: float,
    config: Config | None = None,
    codec: PayloadCodec | None = None,
) -> Session:
    """Return the session that a snapshot was taken of, as if the network had dropped.

    What it had transmitted is not known, so everything counts as transmitted (R4 of the
    model: an honest peer may ack any of it). What the peer sends again and may have been
    handed over before is flagged by ``inbox.redelivered_upto``.
    """
    session = Session(
        values["role"],
        values["id"],
        values["key"],
        now,
        config,
        codec,
        incarnation=values["incarnation"],
    )
    session.attempt = values["attempt"]
    session.peer = Limits(*values["peer"])
    weights = [(payload, seal_weight(payload)) for payload in values["messages"]]
    session.outbox.restore(values["sent"], weights)
    session.inbox.restore(values["confirmed"])
    session.restored = True
    if values["finish"] is not None:
        code, reason = values["finish"]
        session.finish(now, code, reason)
        session.outbox.transmitted = session.outbox.last
    return session
