"""When peers come again that are asked to: pure, with the time handed in."""

from __future__ import annotations

__all__ = ["FIRST_RETRY", "Spread"]

FIRST_RETRY = 0.2
"""Seconds that a peer waits at least: by then the engine has its session."""


class Spread:
    """Gives each peer a moment of its own, no two closer than ``every`` seconds.

    A moment is given when its peer is told, and no sooner: it takes a while to tell many. So it
    does not matter in which order they are told, and how long that takes.
    """

    __slots__ = ("_every", "_last")

    def __init__(self, within: float, peers: int) -> None:
        self._every = within / max(1, peers)
        self._last: float | None = None

    def retry(self, now: float) -> float:
        """Return the seconds from now until the moment of the next peer."""
        first = now + FIRST_RETRY
        self._last = first if self._last is None else max(first, self._last + self._every)
        return self._last - now
