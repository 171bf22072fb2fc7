"""SQLiteStore: sessions in a file, written by a thread of its own."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from reliable_ws.histogram import Histogram
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import (
    Apply,
    Change,
    Stored,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreStats,
)

if TYPE_CHECKING:
    import sqlite3

    from .file import Survives
    from .ledger import Ledger

__all__ = ["SQLiteStore"]

logger = logging.getLogger("reliable_ws")

TICK = 10.0
"So often a store says in its file that its process is alive."

EXIT = 30.0
"A store that was not closed has so long when the interpreter exits."

# The WAL-reset fault: a checkpoint of one connection and a write of another may lose data.
_FAULTY = ((3, 7, 0), (3, 51, 2))
_WITHDRAWN = (3, 52, 0)
_MENDED = ((3, 44, 6), (3, 50, 7))
_SAFE = "3.51.3 and later (without 3.52.0), 3.50.7, 3.44.6"

T = TypeVar("T")
Done = Callable[[StoreError | None], None]
Applied = Callable[[Any, BaseException | None], None]


class SQLiteStore:
    """Sessions in a file.

    What was accepted is in the file before the peer sees any of it. So a process that dies, and
    is started again with the same file, goes on with the same sessions.

    Args:
        path: The file. It is made if it is absent, for this user only. SQLite keeps a second file
            beside it while the store is open, ``FILE-wal``: both belong together.
        survives: ``"power"``, the default: what was accepted survives the death of the process,
            of the system and a power cut, on a disk that keeps what it says it has kept.
            ``"process"``: it survives the death of the process. A power cut, or the death of the
            system, may lose the last moments; sessions are then restored as *uncertain*.
        shared: Let other processes read the file while it is open, as tools for backups do. It
            needs an SQLite without the WAL-reset fault. Without it the file is locked.

    A store is opened by one process at a time, and by one store of it. Connections open it, or
    :meth:`open` does. Every method may be called from any thread. A ``with`` statement opens the
    store, and closes it.

    One thread writes, and commits once for all that was submitted while the commit before it ran.
    When there is no room on the disk, what was submitted is refused with
    :class:`~reliable_ws.StoreFull`, and the store goes on when there is room. When the disk fails,
    the store stops: everything is answered with :class:`~reliable_ws.StoreFailed`.

    A process that was forked cannot use the stores of its parent. The parent goes on.

    A store that was not closed closes when the interpreter exits: what was submitted is kept, if
    the disk takes it within 30 seconds.

    Source: protocol.md, "Stores".

    Raises:
        TypeError: ``path`` is no path.
        ValueError: ``path`` is empty or names no file, or ``survives`` is neither of the two.
        StoreError: ``shared``, and the SQLite of this Python has the WAL-reset fault, or this
            Python has no SQLite.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        survives: Survives = "power",
        shared: bool = False,
    ) -> None:
        name = os.fspath(path)
        if not isinstance(name, str):
            raise TypeError(f"path must be str, or give one, not {type(name).__name__}")
        if not name or name == ":memory:" or "\0" in name:
            raise ValueError(f"path must name a file, not {name!r}")
        if survives not in ("process", "power"):
            raise ValueError(f"survives must be 'process' or 'power', not {survives!r}")
        if shared:
            _refuse_faulty()
        self._path = os.path.abspath(name)  # noqa: PTH100 - Path.absolute keeps ".."
        self._survives: Survives = survives
        self._shared = shared
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()  # None is the last one
        self._put_in = self._taken_out = 0  # changes
        self._thread: threading.Thread | None = None
        self._closing = False
        self._failed: StoreFailed | None = None
        self._forked = False
        self._alive_at: float | None = None
        self._uncertain = False
        self._since: float | None = None
        self._close_error: StoreError | None = None
        self._commit_seconds = Histogram()
        self._changes = self._refused = 0
        self._connection: Any = None

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._path} survives={self._survives!r}>"

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._path

    @property
    def alive_at(self) -> float | None:
        """When the last process that had it was seen alive (seconds since 1970).

        ``None``: it is new, or was not opened yet. It is right within about a second, and within
        ten seconds for a process that had nothing to keep.
        """
        return self._alive_at

    @property
    def uncertain(self) -> bool:
        """Whether the last things that were said to be kept may be missing.

        They may where the file was last written with ``survives="process"``, was not closed, and
        the machine was started since, or it cannot be known whether it was. A session is uncertain
        until a store that has kept something of it is closed in order.
        """
        return self._uncertain

    @property
    def waiting_since(self) -> float | None:
        """When the work that the thread does now began (:func:`time.monotonic`).

        ``None`` while it has nothing to do. A disk that does not answer is seen here: nothing that
        was submitted after this time is kept before the work ends.
        """
        return self._since

    @property
    def stats(self) -> StoreStats:
        """What it has done since it was made: for metrics, which read it with their server's.

        It may be read in any thread, and asks the file system how large the file is.
        """
        since = self._since
        size = 0
        for path in (self._path, f"{self._path}-wal"):
            with suppress(OSError):
                size += os.stat(path).st_size  # noqa: PTH116 - the path is a str
        return StoreStats(
            self._commit_seconds.copy(),
            self._changes,
            self._refused,
            self._put_in - self._taken_out,
            0.0 if since is None else time.monotonic() - since,
            size,
        )

    def open(self) -> Sequence[Stored]:
        """Take the file for this process, and return what it has. It blocks while it reads.

        A second call returns the same again, as the store has it now. A store that was closed can
        be opened again.

        Returns:
            Every session, in the order in which they were first kept.

        Raises:
            StoreInUse: Another process, or another store of this one, has it open.
            NotAStore: It is a file of something else.
            StoreCorrupt: It is damaged.
            StoreTooNew: A newer release of this library wrote it.
            StoreFull: There is no room to make it.
            StoreFailed: Reading or writing failed.
            StoreError: It cannot be read and written by this user; or this is a forked process; or
                it is called by the work of ``apply=``.
        """
        self._check_thread()
        with self._opening:
            if self._thread is not None:
                again: list[Stored] = self._ask(lambda ledger: ledger.load())
                return again
            _warn_of_fault()
            answer = _Answer()
            self._queue = SimpleQueue()
            self._closing = False
            self._failed = self._close_error = None
            self._thread = threading.Thread(
                target=self._run,
                args=(answer,),
                name=f"reliable_ws store {self._path}",
                daemon=True,
            )
            try:
                self._thread.start()
                stored: list[Stored] = answer.wait()
            except BaseException:
                self._stop()  # Ctrl-C: it may be open
                if self._thread.ident is not None:
                    self._thread.join()
                self._thread = None
                raise
            _open_stores.add(self)
            return stored

    def submit(self, changes: Sequence[Change], done: Done) -> None:
        """Keep these changes together. It does not block.

        Args:
            changes: Each of a session; of one session in order.
            done: Called once, in the store's thread: with ``None`` when they are kept, with
                :class:`StoreFull` when none of them is, and with :class:`StoreFailed` when that is
                not known. It must return soon.

        Raises:
            StoreError: The store is not open, or this is a forked process.
        """
        self._put(_Submitted(changes, done))

    def apply(self, apply: Apply, done: Applied) -> None:
        """Run the application's work, and keep it together with what the session says of it.

        The work is called in the store's thread with an object that has ``execute(sql,
        parameters)`` and ``executemany(sql, parameters)``. Both return the rows. The application's
        tables are in the same file; names that begin with ``rws_`` are the store's own. Statements
        that begin or end a transaction, attach a file, or set something are refused. The work
        should be short: every session waits for it. It must not call this store.

        Args:
            apply: The work, and what it belongs to.
            done: Called once, in the store's thread. See :meth:`reliable_ws.store.Store.apply`.

        Raises:
            StoreError: The store is not open, or this is a forked process.
        """
        self._put(_Work(lambda ledger: ledger.apply(apply), done))

    def run(self, work: Callable[[Any], T], /) -> T:
        """Run work of the application in a commit, and return what it returned. It blocks.

        It is for tables of the application that are in the same file: to make them, and to read
        them, before there is a session or beside one. The work is called as that of ``apply=``: in
        the store's thread, in order with everything that was submitted before. If it raises,
        nothing of it is kept. In an event loop: ``await asyncio.to_thread(store.run, work)``.

        Raises:
            StoreFull: There is no room on the disk. The work was undone.
            StoreFailed: The store has stopped. It is not known whether the work was kept.
            StoreError: It is not open, this is a forked process, or it is called by the work of
                ``apply=``.
            TypeError: ``work`` is no plain function.
            Exception: What the work raised.
        """
        given: object = work
        if not callable(given) or inspect.iscoroutinefunction(given):
            raise TypeError(f"work must be a plain function, called with the database: {work!r}")
        self._check_thread()
        answer = _Answer()
        self._put(_Work(lambda ledger: ledger.run(work), answer.settle))
        value: T = answer.wait()
        return value

    def find(self, key: str) -> tuple[bytes, int, bytes] | None:
        """Return the session, the number and the session's facts of a key. It blocks.

        Everything that was submitted before is looked at. The number is 0 for a send that was
        kept with ``apply=`` and is no message yet. ``None``: no message with this key was ever
        kept, or it was forgotten with its session.

        Raises:
            StoreFailed: The store has stopped.
            StoreError: It is not open, this is a forked process, or it is called by the work of
                ``apply=``.
        """
        self._check_thread()
        found: tuple[bytes, int, bytes] | None = self._ask(lambda ledger: ledger.find(key))
        return found

    def outcome(self, key: str) -> Outcome | None:
        """Return what is known of the message with this key. It waits for the file.

        ``KEPT`` means that it is not confirmed as far as the file says: the session goes on, in
        this process or the next one that opens it. ``None``: no message with this key was kept,
        or it was forgotten (``Config.stored_ttl``).

        Raises:
            StoreError: The store is not open, or cannot be read.
        """
        found = self.find(key)
        return None if found is None else StoredSession.outcome_of(found[2], found[1])

    def close(self) -> None:
        """Keep what was submitted, and let another process have the file. It blocks until then.

        A second call has no effect, nor has one in a forked process. Called in the store's thread
        (by a ``done``), it does not wait.

        Raises:
            StoreError: The file could not be closed in order. What was said to be kept is kept.
        """
        self._close(None)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- for the other threads

    def _connect(self, path: str) -> sqlite3.Connection:
        """Tests replace it."""
        from .file import connect

        return connect(path)

    def _check_thread(self) -> None:
        if self._forked:
            raise StoreError(
                f"{self._path}: this is a forked process, and the file belongs to its parent. Make "
                f"a store of its own, with another file"
            )
        if threading.current_thread() is self._thread:
            raise StoreError(f"{self._path}: the store's own thread cannot wait for it")

    def _put(self, item: _Item) -> None:
        if self._forked:
            self._check_thread()
        with self._lock:
            if self._thread is None or self._closing:
                raise StoreError(f"{self._path}: the store is not open")
            self._put_in += item.count
            self._queue.put(item)

    def _stop(self) -> None:
        """Have the thread end when it has done what is in the queue."""
        with self._lock:
            if not self._closing:
                self._closing = True
                self._queue.put(None)

    def _ask(self, question: Callable[[Ledger], Any]) -> Any:
        answer = _Answer()
        self._put(_Question(question, answer))
        return answer.wait()

    def _close(self, timeout: float | None) -> None:
        if self._forked:
            return
        thread = self._thread
        if thread is None:
            return
        self._stop()
        if threading.current_thread() is thread:
            return
        thread.join(timeout)
        if thread.is_alive():
            logger.error("%s: the disk did not take what was submitted", self._path)
            return
        with self._lock:
            self._thread = None
            error, self._close_error = self._close_error, None
        _open_stores.discard(self)
        if error is not None:
            raise error

    def _after_fork(self) -> None:
        _never_close(self._connection)
        self._forked = True
        self._thread = None

    # -- the thread

    def _run(self, opened: _Answer) -> None:
        try:
            ledger = self._open_ledger()
        except BaseException as exc:  # noqa: BLE001 - it comes out of open()
            opened.fail(exc)
            error = exc if isinstance(exc, StoreError) else self._failure(exc)
            while (items := self._next()) is not None:
                for item in items:
                    item.answer(error)
            self._since = None
            return
        self._alive_at, self._uncertain = ledger.alive_at, ledger.uncertain
        self._connection = ledger.connection
        stored, ledger.stored = ledger.stored, []
        opened.give(stored)
        del stored
        while (items := self._next()) is not None:
            try:
                if self._failed is None:
                    self._step(ledger, items)
                else:
                    for item in items:
                        item.answer(self._failed)
            except BaseException as exc:  # noqa: BLE001 - the thread goes on, and says so
                self._fail(exc, items)
        try:
            ledger.close(clean=self._failed is None)
        except BaseException as exc:  # noqa: BLE001 - it comes out of close()
            self._close_error = exc if isinstance(exc, StoreError) else self._failure(exc)
        finally:
            self._since = None
            self._connection = None

    def _next(self) -> list[_Item] | None:
        """Wait for work, at most :data:`TICK`, and return all there is; ``None``: the store closes.

        Who sends messages one by one waits for this: so it is a queue written in C that wakes the
        thread, and not a :class:`threading.Condition`.
        """
        queue = self._queue
        items: list[_Item] = []
        if queue.empty():
            self._since = None
        try:
            item = queue.get(timeout=TICK)
        except Empty:
            return items
        finally:
            self._since = time.monotonic()
        if item is None:
            return None
        while item is not None:
            items.append(item)
            self._taken_out += item.count
            if queue.empty():
                return items
            item = queue.get()
            if item is None:
                queue.put(None)  # for the next call
        return items

    def _open_ledger(self) -> Ledger:
        try:
            from .ledger import Ledger
        except ImportError as exc:
            raise StoreError(f"{self._path}: this Python was built without SQLite ({exc})") from exc
        return Ledger(self._path, self._survives, self._connect, exclusive=not self._shared)

    def _step(self, ledger: Ledger, items: list[_Item]) -> None:
        import sqlite3

        # Everything that was queued goes into one commit.
        writes = [item for item in items if item.writes]
        try:
            if writes:
                begun = time.monotonic()
                ledger.begin()
                for item in writes:
                    item.write(ledger)
                ledger.commit()
                self._commit_seconds.observe(time.monotonic() - begun)
                self._changes += sum(item.count for item in writes)
            elif not items:
                ledger.tick()
        except sqlite3.Error as exc:
            from .file import explain

            # A full disk refuses these changes, and the store goes on. Any other error ends it.
            error = explain(self._path, exc)
            if not isinstance(error, StoreFull):
                raise
            self._refused += 1
            ledger.undo()
            ledger.checkpoint()  # the WAL may have room when it begins anew
            for item in writes:
                item.answer(error)
        else:
            for item in writes:
                item.answer(None)
        # Those that only read see what was kept.
        for item in items:
            if not item.writes:
                item.write(ledger)
        # What can wait, once nobody does.
        ledger.tidy()
        if not items:
            ledger.give_back(lambda: not self._queue.empty())

    def _failure(self, exc: BaseException) -> StoreFailed:
        import sqlite3

        from .file import explain

        if isinstance(exc, sqlite3.Error):
            error = explain(self._path, exc)
            return error if isinstance(error, StoreFailed) else StoreFailed(str(error))
        return StoreFailed(f"{self._path}: {exc!r}. Open the store again")

    def _fail(self, exc: BaseException, items: list[_Item]) -> None:
        """Stop for good: after a failed write nobody knows what the disk has."""
        self._failed = self._failure(exc)
        self._failed.__cause__ = exc
        logger.error("the store has stopped: %s", self._failed, exc_info=exc)
        for item in items:
            item.answer(self._failed)


