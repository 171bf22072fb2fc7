"""The calls of one session, both ways, for tests that look at all of them or make some by hand."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.frames import CallPosition, Payload
from reliable_ws.protocol.handshake import call_position
from reliable_ws.protocol.payload import seal_weight
from reliable_ws.protocol.session import Session


class SessionCalls:
    """Looks at the three parts of a session's calls; verbs are those of the session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.queue = session.call_queue
        self.outgoing = session.outgoing_calls
        self.incoming = session.incoming_calls

    def __getattr__(self, name: str) -> Any:
        for part in (self.outgoing, self.incoming, self.queue, self.session):
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(name)

    @property
    def held(self) -> int:
        return self.queue.weight + self.incoming.partial

    def position(self) -> CallPosition:
        return call_position(self.queue, self.incoming)

    def request(self, method: str, payload: Payload, by: float | None, credit: int) -> int:
        return self.session.request(method, payload, seal_weight(payload), by, credit)

    def reply(self, request: int, payload: Payload) -> None:
        self.session.reply(request, payload, seal_weight(payload))

    def item(self, request: int, payload: Payload) -> None:
        self.session.item(request, payload, seal_weight(payload))


def session_calls(session: Session) -> SessionCalls:
    return SessionCalls(session)
