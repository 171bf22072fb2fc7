"""What is kept, as rows: written in groups, read when a store is opened.

Only the thread of the store is in here. The ledger holds in memory which rows each session has, so
that nothing has to be looked for: no other process can change them.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from zlib import crc32

from reliable_ws.store import Apply, Change, KeptSend, KeyExists, Run, Stored, StoreError

from . import file, holder
from .guard import Guard, Transaction, code_of

__all__ = ["Ledger", "WorkRaised", "read_sessions"]

CHECKPOINT = 16 << 20
"""After so many bytes the WAL is brought into the file, and begins anew. Less, and messages that
will be confirmed in a moment are written twice; more, and the disk and the next start pay."""

KEYS_AT_ONCE = 1024
"Keys of a session that lives are forgotten in runs: so many messages later than they could be."

SPARE = 1024
"Free pages that a file keeps for the next messages."

_INSERT_RUN = (
    "INSERT INTO main.rws_runs (row, session, entries, first, count, crc, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_DELETE_RUN = "DELETE FROM main.rws_runs WHERE row = ?"
_INSERT_SESSION = (
    "INSERT INTO main.rws_sessions (no, session, facts, crc, confirmed, until, uncertain) "
    "VALUES (?, ?, ?, ?, ?, ?, 0)"
)
_UPDATE_SESSION = (
    "UPDATE main.rws_sessions SET facts = ?, crc = ?, confirmed = ?, until = ? WHERE no = ?"
)
# A key is the first one's. The number of a kept send becomes known when it is a message.
_INSERT_KEY = (
    "INSERT INTO main.rws_keys (key, session, number) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
    "SET number = excluded.number WHERE number = 0 AND session = excluded.session"
)
_FIND = (
    "SELECT s.session, k.number, s.facts, s.crc FROM main.rws_keys AS k "
    "JOIN main.rws_sessions AS s ON s.no = k.session WHERE k.key = ?"
)
# Those of kept sends have the number 0.
_DELETE_KEYS = "DELETE FROM main.rws_keys WHERE session = ? AND number BETWEEN 1 AND ?"
_META = "INSERT OR REPLACE INTO main.rws_meta (name, value) VALUES (?, ?)"


def run_crc(run: Run) -> int:
    """Return the checksum of a run. It covers the numbers too."""
    return crc32(run.data, crc32(b"%d %d" % (run.first, run.length)))


class WorkRaised(Exception):
    """The work of the application raised ``args[0]``."""


class _Rows:
    """The rows of one session."""

    __slots__ = ("applied", "confirmed", "entries", "keys_from", "messages", "no", "until")

    def __init__(self, no: int) -> None:
        self.no = no
        self.messages: deque[tuple[int, int]] = deque()
        "Number of the last message, and the row, of each run."
        self.entries: deque[tuple[int, int]] = deque()
        self.applied: set[int] = set()
        self.confirmed = 0
        self.keys_from = 0
        "Keys of messages up to this number were forgotten."
        self.until: float | None = None


class Ledger:
    """An open file.

    Raises:
        StoreError: It cannot be opened; the subclass says why. Nothing stays open.
    """

    def __init__(
        self,
        path: str,
        survives: file.Survives,
        connect: Callable[[str], sqlite3.Connection],
        *,
        exclusive: bool = True,
    ) -> None:
        self.path = path
        self.alive_at: float | None = None
        self.uncertain = False
        self.sessions: dict[bytes, _Rows] = {}
        self._ended: dict[bytes, None] = {}
        "Those that have ended; the first one first."
        self._most_ended: int | None = None
        self._next_no = self._next_row = self._next_send = 1
        self._told: set[int] = set()
        "Sessions that may lack something, and have gone on since they were read."
        self._written = 0
        self._noted = 0.0
        self._beside: int | None = None
        taken = holder.take(path)
        self._file = taken.id
        try:
            if not exclusive:
                self._beside = holder.lock_beside(path)
            file.check_header(path, taken.size, taken.header)
            self._open(survives, connect, exclusive=exclusive)
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        holder.release(self._file)
        if self._beside is not None:
            os.close(self._beside)

    # -- opening and closing

    def _open(
        self,
        survives: file.Survives,
        connect: Callable[[str], sqlite3.Connection],
        *,
        exclusive: bool,
    ) -> None:
        connection = None
        try:
            self.connection = connection = connect(self.path)
            self.guard = Guard()
            file.prepare(connection, self.path, survives, exclusive=exclusive)
            self.stored = self.load()
            file.begin(connection, self.path)
            self._begin(survives)
            if survives == "process":
                # Not before: what the file says of this process must be there after a power cut.
                connection.execute("PRAGMA synchronous=NORMAL")
            connection.set_authorizer(self.guard)
        except BaseException as exc:
            if connection is not None:
                file.close_without_checkpoint(connection, self.path)
            if isinstance(exc, sqlite3.Error):
                raise file.explain(self.path, exc, opening=True) from exc
            raise

    def _begin(self, survives: file.Survives) -> None:
        """Say in the file that this process has it, and find out how the one before ended."""
        run = self.connection.execute
        meta = dict(run("SELECT name, value FROM main.rws_meta").fetchall())
        boot = holder.boot_id()
        lost = (
            meta.get("survives") == "process"
            and not meta.get("clean")
            and (boot is None or meta.get("boot") != boot)
        )
        self.alive_at = meta.get("alive_at")
        run("BEGIN IMMEDIATE")
        if lost:
            run("UPDATE main.rws_sessions SET uncertain = 1")
            self.stored = [stored._replace(uncertain=True) for stored in self.stored]
        self.uncertain = lost or any(stored.uncertain for stored in self.stored)
        self._note(("boot", boot), ("clean", 0), ("survives", survives), ("alive_at", time.time()))
        self._forget_ended(time.time())
        run("COMMIT")
        self.stored = [stored for stored in self.stored if stored.session in self.sessions]

    def load(self) -> list[Stored]:
        """Return every session, and remember where its rows are.

        Raises:
            StoreCorrupt: A checksum is wrong, or something is missing.
        """
        found, damage = read_sessions(self.connection)
        if damage:
            raise file.corrupt(self.path, damage[0])
        self._index()
        return [stored for stored, _until in found]

    def _index(self) -> None:
        run = self.connection.execute
        self.sessions = {}
        rows: dict[int, _Rows] = {}
        for no, session, confirmed, until in run(
            "SELECT no, session, confirmed, until FROM main.rws_sessions"
        ):
            self.sessions[session] = rows[no] = _Rows(no)
            rows[no].confirmed, rows[no].until = confirmed, until
            self._next_no = max(self._next_no, no + 1)
        for row, no, entries, first, count in run(
            "SELECT row, session, entries, first, count FROM main.rws_runs ORDER BY row"
        ):
            known = rows[no]
            (known.entries if entries else known.messages).append((first + count - 1, row))
            self._next_row = max(self._next_row, row + 1)
        for no, number in run("SELECT session, number FROM main.rws_applied"):
            rows[no].applied.add(number)
        ended = [session for session, known in self.sessions.items() if known.until is not None]
        ended.sort(key=lambda session: self.sessions[session].until or 0.0)
        self._ended = dict.fromkeys(ended)
        (last,) = run("SELECT max(row) FROM main.rws_sends").fetchone()
        self._next_send = max(self._next_send, (last or 0) + 1)

    def close(self, *, clean: bool) -> None:
        """Close the file; ``clean``: say in it that nothing was lost, and give space back.

        Raises:
            StoreError: It could not be written.
        """
        try:
            if clean:
                self._end()
                self.connection.close()
                return
        except sqlite3.Error as exc:
            file.close_without_checkpoint(self.connection, self.path)
            raise file.explain(self.path, exc) from exc
        else:
            file.close_without_checkpoint(self.connection, self.path)
        finally:
            self._release()

    def _end(self) -> None:
        run = self.connection.execute
        run("BEGIN IMMEDIATE")
        # Those that were told once, and went on.
        self.connection.executemany(
            "UPDATE main.rws_sessions SET uncertain = 0 WHERE no = ?",
            [(no,) for no in self._told],
        )
        self._note(("clean", 1), ("alive_at", time.time()))
        run("COMMIT")
        self.checkpoint()
        self.give_back(lambda: False)

    def _note(self, *facts: tuple[str, Any]) -> None:
        self.connection.executemany(_META, facts)

    # -- a group of commits

    def begin(self) -> None:
        """Begin a group."""
        self._facts: dict[_Rows, bytes] = {}
        self._inserts: list[tuple[int, int, int, int, int, int, bytes]] = []
        self._deletes: list[tuple[int]] = []
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Keep the group."""
        many = self.connection.executemany
        if self._facts:
            many(
                _UPDATE_SESSION,
                [
                    (facts, crc32(facts), known.confirmed, known.until, known.no)
                    for known, facts in self._facts.items()
                ],
            )
        if self._inserts:
            many(_INSERT_RUN, self._inserts)
        if self._deletes:
            many(_DELETE_RUN, self._deletes)
        if self._most_ended is not None and len(self._ended) > self._most_ended:
            self._delete([*self._ended][: len(self._ended) - self._most_ended])
        now = time.time()
        if not 0.0 <= now - self._noted < 1.0:
            self._note(("alive_at", now))
            self._noted = now
        self.connection.execute("COMMIT")
        # About what this has added to the WAL; pages are written whole.
        self._written += sum(len(row[6]) for row in self._inserts)
        self._written += file.PAGE * (4 + len(self._facts) + len(self._inserts))

    def undo(self) -> None:
        """Undo the group."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._index()

    def change(self, change: Change) -> None:
        """Keep what one session wants kept."""
        # The session's own row: a new one now, that of a known one with the commit.
        known = self.sessions.get(change.session)
        if known is None:
            known = self._new(change)
        else:
            self._facts[known] = change.facts
        if self.uncertain:
            self._told.add(known.no)
        known.until = change.until
        if change.until is not None:
            self._ended[change.session] = None
            self._most_ended = change.most_ended
        known.confirmed = max(known.confirmed, change.confirmed)
        # A row for the new messages, and one for the new entries of calls.
        for kind, run in ((0, change.messages), (1, change.entries)):
            if run is not None:
                row = self._next_row
                self._next_row += 1
                self._inserts.append(
                    (row, known.no, kind, run.first, run.length, run_crc(run), run.data)
                )
                (known.entries if kind else known.messages).append((run.last, row))
        # What the peer has confirmed, or received, is forgotten.
        self._forget(known.messages, change.confirmed)
        self._forget(known.entries, change.received)
        # Keys; those of confirmed messages go later, many in one statement.
        run_many = self.connection.executemany
        if change.keys:
            run_many(_INSERT_KEY, [(key, known.no, number) for key, number in change.keys])
        if change.keys_upto >= known.keys_from + KEYS_AT_ONCE:
            self.connection.execute(_DELETE_KEYS, (known.no, change.keys_upto))
            known.keys_from = change.keys_upto
        # Messages that apply= has kept and that have their numbers now.
        if change.sends:
            run_many("DELETE FROM main.rws_sends WHERE row = ?", [(row,) for row in change.sends])
        # Deliveries that were confirmed ahead, once everything before them is.
        if known.applied and min(known.applied) <= change.taken:
            self.connection.execute(
                "DELETE FROM main.rws_applied WHERE session = ? AND number <= ?",
                (known.no, change.taken),
            )
            known.applied = {number for number in known.applied if number > change.taken}

    def _new(self, change: Change) -> _Rows:
        known = self.sessions[change.session] = _Rows(self._next_no)
        self._next_no += 1
        self.connection.execute(
            _INSERT_SESSION,
            (
                known.no,
                change.session,
                change.facts,
                crc32(change.facts),
                change.confirmed,
                change.until,
            ),
        )
        return known

    def _forget(self, runs: deque[tuple[int, int]], upto: int) -> None:
        while runs and runs[0][0] <= upto:
            self._deletes.append((runs.popleft()[1],))

    def apply(self, apply: Apply) -> Any:
        """Run the application's work, and note the delivery or the send.

        Raises:
            KeyExists: There is a message with this key. The work was not run.
            WorkRaised: What the work raised is in it. The work is undone.
            StoreError: There is no such session, or the delivery was applied before.
            sqlite3.Error: The whole group is undone.
        """
        known = self.sessions.get(apply.session)
        if known is None:
            raise StoreError(f"{self.path}: it has no session {apply.session.hex()}")
        if apply.delivery in known.applied:
            raise StoreError(f"{self.path}: delivery {apply.delivery} was applied before")
        if apply.key is not None:
            found = self.find(apply.key)
            if found is not None:
                raise KeyExists(apply.key, found)
        run = self.connection.execute
        run("SAVEPOINT rws")
        value = self._work(apply.work)
        if apply.delivery is not None:
            run("INSERT INTO main.rws_applied VALUES (?, ?)", (known.no, apply.delivery))
        if apply.send is not None:
            row = self._next_send
            run(
                "INSERT INTO main.rws_sends (row, session, key, crc, data) VALUES (?, ?, ?, ?, ?)",
                (row, known.no, apply.key, crc32(apply.send), apply.send),
            )
            self._next_send += 1
            if apply.key is not None:
                run(_INSERT_KEY, (apply.key, known.no, 0))
            self._written += len(apply.send)
            value = (row, value)
        run("RELEASE rws")
        if apply.delivery is not None:
            known.applied.add(apply.delivery)
        return value

    def run(self, work: Callable[[Any], Any]) -> Any:
        """Run work of the application that belongs to no session.

        Raises:
            WorkRaised: What the work raised is in it. The work is undone.
            sqlite3.Error: The whole group is undone.
        """
        self.connection.execute("SAVEPOINT rws")
        value = self._work(work)
        self.connection.execute("RELEASE rws")
        return value

    def _work(self, work: Callable[[Any], Any]) -> Any:
        connection = self.connection
        before = connection.total_changes
        database = Transaction(connection, self.guard)
        self.guard.on = True
        try:
            value = work(database)
        except BaseException as exc:
            self.guard.on = False
            if database.broken is not None:
                raise database.broken from None
            connection.execute("ROLLBACK TO rws")
            connection.execute("RELEASE rws")
            raise WorkRaised(exc) from exc
        finally:
            self.guard.on = False
            self._written += file.PAGE * (connection.total_changes - before)
        if database.broken is not None:
            raise database.broken
        return value

    # -- reading

    def find(self, key: str) -> tuple[bytes, int, bytes] | None:
        """Return whose message has this key, its number, and the facts of that session."""
        row = self.connection.execute(_FIND, (key,)).fetchone()
        if row is None:
            return None
        session, number, facts, crc = row
        if crc32(facts) != crc:
            raise file.corrupt(self.path, f"facts of session {session.hex()}, in rws_sessions")
        return session, number, facts

    # -- housekeeping

    def tick(self) -> None:
        """Note that this process is alive, and forget what is past its time."""
        now = time.time()
        self.connection.execute("BEGIN IMMEDIATE")
        self._note(("alive_at", now))
        self._noted = now
        self._forget_ended(now)
        self.connection.execute("COMMIT")
        self._written += 4 * file.PAGE

    def _forget_ended(self, now: float) -> None:
        """Forget sessions that ended too long ago."""
        past = [
            session
            for session in self._ended
            if (until := self.sessions[session].until) is not None and until <= now
        ]
        if past:
            self._delete(past)

    def _delete(self, ended: list[bytes]) -> None:
        """Delete all rows of sessions that have ended."""
        numbers = [(self.sessions[session].no,) for session in ended]
        for table, column in (
            ("keys", "session"),
            ("runs", "session"),
            ("sends", "session"),
            ("applied", "session"),
            ("sessions", "no"),
        ):
            self.connection.executemany(
                f"DELETE FROM main.rws_{table} WHERE {column} = ?",  # noqa: S608 - ours
                numbers,
            )
        for session in ended:
            del self.sessions[session], self._ended[session]

    def tidy(self) -> None:
        """Bring the WAL into the file when it has grown."""
        if self._written >= CHECKPOINT:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Bring the WAL into the file: the next commit begins it anew.

        Without room nothing is lost: it is tried again when more was written.
        """
        self._written = 0
        try:
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as exc:
            if code_of(exc) != sqlite3.SQLITE_FULL:
                raise

    def give_back(self, stop: Callable[[], bool]) -> None:
        """Shorten the file by what is free, in steps, until somebody wants something."""
        run = self.connection.execute
        for _step in range(64):
            (free,) = run("PRAGMA main.freelist_count").fetchone()
            if free <= SPARE or stop():
                return
            # This statement gives back a page each time it is stepped; only a script steps it on.
            script = f"PRAGMA main.incremental_vacuum({min(free - SPARE, 1024)})"
            self.connection.executescript(script)
            self.checkpoint()


