"""A trace of the wire: what every WebSocket of a program has carried, as lines of JSON in a file.

Theory of operation. A :class:`WireTrace` is one file. Each WebSocket has a :class:`LinkTrace`,
which is made when the WebSocket is attached to its session (:mod:`reliable_ws.driver.tracing`). So
without a trace a message costs nothing: there is no function to call.

A line is written by one ``write`` of the system, so that a process that is killed has its last line
in the file, and several processes may share one. When half of ``max_bytes`` is reached, the file
gets the suffix ``.1``, in place of an older one, and a new one begins.

What cannot be written ends the trace, with one warning. It never reaches a session.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reliable_ws.protocol.records import records_of
from reliable_ws.protocol.session import Session

__all__ = ["LinkTrace", "WireTrace", "wire_trace_of"]

logger = logging.getLogger("reliable_ws")

FORMAT = "reliable_ws wire trace"
VERSION = 1

MIB = 1024 * 1024
LEAST_SIZE = 64 * 1024
"""Bytes; a smaller file would be replaced every few lines."""

_open: weakref.WeakValueDictionary[Path, WireTrace] = weakref.WeakValueDictionary()
_opening = threading.Lock()


class WireTrace:
    """A file with what every WebSocket has carried: pass it as ``trace=``, or only its path.

    The file is opened at once, and appended to. Payloads and keys are left out. Names of methods,
    and the reasons that come with closing codes, are in it. docs/tracing.md describes the lines;
    ``python -m reliable_ws trace FILE`` prints them, and draws a diagram.

    Args:
        path: The file.
        max_bytes: How large the file and its predecessor (with the suffix ``.1``) may become
            together. Default: 64 MiB.

    Raises:
        OSError: The file cannot be opened for writing.
        ValueError: ``max_bytes`` is below 64 KiB.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = 64 * MIB) -> None:
        if max_bytes < LEAST_SIZE:
            raise ValueError(f"max_bytes= must be at least {LEAST_SIZE}, not {max_bytes}")
        self.path = Path(path).resolve()
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._size = 0
        self._failed = False
        self._close: Callable[[], object] = lambda: None
        self._file = self._open()

    def __repr__(self) -> str:
        """Which file it is."""
        return f"WireTrace({str(self.path)!r}, max_bytes={self.max_bytes})"

    def _open(self) -> int:
        """Open the file, and write its first line."""
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._close = weakref.finalize(self, os.close, file)
        self._size = os.fstat(file).st_size
        head = {"format": FORMAT, "version": VERSION, "time": time.time(), "process": os.getpid()}
        self._size += os.write(file, _line(head))
        return file

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        line = _line(record)
        with self._lock:
            if self._failed:
                return
            try:
                if self._size + len(line) > self.max_bytes // 2:
                    self._close()
                    self.path.replace(f"{self.path}.1")
                    self._file = self._open()
                self._size += os.write(self._file, line)
            except OSError as error:
                self._failed = True
                logger.warning("the trace %s ends here: %s", self.path, error)


def wire_trace_of(given: WireTrace | str | os.PathLike[str] | None) -> WireTrace | None:
    """Return the trace that was passed as ``trace=``; the same one for the same path.

    Raises:
        OSError: The file cannot be opened for writing.
    """
    if given is None or isinstance(given, WireTrace):
        return given
    path = Path(given).resolve()
    with _opening:
        trace = _open.get(path)
        if trace is None:
            trace = _open[path] = WireTrace(path)
    return trace


class LinkTrace:
    """Writes what one WebSocket of a session carries."""

    def __init__(self, wire: WireTrace, session: Session, clock: Callable[[], float]) -> None:
        """``clock``: the driver's; the difference to the time of day is taken once."""
        self._wire = wire
        self._clock = clock
        self._offset = time.time() - clock()
        self._where = {
            "session": session.id.hex(),
            "role": session.role,
            "link": session.attempt,
        }
        self._write("opens", {})

    def __call__(self, verb: str, data: bytes | str) -> None:
        """``verb``: ``"gets"`` or ``"sends"``, with the WebSocket message."""
        self._write(verb, {"bytes": len(data), "frames": records_of(data)})

    def lost(self, code: int | None, reason: str) -> None:
        """The WebSocket is gone; ``None``: without a close frame."""
        code = None if code is None else int(code)
        self._write("lost", {"code": code, "reason": reason})

    def _write(self, event: str, more: dict[str, Any]) -> None:
        at = round(self._clock() + self._offset, 6)
        self._wire.write({"time": at, **self._where, "event": event, **more})


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), default=str).encode() + b"\n"
