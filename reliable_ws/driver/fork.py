"""A process that was forked has copies of its parent's connections: they must not be used.

Both would send under the same numbers. So in the child every connection has ended, quietly: the
parent's WebSockets are left alone.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session

__all__ = ["end_in_child", "watch_forks"]


class Forkable(Protocol):
    """What drives a session."""

    def after_fork(self) -> None:
        """Take no part any more: the session goes on in the parent process."""


_drivers: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch_forks(driver: Forkable) -> None:
    """Have it told when it finds itself in a child process."""
    _drivers.add(driver)


def end_in_child(session: Session) -> None:
    """End the child's copy of a session; every use of it says why."""
    session.link = None  # else it would be told to the peer
    words = "this is a forked process: connections can be used only in the one that made them"
    session.end(0.0, Ending(End.LOST, 1006, words))
    if session.durable is not None:
        session.durable.closed = True  # the store is the parent's


def _in_child() -> None:
    for driver in list(_drivers):
        driver.after_fork()
    _drivers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
