"""What README.md says beside its Python blocks: outputs, tables, options, links, names."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys

import pytest

import reliable_ws

from .readme import README, SECONDS, read
from .test_examples import EXAMPLES, ROOT, output_of


def test_shows_what_examples_print():
    shown = list(read("text", "output"))
    assert shown
    for block in shown:
        assert block.name is not None
        assert output_of(ROOT / block.name) == block.text


def test_names_every_example():
    assert set(re.findall(r"^\| `(examples/\w+\.py)` \|", README, re.MULTILINE)) == {
        f"examples/{path.name}" for path in EXAMPLES
    }


UNITS = {"s": 1.0, "ms": 0.001, "days": 86_400.0, "KiB": 1024, "MiB": 1024 * 1024, "": 1}


def default_of(cell: str) -> object:
    if cell.startswith("as `"):
        return None
    found = re.fullmatch(r"([\d,]+) ?([A-Za-z]*)", cell)
    assert found is not None, cell
    return int(found[1].replace(",", "")) * UNITS[found[2]]


def test_the_table_is_config():
    table = (ROOT / "docs" / "configuration.md").read_text().partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    said = {name: default_of(cell) for name, cell in rows}
    fields = {field.name: field.default for field in dataclasses.fields(reliable_ws.Config)}
    assert list(said) == list(fields)
    assert said == fields


def test_the_command_line_has_these_options():
    commands = re.findall(r"^python -m reliable_ws (\w+) (.*)$", README, re.MULTILINE)
    assert {command for command, _ in commands} == {"listen", "send", "store"}
    for command, arguments in commands:
        done = subprocess.run(
            [sys.executable, "-m", "reliable_ws", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        for option in re.findall(r"--[\w-]+", arguments):
            assert f"{option} " in done.stdout


def test_make_has_these_targets():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)
    assert {"demo", "test", "bench"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert links
    for link in links:
        assert (ROOT / link).is_file(), link


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_of_the_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_names_that_it_uses_exist():
    for name in re.findall(r"\breliable_ws\.([A-Za-z]\w*)", README):
        assert hasattr(reliable_ws, name) or name in {"browser", "sync", "testing"}, name
    errors = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", README))
    assert errors
    for name in errors - {"ConnectionClosed"}:  # that of websockets is meant
        assert name in reliable_ws.__all__, name


PUBLIC = [name for name in reliable_ws.__all__ if not name.startswith("__")]


@pytest.mark.parametrize("name", PUBLIC)
def test_has_a_docstring(name):
    thing = getattr(reliable_ws, name)
    own = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    assert own
    assert not own.startswith(f"{name}(")  # what dataclass writes by itself
    for member, value in vars(thing).items():
        function = getattr(value, "fget", value)  # of a property
        if inspect.isfunction(function) and not member.startswith("_"):
            assert function.__doc__, f"{name}.{member}"