def read_sessions(
    connection: sqlite3.Connection,
) -> tuple[list[tuple[Stored, float | None]], list[str]]:
    """Return every session with the time until which it is kept, and what is damaged."""
    # What belongs to each session, by the number of its row.
    damage: list[str] = []
    runs, sends = _read_runs(connection, damage), _read_sends(connection, damage)
    keys: dict[int, list[tuple[str, int]]] = {}
    applied: dict[int, list[int]] = {}
    run = connection.execute
    for no, number in run("SELECT session, number FROM main.rws_applied ORDER BY session, number"):
        applied.setdefault(no, []).append(number)
    for key, no, number in run(
        "SELECT k.key, k.session, k.number FROM main.rws_keys AS k JOIN main.rws_sessions AS s "
        "ON s.no = k.session WHERE k.number > s.confirmed ORDER BY k.number"
    ):
        keys.setdefault(no, []).append((key, number))
    # The sessions themselves. What belongs to none is damage.
    found: list[tuple[Stored, float | None]] = []
    owners = {no for no, _entries in runs} | set(sends) | set(applied)
    for no, session, facts, crc, until, uncertain in run(
        "SELECT no, session, facts, crc, until, uncertain FROM main.rws_sessions ORDER BY no"
    ):
        if crc32(facts) != crc:
            damage.append(f"the checksum of row {no} of rws_sessions is wrong")
        owners.discard(no)
        stored = Stored(
            session,
            facts,
            tuple(runs.get((no, 0), ())),
            tuple(runs.get((no, 1), ())),
            tuple(keys.get(no, ())),
            tuple(sends.get(no, ())),
            tuple(applied.get(no, ())),
            bool(uncertain),
        )
        found.append((stored, until))
    damage += [f"row {no} of rws_sessions is missing" for no in sorted(owners)]
    return found, damage


