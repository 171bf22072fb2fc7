"""When a connection that is to be closed closes, and how long its WebSocket may take.

The handlers of requests may end first.

A close has two limits. All of it must be over at one moment; the handlers must have ended a little
earlier, so that their answers can still be confirmed. A handler that is late is cancelled, where
that is possible, and has a short time to end; then its caller is told without it.
"""

from __future__ import annotations

import enum

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.frames import Code

__all__ = [
    "CLOSE_TIMEOUT",
    "LINGER",
    "ClosePlan",
    "CloseStep",
    "handshake_times",
    "time_to_close",
]

LINGER = 5.0
"""Seconds in which the peer may close its WebSocket first, after our last frame (CLOSE-19)."""

CLOSE_TIMEOUT = 10.0
"""Seconds for the closing handshake of a WebSocket. Then it is aborted."""

VIOLATION_TIMES = (0.5, 1.0)
"""The same two where the peer broke the rules: what it goes on to send is parsed until then."""


def handshake_times(code: int) -> tuple[float, float]:
    """Return how long a peer may take to close its WebSocket first, and how long closing may take.

    In seconds, for a WebSocket that is closed with ``code``.
    """
    is_violation = code in (Code.MALFORMED, Code.VIOLATION)
    return VIOLATION_TIMES if is_violation else (LINGER, CLOSE_TIMEOUT)


class CloseStep(enum.Enum):
    """What a driver has to do next for a close."""

    WAIT = "wait"
    "Nothing, until a handler ends or :attr:`ClosePlan.deadline` comes."
    CANCEL = "cancel"
    "Cancel the handlers that run."
    CLOSE = "close"
    "Give up the handlers that still run, and close the session."


class ClosePlan:
    """One close that waits for the handlers of requests.

    Ask :meth:`step` when it was made, whenever a handler has ended, and at :attr:`deadline`.
    """

    __slots__ = ("_by", "_given_by", "_grace", "_is_cancelled", "code", "deadline", "reason")

    def __init__(self, code: int, reason: str, *, grace: float) -> None:
        self.code = code
        self.reason = reason
        self.deadline: float = NEVER
        "When to ask for the next step, if no handler ends before."
        self._by: float = NEVER  # when everything has to be over, unless much is on its way
        self._given_by: float = NEVER  # when it has to be over because a caller says so
        self._grace = grace  # seconds that a cancelled handler has; 0: it cannot be cancelled
        self._is_cancelled = False

    def limit(self, now: float, config: Config, timeout: float | None) -> None:
        """Note the limit of one more call of ``close()``: the shortest one counts."""
        limit, rest = time_to_close(config, timeout)
        self._by = min(self._by, now + limit)
        if timeout is not None:
            self._given_by = min(self._given_by, now + timeout)
        if not self._is_cancelled:
            self.deadline = min(self.deadline, now + limit - rest)

    def step(self, now: float, *, busy: bool) -> CloseStep:
        """Return what is to be done now; ``busy``: whether handlers run that owe an answer."""
        if not busy:
            return CloseStep.CLOSE
        if now < self.deadline:
            return CloseStep.WAIT
        if self._is_cancelled or not self._grace:
            return CloseStep.CLOSE
        self._is_cancelled = True
        # some of the time that is left is for what their callers are told
        self.deadline = now + min(self._grace, max(0.0, self._by - now) / 2)
        return CloseStep.CANCEL

    def left(self, now: float) -> float | None:
        """Return the seconds that are left for the session's own close.

        ``None`` if no caller gave a limit: then the session has limits of its own (CLOSE-10).
        """
        return None if self._given_by == NEVER else max(0.0, self._given_by - now)


def time_to_close(config: Config, timeout: float | None) -> tuple[float, float]:
    """Return how long a close may take in all, and how much of it handlers leave for the rest.

    The rest is as long as a close without progress may last, or a quarter of the whole.
    """
    limit = config.close_timeout if timeout is None else min(timeout, config.close_timeout)
    return limit, min(limit / 4, config.close_progress_timeout)
