"""docs/testing.md is run: its blocks are files, and pytest passes in the folder that they make."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import reliable_ws.testing
from reliable_ws.testing import Network

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
SECONDS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    files = defaultdict(list)
    for name, text in BLOCKS:
        files[name].append(text)
    for name, texts in files.items():
        (folder / name).write_text("\n".join(texts))
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def run_pytest(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.stdout + done.stderr


def test_every_block_is_in_a_file():
    assert PAGE.count("```python") == len(BLOCKS)


def test_what_it_shows_passes(folder):
    said = run_pytest(folder, "-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function")
    assert re.search(r"^\d+ passed in ", said, re.MULTILINE), said


def test_it_tells_what_fails(folder):
    """Without the `if`, the proof fails, with the note that is shown."""
    shop = folder / "shop.py"
    good = shop.read_text()
    shop.write_text(re.sub(r"if order not in packed:.*", "if True:", good))
    try:
        said = run_pytest(folder, "test_shop.py", "-k", "every_message and kill_server")
    finally:
        shop.write_text(good)
    (note,) = re.findall(r"^this run: .*$", PAGE, re.MULTILINE)
    assert note in said


def test_the_table_has_every_command():
    table = PAGE.partition("## A network in memory")[2].partition("\n## ")[0]
    said = re.findall(r"`(\w+)\(", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)))
    methods = {name for name, value in vars(Network).items() if inspect.isfunction(value)}
    commands = {name for name in methods if not name.startswith("_")} - {"connect", "serve"}
    assert set(said) == commands


def test_names_that_it_uses_exist():
    for name in re.findall(r"`(?:@)?([a-z_]+|[A-Z][A-Za-z]+)\(", PAGE):
        assert any(
            hasattr(thing, name)
            for thing in (reliable_ws, reliable_ws.testing, Network, reliable_ws.Connection)
        ), name


@pytest.mark.parametrize("name", reliable_ws.testing.__all__)
def test_has_a_docstring(name):
    assert getattr(reliable_ws.testing, name).__doc__
