"""Stores: where sessions are kept beyond the death of a process.

``sqlite`` has the handle that applications make, and its thread. ``ledger`` writes and reads the
rows, ``file`` opens the file and knows its schema, ``guard`` is what the work of an application may
do, ``holder`` knows which process has a file. ``examine`` looks at a file for the command line.
Only the last two steps before SQLite import ``sqlite3``: a program without a store never loads it.
"""

from __future__ import annotations

from .sqlite import SQLiteStore

__all__ = ["SQLiteStore"]
