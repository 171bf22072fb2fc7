"""What a durable session needs of a store: take what changed, say when it is kept.

A store keeps sessions beyond the death of a process. :class:`~reliable_ws.SQLiteStore` is one. A
store is opened by one process at a time. It works in the background: :meth:`Store.submit` returns
at once, and the driver goes on. What is not kept yet is not said to the peer (protocol.md,
"Stores").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from reliable_ws.histogram import Histogram
from reliable_ws.protocol.errors import (
    KeyExists,
    NotAStore,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreInUse,
    StoreTooNew,
)
from reliable_ws.protocol.stored import Change, KeptSend, Run, Stored

__all__ = [
    "Apply",
    "Change",
    "KeptSend",
    "KeyExists",
    "NotAStore",
    "Run",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreInUse",
    "StoreStats",
    "StoreTooNew",
    "Stored",
]


class Apply(NamedTuple):
    """Work of the application that is kept together with what the session says of it."""

    session: bytes
    work: Callable[[Any], Any]
    """Called in the store's thread with the database, inside a savepoint. If it raises, the
    savepoint is undone, and nothing of this is kept."""
    delivery: int | None = None
    "Note that the delivery of this number is confirmed,"
    send: bytes | None = None
    "or note this packed message as a kept send,"
    key: str | None = None
    "with this key."


class StoreStats(NamedTuple):
    """What a store has done in this process, for metrics: a store may have it as ``stats``."""

    commit_seconds: Histogram
    "How long commits took, with the writing before each."
    changes: int
    "Changes that were kept: many go in one commit."
    refused: int
    "Commits that were undone, as there was no room on the disk."
    waiting: int
    "Changes that wait for the next commit."
    waiting_seconds: float
    "For how long the thread has worked on what it does now; 0.0: it has nothing to do."
    file_bytes: int
    "Bytes of the file, with what SQLite keeps beside it."


@runtime_checkable
class Store(Protocol):
    """Keeps sessions. Every method may be called from any thread, :meth:`open` first.

    What is submitted first is kept first: when a change is said to be kept, so is everything that
    was submitted before it.
    """

    def open(self) -> Sequence[Stored]:
        """Take the store for this process, and return what it has. It may block.

        A second call returns the same again, as the store has it now.

        Raises:
            StoreError: It cannot be opened; the subclass says why.
        """
        raise NotImplementedError

    @property
    def alive_at(self) -> float | None:
        """When the last process that had it was seen alive (seconds since 1970).

        ``None``: it is new. Sessions that had a WebSocket then were in contact until that time.
        """
        raise NotImplementedError

    @property
    def uncertain(self) -> bool:
        """Whether the last things that were said to be kept may be missing (a power cut)."""
        raise NotImplementedError

    def submit(self, changes: Sequence[Change], done: Callable[[StoreError | None], None]) -> None:
        """Keep these changes together. ``done`` is called once, from any thread, when they are.

        Called with ``None``: they are kept. With :class:`StoreFull`: none of them is, and the same
        may be submitted again. With another error: that is not known, and nothing more is kept.
        """

    def apply(self, apply: Apply, done: Callable[[Any, BaseException | None], None]) -> None:
        """Run the application's work, and keep it together with what the session says of it.

        ``done`` is called once, from any thread: with what the work returned and ``None``; for a
        send with the pair of its row and that; or with ``None`` and what was raised. With
        :class:`KeyExists` the work was not run. With :class:`StoreFull` it was undone, and the same
        may be asked for again.
        """

    def find(self, key: str) -> tuple[bytes, int, bytes] | None:
        """Return the session, the number and the session's facts of a key. It may block.

        The number is 0 for a kept send. ``None``: no message with this key was ever kept, or it
        was forgotten.
        """

    def close(self) -> None:
        """Keep what was submitted, and let another process have the store. It may block.

        A second call has no effect.
        """
