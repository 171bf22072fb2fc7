"""How large a WebSocket message we send may be: what the peer takes, and what gets through."""

from __future__ import annotations

from .config import MIN_FRAME

__all__ = ["HEADROOM", "FrameSize"]

HEADROOM = 256
"""Bytes of a WebSocket message that are kept for everything but one message's content.

Enough for an Ack, a CallAck, a Stop without ranges, a Want, a Finish with the longest reason, and
the headers of Calls and Messages (FRAME-7).
"""

PROBE_FRAME = 256 * 1024
"""A quarter of this, a sixteenth, … is sent in one frame on links that die at once.

Once one has died so, no larger frame is sent in the session: the path may be too slow for it within
the idle time. With an idle time of 20 s this much passes at 13 KiB/s, and 1 MiB at 52 KiB/s.
"""


class FrameSize:
    """The sizes of one session's WebSocket messages, learnt from link to link."""

    __slots__ = ("_is_wary", "_met", "limit", "probe", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        "Largest WebSocket message that the peer takes: what it says, or less after a 1009."
        self.size = limit
        "Largest one that we send: less than the limit on links that die before it is through."
        self.probe = 0
        "How many links in a row died with nothing through; 0: none."
        self._met = (0, 0)  # what the peer held at the last greeting
        self._is_wary = False  # whether a link has died with nothing through

    def met(self, limit: int, held: tuple[int, int], *, more: bool) -> None:
        """Note a greeting: what the peer takes, what it holds, whether we have more for it.

        Send smaller frames when link after link dies with nothing through (RESUME-8), and none of
        more than ``PROBE_FRAME`` from then on (RESUME-12).
        """
        self.limit = min(self.limit, limit)  # LIMIT-5
        if held != self._met:
            self._met = held
            self._set(0)
        else:
            self._set(self.probe + 1 if more else 0)

    def passed(self) -> None:
        """Note that something got through."""
        self._set(0)

    def halve(self) -> bool:
        """The peer's transport refused a frame (PART-6); ``False`` if there is no smaller."""
        self.limit //= 2
        self._met = (-1, 0)  # known why: no reason to be smaller, too
        return self.limit >= MIN_FRAME

    def _set(self, probe: int) -> None:
        self.probe = probe
        self._is_wary = self._is_wary or probe > 0
        most = max(MIN_FRAME, PROBE_FRAME >> 2 * probe) if self._is_wary else self.limit
        self.size = min(self.limit, most)
