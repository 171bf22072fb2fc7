"""What the parent tells its children, and they it: memory that all of them share."""

from __future__ import annotations

import mmap
import os
import signal
import struct

__all__ = ["APPLICATION", "FACTS", "KINDS", "POINTS", "SIDES", "STAGES", "Board"]

SIDES = ("initiator", "acceptor")

KINDS = ("tasks", "threads")
"With which of its two drivers a process uses the library."

FACTS = (
    "attempt",
    "welcome",
    "messages",
    "confirmed",
    "calls",
    "finish",
    "stopped",
    "ended",
    "forgotten",
)
"What is kept before it is said (protocol.md, section 17), and what is deleted."

STAGES = (
    "taken",  # the change was taken from the session
    "submitted",  # the store has it in its queue
    "committing",  # before COMMIT
    "committed",  # behind it; nobody was told
    "told",  # the event loop knows
    "kept",  # the session knows; nothing was said
    "transmit",  # in a frame that is not written
    "written",  # in a frame that is
)

APPLICATION = (
    "send",
    "sent",
    "got",
    "apply",
    "applied",
    "confirming",
    "confirmed",
    "request",
    "run",
    "ran",
    "answered",
    "closing",
    "closed",
    "checkpoint",
    "checkpointed",
)

POINTS = tuple(f"{stage} {fact}" for stage in STAGES for fact in FACTS) + APPLICATION

_NUMBER = {point: number for number, point in enumerate(POINTS)}
_INT = struct.Struct("i")


class Board:
    """At which point a child is to die, how often it has come to each, and whether to end."""

    def __init__(self) -> None:
        self._size = 2 + len(POINTS)
        self._memory = mmap.mmap(-1, _INT.size * (1 + len(SIDES) * len(KINDS) * self._size))

    def _get(self, at: int) -> int:
        return _INT.unpack_from(self._memory, at * _INT.size)[0]

    def _set(self, at: int, value: int) -> None:
        _INT.pack_into(self._memory, at * _INT.size, value)

    def _at(self, side: str, kind: str) -> int:
        return 1 + (SIDES.index(side) * len(KINDS) + KINDS.index(kind)) * self._size

    @property
    def finishing(self) -> bool:
        """Whether the children are to come to an end."""
        return bool(self._get(0))

    @finishing.setter
    def finishing(self, value: bool) -> None:
        self._set(0, int(value))

    def arm(self, side: str, kind: str, point: str, times: int) -> None:
        """Let a process die when it comes to a point for the n-th time from now on."""
        at = self._at(side, kind)
        self._set(at + 1, times)
        self._set(at, _NUMBER[point] + 1)

    def disarm(self) -> None:
        for side in SIDES:
            for kind in KINDS:
                self._set(self._at(side, kind), 0)

    def cross(self, side: str, kind: str, point: str) -> None:
        """Note that a process is at a point, or die there."""
        at, number = self._at(side, kind), _NUMBER[point]
        self._set(at + 2 + number, self._get(at + 2 + number) + 1)
        if self._get(at) == number + 1:
            left = self._get(at + 1) - 1
            self._set(at + 1, left)
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()

    def hits(self, side: str, kind: str) -> dict[str, int]:
        """How often the processes of a side came to each point."""
        at = self._at(side, kind) + 2
        return {point: self._get(at + number) for number, point in enumerate(POINTS)}
