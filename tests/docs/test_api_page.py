"""docs/api.md is what docs/make_api.py makes of the docstrings now, and lacks no exported name."""

from __future__ import annotations

import importlib.util
import re

import pytest

from .test_examples import ROOT

SPEC = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
assert SPEC is not None
assert SPEC.loader is not None
make_api = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_api)

PAGE = (ROOT / "docs" / "api.md").read_text()
EXPORTED = dict(make_api.exported())


def test_is_up_to_date():
    assert make_api.Page().write() == PAGE, "run `make api`"


@pytest.mark.parametrize("name", EXPORTED)
def test_has_every_exported_name(name):
    assert any(EXPORTED[name] is thing for thing in make_api.documented())
    assert re.search(rf"^### `(\w+\.)*{name.rpartition('.')[2]}`$", PAGE, re.MULTILINE)


def test_no_reference_is_left_untranslated():
    assert not re.search(r":\w+:`|``", re.sub(r"^```.*$", "", PAGE, flags=re.MULTILINE))


def test_links_lead_to_headings():
    titles = [title.strip("`") for title in re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)]
    anchors = set(make_api.anchors_of(titles).values())
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert links
    assert links <= anchors


def test_exceptions_are_lists():
    """Each entry of a list says which exception, and when it is raised."""
    sections = re.findall(r"\*\*Raises\*\*\n\n(.+?)\n\n", PAGE + "\n\n", re.DOTALL)
    assert sections
    for section in sections:
        for line in section.splitlines():
            assert re.fullmatch(r"- `\w+`: .+\.", line), line
