"""A look at the file of a store, for the command line: nothing is written, and nobody is disturbed.

A store that is open has its file locked. So the bytes are copied, and the copy is looked at.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from reliable_ws.store import Stored, StoreError, StoreInUse

from . import file, holder
from .ledger import read_sessions

__all__ = ["Examined", "examine"]

READ_TRIES = 20


class Examined(NamedTuple):
    """What a file has."""

    path: str
    size: int
    "Of the file, and of its WAL."
    version: int
    "Of the schema."
    survives: str | None
    "The level with which it was opened last."
    alive_at: float | None
    "When the process that has it, or had it, was seen alive (seconds since 1970)."
    clean: bool
    "Whether it was closed in order."
    holder: int | None
    "The process that has it open, where that can be known."
    sessions: tuple[tuple[Stored, float | None], ...]
    "Each with the time at which it will be forgotten; ``None`` while it lives."
    damage: tuple[str, ...]
    "What is wrong. Empty: the file is whole."


def examine(path: str) -> Examined:
    """Read and check a file. Another process may have it open.

    Raises:
        StoreInUse: A store of this process has it open. Ask that one.
        NotAStore: It is a file of something else.
        StoreCorrupt: It has lost its beginning.
        StoreTooNew: A newer release of this library wrote it.
        StoreError: It cannot be read, or it changed whenever it was looked at.
    """
    if holder.in_this_process(path):
        raise StoreInUse(f"{path}: a store of this process has it open. Ask that one, or close it")
    with tempfile.TemporaryDirectory(prefix="reliable-ws-") as directory:
        copy = str(Path(directory, "store"))
        try:
            header = _copy(path, copy)
        except OSError as exc:
            raise StoreError(f"{path}: {exc.strerror}") from exc
        size = sum(found.stat().st_size for found in Path(directory).iterdir())
        if size == 0:
            return Examined(path, size, 0, None, None, False, holder.lock_holder(path), (), ())  # noqa: FBT003
        file.check_header(path, Path(copy).stat().st_size, header)
        with closing(sqlite3.connect(copy)) as connection:
            return _read(path, size, connection)


def _read(path: str, size: int, connection: sqlite3.Connection) -> Examined:
    run = connection.execute
    damage: list[str] = []
    sessions: list[tuple[Stored, float | None]] = []
    meta: dict[str, object] = {}
    version = 0
    try:
        (version,) = run("PRAGMA user_version").fetchone()
        damage += [row[0] for row in run("PRAGMA integrity_check(20)") if row[0] != "ok"]
        meta = dict(run("SELECT name, value FROM main.rws_meta").fetchall())
        sessions, wrong = read_sessions(connection)
        damage += wrong
    except sqlite3.Error as exc:
        damage.append(str(exc))
    survives, alive = meta.get("survives"), meta.get("alive_at")
    return Examined(
        path,
        size,
        version,
        survives if isinstance(survives, str) else None,
        alive if isinstance(alive, float) else None,
        bool(meta.get("clean")),
        holder.lock_holder(path),
        tuple(sessions),
        tuple(damage),
    )


def _copy(path: str, copy: str) -> bytes:
    """Copy the file and its WAL as they are at one moment, and return the file's header.

    Pages change in the file while its WAL still has them. So both belong together if the WAL did
    not begin anew between the two copies: then its salts are others.
    """
    for _try in range(READ_TRIES):
        before = _salts(path)
        shutil.copyfile(path, copy)
        wal = Path(copy + "-wal")
        wal.unlink(missing_ok=True)
        try:
            shutil.copyfile(path + "-wal", wal)
        except FileNotFoundError:
            pass
        if _salts(path) == before:
            with Path(copy).open("rb") as made:
                return made.read(holder.HEADER)
    raise StoreError(f"{path}: it changed each time it was read. Try again")


def _salts(path: str) -> bytes:
    try:
        with Path(path + "-wal").open("rb") as wal:
            return wal.read(32)[16:24]
    except FileNotFoundError:
        return b""
