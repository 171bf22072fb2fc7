"""Contexts of the calls of one session, for whoever traces them: sent with requests, and received.

A context is sent again whenever its request is, so that a trace is joined across WebSockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reliable_ws.protocol.context import MAX_CONTEXT, contexts_of, with_contexts
from reliable_ws.protocol.session import Session

__all__ = ["CallContexts", "begin_tracing"]

TOO_LATE = "trace_calls() goes before the first request of a connection"

MOST_CONTEXTS = 1024
"""Contexts of requests that have not begun, at most; the oldest make room."""

Transmit = Callable[[float], bytes | None]


class CallContexts:
    """What goes with requests, and what has come with them."""

    __slots__ = ("_pump", "_sent", "_session", "received", "sends")

    def __init__(self, pump: Any) -> None:
        """``pump``: that of the session, of either driver."""
        self._pump = pump
        self._session: Session = pump.session
        self.sends = False
        "Whether a request of ours ever had one: until then, what is sent is not looked at."
        self._sent: dict[int, bytes] = {}
        self.received: dict[int, bytes] = {}
        "Those of requests that have not begun."

    def add(self, number: int, context: bytes) -> None:
        """Send this with a request of ours, as often as that is sent."""
        still_open = self._session.outgoing_calls.open
        if len(self._sent) > 2 * len(still_open) + 8:
            self._sent = {one: said for one, said in self._sent.items() if one in still_open}
        if len(context) <= MAX_CONTEXT:
            self._sent[number] = context
        if not self.sends:
            self.sends = True
            if self._pump.link_io is not None:
                self._pump.link_io.carry(self)

    def take(self, number: int) -> bytes:
        """Return what has come with a request of the peer; empty: nothing."""
        return self.received.pop(number, b"")

    def put_back(self, number: int, context: bytes) -> None:
        """Keep what was taken: the request begins anew later."""
        if context:
            self.received[number] = context

    def around(self, transmit: Transmit) -> Transmit:
        """Return what transmits the same with the contexts in it."""

        def transmit_with_contexts(now: float) -> bytes | None:
            data = transmit(now)
            if data is None or not self._sent:
                return data
            return with_contexts(data, self._sent, self._session.outbox.peer.max_frame)

        return transmit_with_contexts

    def look(self, data: bytes) -> None:
        """Take note of the contexts in a WebSocket message that has ``MARK`` in it."""
        for number, context in contexts_of(data).items():
            if len(self.received) >= MOST_CONTEXTS:
                del self.received[next(iter(self.received))]
            self.received[number] = context


def begin_tracing(driver: Any) -> CallContexts:
    """Have contexts travel with the calls of a session that has had none, and return them.

    ``driver`` is that of the session (:class:`~.session_driver.SessionDriver`).

    Raises:
        RuntimeError: It has had calls.
    """
    if driver.rpc_client is not None or driver.rpc_server.running:
        raise RuntimeError(TOO_LATE)
    contexts = driver.pump.contexts = CallContexts(driver.pump)
    if driver.pump.link_io is not None:
        driver.pump.link_io.carry(contexts)
    return contexts
