"""How far one link has come through the calls, both ways."""

from __future__ import annotations

from typing import Protocol

from .calls import CallLedger
from .config import Config
from .cursor import HEADROOM
from .frames import CallAck, Calls, Frame

__all__ = ["CallCursor"]

MOST = 1_024
"""Most entries of one frame."""

QUARTER = 256
"""Entries that are acked at once, so that the peer can forget them (CALL-3)."""


class Budget(Protocol):
    """What a cursor needs of the session."""

    frame_limit: int
    muted: bool


class CallCursor:
    """A position in the calls: dropped with its link."""

    __slots__ = ("_batch", "_delay", "_ledger", "by", "now", "number", "told")

    def __init__(self, ledger: CallLedger, config: Config) -> None:
        self._ledger = ledger
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
        return self.number > self._ledger.last

    @property
    def restless(self) -> bool:
        """Whether :meth:`add` has something to add."""
        return self.now or self.number <= self._ledger.last

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

    def add(self, frames: list[Frame], now: float, session: Budget) -> None:
        """Add what is to be sent: an ack, and the next run."""
        ledger = self._ledger
        if not session.muted and self.number <= ledger.last:
            room = min(self._batch, session.frame_limit - HEADROOM) // 2
            entries = ledger.cut(self.number, MOST, room, now)
            frames.append(Calls(self.number, entries))
            self.number += len(entries)
        if ledger.received != self.told:
            frames.insert(0, CallAck(ledger.received))
            self.told = ledger.received
        self.now = False
        self.by = None
