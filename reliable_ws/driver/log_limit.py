"""How many log lines one session may cause: a peer can make each request and each message cost one.

Theory of operation. A session has room for ``BURST`` lines. Each line takes one, and one comes back
every ``INTERVAL`` seconds. A line for which there is no room is counted, and the next line that is
logged says how many were left out.
"""

from __future__ import annotations

__all__ = ["LogLimit"]

BURST = 20
"""Lines that may be logged one after the other."""

INTERVAL = 1.0
"""Seconds after which one more may."""


class LogLimit:
    """Bounds the lines of one session about what its peer can repeat at will."""

    __slots__ = ("_at", "_room", "left_out")

    def __init__(self) -> None:
        self._room = float(BURST)
        self._at: float | None = None  # when the room was computed
        self.left_out = 0
        "How many lines were left out since the last one that was logged."

    def admits(self, now: float) -> bool:
        """Return whether a line may be logged now, and count it."""
        if self._at is not None:
            self._room = min(float(BURST), self._room + (now - self._at) / INTERVAL)
        self._at = now
        if self._room < 1:
            self.left_out += 1
            return False
        self._room -= 1
        return True

    def more(self) -> str:
        """Return what to add to a line that is logged: how many were left out before it."""
        left_out, self.left_out = self.left_out, 0
        return f" (and {left_out} more that were not logged)" if left_out else ""
