"""Threads for the handlers of requests: as many as run at once, kept for a while."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

from .timers import start

__all__ = ["work"]

Work = Callable[[], object]

IDLE_TIMEOUT = 10.0
"""Seconds that a thread waits for more work."""


def _rest() -> None:
    """Do nothing."""


class Worker:
    """One thread that works, and waits to be given more."""

    def __init__(self, pool: ThreadPool, work: Work) -> None:
        self._pool = pool
        self._work = work
        self._given = threading.Lock()
        self._given.acquire()

    def give(self, work: Work) -> None:
        """Have this done next."""
        self._work = work
        self._given.release()

    def run(self) -> None:
        """Work until there is nothing more for a while."""
        while True:
            work, self._work = self._work, _rest  # what is done is kept by nobody
            work()
            del work
            self._pool.idle.append(self)
            if not self._given.acquire(timeout=IDLE_TIMEOUT):
                try:
                    self._pool.idle.remove(self)
                except ValueError:  # picked just now
                    self._given.acquire()
                else:
                    return


class ThreadPool:
    """The threads of the process; the one that was busy last is picked first."""

    def __init__(self) -> None:
        self.idle: deque[Worker] = deque()
        if hasattr(os, "register_at_fork"):  # a forked process has none of the threads
            os.register_at_fork(after_in_child=self.idle.clear)

    def work(self, work: Work) -> None:
        """Have something done at once, in a thread that keeps no interpreter from its exit."""
        try:
            worker = self.idle.pop()
        except IndexError:
            start(Worker(self, work).run)
        else:
            worker.give(work)


work = ThreadPool().work
