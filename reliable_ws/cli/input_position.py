"""How far the input of a named session was accepted, kept in its store.

Theory of operation. Each line is one message, so the store itself says how many lines were
accepted: as many as the session has messages. What it does not say is which input they were of. So
there is one row for each name: *message* ``number`` *of* ``session`` *is line* ``lines`` *of the
input, and the input has* ``size`` *bytes up to there, with this checksum*. The row is written
together with a message, at the end of each piece that was read. The messages behind it are the
lines behind it.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from zlib import crc32

__all__ = ["Position", "read", "write"]

_TABLE = (
    "CREATE TABLE IF NOT EXISTS cli_input (name TEXT PRIMARY KEY, session BLOB, number INTEGER, "
    "lines INTEGER, size INTEGER, crc INTEGER) WITHOUT ROWID"
)


class Position(NamedTuple):
    """A place in the input."""

    session: bytes
    number: int
    "Messages that the session had accepted by then."
    lines: int = 0
    "Lines of the input up to there."
    size: int = 0
    "Bytes of the input up to there."
    crc: int = 0
    "CRC of these bytes."

    def behind(self, line: bytes) -> Position:
        """Return the place behind the next line, which is the next message."""
        return Position(
            self.session,
            self.number + 1,
            self.lines + 1,
            self.size + len(line),
            crc32(line, self.crc),
        )


def read(db: Any, name: str) -> Position | None:
    """Return the place that was written last. Work for the store."""
    db.execute(_TABLE)
    row = db.execute(
        "SELECT session, number, lines, size, crc FROM cli_input WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None else Position(*row)


def write(db: Any, name: str, position: Position) -> None:
    """Write a place. Work for the store."""
    db.execute("INSERT OR REPLACE INTO cli_input VALUES (?, ?, ?, ?, ?, ?)", (name, *position))
