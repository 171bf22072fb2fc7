"""docs/drivers.md is true: it shows a test that passes, and names what exists."""

from __future__ import annotations

import re

import pytest

from reliable_ws import protocol
from reliable_ws.driver.session_driver import Pump, SessionDriver
from reliable_ws.protocol import Arrival, Link, Session, SessionRegistry

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "drivers.md").read_text()
MOST_LINES = 60
"""Lines of code of the conversation, without empty ones."""


def test_shows_the_test_as_it_is():
    """When the test has changed, write it into the page: python -m tests.docs.test_drivers_page."""
    assert with_code(PAGE) == PAGE


def test_the_conversation_is_short_and_goes_through_the_front_door():
    ((name, code),) = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert code == (ROOT / name).read_text()
    assert len([line for line in code.splitlines() if line]) < MOST_LINES
    assert set(re.findall(r"^(?:from|import) (\S+)", code, re.MULTILINE)) == {
        "reliable_ws",
        "reliable_ws.protocol",
    }
    assert set(re.findall(r"\bprotocol\.(\w+)", code)) <= {*protocol.__all__, "import"}


@pytest.mark.parametrize(
    ("thing", "pattern"),
    [
        (Session, r"`session\.(\w+)"),
        (SessionRegistry, r"`registry\.(\w+)"),
        (SessionDriver, r"`(?:_on_\w+|changed|now|call_at|drop_transport|start_closing)"),
        (SessionDriver, r"; `(flush_\w+)"),
        (Pump, r"`Pump\.(\w+)"),
    ],
)
def test_names_what_exists(thing, pattern):
    names = [name.strip("`") for name in re.findall(pattern, PAGE)]
    assert names
    assert [name for name in names if not hasattr(thing, name)] == []


def test_links_and_arrivals_have_what_it_says():
    for thing, pattern in ((Link, r"`link\.(\w+)"), (Arrival, r"`arrival\.(\w+)")):
        slots = set(getattr(thing, "__slots__", ()))
        made = set(re.findall(r"self\.(\w+)", source_of(thing)))
        for name in re.findall(pattern, PAGE):
            assert hasattr(thing, name) or name in slots | made, name


def source_of(thing: type) -> str:
    return (ROOT / (thing.__module__.replace(".", "/") + ".py")).read_text()


def test_names_every_module_of_the_driver():
    (table,) = re.findall(r"^\| module \| decides \|\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    said = {name for row in table.splitlines()[1:] for name in re.findall(r"`(\w+)`", row)}
    modules = {path.stem for path in (ROOT / "reliable_ws" / "driver").glob("*.py")}
    assert said == modules - {"__init__", "session_driver"}


def with_code(page: str) -> str:
    """Return the page with the files that it shows."""
    return re.sub(
        r"(<!-- file: (\S+) -->\n```python\n).*?(```)",
        lambda found: found[1] + (ROOT / found[2]).read_text() + found[3],
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    (ROOT / "docs" / "drivers.md").write_text(with_code(PAGE))
