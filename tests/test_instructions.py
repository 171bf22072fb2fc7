"""The guard of the hot paths: what it compares. The counting itself is a part of ``make test``."""

from __future__ import annotations

import json

from benchmarks.instructions import CASES, FIGURES, judge, total


def test_more_instructions_than_stored_are_a_fault():
    stored = {"send": 1.5, "stream": 0.1}
    assert judge({"send": 1.544, "stream": 0.05}, stored, 0.03) == []
    assert judge({"send": 1.546, "stream": 0.1}, stored, 0.03) == [
        "send: 3.1% more instructions than stored (1.5)"
    ]


def test_a_case_that_is_not_stored_is_a_fault():
    (fault,) = judge({"open": 2.0}, {}, 0.03)
    assert "make instructions-store" in fault


def test_the_total_is_read_from_what_valgrind_writes():
    assert total("events: Ir \nfn=main\n4 17\nsummary: 1234\n") == 1234


def test_every_case_is_stored_for_the_oldest_python():
    assert json.loads(FIGURES.read_text())["3.11"]["ratios"].keys() == CASES.keys()
