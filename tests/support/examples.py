"""How many examples Hypothesis draws: fewer in the test matrix, more in ``make explore``."""

from __future__ import annotations

import os

from hypothesis import settings

SHARE = float(os.environ.get("RELIABLE_WS_EXAMPLES", "1"))


def examples(count: int, **others: int) -> settings:
    """Return settings for ``count`` examples, multiplied by ``RELIABLE_WS_EXAMPLES``."""
    return settings(max_examples=max(5, round(count * SHARE)), **others)
