"""How the tests of the core are run."""

from __future__ import annotations

import sys

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Measure no coverage while Hypothesis draws examples.

    Tracing makes them three times as slow. So every branch of the core must be covered by tests
    that do the same in each run.
    """
    if item.get_closest_marker("hypothesis") is None:
        return (yield)
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(trace)
