"""What the long walks share."""

from __future__ import annotations

import gc
import sys

import pytest


@pytest.fixture
def untraced():
    """Without measuring coverage: it would take more than twice the time and find nothing new."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


@pytest.fixture(autouse=True)
def _seldom_collected():
    """Look for garbage seldom: there is little, and each look visits every state that is kept.

    Else it takes a sixth of the processor's time.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    yield
    gc.set_threshold(*before)
