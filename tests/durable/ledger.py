"""What each process writes down by itself: plain files, apart from what is tested."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Notes", "read"]


class Notes:
    """A file of lines, each written by one system call: what is written survives SIGKILL.

    SIGKILL may cut that call where a page ends. What is left of the line stays by itself.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, b"\n")

    def write(self, *fields: Any) -> None:
        os.write(self._file, json.dumps(fields).encode() + b"\n")


def read(path: Path) -> list[list[Any]]:
    """Return every line that is whole."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith(b"[") and line.endswith(b"]")]
