"""What must survive a crash, of any session at any time: without a store, and without changes."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.durable import Identity, gather_facts
from reliable_ws.protocol.session import Session


def snapshot(session: Session) -> dict[str, Any]:
    """Return what ``restore`` makes a session of, as plain values. The session has not ended."""
    who = session.role, session.id, session.key, session.incarnation, session.attempt
    queue, outbox = session.call_queue, session.outbox
    identity = Identity(*who, 0.0, attached=False, closing=session.closing, ended=None)
    facts = gather_facts(identity, session._ledgers)
    messages = [payload for _number, payload in outbox.unconfirmed()]
    return facts | {"messages": messages, "entries": queue.entries(queue.acked + 1)}
