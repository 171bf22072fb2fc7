"""How long a side waits for the rest of what comes in slices (PART-15, CALL-46)."""

from __future__ import annotations

from .deadline import NEVER, OVERSLEPT

__all__ = ["StallTimer"]

STEP = 64 * 1024
"""Bytes of a transfer that have to come within ``Config.part_timeout``, or its end."""


class StallTimer:
    """The time within which a transfer on one link has to move."""

    __slots__ = ("_left", "_timeout", "by")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._left = 0  # bytes that have to come by then
        self.by: float = NEVER
        "When the transfer has stood still for too long; ``NEVER`` if none is waited for."

    def arrived(self, size: int, now: float) -> bool:
        """Note a slice that is not the end; whether the time begins anew."""
        self._left -= size
        if self._left > 0 and self.by != NEVER:
            return False
        self._left = STEP
        self.by = now + self._timeout
        return True

    def expired(self, now: float) -> bool:
        """Whether the transfer stands still. The deadline moves."""
        late = now - self.by
        if late > OVERSLEPT:  # we were not running: do not blame the peer (LIVE-4)
            self.by = now + self._timeout / 2
            return False
        return late >= 0
