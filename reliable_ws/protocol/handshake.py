"""Two sides meet on a new link: whether their books fit together (RESUME-3)."""

from __future__ import annotations

from .errors import Violation
from .frames import OVERHEAD, Code, Position
from .inbox import Inbox
from .outbox import Outbox

__all__ = ["check_position"]


def check_position(position: Position, outbox: Outbox, inbox: Inbox) -> None:
    """Raise :class:`Violation` if the peer's position shows that a side has lost its state."""
    counters = position.counters
    if counters.confirmed < outbox.confirmed:
        raise Violation(Code.VIOLATION, "state lost: confirmed has fallen")
    if counters.received > outbox.transmitted:
        raise Violation(Code.VIOLATION, "counters of what was never sent")
    if not inbox.stopped:
        if position.first > inbox.received + 1:
            raise Violation(Code.VIOLATION, "state lost: messages are not available any more")
        if position.sent < inbox.received:
            raise Violation(Code.VIOLATION, "state lost: sent has fallen")
    if position.partial > 0 and not _fits(outbox, counters.received + 1, position.partial):
        raise Violation(Code.VIOLATION, "more of a message than was sent")


def _fits(outbox: Outbox, number: int, partial: int) -> bool:
    """Whether the peer can hold so many bytes of this message of ours (PART-11)."""
    if number > outbox.messages:
        return False
    weight = outbox.end_of(number) - outbox.end_of(number - 1)
    return partial < weight - OVERHEAD
