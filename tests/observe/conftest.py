"""What a process remembers of itself is new for each test."""

from __future__ import annotations

import pytest

from reliable_ws.aio import pump
from reliable_ws.driver.loop_watch import LoopWatch


@pytest.fixture(autouse=True)
def nothing_has_blocked(monkeypatch):
    """Forget what earlier tests of this process have done to its event loop, and to its clock."""
    monkeypatch.setattr(pump, "LOOP_WATCH", LoopWatch())
