"""What the long walks share."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def untraced():
    """Without measuring coverage: it would take more than twice the time and find nothing new."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)