class _Answer:
    """What one thread gives and another waits for."""

    def __init__(self) -> None:
        self._there = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def give(self, value: Any) -> None:
        self._value = value
        self._there.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._there.set()

    def settle(self, value: Any, error: BaseException | None) -> None:
        if error is not None:
            self.fail(error)
        else:
            self.give(value)

    def wait(self) -> Any:
        self._there.wait()
        if self._error is not None:
            raise self._error
        return self._value


class _Item:
    """Something for the thread to do."""

    writes = True
    count = 1
    "How many changes it keeps."
    answered = False

    def write(self, ledger: Ledger) -> None:
        raise NotImplementedError

    def tell(self, error: StoreError | None) -> None:
        raise NotImplementedError

    def answer(self, error: StoreError | None) -> None:
        """Tell whoever waits, once."""
        if self.answered:
            return
        self.answered = True
        try:
            self.tell(error)
        except BaseException:
            logger.exception("what is called when a store has kept something raised")


class _Submitted(_Item):
    def __init__(self, changes: Sequence[Change], done: Done) -> None:
        self.changes = changes
        self.count = len(changes)
        self.done = done

    def write(self, ledger: Ledger) -> None:
        for change in self.changes:
            ledger.change(change)

    def tell(self, error: StoreError | None) -> None:
        self.done(error)


