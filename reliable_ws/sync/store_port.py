"""The way from sessions among threads to a store, and back.

Theory of operation. A store blocks, and has a thread of its own. What changed is handed to it by
the thread that changed it, with the session's lock held: :meth:`StorePort.submit` does not block.
The store answers from its thread, which takes the lock then. It holds no lock of its own meanwhile,
and nobody waits for a store with the session's lock held. So neither waits for the other.

A store may answer before ``submit`` returns. Such an answer is taken behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.errors import StoreError
from reliable_ws.protocol.stored import Change, Stored
from reliable_ws.store import Apply, Store

from .timers import start
from .waiters import acquire

__all__ = ["StorePort"]

Done = Callable[[StoreError | None], None]
Applied = Callable[[Any, BaseException | None], None]

WAITS_FOR_ITSELF = (
    "the work of apply= runs in the store's thread, and cannot wait for the store: "
    "send and confirm elsewhere"
)


class StorePort:
    """Hands changes to one store, for the sessions under one lock."""

    __slots__ = ("_at_once", "_lock", "_submitting", "_working", "store")

    def __init__(self, store: Store, lock: threading.Lock) -> None:
        self.store = store
        self._lock = lock
        self._submitting = 0  # the thread that is in submit(), which holds the lock
        self._at_once: list[tuple[Done, StoreError | None]] = []  # answers to that
        self._working: set[int] = set()  # threads that do work of the application

    def open(self) -> Sequence[Stored]:
        """Open the store, and return what it has. Without lock.

        Raises:
            StoreError: It cannot be opened.
        """
        return self.store.open()

    def find(self, key: str, by: float) -> tuple[bytes, int, bytes] | None:
        """Return the session, the number and the session's facts of a key. Without lock.

        Raises:
            TimeoutError: The store has not answered by then.
        """
        if by == NEVER:
            return self.store.find(key)
        found: list[tuple[bytes, int, bytes] | None] = []
        errors: list[Exception] = []
        working = threading.Lock()
        working.acquire()

        def ask() -> None:  # a disk that hangs is left behind
            try:
                found.append(self.store.find(key))
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                errors.append(error)
            finally:
                working.release()

        start(ask)
        if not acquire(working, by):
            raise TimeoutError(f"the store has not looked for the key {key!r} in time")
        if errors:
            raise errors[0]
        return found[0]

    def submit(self, change: Change, done: Done) -> None:
        """Have a change kept. Call it with the lock held; ``done`` is called with the lock held."""
        self._submitting = threading.get_ident()
        try:
            self.store.submit((change,), partial(self._answered, done))
        except StoreError as error:  # it was closed
            self._at_once.append((done, error))
        finally:
            self._submitting = 0
        while self._at_once:
            answer, said = self._at_once.pop(0)
            answer(said)

    def _answered(self, done: Done, error: StoreError | None) -> None:
        if self._submitting == threading.get_ident():
            self._at_once.append((done, error))
            return
        with self._lock:
            done(error)

    def apply(self, apply: Apply, done: Applied) -> None:
        """Have the application's work done by the store. Without lock; so is ``done`` called."""
        try:
            self.store.apply(apply._replace(work=partial(self._work, apply.work)), done)
        except StoreError as error:  # it was closed
            done(None, error)

    def _work(self, work: Callable[[Any], Any], database: Any) -> Any:
        me = threading.get_ident()
        self._working.add(me)
        try:
            return work(database)
        finally:
            self._working.discard(me)

    def check_thread(self) -> None:
        """Raise ``RuntimeError`` in the work of ``apply=``, which must not wait for the store."""
        if self._working and threading.get_ident() in self._working:
            raise RuntimeError(WAITS_FOR_ITSELF)
