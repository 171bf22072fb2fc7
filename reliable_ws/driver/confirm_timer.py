"""How long confirmations take: one message of a session is timed at a time, as TCP times segments.

So a message costs nothing for it. A WebSocket message does: a comparison when it is written, and
one when it has arrived. A pause between two that are timed keeps it so where each message goes by
itself.
"""

from __future__ import annotations

from reliable_ws.histogram import Histogram
from reliable_ws.protocol.deadline import LONG_AGO, NEVER
from reliable_ws.protocol.session import Session

__all__ = ["ConfirmTimer"]

TIMING_PAUSE = 0.1
"""Seconds from the confirmation of a message that was timed to the next that is."""


class ConfirmTimer:
    """Times one message of a session, from when it is written to its confirmation; then another."""

    __slots__ = ("_since", "due", "histogram", "number", "outbox")

    def __init__(self, session: Session) -> None:
        self.outbox = session.outbox
        self._since = 0.0
        self.number = 0
        "The message that is timed; 0: none."
        self.due: float = LONG_AGO
        "When the next one is timed: see :meth:`begin`."
        self.histogram: Histogram | None = None
        "Where times go. A server has one for all of its sessions."

    def begin(self, now: float) -> None:
        """Time the newest message that was written, if it is not confirmed; it is due."""
        outbox = self.outbox
        if outbox.confirmed < outbox.transmitted and outbox.finish is None:
            self.number, self._since = outbox.transmitted, now
            self.due = NEVER

    def look(self, now: float) -> None:
        """Count the time of the message that is timed, if it is confirmed now."""
        if self.outbox.confirmed >= self.number:
            if self.histogram is None:
                self.histogram = Histogram()
            self.histogram.observe(now - self._since)
            self.number = 0
            self.due = now + TIMING_PAUSE
