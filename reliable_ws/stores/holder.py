"""Which process has a file, and which boot of the machine this is."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from reliable_ws.store import StoreError, StoreInUse

__all__ = ["Taken", "boot_id", "in_this_process", "lock_beside", "lock_holder", "release", "take"]

HEADER = 100
"A file of SQLite begins with so many bytes of header."

# SQLite's locks: PENDING, RESERVED, and 510 bytes of SHARED (its unix VFS).
LOCK_BYTES = (0x40000000, 512)

FileId = tuple[int, int]

# POSIX drops every lock that a process has on a file when it closes any descriptor of that file. So
# a file that is in this table is never opened a second time by this process.
_taken: dict[FileId, str] = {}
_lock = threading.Lock()


class Taken(NamedTuple):
    """A file that this process will open."""

    id: FileId
    size: int
    header: bytes


def _file_id(path: str) -> FileId | None:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def take(path: str) -> Taken:
    """Note that this process opens the file, making an empty one if it is absent; read its header.

    Raises:
        StoreInUse: A store of this process has it, perhaps by another path.
        StoreError: It cannot be read and written.
    """
    with _lock:
        try:
            there = _file_id(path)
            if there in _taken:
                raise StoreInUse(
                    f"{path}: another store of this process (pid {os.getpid()}) has it open, as "
                    f"{_taken[there]}. Use that one, or close it first"
                )
            # What waits to be sent is as private as what is sent.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            try:
                found = os.fstat(descriptor)
                header = os.read(descriptor, HEADER)
            finally:
                os.close(descriptor)
        except OSError as exc:
            raise StoreError(f"{path}: {exc.strerror}. {_remedy(exc, path)}") from exc
        file_id = (found.st_dev, found.st_ino)
        _taken[file_id] = path
        return Taken(file_id, found.st_size, header)


def _remedy(exc: OSError, path: str) -> str:
    parent = Path(path).parent
    if isinstance(exc, FileNotFoundError):
        return f"Make the directory {parent} first"
    if isinstance(exc, IsADirectoryError):
        return "Name a file in it"
    return f"A store writes to its file and beside it: let this user write to both it and {parent}"


def lock_beside(path: str) -> int:
    """Lock a file beside a store that lets others read, and return its descriptor.

    Raises:
        StoreInUse: Another process has the store.
        StoreError: There are no such locks here.
    """
    try:
        import fcntl
    except ImportError as exc:
        raise StoreError(f"{path}: shared=True needs file locks that this system lacks") from exc
    descriptor = os.open(path + "-lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        pid = os.read(descriptor, 20).decode("ascii", "replace") or "unknown"
        os.close(descriptor)
        raise StoreInUse(
            f"{path}: process {pid} has it open ({os.path.realpath(path)}). A store belongs to one "
            f"process at a time: end that one first, or name another file"
        ) from exc
    os.truncate(descriptor, 0)
    os.write(descriptor, b"%d" % os.getpid())
    return descriptor


def release(file_id: FileId) -> None:
    """The file is closed."""
    with _lock:
        _taken.pop(file_id, None)


def in_this_process(path: str) -> bool:
    """Say whether a store of this process has the file open, by whatever path."""
    with _lock, contextlib.suppress(OSError):
        return _file_id(path) in _taken
    return False


def lock_holder(path: str) -> int | None:
    """Return the process that keeps others from the file; ``None`` where that cannot be known.

    It must not be called while this process has the file open: see ``_taken``.
    """
    if sys.platform == "win32" or struct.calcsize("P") != 8:
        return None
    import fcntl

    start, length = LOCK_BYTES
    if sys.platform == "linux":
        layout, ask, where = "hhqqi", (fcntl.F_WRLCK, os.SEEK_SET, start, length, 0), 4
    elif sys.platform == "darwin":
        layout, ask, where = "qqihh", (start, length, 0, fcntl.F_WRLCK, os.SEEK_SET), 2
    else:
        return None
    try:
        with Path(path).open("rb") as file:
            asked = struct.pack(layout, *ask)
            answer = struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return None
    pid: int = answer[where]
    free = (answer[0] if where == 4 else answer[3]) == fcntl.F_UNLCK
    # 0 or below: a process of another container, or one on another machine.
    return None if free or pid <= 0 else pid


def boot_id() -> str | None:
    """Return what is different after every start of the machine; ``None`` where nothing says it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    if sys.platform == "darwin":
        return _sysctl(b"kern.bootsessionuuid")
    return None


def _sysctl(name: bytes) -> str | None:
    import ctypes

    value = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(value))
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).sysctlbyname(name, value, ctypes.byref(size), None, 0) == 0:
            return value.value.decode("ascii") or None
    return None


def _in_child() -> None:
    # The parent has them. A second opening in the child meets the parent's lock.
    global _lock  # noqa: PLW0603 - another thread may have held it at the moment of the fork
    _lock = threading.Lock()
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
