"""Which test proves which rule of protocol.md.

``python -m tests.rules`` prints each tag with the tests that cite it, ``python -m tests.rules
RESUME-6 WINDOW`` only these rules and families.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["proofs", "table", "tags"]

ROOT = Path(__file__).parents[1]

TAG = re.compile(r"\b[A-Z]+-\d+\b")


def tags(page: str) -> list[str]:
    """Return the tags of all rules, in the order in which the page defines them."""
    return re.findall(r"\*\*([A-Z]+-\d+)\*\*", page)


@functools.cache
def proofs(folder: Path) -> dict[str, list[str]]:
    """Return, for each tag, the tests in a folder whose docstrings have it: ``file::test``."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        for name, text in _tests(path.read_text()):
            for tag in dict.fromkeys(TAG.findall(text)):
                place = f"{path.relative_to(folder).as_posix()}::{name}"
                found.setdefault(tag, []).append(place)
    return found


def _tests(source: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the docstring of each test in a file."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test"):
                    yield name, ast.get_docstring(node) or ""


def table(rules: Iterable[str], proved: dict[str, list[str]]) -> str:
    """Return one line for each rule and test, and a line for a rule without one."""
    lines = []
    for tag in rules:
        tests = proved.get(tag) or ["no test cites it"]
        lines += [f"{tag if number == 0 else '':<12}{test}" for number, test in enumerate(tests)]
    return "\n".join(lines)


def main(wanted: list[str]) -> str:
    """Return the table for what the command line names, for all rules if it names none."""
    rules = tags((ROOT / "protocol.md").read_text())
    known = {*rules, *(tag.split("-")[0] for tag in rules)}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"protocol.md has no rule {', '.join(unknown)}")
    some = [tag for tag in rules if not wanted or {tag, tag.split("-")[0]} & set(wanted)]
    return table(some, proofs(ROOT / "tests"))


if __name__ == "__main__":
    print(main(sys.argv[1:]))
