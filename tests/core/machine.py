"""What the state machines of the core share: a pair of sessions, and its wires."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.support.pair import Pair, Wire

sides = st.sampled_from(["client", "server"])
wires = st.integers(0, 2)
seldom = st.sampled_from([True, False, False, False])


class Machine(RuleBasedStateMachine):
    """A pair of sessions; the client may open another WebSocket at any time."""

    pair: Pair

    def peer(self, who: str) -> str:
        return "server" if who == "client" else "client"

    def heard(self, who: str, events: list[Any]) -> None:
        if who == "client":
            self.pair.client_events += events
        else:
            self.pair._server_said(events)

    def wire(self, index: int) -> Wire | None:
        """The newest wire is number 0."""
        return self.pair.wires[-1 - index] if index < len(self.pair.wires) else None

    @precondition(lambda self: len(self.pair.wires) < 12)
    @rule()
    def dial(self) -> None:
        if self.pair.client.ended is None:
            self.pair.dial()
