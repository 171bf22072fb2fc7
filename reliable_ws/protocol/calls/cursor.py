"""How far one link has come through the calls, both ways."""

from __future__ import annotations

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frame_size import HEADROOM
from reliable_ws.protocol.frames import CallAck, Calls, new_unchecked

from .ledger import CallLedger

__all__ = ["CallCursor"]

MOST = 1_024
"""Most entries of one frame."""

QUARTER = 256
"""Entries that are acked at once, so that the peer can forget them (CALL-17)."""


class CallCursor:
    """A position in the calls: dropped with its link."""

    __slots__ = ("_batch", "_delay", "_ledger", "_outbox", "by", "now", "number", "told")

    def __init__(self, ledger: CallLedger, config: Config) -> None:
        self._ledger = ledger
        self._outbox = ledger.outbox
        self._batch = config.batch_bytes
        self._delay = config.ack_delay
        self.number = 1
        "Number of the next entry to transmit."
        self.told = ledger.received
        "The last ack of calls on this link, or what the greeting said."
        self.now = False
        self.by: float | None = None
        "When an ack that could not ride is sent."

    @property
    def at_end(self) -> bool:
        """Whether every call has been transmitted."""
        return self.number > self._outbox.last

    def note(self, now: float) -> None:
        """Calls have arrived: ack them soon, or at once if they are many."""
        if self._ledger.received - self.told >= QUARTER:
            self.now = True
        elif self.by is None:
            self.by = now + self._delay

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.by is not None and now >= self.by:
            self.by = None
            self.now = True

    def cut(self, frame_limit: int, now: float) -> tuple[Calls, int]:
        """Return the next run, at most half a frame if that is possible, and its bytes."""
        number = self.number
        room = min(self._batch, frame_limit - HEADROOM) // 2
        entries, used = self._outbox.run(number, MOST, room, self._ledger.refresh, now)
        self.number = number + len(entries)
        return new_unchecked(Calls, (number, entries)), used

    def take(self) -> CallAck | None:
        """Return the ack that goes now, if there is anything new to tell (CALL-17)."""
        received = self._ledger.received
        self.now = False
        self.by = None
        if received == self.told:
            return None
        self.told = received
        return new_unchecked(CallAck, (received,))
