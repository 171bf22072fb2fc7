"""A disk that is soon full: a file system in memory. Only root may mount one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["make_room", "small_disk"]


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """Make this directory one on a disk of so many megabytes; skip the test where none can be."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True)
    except OSError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("only root may mount")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def make_room(directory: Path) -> None:
    """Let that disk have 32 MB."""
    subprocess.run(["mount", "-o", "remount,size=32m", str(directory)], check=True)
