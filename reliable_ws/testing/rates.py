"""Bounds on what a connection carries."""

from __future__ import annotations

from .plan import Side

__all__ = ["Rates"]


class Rates:
    """How many bytes per second each side receives at most; ``None``: any number."""

    def __init__(self) -> None:
        self._to: dict[Side, float | None] = {"client": None, "server": None}

    def of_what_is_sent_by(self, side: Side) -> float | None:
        """Return the bound of the other side."""
        return self._to["server" if side == "client" else "client"]

    def bound(self, bytes_per_second: float | None, to: Side | None) -> None:
        """Set the bound of one side, or of both."""
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError("bytes_per_second must be positive, or None; to hold all, stall()")
        if to not in {None, *self._to}:
            raise ValueError(f"to is 'client', 'server' or None, not {to!r}")
        for side in self._to:
            if to in {None, side}:
                self._to[side] = bytes_per_second