def _read_runs(
    connection: sqlite3.Connection, damage: list[str]
) -> dict[tuple[int, int], list[Run]]:
    """Return messages (0) and entries of calls (1), by their session's row and this number."""
    runs: dict[tuple[int, int], list[Run]] = {}
    for row, no, entries, first, count, crc, data in connection.execute(
        "SELECT row, session, entries, first, count, crc, data FROM main.rws_runs ORDER BY row"
    ):
        made = Run(first, count, data)
        before = runs.setdefault((no, entries), [])
        if run_crc(made) != crc:
            damage.append(f"the checksum of row {row} of rws_runs is wrong")
        elif before and before[-1].last + 1 != first:
            damage.append(f"row {row} of rws_runs does not follow what is before it")
        before.append(made)
    return runs


def _read_sends(connection: sqlite3.Connection, damage: list[str]) -> dict[int, list[KeptSend]]:
    """Return messages that ``apply=`` has kept and that have no number yet."""
    sends: dict[int, list[KeptSend]] = {}
    for row, no, key, crc, data in connection.execute(
        "SELECT row, session, key, crc, data FROM main.rws_sends ORDER BY row"
    ):
        if crc32(data) != crc:
            damage.append(f"the checksum of row {row} of rws_sends is wrong")
        sends.setdefault(no, []).append(KeptSend(row, data, key))
    return sends
