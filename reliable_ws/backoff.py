"""How long to wait before the next attempt: pure, with the chance handed in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: a random part of a limit that doubles with every failed attempt.

    Full jitter spreads a crowd that lost its server at the same moment over the whole limit,
    where a fixed delay would bring it back as one wave. The count of attempts starts anew only
    after a link has been good for ``stable`` seconds, so that a server which accepts and then
    rejects is not hammered.
    """

    initial: float = 0.2
    "Limit of the first delay, seconds."
    factor: float = 2.0
    "Growth of the limit from attempt to attempt."
    longest: float = 30.0
    "The limit grows no further, seconds."
    stable: float = 10.0
    "After so many seconds a link counts as good."

    def __post_init__(self) -> None:
        if self.initial < 0 or self.factor < 1 or self.longest < self.initial or self.stable < 0:
            raise ValueError(f"{self} makes no sense: 0 <= initial <= longest, factor >= 1")

    def delay(self, attempt: int, chance: float, asked: float | None = None) -> float:
        """Return seconds to wait before ``attempt`` (from 0); ``chance`` is in [0, 1).

        ``asked`` is what the peer asked for; it is honoured up to ``longest``.
        """
        limit = min(self.longest, self.initial * self.factor ** min(attempt, 64))
        return min(self.longest, asked or 0.0) + chance * limit
