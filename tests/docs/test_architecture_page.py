"""ARCHITECTURE.md names what exists: files, folders, modules, and what is in them."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rules import TAG, tags

from .test_examples import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGE = ROOT / "reliable_ws"
SPANS = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.]+/[\w./]*|\w+\.(?:py|md|toml)")
MEMBER = re.compile(r"([A-Z]\w+)\.(\w+)")


def place_of(name: str) -> Path | None:
    return next((top / name for top in (PACKAGE, ROOT) if (top / name).exists()), None)


def members(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield what classes have: methods, attributes, fields."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            for inner in ast.walk(node):
                match inner:
                    case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                        yield node.name, name
                    case ast.Attribute(value=ast.Name(id="self"), attr=name):
                        yield node.name, name
                    case ast.AnnAssign(target=ast.Name(id=name)):
                        yield node.name, name


@functools.cache
def members_of(path: Path) -> set[tuple[str, str]]:
    return set(members(ast.parse(path.read_text()).body))


def test_every_path_exists():
    names = {span for span in SPANS.findall(PAGE) if PATH.fullmatch(span)}
    assert len(names) > 50
    assert sorted(name for name in names if place_of(name) is None) == []


def test_every_link_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / target).exists(), target


def test_every_command_runs_a_module():
    for name in re.findall(r"python -m ([\w.]+)", PAGE):
        assert importlib.util.find_spec(name) is not None, name


def test_every_member_exists():
    names = {span for span in SPANS.findall(PAGE) if MEMBER.fullmatch(span)}
    assert len(names) > 40
    inherited = {"Transport.send_now"}
    every = set().union(*map(members_of, PACKAGE.rglob("*.py")))
    assert {n for n in names if tuple(n.split(".")) not in every} - inherited == set()


def shown() -> Iterator[tuple[Path, str]]:
    """Yield each name that stands behind a file and a colon: it must be in that file."""
    for name, rest in re.findall(r"`([\w/]+\.py)`: ((?:`[\w.]+`(?:, | and )?)+)", PAGE):
        place = place_of(name)
        assert place is not None, name
        for said in SPANS.findall(rest):
            yield place, said


@pytest.mark.parametrize(("place", "name"), list(shown()))
def test_what_a_file_is_said_to_have_is_there(place, name):
    if "." in name:
        assert tuple(name.split(".")) in members_of(place)
    else:
        assert re.search(rf"^(?:(?:async )?def |class )?{name}\b", place.read_text(), re.MULTILINE)


def test_every_rule_is_one_of_protocol_md():
    page = (ROOT / "protocol.md").read_text()
    assert set(TAG.findall(PAGE)) <= set(tags(page))


def test_names_every_contract_and_every_folder_of_tests():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for contract in project["tool"]["importlinter"]["contracts"]:
        assert f"`{contract['id']}`" in PAGE, contract["id"]
    for folder in (ROOT / "tests").iterdir():
        if (folder / "__init__.py").exists():
            assert f"`tests/{folder.name}/`" in PAGE, folder.name
