"""How often something took how long: what metrics tell as a histogram."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

__all__ = ["BOUNDS", "Histogram"]

BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Seconds up to which each bucket goes. One more has what took longer."""


@dataclass(slots=True)
class Histogram:
    """Times, counted in buckets."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    "How many were up to each of :data:`BOUNDS` and above the one before; the last: above all."
    total: float = 0.0
    "Seconds of all of them together."

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def copy(self) -> Histogram:
        """Return one that does not change with this one."""
        return Histogram(self.counts.copy(), self.total)
