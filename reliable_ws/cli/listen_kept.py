"""``listen --store``: each message once in the output file, also when this process is killed.

Theory of operation. What arrives is written to the output and flushed. Then one commit of the store
notes how long the output is with it, and up to which number the session has been written. Only then
the messages are confirmed. A process that died in between has left a tail that nobody noted: the
next one cuts it off, and the messages come again. If it died behind the commit, they come again as
well, and are not written: their numbers are noted.

That is so for regular files only. Standard output and pipes cannot be cut: there a message may come
out twice, and that is said.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any

from reliable_ws.aio.connection import Connection
from reliable_ws.aio.receiver import Delivery
from reliable_ws.protocol.errors import ConfirmTooLate, StoreError
from reliable_ws.stores import SQLiteStore

from .common import UNDELIVERED, Failure, complain
from .listener import Listener, left_of
from .sink import Sink

__all__ = ["KeptListener"]

_TABLES = (
    "CREATE TABLE IF NOT EXISTS cli_output (path TEXT PRIMARY KEY, size INTEGER) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS cli_written (session BLOB PRIMARY KEY, number INTEGER)",
)


class KeptListener(Listener):
    """Writes what all sessions receive, and notes in their store what it has written."""

    def __init__(
        self, sink: Sink, store: SQLiteStore, *, synced: bool, late: float, once: bool
    ) -> None:
        """``synced``: what is noted is on the disk, and not only in the system's memory."""
        super().__init__(sink, late=late, once=once)
        self._store = store
        self._synced = synced
        self._path = os.path.realpath(sink.name)
        self._writing = asyncio.Lock()
        self._is_as_noted = False
        self._prepare()

    def _prepare(self) -> None:
        """Make the output what the store says that it is."""
        living = [stored.session for stored in self._store.open()]
        size = self.sink.size if self.sink.is_file else None
        noted = self._store.run(partial(_begin, living=living, path=self._path, size=size))
        if size is None or noted is None:
            return
        name = self.sink.name
        if size < noted and self.sink.is_new:
            complain(f"{name} is no longer there: it begins anew")
        elif size < noted:
            raise Failure(
                f"{name} has {size:,} bytes, and {noted:,} were written and confirmed: somebody "
                f"has cut it, or the machine was switched off. Move it away to begin a new one"
            )
        elif size > noted:
            complain(f"{name}: cut back by {size - noted:,} bytes, which will come again")
            self.sink.cut(noted)

    async def _copy(self, conn: Connection) -> None:
        if self.sink.is_file:
            written = await asyncio.to_thread(self._store.run, partial(_number, session=conn.id))
        else:
            written = 0
        batch: list[Delivery] = []
        left = 0  # messages known to be queued
        async for delivery in conn.deliveries():
            batch.append(delivery)
            left -= 1
            if left <= 0:
                left = left_of(conn, batch)
            if left > 0:
                continue
            try:
                if self.sink.is_file:
                    written = await self._write_once(conn, batch, written)
                else:
                    self._write_at_least_once(batch)
            except ConfirmTooLate:
                self.too_late()
                return
            except StoreError as error:
                self.fail(conn, str(error))
                return
            batch.clear()

    def fail(self, conn: Connection, why: str) -> None:
        """Stop: what arrives cannot be written any more. The next process goes on."""
        del conn
        complain(why)
        self.code = UNDELIVERED
        self.stopping.set()

    async def _write_once(self, conn: Connection, batch: list[Delivery], written: int) -> int:
        fresh = [delivery for delivery in batch if delivery.number > written]
        if fresh:
            last = fresh[-1]
            async with self._writing:
                if self.code == UNDELIVERED:
                    return written
                if not self._is_as_noted:
                    noted = await asyncio.to_thread(
                        self._store.run, partial(_size, path=self._path)
                    )
                    if noted is not None and noted < self.sink.size:
                        self.sink.cut(noted)
                self._is_as_noted = False  # until all of this has come to its end
                self.sink.write([delivery.message for delivery in fresh])
                if self._synced:
                    await asyncio.to_thread(self.sink.sync)
                note = partial(
                    _note,
                    path=self._path,
                    size=self.sink.size,
                    session=conn.id,
                    number=last.number,
                )
                # Not confirm(apply=) of the last one: what is confirmed out of order is not handed
                # over again after a crash, and would be missing from the count of what is queued.
                await asyncio.to_thread(self._store.run, note)
                self._is_as_noted = True
            self.written += len(fresh)
            written = last.number
        for delivery in batch:
            delivery.confirm()  # again: no effect
        return written

    def _write_at_least_once(self, batch: list[Delivery]) -> None:
        again = [delivery.number for delivery in batch if delivery.redelivered]
        if again:
            complain(
                f"messages {again[0]:,} to {again[-1]:,} of a session were handed over before: "
                f"they may be in the output twice"
            )
        self.write(batch)


# Work for the store.


def _begin(db: Any, living: list[bytes], path: str, size: int | None) -> int | None:
    """Forget sessions that the store has forgotten, and return how long the output is.

    An output that the store has not had before is as long as the file is now (``size``): what the
    first messages add is a tail that nobody noted, until they are.
    """
    for table in _TABLES:
        db.execute(table)
    known = {session for (session,) in db.execute("SELECT session FROM cli_written")}
    gone = [(session,) for session in known.difference(living)]
    db.executemany("DELETE FROM cli_written WHERE session = ?", gone)
    if size is not None:
        db.execute("INSERT OR IGNORE INTO cli_output VALUES (?, ?)", (path, size))
    return _size(db, path)


def _size(db: Any, path: str) -> int | None:
    row = db.execute("SELECT size FROM cli_output WHERE path = ?", (path,)).fetchone()
    return None if row is None else row[0]


def _number(db: Any, session: bytes) -> int:
    row = db.execute("SELECT number FROM cli_written WHERE session = ?", (session,)).fetchone()
    return 0 if row is None else row[0]


def _note(db: Any, path: str, size: int, session: bytes, number: int) -> None:
    db.execute("INSERT OR REPLACE INTO cli_output VALUES (?, ?)", (path, size))
    db.execute("INSERT OR REPLACE INTO cli_written VALUES (?, ?)", (session, number))
