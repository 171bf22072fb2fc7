"""What the deadlines of this package have in common: seconds of the driver's clock."""

from __future__ import annotations

from typing import Final

__all__ = ["LONG_AGO", "NEVER", "OVERSLEPT"]

NEVER: Final = float("inf")
"""A deadline that does not come."""

LONG_AGO: Final = -NEVER
"""When something was last that has not been yet."""

OVERSLEPT: Final = 1.0
"""Seconds by which a tick may be late before the lateness is taken for our own (LIVE-4)."""
