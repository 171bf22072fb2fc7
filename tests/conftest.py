"""What every test shares: no more than must be."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

# Before anything imports it: its asserts shall say what they saw.
pytest.register_assert_rewrite("reliable_ws.testing.transport_contract")

# A busy machine is not a failing test. Everything else (fixed seeds in CI) stays as Hypothesis
# has chosen it for where it runs.
settings.register_profile("reliable_ws", settings(), deadline=None)
settings.load_profile("reliable_ws")


def pytest_collection_finish():
    """Let no collection of garbage look at what stays to the end: each would take 0.2 s."""
    gc.freeze()
