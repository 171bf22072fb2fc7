"""A store over a disk that the test owns: it can fail, stand still, and lose its power."""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path
from typing import Any

import apsw

from reliable_ws.stores import SQLiteStore

SECTOR = 512


class Disk(apsw.VFS):
    """Passes everything to the real disk, and writes down what it is told."""

    def __init__(self) -> None:
        self.name = f"disk{id(self)}"
        self.log: list[tuple[Any, ...]] = []
        self.broken = False
        self.go = threading.Event()
        self.go.set()
        super().__init__(self.name, "")

    def xOpen(self, name, flags):  # noqa: N802
        return DiskFile(self, name, flags)

    def xDelete(self, name, syncdir):  # noqa: N802
        self.log.append(("delete", Path(name).name))
        super().xDelete(name, syncdir)

    def image(
        self, directory: Path, upto: int, chance: random.Random, keeps: str | None = None
    ) -> None:
        """Write what a disk has that lost its power after so many steps of the log.

        What was synced is there. Of the rest each sector may be, or not, in any order. Files whose
        names begin with ``keeps`` are on another disk, which had power.
        """
        durable: dict[str, bytearray] = {}
        pending: dict[str, list[tuple[Any, ...]]] = {}
        for what, name, *rest in self.log[:upto]:
            if what == "delete":
                durable.pop(name, None)
                pending.pop(name, None)
            elif what == "sync":
                for step in pending.pop(name, ()):
                    _do(durable.setdefault(name, bytearray()), step)
            elif what in ("write", "truncate"):
                durable.setdefault(name, bytearray())
                pending.setdefault(name, []).append((what, *rest))
        for name, steps in pending.items():
            much = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
            if keeps is not None and name.startswith(keeps):
                much = 1.1
            for step in steps:
                if step[0] == "truncate":
                    if chance.random() < much:
                        _do(durable[name], step)
                    continue
                _what, offset, data = step
                for at in range(0, len(data), SECTOR):
                    if chance.random() < much:
                        _do(durable[name], ("write", offset + at, data[at : at + SECTOR]))
        for name, data in durable.items():
            (directory / name).write_bytes(data)


def _do(data: bytearray, step: tuple[Any, ...]) -> None:
    if step[0] == "truncate":
        del data[step[1] :]
        return
    _what, offset, new = step
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(new)] = new


class DiskFile(apsw.VFSFile):
    def __init__(self, disk, name, flags):
        self.disk = disk
        self.file = Path(name.filename() if hasattr(name, "filename") else str(name)).name
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802
        self.disk.log.append(("write", self.file, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size):  # noqa: N802
        self.disk.log.append(("truncate", self.file, size))
        super().xTruncate(size)

    def xSync(self, flags):  # noqa: N802
        self.disk.go.wait(60)
        if self.disk.broken:
            raise apsw.IOError("the disk of the test is broken")
        super().xSync(flags)
        self.disk.log.append(("sync", self.file))


class DiskStore(SQLiteStore):
    """A store on such a disk."""

    def __init__(self, path, disk: Disk, **options) -> None:
        super().__init__(path, **options)
        self.disk = disk

    def _connect(self, path):
        return _Connection(apsw.Connection(path, vfs=self.disk.name))


def _calling(call, *arguments):
    try:
        return call(*arguments)
    except apsw.Error as exc:
        error = sqlite3.OperationalError(str(exc))
        error.sqlite_errorcode = getattr(exc, "extendedresult", sqlite3.SQLITE_IOERR)
        error.sqlite_errorname = type(exc).__name__
        raise error from exc


class _Rows(list):
    """What is used of :class:`sqlite3.Cursor`."""

    rowcount = -1
    lastrowid = None

    def __init__(self, cursor):
        try:
            self.description = cursor.description
        except apsw.ExecutionCompleteError:  # it gave no rows
            self.description = None
        super().__init__(cursor)

    def fetchone(self):
        return self[0] if self else None

    def fetchall(self):
        return self


class _Connection:
    """What the store uses of :class:`sqlite3.Connection`."""

    def __init__(self, connection):
        self._connection = connection
        self.set_authorizer = connection.set_authorizer
        self.interrupt = connection.interrupt

    def execute(self, sql, parameters=()):
        return _calling(lambda: _Rows(self._connection.execute(sql, parameters)))

    def executemany(self, sql, parameters):
        return _calling(lambda: _Rows(self._connection.executemany(sql, list(parameters))))

    executescript = execute

    @property
    def in_transaction(self):
        return self._connection.in_transaction

    @property
    def total_changes(self):
        return self._connection.total_changes()

    def close(self):
        _calling(self._connection.close)
