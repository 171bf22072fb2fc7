"""What the demo sends, and the judgement of what arrived."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

__all__ = ["Count", "Material", "count", "default_text", "digest", "make"]

MIN_TEXT_BYTES = 2 * 1024 * 1024
"""Bytes to which a smaller input is repeated: there must be something for the faults to hit."""

NUMBER = re.compile(rb"\d{9} ")
"""Every line is sent with its number before it, so that what arrives can be counted."""

LAST_LINES, LAST_BYTES = 1000, 1024 * 1024


@dataclass(frozen=True)
class Material:
    """A numbered file."""

    path: Path
    lines: int
    size: int
    "With the numbers."
    bare: str
    "SHA-256 of it without the numbers."
    copies: int
    "How often the input is in it, begun copies included."


@dataclass(frozen=True)
class Count:
    """What arrived, by the numbers of the lines."""

    taken: int
    "Lines that arrived once at least."
    once: int
    "Lines that arrived exactly once."
    duplicates: int
    "Arrivals of a line that had arrived before."
    out_of_order: int
    "Lines that arrived for the first time behind a later one."
    foreign: int
    "Lines that nobody sent."
    bare: str
    "SHA-256 of what arrived, without the numbers."


def default_text() -> Path:
    """Return a text file that is there wherever the package is."""
    package = Path(__file__).resolve().parents[2]
    protocol = package.parent / "protocol.md"
    return protocol if protocol.is_file() else package / "protocol" / "session.py"


def make(source: Path, lines: int | None, target: Path) -> Material:
    """Write the lines of ``source`` to ``target``, numbered.

    ``lines``: cut or repeated to so many; else all, repeated only if they are too few.
    """
    written = size = 0
    bare = hashlib.sha256()
    copies = 0
    open_line = False
    with target.open("wb") as out:
        for copy, line in _repeated(source):
            if written == lines:
                break
            if lines is None and copy > 1 and copy > copies and size >= MIN_TEXT_BYTES:
                break
            copies = copy
            if open_line:
                out.write(b"\n")
                bare.update(b"\n")
                size += 1
            open_line = not line.endswith(b"\n")
            written += 1
            out.write(b"%09d " % written)
            out.write(line)
            bare.update(line)
            size += 10 + len(line)
    return Material(target, written, size, bare.hexdigest(), copies)


def last_words(material: Material, target: Path) -> Material:
    """Return some lines of the material, numbered, few enough to be said in one breath."""
    written = size = 0
    bare = hashlib.sha256()
    with material.path.open("rb") as lines, target.open("wb") as out:
        for line in islice(lines, LAST_LINES):
            if size and size + len(line) > LAST_BYTES:
                break
            out.write(line)
            bare.update(line[10:])
            size += len(line)
            written += 1
    return Material(target, written, size, bare.hexdigest(), 1)


def count(received: Path, lines: int) -> Count:
    """Count what arrived of so many lines."""
    seen = bytearray(lines + 1)
    taken = duplicates = out_of_order = foreign = highest = 0
    bare = hashlib.sha256()
    with received.open("rb") as file:
        for line in file:
            number = int(line[:9]) if NUMBER.match(line) else 0
            if not 1 <= number <= lines:
                foreign += 1
                continue
            bare.update(line[10:])
            if seen[number]:
                duplicates += 1
                seen[number] = 2
                continue
            seen[number] = 1
            taken += 1
            out_of_order += number < highest
            highest = max(highest, number)
    return Count(taken, seen.count(1), duplicates, out_of_order, foreign, bare.hexdigest())


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _repeated(source: Path) -> Iterator[tuple[int, bytes]]:
    """Iterate for ever over (copy, line); not at all if there is no line."""
    copy = 0
    while True:
        copy += 1
        empty = True
        with source.open("rb") as file:
            for line in file:
                empty = False
                yield copy, line
        if empty:
            return
