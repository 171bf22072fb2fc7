"""The file of a store: how it is opened, what is in it, and what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from reliable_ws.store import (
    NotAStore,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreInUse,
    StoreTooNew,
)

from . import holder
from .guard import code_of

__all__ = [
    "APPLICATION_ID",
    "MIGRATIONS",
    "PAGE",
    "VERSION",
    "Survives",
    "check_header",
    "close_without_checkpoint",
    "connect",
    "corrupt",
    "explain",
    "prepare",
]

Survives = Literal["process", "power"]

APPLICATION_ID = 0x72774C31
"It stands in the header of every store, at byte 68."

PAGE = 8192
"Size of a page. Measured: a third faster than 4096 with long runs, and no slower with short ones."

VERSION = 1
"Of the schema. It stands in the header, at byte 60."

# `no` numbers sessions, `row` numbers runs: they are small, and the ids and numbers of the protocol
# are not. Rows are found by what the ledger holds in memory, so runs need no index.
_SCHEMA = """
CREATE TABLE rws_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE rws_sessions (
    no INTEGER PRIMARY KEY,
    session BLOB NOT NULL UNIQUE,
    facts BLOB NOT NULL,
    crc INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    until REAL,
    uncertain INTEGER NOT NULL
);
CREATE TABLE rws_runs (
    row INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE rws_sends (
    row INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    key TEXT,
    crc INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE rws_applied (
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (session, number)
) WITHOUT ROWID;
CREATE TABLE rws_keys (
    key TEXT PRIMARY KEY,
    session INTEGER NOT NULL,
    number INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX rws_keys_of_session ON rws_keys (session, number);
"""

MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""From a version to the next. Each is called in the transaction that also sets the version."""


def check_header(path: str, size: int, header: bytes) -> None:
    """Look at the first bytes of a file, before SQLite may write to it.

    Raises:
        NotAStore: It is something else.
        StoreCorrupt: It has lost its beginning.
        StoreTooNew: A newer release wrote it.
    """
    if size == 0:
        if _size(path + "-wal") > 0:
            raise StoreCorrupt(
                f"{path}: the file is empty, but {path}-wal is not: its content was lost. Nothing "
                f"was written to it. Restore both from a backup, or remove both to begin anew"
            )
        return
    if _unborn(path + "-journal"):
        return
    if header[:16] != b"SQLite format 3\0":
        raise NotAStore(
            f"{path}: this is no SQLite database, so it is no store. Nothing was written to it. "
            f"Name another file"
        )
    if len(header) < holder.HEADER:
        raise corrupt(path, f"it ends after {size} bytes")
    found = int.from_bytes(header[68:72], "big")
    _check_kind(path, found, int.from_bytes(header[60:64], "big"))


def _check_kind(path: str, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        raise NotAStore(
            f"{path}: this is an SQLite database of another program (application_id {application}),"
            f" and no store. Nothing was written to it. Name another file"
        )
    if version > VERSION:
        raise StoreTooNew(
            f"{path}: it has version {version} of the schema, and this release knows {VERSION}. "
            f"Nothing was written to it. Install the release that wrote it, or a newer one"
        )


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _unborn(journal: str) -> bool:
    """Say whether the making of a store was cut off: SQLite will undo it, and the file is empty."""
    try:
        with Path(journal).open("rb") as file:
            head = file.read(20)
    except OSError:
        return False
    return head[:8] == bytes.fromhex("d9d505f920a163d7") and head[16:20] == bytes(4)


def corrupt(path: str, what: str) -> StoreCorrupt:
    """Return the error that says what is damaged, and what can be done."""
    return StoreCorrupt(
        f"{path}: damaged: {what}. Nothing was written to it. Restore it from a backup; or look at "
        f"what can still be read with `python -m reliable_ws store FILE`, then remove it to begin "
        f"anew"
    )


def explain(path: str, exc: sqlite3.Error, *, opening: bool = False) -> StoreError:
    """Return what a user can act on. ``opening``: this process has no lock on the file."""
    code = code_of(exc)
    said = f"{exc} ({getattr(exc, 'sqlite_errorname', type(exc).__name__)})"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        pid = holder.lock_holder(path) if opening else None
        who = f"process {pid}" if pid is not None else "another process"
        real = os.path.realpath(path)
        return StoreInUse(
            f"{path}: {who} has it open ({real}). A store belongs to one process at a time: end "
            f"that one first, or name another file"
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"{path}: no room on the disk. What was to be kept was not. Make room: the store goes "
            f"on when there is some"
        )
    if code == sqlite3.SQLITE_NOTADB:
        return NotAStore(f"{path}: {said}. Nothing was written to it. Name another file")
    if code == sqlite3.SQLITE_CORRUPT:
        return corrupt(path, said)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            f"{path}: {said}. A store writes to its file and beside it: let this user write to "
            f"both it and {Path(path).parent}"
        )
    return StoreFailed(
        f"{path}: {said}. What is on the disk is not known. Look at the disk, then open the store "
        f"again: sessions go on from what is kept"
    )


def connect(path: str) -> sqlite3.Connection:
    """Return a connection to a file that exists. Nothing is read yet."""
    return sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=256)


def close_without_checkpoint(connection: sqlite3.Connection, path: str) -> None:
    """Close, and write nothing: what is in the WAL stays there."""
    if _size(path + "-wal") == 0:
        connection.close()  # there is nothing to write, and the empty WAL goes
        return
    if hasattr(connection, "setconfig"):  # from Python 3.12 on
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # type: ignore[attr-defined,unused-ignore]  # noqa: FBT003
    # Without it: a checkpoint that is interrupted ends before its first page.
    connection.interrupt()
    connection.close()


def prepare(
    connection: sqlite3.Connection, path: str, survives: Survives, *, exclusive: bool
) -> None:
    """Lock the file, make or migrate its schema.

    Raises:
        StoreError: The subclass says why.
        sqlite3.Error: What SQLite says.
    """
    run = connection.execute
    if exclusive:
        # Before the WAL is first used: then SQLite keeps the WAL's index in memory, makes no -shm
        # file, and nobody else can read or write.
        run("PRAGMA locking_mode=EXCLUSIVE")
    run("PRAGMA trusted_schema=OFF")
    run("PRAGMA cache_size=-16384")
    # Some builds of SQLite overwrite with zeros what is deleted, which doubles what is written.
    run("PRAGMA secure_delete=OFF")
    if survives == "power" and sys.platform == "darwin":
        run("PRAGMA fullfsync=ON")
        run("PRAGMA checkpoint_fullfsync=ON")
    run("PRAGMA synchronous=EXTRA")
    if run("PRAGMA page_count").fetchone() == (0,):
        run("PRAGMA busy_timeout=500")  # another process may be looking as well
        run(f"PRAGMA page_size={PAGE}")
        run("BEGIN")
        run("PRAGMA auto_vacuum=INCREMENTAL")  # writes: so in the transaction, but first
    else:
        run("BEGIN EXCLUSIVE")
    with _transaction(connection):
        if run("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    run(statement)
            run(f"PRAGMA application_id={APPLICATION_ID}")
            run(f"PRAGMA user_version={VERSION}")
    run("PRAGMA busy_timeout=0")
    (application,) = run("PRAGMA application_id").fetchone()
    (version,) = run("PRAGMA user_version").fetchone()
    _check_kind(path, application, version)
    if version < VERSION:
        _migrate(connection, path, version)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Commit what was begun, or undo it."""
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def begin(connection: sqlite3.Connection, path: str) -> None:
    """Go over to the WAL. Every commit is still waited for."""
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"{path}: no WAL can be used here (SQLite says {mode}). Name a file on a local disk"
        )
    connection.execute("PRAGMA synchronous=FULL")
    # An automatic checkpoint does not say that it failed, so the ledger does it.
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA journal_size_limit=67108864")


def _migrate(connection: sqlite3.Connection, path: str, version: int) -> None:
    """Bring an older schema to this version, all of it or nothing, after a copy of the file."""
    run = connection.execute
    # Not in the WAL: a release that does not know the new version sees it in the header at once.
    run("PRAGMA journal_mode=DELETE").fetchone()
    _copy(connection, path, version)
    run("BEGIN EXCLUSIVE")
    with _transaction(connection):
        for number in range(version, VERSION):
            MIGRATIONS[number](connection)
        run(f"PRAGMA user_version={VERSION}")


def _copy(connection: sqlite3.Connection, path: str, version: int) -> None:
    """Copy the file beside itself. A copy of this name that exists is of an earlier attempt."""
    name = f"{path}.version{version}"
    unfinished = name + "-unfinished"
    Path(unfinished).unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    copy = sqlite3.connect(unfinished)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    Path(unfinished).replace(name)
