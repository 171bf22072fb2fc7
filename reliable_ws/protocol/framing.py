"""How large a WebSocket message we send may be: what the peer takes, and what gets through."""

from __future__ import annotations

from .config import MIN_FRAME

__all__ = ["Framing"]

CAUTIOUS_FRAME = 256 * 1024
"""A quarter of this, a sixteenth, … is sent in one frame on links that die at once."""


class Framing:
    """The sizes of one session's WebSocket messages, learnt from link to link."""

    __slots__ = ("_caution", "_met", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        "Largest WebSocket message that the peer takes: what it says, or less after a 1009."
        self.size = limit
        "Largest one that we send: less than the limit on links that die before it is through."
        self._caution = 0
        self._met = (0, 0)  # what the peer held at the last greeting

    def met(self, limit: int, held: tuple[int, int], *, more: bool) -> None:
        """Note a greeting: what the peer takes, what it holds, whether we have more for it.

        Send smaller frames when link after link dies with nothing through (RESUME-8).
        """
        self.limit = min(self.limit, limit)
        if held != self._met:
            self._met = held
            self._set(0)
        else:
            self._set(self._caution + 1 if more else 0)

    def passed(self) -> None:
        """Note that something got through."""
        if self._caution:
            self._set(0)

    def halve(self) -> bool:
        """The peer's transport refused a frame (PART-6); ``False`` if there is no smaller."""
        self.limit //= 2
        self._met = (-1, 0)  # known why: no reason to be cautious, too
        return self.limit >= MIN_FRAME

    def _set(self, caution: int) -> None:
        self._caution = caution
        cautious = max(MIN_FRAME, CAUTIOUS_FRAME >> 2 * caution)
        self.size = min(self.limit, cautious) if caution else self.limit
