"""How long to wait before the next attempt: pure, with the chance handed in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_BACKOFF", "Backoff", "heeded"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between attempts to reconnect: full jitter.

    Each wait is a random part of a limit. The limit doubles with every failed attempt. Full jitter
    spreads clients that lost their server at the same moment over the whole limit. A fixed delay
    would bring them back all at once.

    The count of attempts starts again after a WebSocket that was good: it carried a message, a call
    or a confirmation that is new, or it lasted for ``stable`` seconds. So a line that is cut again
    and again costs little, and a server that accepts and then rejects is not called again at once.
    A session never waits for longer than a quarter of the time that it has left
    (``Config.session_ttl``).

    Raises:
        ValueError: The values do not satisfy ``0 <= initial <= longest``, ``factor >= 1`` and
            ``stable >= 0``.
    """

    initial: float = 0.2
    "Limit of the first delay, in seconds."
    factor: float = 2.0
    "The limit grows by this factor from attempt to attempt."
    longest: float = 30.0
    "The limit grows no further than this, in seconds."
    stable: float = 1.0
    "A WebSocket, or a session, counts as good after so many seconds, whatever it carried."

    def __post_init__(self) -> None:
        if self.initial < 0 or self.factor < 1 or self.longest < self.initial or self.stable < 0:
            raise ValueError(f"{self} makes no sense: 0 <= initial <= longest, factor >= 1")

    def delay(self, attempt: int, chance: float, asked: float | None = None) -> float:
        """Return the seconds to wait before ``attempt``, which counts from 0.

        ``chance`` is a random number, at least 0 and below 1. ``asked`` is the wait in seconds that
        the peer asked for. It is honoured up to ``longest``; of more, a random part from half of
        ``longest`` on.
        """
        limit = min(self.longest, self.initial * self.factor ** min(attempt, 64))
        return heeded(asked, self.longest, chance) + chance * limit


def heeded(asked: float | None, most: float, chance: float) -> float:
    """Return the seconds to wait because a peer has asked for so many.

    A peer that asks many to come at moments of their own does not get all of those together at
    ``most`` that it has asked to come later.
    """
    if asked is None or asked <= most:
        return asked or 0.0
    return most * (1.0 + chance) / 2


DEFAULT_BACKOFF = Backoff()
"""That of everybody who gives none."""
