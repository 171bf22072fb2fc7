"""One thread that knows when, for every connection of the process.

A thread for each connection would sleep as well; this one takes none of them 30 KiB and wakes
only when something is due. It never waits for anybody: what it calls takes a lock that nobody
holds while reading, writing or running the application's code.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable

__all__ = ["Timer", "call_at", "start"]

logger = logging.getLogger("reliable_ws")

THREAD_RETRY = 0.1
"""Seconds until a thread is asked for again that the system did not give."""


class Timer:
    """A call that is due at some time, unless it is cancelled."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Do not call. Again, or too late: no effect."""
        self.call = None


class Clock:
    """Makes the calls that are due, a little late but never early."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        """Begin; also in a forked process, in which the thread is not."""
        self._change = threading.Condition()  # its lock may be taken twice: see RpcClient._abandon
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._thread: threading.Thread | None = None

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        """Call at that time of :func:`time.monotonic`, in the clock's thread."""
        timer = Timer(call)
        with self._change:
            heapq.heappush(self._timers, (when, next(self._count), timer))
            if self._thread is None:
                thread = _daemon(self._run)
                thread.start()
                self._thread = thread
            elif self._timers[0][2] is timer:
                self._change.notify()
        return timer

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._timers or self._timers[0][0] > time.monotonic():
                    left = self._timers[0][0] - time.monotonic() if self._timers else None
                    self._change.wait(left)
                call = heapq.heappop(self._timers)[2].call
            if call is not None:
                try:
                    call()
                except Exception:
                    logger.exception("a timer failed")


def _daemon(work: Callable[[], object]) -> threading.Thread:
    """Return a thread, to be started, that keeps no interpreter from its exit."""
    return threading.Thread(target=work, name="reliable_ws", daemon=True)


def start(work: Callable[[], object]) -> threading.Thread:
    """Start a thread that keeps no interpreter from its exit.

    A little later if the system has none to give: whoever starts one is in the midst of a step.
    """
    thread = _daemon(work)
    _start(thread)
    return thread


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError:
        call_at(time.monotonic() + THREAD_RETRY, lambda: _start(thread))


call_at = Clock().call_at
