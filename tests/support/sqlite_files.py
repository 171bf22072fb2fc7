"""What tests of SQLiteStore share."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reliable_ws.store import Apply, Change, Run
from reliable_ws.stores import SQLiteStore

ID = b"a" * 16
OTHER = b"b" * 16


def change(first=None, count=1, *, session=ID, facts=b"facts", data=b"data", **more) -> Change:
    run = None if first is None else Run(first, count, data)
    return Change(session, facts, run, **more)


def keep(store: SQLiteStore, *changes: Change) -> None:
    """Submit and wait; raises what the store says."""
    answers: queue.Queue[Any] = queue.Queue()
    store.submit(changes, answers.put)
    error = answers.get(timeout=60)
    if error is not None:
        raise error


def apply(store: SQLiteStore, work: Callable[[Any], Any], **more) -> Any:
    answers: queue.Queue[Any] = queue.Queue()
    store.apply(Apply(ID, work, **more), lambda *answer: answers.put(answer))
    value, error = answers.get(timeout=60)
    if error is not None:
        raise error
    return value


def content(path: Path) -> dict[str, bytes]:
    """The bytes of a file and of all that is beside it."""
    return {found.name: found.read_bytes() for found in path.parent.glob(path.name + "*")}
