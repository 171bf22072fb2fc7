"""What each process writes down by itself: plain files, apart from what is tested."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Notes", "read"]


class Notes:
    """A file of lines, each written by one system call: what is written survives SIGKILL."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *fields: Any) -> None:
        os.write(self._file, json.dumps(fields).encode() + b"\n")


def read(path: Path) -> list[list[Any]]:
    """Return every line. A line is whole, or not there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]
