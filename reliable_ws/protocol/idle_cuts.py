"""How long a path lets a WebSocket be silent: learned from those that it cut (LIVE-8)."""

from __future__ import annotations

from typing import Final

from .deadline import NEVER

__all__ = ["LEAST_SILENCE", "IdleCuts"]

LEAST_SILENCE: Final = 1.0
"""Seconds. A shorter silence before a cut is no sign of a time-out, so a side never speaks more
often than three times in a second."""

ALIKE: Final = 3
"""So many WebSockets in a row must have been cut after about the same silence."""

SPREAD: Final = 1.25
"""How much the longest of these silences may exceed the shortest: some proxies look at their clock
once a second."""


class IdleCuts:
    """Takes in how each WebSocket of a session was lost, and finds the time-out of the path."""

    __slots__ = ("_silences", "limit")

    def __init__(self) -> None:
        self.limit: float = NEVER
        "Seconds of silence after which the path cuts, as far as is known."
        self._silences: list[float] = []  # of the newest WebSockets, all of which were cut

    def lost(self, silence: float | None) -> bool:
        """Take in that a WebSocket is gone; return whether that taught a limit.

        ``silence``: how long this side had said nothing when it was cut. ``None``: it was not cut,
        or had been silent for as long before.
        """
        silences = self._silences
        if silence is None or silence < LEAST_SILENCE:
            silences.clear()
            return False
        silences.append(silence)
        if len(silences) < ALIKE:
            return False
        shortest, longest = min(silences), max(silences)
        if longest > shortest * SPREAD:
            del silences[0]
            return False
        silences.clear()
        self.limit = min(self.limit, shortest)
        return True
