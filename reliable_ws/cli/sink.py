"""Where received messages are written, one per line, without changing a byte of them."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .common import Failure

__all__ = ["Sink", "as_bytes"]


class Sink:
    """A file, or standard output, to which messages are appended.

    A message is written as it is. Only where the one before it did not end its line is a line
    feed put between the two: so there is one message per line, and a file that was sent line by
    line comes out byte for byte, its last line included. A terminal gets it at once instead.
    """

    def __init__(self, path: str | None) -> None:
        self._eager = False
        self._open_line = False
        self._has_path = path not in (None, "-")
        self.is_new = False
        "Whether this has made the file."
        self.name = "standard output" if path in (None, "-") else str(path)
        if path is None or path == "-":
            self._file = io.FileIO(sys.stdout.fileno(), "wb", closefd=False)
            self._eager = sys.stdout.isatty()
            return
        try:
            # Not buffered: a write that fails half-way must not be repeated when it is closed.
            self.is_new = not Path(path).exists()
            self._file = io.FileIO(path, "ab")
            self._open_line = _ends_within_a_line(path)
        except OSError as error:
            raise Failure(f"cannot write to {path}: {error.strerror}") from None

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file that can be cut, and not a pipe, a terminal or the like."""
        return stat.S_ISREG(os.fstat(self._file.fileno()).st_mode) and self._has_path

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file.fileno()).st_size

    def cut(self, size: int) -> None:
        """Cut the file back to so many bytes. Raises ``OSError``."""
        os.ftruncate(self._file.fileno(), size)
        self._open_line = _ends_within_a_line(self.name)

    def sync(self) -> None:
        """Return when all of it is on the disk. Raises ``OSError``."""
        os.fsync(self._file.fileno())
        if self.is_new and os.name == "posix":  # and its name as well
            self.is_new = False
            directory = os.open(Path(self.name).resolve().parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def write(self, messages: Iterable[Any]) -> None:
        """Write these, down to the system. Raises ``OSError``: then some may have been written."""
        parts: list[bytes] = []
        open_line, eager = self._open_line, self._eager
        for message in messages:
            if open_line:
                parts.append(b"\n")
            data = message.encode() if type(message) is str else as_bytes(message)
            parts.append(data)
            open_line = not data.endswith(b"\n")
            if open_line and eager:
                parts.append(b"\n")
                open_line = False
        rest = memoryview(b"".join(parts))
        while rest:
            rest = rest[self._file.write(rest) or 0 :]
        self._open_line = open_line

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def as_bytes(message: Any) -> bytes:
    """Return what is written for a message: bytes and text as they are, else JSON."""
    if isinstance(message, bytes):
        return message
    if isinstance(message, str):
        return message.encode()
    return json.dumps(_for_json(message), ensure_ascii=False, separators=(",", ":")).encode()


def _for_json(value: Any) -> Any:
    """Return what JSON can say of a value; bytes become ``{"$bytes": base64}``."""
    if isinstance(value, dict):
        return {k if isinstance(k, str) else _key(k): _for_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def _key(key: Any) -> str:
    return as_bytes(key).decode(errors="backslashreplace")


def _ends_within_a_line(path: str) -> bool:
    where = Path(path)
    if not where.is_file():  # a pipe or a device
        return False
    with where.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
