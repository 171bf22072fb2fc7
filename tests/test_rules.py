"""The table of rules and the tests that prove them."""

from __future__ import annotations

import pytest

from .rules import ROOT, main, proofs, table, tags

RULES = tags((ROOT / "protocol.md").read_text())


@pytest.fixture(scope="module")
def proved():
    """Read where it is needed: that takes a second, and each worker imports this file."""
    return proofs(ROOT / "tests")


def test_every_rule_is_proved_by_a_test(proved):
    """Not only cited somewhere in a file."""
    assert [tag for tag in RULES if tag not in proved] == []


def test_a_test_is_found_under_each_tag_that_it_cites(proved):
    place = "core/test_rare_cases.py::test_finish_is_never_handed_over"
    assert proved["COUNT-4"].count(place) == 1
    assert sum(place in tests for tests in proved.values()) == 1


def test_tests_in_classes_and_asynchronous_ones_are_found(tmp_path):
    (tmp_path / "test_some.py").write_text(
        'class TestIt:\n    def test_a(self):\n        """NUM-1, NUM-2, NUM-1"""\n'
        'async def test_b():\n    """NUM-2: x"""\n'
        'def helper():\n    """NUM-3"""\n'
    )
    (tmp_path / "some.py").write_text('def test_c():\n    """NUM-3"""\n')
    assert proofs(tmp_path) == {
        "NUM-1": ["test_some.py::test_a"],
        "NUM-2": ["test_some.py::test_b", "test_some.py::test_a"],
    }


def test_the_table_has_a_line_for_each_test_and_for_each_rule_without_one():
    proved = {"NUM-1": ["test_a.py::test_a", "test_b.py::test_b"]}
    assert table(["NUM-1", "NUM-2"], proved).splitlines() == [
        "NUM-1       test_a.py::test_a",
        "            test_b.py::test_b",
        "NUM-2       no test cites it",
    ]


def test_rules_and_families_can_be_asked_for():
    assert main(["COUNT-4"]).startswith("COUNT-4     core/")
    heads = [line.split()[0] for line in main(["NUM", "TOMB-2"]).splitlines() if line[0] != " "]
    assert heads == ["NUM-1", "NUM-2", "NUM-3", "TOMB-2"]
    assert main([]).count("\n") > len(RULES)


def test_a_rule_that_does_not_exist():
    with pytest.raises(SystemExit, match="no rule NONE"):
        main(["NONE"])
