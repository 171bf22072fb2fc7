"""Two processes, one engine, every schedule: and that each guard is needed."""

from __future__ import annotations

import pytest

from .explore import GUARDS, explore


def test_no_schedule_loses_or_repeats_anything() -> None:
    """RESUME-1, STORE-1 to STORE-4."""
    fault, path, states = explore()
    assert fault is None, path
    assert states > 10_000


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_is_missed(guard: str) -> None:
    fault, _path, _states = explore(frozenset({guard}))
    assert fault is not None