class _Work(_Item):
    """Work of the application: alone, or together with what a session says of it."""

    def __init__(self, call: Callable[[Ledger], Any], done: Applied) -> None:
        self.call = call
        self.done = done
        self.value: Any = None
        self.raised: BaseException | None = None

    def write(self, ledger: Ledger) -> None:
        from .ledger import WorkRaised

        try:
            self.value = self.call(ledger)
        except WorkRaised as exc:
            self.raised = exc.args[0]
        except StoreError as exc:
            self.raised = exc

    def tell(self, error: StoreError | None) -> None:
        raised = error or self.raised
        self.done(None if raised is not None else self.value, raised)


class _Question(_Item):
    writes = False
    count = 0

    def __init__(self, question: Callable[[Ledger], Any], given: _Answer) -> None:
        self.question = question
        self.given = given

    def write(self, ledger: Ledger) -> None:
        self.answered = True
        try:
            self.given.give(self.question(ledger))
        except StoreError as exc:
            self.given.fail(exc)
        except BaseException:
            self.answered = False
            raise

    def tell(self, error: StoreError | None) -> None:
        assert error is not None  # noqa: S101 - questions are answered by write
        self.given.fail(error)


_open_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
_warned = False


def _faulty() -> bool:
    """Say whether the SQLite of this Python has the WAL-reset fault."""
    import sqlite3

    version = sqlite3.sqlite_version_info
    if any(version[:2] == mended[:2] and version >= mended for mended in _MENDED):
        return False
    return version == _WITHDRAWN or _FAULTY[0] <= version <= _FAULTY[1]


