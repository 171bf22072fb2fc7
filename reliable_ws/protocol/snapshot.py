"""A session as plain values, and back: what a durable store keeps (RESUME-7)."""

# ruff: noqa: SLF001 - what is stored is the inside of a session

from __future__ import annotations

from typing import Any

from .config import Config
from .frames import Counters, Finish, Limits
from .payload import PayloadCodec, seal_weight
from .session import Session

__all__ = ["restore", "snapshot"]


def snapshot(session: Session) -> dict[str, Any]:
    """Return what must survive a crash, as plain values. The session has not ended.

    Of the peer's direction only what the application has confirmed: the rest comes again,
    unless we have stopped. Plain values: numbers, texts, bytes, payloads, tuples of them.
    """
    outbox, inbox, final = session.outbox, session.inbox, session.outbox.final
    finish = inbox.finish
    if finish is not None and inbox.confirmed < finish.number:
        finish = None  # it comes again
    return {
        "role": session.role,
        "id": session.id,
        "key": session.key,
        "incarnation": session.incarnation,
        "attempt": session.attempt,
        "peer": tuple(outbox.peer),
        "sent": outbox.confirmed,
        "messages": [payload for _number, payload in outbox.unconfirmed()],
        "finish": None if outbox.finish is None else tuple(outbox.finish),
        "settled": None if final is None else tuple(final),
        "confirmed": inbox.confirmed,
        "peer_finish": None if finish is None else tuple(finish),
        "stopped": tuple(inbox.counters()) if inbox.stopped else None,
        "calls": session.incoming_calls.snapshot(finishing=outbox.finish is not None)
        | session.outgoing_calls.snapshot()
        | session.call_queue.snapshot(),
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
    session.outbox.heed(Limits(*values["peer"]))
    calls = values["calls"]
    session.call_queue.restore(calls)
    session.outgoing_calls.restore(calls)
    session.incoming_calls.restore(calls)
    _restore_outbox(session, values, now)
    finish, stopped = values["peer_finish"], values["stopped"]
    session.restored = True
    session.inbox.restore(
        values["confirmed"],
        None if finish is None else Finish(*finish),
        None if stopped is None else _counters(stopped),
    )
    return session


def _restore_outbox(session: Session, values: dict[str, Any], now: float) -> None:
    outbox, sent, finish = session.outbox, values["sent"], values["finish"]
    weights = [(payload, seal_weight(payload)) for payload in values["messages"]]
    outbox.restore(sent if finish is None else min(sent, finish[0] - 1), weights)
    if finish is not None:
        session.finish(now, *finish[1:])
        outbox.transmitted = outbox.last
    if values["settled"] is not None:
        session._peer_stopped(_counters(values["settled"]), now)
    elif sent > outbox.confirmed:  # Finish is confirmed too
        session._acked(sent, sent, now)
        session.poll(now)


def _counters(values: tuple[Any, ...]) -> Counters:
    received, confirmed, handed, stopped, ranges = values
    return Counters(received, confirmed, handed, stopped, tuple(map(tuple, ranges)))
