"""A file that keeps messages, one with each commit, and nothing else of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

__all__ = ["BareStore"]


class BareStore:
    """A file with the settings of a store. Close it; any one thread at a time may call it."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        run = self._connection.execute
        for pragma in (
            "locking_mode=EXCLUSIVE",
            "page_size=8192",
            "journal_mode=WAL",
            "synchronous=FULL",
        ):
            run(f"PRAGMA {pragma}").fetchall()
        run("CREATE TABLE IF NOT EXISTS messages (number INTEGER PRIMARY KEY, data BLOB)")

    def keep(self, payload: bytes) -> None:
        """Return when a power cut cannot take this message any more."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        run("INSERT INTO messages (data) VALUES (?)", (payload,))
        run("COMMIT")

    def close(self) -> None:
        self._connection.close()