def _refuse_faulty() -> None:
    try:
        import sqlite3
    except ImportError as exc:
        raise StoreError(f"this Python was built without SQLite ({exc})") from exc
    if _faulty():
        raise StoreError(
            f"shared=True needs an SQLite without the WAL-reset fault, and this Python has "
            f"{sqlite3.sqlite_version}. Safe are {_SAFE}. Without shared the store is safe with any"
        )


def _warn_of_fault() -> None:
    global _warned  # noqa: PLW0603 - once for a process
    if _warned or not _faulty():
        return
    _warned = True
    import sqlite3

    logger.warning(
        "SQLite %s has the WAL-reset fault: two connections to one file can lose data. The store "
        "locks its file, so it is safe; do not get round the lock, as on a network file system "
        "without locks. SQLite without the fault: %s",
        sqlite3.sqlite_version,
        _SAFE,
    )


def _close_all() -> None:
    for store in list(_open_stores):
        try:
            store._close(EXIT)  # noqa: SLF001 - this module's own
        except StoreError:
            logger.exception("a store could not be closed in order")


def _in_child() -> None:
    for store in list(_open_stores):
        store._after_fork()  # noqa: SLF001 - this module's own
    _open_stores.clear()


def _never_close(connection: Any) -> None:
    """Let nothing close this: SQLite would write to the file of the parent, and unlock it."""
    try:
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    except (ImportError, AttributeError):
        # The thread that had it does not exist in this process, and its variables are never freed.
        pass


# Daemon threads still run while these functions do, and everything else has ended by then.
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
