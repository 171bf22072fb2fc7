"""Sockets of this process."""

from __future__ import annotations

import contextlib
from pathlib import Path


def open_sockets() -> int:
    """How many sockets this process has; 0 where the system does not tell."""
    count = 0
    fds = Path("/proc/self/fd")
    for fd in fds.iterdir() if fds.is_dir() else ():
        with contextlib.suppress(OSError):  # the one that lists them
            count += str(fd.readlink()).startswith("socket:")
    return count
