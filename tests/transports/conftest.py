"""Keeps what was run, for the table in docs/transports.md (see ``table.py``)."""

from __future__ import annotations

import pytest

from reliable_ws.testing.transport_contract import ClientContract, ServerContract

from .table import Ran, keep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    cls = getattr(item, "cls", None)
    if call.when == "call" and cls is not None and issubclass(cls, ClientContract | ServerContract):
        keep(Ran.of(cls, item.name, passed=report.passed))
    return report
