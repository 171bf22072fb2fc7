"""Threads for the handlers of requests: as many as run at once, kept for a while."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from .timers import call_at, start

__all__ = ["MAX_TOTAL_HANDLERS", "HandlerThreads", "Job", "work"]

logger = logging.getLogger("reliable_ws")

Work = Callable[[], object]

MAX_TOTAL_HANDLERS = 1000
"""Threads that run the handlers of requests of all sessions of a server, unless it says otherwise:
as many as it has connections by default. Each takes some 0.1 MiB, and more if its handler does."""

IDLE_TIMEOUT = 10.0
"""Seconds that a thread waits for more work."""

LOG_INTERVAL = 60.0
"""Seconds after which the log says again that all threads are taken."""


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


Job = Callable[[], "Job | None"]
"""Runs one handler; returns what runs next in the same thread."""


class HandlerThreads:
    """The threads that run handlers of several sessions, of which there is a total.

    What comes when all are taken waits in order. So that no session keeps the others waiting, a
    thread that has ended one handler goes to whoever waits longest. All methods are called with the
    lock held that the sessions share.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0
        "How many threads run handlers."
        self.waiting: deque[Job] = deque()
        "What waits for one."
        self._log_after = float("-inf")

    def begin(self, job: Job) -> None:
        """Have a job done in a thread, once there is one."""
        if self.taken < self._most:
            self.taken += 1
            work(lambda: _run(job))
            return
        self.waiting.append(job)
        now = time.monotonic()
        if now >= self._log_after:
            self._log_after = now + LOG_INTERVAL
            call_at(now, self._log)  # in the clock's thread: here the lock is held

    def _log(self) -> None:
        """Say that requests wait, and for what."""
        logger.warning(
            "requests wait, because all %d threads for handlers are taken: raise "
            "max_total_handlers=, or see which handlers do not end",
            self._most,
        )

    def next(self, again: Job | None) -> Job | None:
        """Return what a thread does that has ended a handler; ``again``: its session has more."""
        if again is not None:
            if not self.waiting:
                return again
            self.waiting.append(again)
        if self.waiting:
            return self.waiting.popleft()
        self.taken -= 1
        return None


def _run(job: Job | None) -> None:
    while job is not None:
        job = job()
