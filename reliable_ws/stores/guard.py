"""What the work of an application may do in the store's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reliable_ws.store import StoreError

__all__ = ["PREFIX", "Guard", "Rows", "Transaction", "stops_the_store"]

PREFIX = "rws_"
"Tables of the store. Every other name belongs to the application."

Parameters = Sequence[Any] | Mapping[str, Any]

# It was not the statement: the file or the disk has failed.
_FATAL = frozenset(
    (
        sqlite3.SQLITE_INTERNAL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    )
)

_READS = frozenset((sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION))

_REFUSED = {
    sqlite3.SQLITE_TRANSACTION: "the transaction is the store's, and begins and ends by itself",
    sqlite3.SQLITE_SAVEPOINT: "the savepoint is the store's: raise an exception to undo the work",
    sqlite3.SQLITE_ATTACH: "a power cut may keep one file and not the other",
    sqlite3.SQLITE_DETACH: "there is one file",
}

# Those that only tell something.
_PRAGMAS = frozenset(
    (
        "collation_list",
        "compile_options",
        "foreign_key_list",
        "foreign_keys",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "table_info",
        "table_list",
        "table_xinfo",
    )
)
_WITH_VALUE = frozenset(name for name in _PRAGMAS if name.endswith(("_info", "_list", "_xinfo")))


def code_of(exc: sqlite3.Error) -> int:
    """Return SQLite's primary code of an error; 0 if the error did not come from SQLite."""
    code: int = getattr(exc, "sqlite_errorcode", 0)
    return code & 0xFF


def stops_the_store(exc: sqlite3.Error) -> bool:
    """Say whether an error concerns the file, and not the statement."""
    return code_of(exc) in _FATAL


class Guard:
    """SQLite's authorizer: it is asked about every statement while it is compiled.

    It stays installed: to change the authorizer would have SQLite compile every statement again.
    """

    def __init__(self) -> None:
        self.on = False
        self.reason = ""

    def __call__(
        self, action: int, one: str | None, two: str | None, _file: str | None, _by: str | None
    ) -> int:
        """Answer SQLite."""
        if not self.on or action in _READS:
            return sqlite3.SQLITE_OK
        reason = _REFUSED.get(action)
        if reason is None and action == sqlite3.SQLITE_PRAGMA:
            name = (one or "").lower()
            if name not in _PRAGMAS or (two is not None and name not in _WITH_VALUE):
                reason = f"PRAGMA {one} is the store's to set"
        elif reason is None:
            for name in (one or "", two or ""):
                if name.lower().startswith(PREFIX):
                    reason = f"{name}: names that begin with {PREFIX} are the store's own"
        if reason is None:
            return sqlite3.SQLITE_OK
        self.reason = reason
        return sqlite3.SQLITE_DENY


class Rows:
    """What a statement returned: its rows are tuples, and have all been read.

    Attributes:
        columns: The names of the columns.
        rowcount: How many rows were changed; -1 for a statement that changes none.
        lastrowid: The row that was inserted last, or ``None``.
    """

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._rows: list[tuple[Any, ...]] = cursor.fetchall()
        self._next = 0
        description = cursor.description
        self.columns: tuple[str, ...] = tuple(column[0] for column in description or ())
        self.rowcount: int = cursor.rowcount
        self.lastrowid: int | None = cursor.lastrowid

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows that were not fetched yet."""
        while self._next < len(self._rows):
            self._next += 1
            yield self._rows[self._next - 1]

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or ``None``."""
        return next(iter(self), None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that were not fetched yet."""
        return list(self)


class Transaction:
    """What the application's work is called with: SQL in the store's running transaction.

    It can be used until the work returns, in the thread in which the work is called.
    """

    def __init__(self, connection: sqlite3.Connection, guard: Guard) -> None:
        self._connection = connection
        self._guard = guard
        self.broken: sqlite3.Error | None = None
        "An error that undid the whole transaction, whatever the work made of it."

    def execute(self, sql: str, parameters: Parameters = (), /) -> Rows:
        """Run one statement.

        Raises:
            StoreError: The statement is not for the application: it would end the transaction,
                attach a file, or change a table or a setting of the store.
            sqlite3.Error: What SQLite says of the statement.
        """
        return self._run(self._connection.execute, sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Parameters], /) -> Rows:
        """Run one statement with each of these parameters.

        Raises:
            StoreError: As :meth:`execute`.
            sqlite3.Error: What SQLite says of the statement.
        """
        return self._run(self._connection.executemany, sql, parameters)

    def _run(self, run: Any, sql: str, parameters: Any) -> Rows:
        if not self._guard.on:
            raise StoreError("the work of apply= has returned: its database is no longer there")
        if self.broken is not None:
            raise self.broken
        self._guard.reason = ""
        try:
            # The line feed: the text shall not be that of a statement of the store, which has been
            # compiled, and is not looked at by the guard again.
            return Rows(run(sql + "\n", parameters))
        except sqlite3.Error as exc:
            if stops_the_store(exc) or not self._connection.in_transaction:
                self.broken = exc
            if self._guard.reason:
                raise StoreError(f"refused in apply=: {self._guard.reason}") from exc
            raise
