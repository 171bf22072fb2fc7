"""Every block of code of the site is run by a test, or stands below with the reason why not.

The tests of a page take its blocks from a list; here the lists are put together. So a block that no
list has, since nobody marked it or its page is new, is found.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from . import (
    readme,
    test_adapters_page,
    test_browser_page,
    test_cluster_page,
    test_commands,
    test_durability_page,
    test_frameworks_page,
    test_javascript_page,
    test_migration_page,
    test_production_pages,
    test_proxies_page,
    test_reconnecting_page,
    test_restart_page,
    test_site,
    test_testing_page,
    test_transports_page,
)
from .test_examples import ROOT

PAGES = [ROOT / "README.md", ROOT / "js" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = {"docs/api.md"}
"""Signatures only."""

SHOWN = {"text", "json", "{toctree}"}
"""What is printed or written: the tests of the pages compare it."""


class Block(NamedTuple):
    page: str
    mark: str
    "What the hidden comment above it says."
    language: str
    text: str


def blocks() -> list[Block]:
    """Every block of a language that does something."""
    pattern = r"(?:<!-- ([^\n]*) -->\n)?^ *```([^\n]*)\n(.*?)^ *```$"
    found = [
        Block(str(page.relative_to(ROOT)), *parts)
        for page in PAGES
        for parts in re.findall(pattern, page.read_text(), re.DOTALL | re.MULTILINE)
    ]
    return [
        block
        for block in found
        if block.page not in GENERATED
        and (block.language not in SHOWN or block.mark.startswith("config: "))
    ]


BLOCKS = blocks()

RUN: set[str] = {
    *(block.text for block in readme.BLOCKS),
    *test_adapters_page.BLOCKS,
    *test_browser_page.BLOCKS,
    *test_cluster_page.BLOCKS.values(),
    *test_cluster_page.CONFIGS.values(),
    *test_commands.BLOCKS.values(),
    *test_durability_page.BLOCKS.values(),
    *(text for _mark, _what, text in test_frameworks_page.BLOCKS),
    *test_javascript_page.BLOCKS,
    *(text for _name, text in test_migration_page.BLOCKS),
    *(str(one.values[0]) for one in test_production_pages.BLOCKS),
    *test_proxies_page.BLOCKS.values(),
    *(test_proxies_page.CONFIGS[name] for name in test_proxies_page.PROGRAMS),
    *test_reconnecting_page.BLOCKS,
    *(text for _name, text in test_restart_page.BLOCKS),
    *(text for _name, text in test_site.BLOCKS),
    *(text for _name, text in test_testing_page.BLOCKS),
    *test_transports_page.BLOCKS,
}
"""What the tests of this folder run."""

ELSEWHERE = {
    ("docs/drivers.md", "file: tests/core/test_front_door.py"): "tests/core/test_front_door.py",
    ("docs/pyodide.md", "file: load.mjs"): "tests/pyodide/serving.py",
    ("docs/pyodide.md", "run: page"): "tests/pyodide/inside.py",
    ("docs/tutorial.md", "run: tutorial"): "tests/docs/test_tutorial_page.py",
}
"""Blocks that another test takes from the page itself, by their marks."""

NOT_RUN = {
    ("README.md", "make demo"): "make runs these tests; tests/cli/ runs the demonstration",
    ("docs/cluster.md", "env:"): "Kubernetes",
    ("docs/javascript.md", "npm install"): "installs from npm",
    ("docs/proxies.md", "sub vcl_init"): "Varnish needs a C compiler: tried by hand",
    ("docs/transports.md", "python -m pip install"): "installs from PyPI",
}
"""By page and beginning: why no test runs it."""

IN_PAGES = (ROOT / "js" / "test" / "browser" / "docs.test.js").read_text()


def is_run(block: Block) -> bool:
    if block.language in {"js", "jsx", "html"} and block.page != "docs/pyodide.md":
        return f'"{block.page}", "{block.mark.removeprefix("run: ")}"' in IN_PAGES
    return block.text in RUN or (block.page, block.mark) in ELSEWHERE


def reason(block: Block) -> str | None:
    """Why it is not run, if that stands here."""
    for (page, begins), why in NOT_RUN.items():
        if block.page == page and block.text.startswith(begins):
            return why
    return None


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page} {block.mark}")
def test_a_block_is_run_or_has_a_reason(block):
    assert is_run(block) != (reason(block) is not None), block.text


def test_nothing_is_listed_that_is_gone():
    marks = {(block.page, block.mark) for block in BLOCKS}
    assert {*ELSEWHERE} <= marks
    assert len({reason(block) for block in BLOCKS} - {None}) == len(NOT_RUN)
    for path in ELSEWHERE.values():
        assert (ROOT / path).exists()
