"""An event loop that something blocks: no session of the process goes on, and none can say why.

A timer that comes late says since when the loop has not run, at the latest. So a block is told with
less than it was by as much as passed from its beginning until the first timer was due. A server
that has sessions looks once a second whether they hold too much, so there it is a second at most.
Elsewhere the timers of sessions have to do, each due every third of ``Config.idle_timeout``. A
timer of our own would know more, and wake an idle client once a second.
"""

from __future__ import annotations

from reliable_ws.protocol.deadline import LONG_AGO

__all__ = ["BLOCKED", "LoopWatch"]

BLOCKED = 2.0
"""Seconds by which a timer has to be late before it is worth a warning. So a block of up to three
seconds may go untold at a server."""


class LoopWatch:
    """Notices that timers come late. One for all sessions, so that each block is told once."""

    __slots__ = ("_told", "last", "last_at", "total")

    def __init__(self) -> None:
        self._told = LONG_AGO
        self.total = 0.0
        "Seconds of all blocks, each less what passed until a timer was due."
        self.last = 0.0
        "The same of the last one."
        self.last_at = 0.0
        "When it was seen, by the time of day."

    def look(self, due: float, now: float, time_of_day: float) -> str:
        """Return a warning if a timer that was due then comes now, and much too late."""
        late = now - due
        if late < BLOCKED or due < self._told:  # the timer of another session has told it
            return ""
        self._told = now
        self.total += late
        self.last, self.last_at = late, time_of_day
        return (
            f"the event loop did not run for {late:.1f} s at least: something in this process "
            "blocks it (a handler that computes, or calls what waits without await), or the "
            "process was stopped. With PYTHONASYNCIODEBUG=1 asyncio logs what took so long"
        )
