"""docs/reconnecting.md: its table is what the library does."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from reliable_ws.driver.failures import (
    ATTEMPTS,
    FEW,
    PASSING_STATUSES,
    REFUSING_STATUSES,
    UNLIMITED,
    FailureKind,
    Stage,
)

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "reconnecting.md").read_text()
BLOCKS = re.findall(r"<!-- run: \w+ -->\n```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = [row.strip("| ").split(" | ") for row in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE)[2:]]
WORDS = {"repeated": UNLIMITED, "5 times": FEW, "raised": 1, "ends it": 1}


def test_how_many_attempts_there_are():
    columns = (Stage.RESUMING, Stage.FIRST, Stage.NEXT)
    said = [dict(zip(columns, (WORDS[cell] for cell in cells), strict=True)) for _, *cells in ROWS]
    assert dict(zip(FailureKind, said, strict=True)) == ATTEMPTS


def test_which_statuses_are_meant():
    statuses = [{int(found) for found in re.findall(r"\b\d{3}\b", row[0])} for row in ROWS]
    assert statuses[0] == {status for status in PASSING_STATUSES if status < 500}
    assert statuses[1] == {status for status in REFUSING_STATUSES if status >= 400}
    assert not statuses[2] & (PASSING_STATUSES | REFUSING_STATUSES)


@pytest.mark.parametrize(
    ("status", "number", "decision"), [(403, 19, True), (403, 20, False), (401, 1, None)]
)
def test_the_function_that_decides(status, number, decision):
    (text,) = BLOCKS
    names: dict = {}
    exec(text, names)
    assert names["retry"](SimpleNamespace(status=status, number=number)) is decision
