"""Waiting under one lock: each thread that waits has a lock of its own to sleep on.

A waiter carries nothing: what was waited for stays where it is until its taker, holding the lock,
takes it. A thread that leaves a queue notifies the next one.

A signal that comes after the interpreter has looked for one, and before the thread sleeps, does not
end that sleep: the main thread, which is the one that handles signals, never sleeps for long.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from reliable_ws.protocol.deadline import NEVER

__all__ = [
    "Answer",
    "Condition",
    "Thresholds",
    "WaitQueue",
    "Waiter",
    "acquire",
    "deadline_after",
    "reacquire",
]

LONGEST_SLEEP_OF_MAIN = 0.5
"""Seconds that the main thread sleeps at most before it looks for signals again."""


def deadline_after(timeout: float | None) -> float:
    """Return when a wait of so many seconds is over."""
    return NEVER if timeout is None else time.monotonic() + timeout


def longest_sleep() -> float:
    """Return how many seconds this thread may sleep at a time."""
    is_main = threading.get_ident() == threading.main_thread().ident
    return LONGEST_SLEEP_OF_MAIN if is_main else threading.TIMEOUT_MAX


def acquire(lock: threading.Lock, by: float = NEVER) -> bool:
    """Acquire the lock, or give up when the time has come; whether it was acquired."""
    longest = longest_sleep()
    while not lock.acquire(timeout=min(max(0.0, by - time.monotonic()), longest)):
        if time.monotonic() >= by:
            return False
    return True


def reacquire(lock: threading.Lock | threading.Condition) -> None:
    """Acquire the lock again: Ctrl-C while it is waited for is raised once it is held.

    Otherwise whoever holds it by a ``with`` statement would release it for another thread. Signals
    are looked at after a call, when nobody could tell whether the lock was acquired; not after a
    step of an iterator. What is left is the instant in which this is called.
    """
    try:
        for _ in map(lock.acquire, (True,)):
            return
    except BaseException:
        reacquire(lock)
        raise


class Condition(threading.Condition):
    """A condition to be waited for in a loop: it may return too early."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified, or ``timeout`` seconds, or a while."""
        longest = longest_sleep()
        return super().wait(longest if timeout is None else min(timeout, longest))

    def _acquire_restore(self, _: object) -> None:
        reacquire(self)  # what Condition.wait() ends with


class Waiter:
    """One thread that waits, to be woken by another; both hold the lock when they call."""

    __slots__ = ("_asleep", "woken")

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self.woken = False

    def wake(self) -> None:
        """Let the thread go on. A second call has no effect."""
        if not self.woken:
            self.woken = True
            self._asleep.release()

    def again(self) -> None:
        """Make ready for another wait."""
        self._asleep.acquire(blocking=False)  # it is free if the waker came as the time was over
        self.woken = False

    def wait(self, lock: threading.Lock, by: float) -> bool:
        """Wait without the lock until woken, or the time has come; whether it was woken."""
        try:
            lock.release()  # in here: Ctrl-C may come as it returns
            acquire(self._asleep, by)
        finally:
            reacquire(lock)
        return self.woken


class Answer:
    """What one thread gives, and others wait for; all hold the lock when they call."""

    __slots__ = ("_error", "_lock", "_value", "_waiters", "is_there")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.is_there = False
        "Whether it was given."
        self._value: Any = None
        self._error: BaseException | None = None
        self._waiters: list[Waiter] = []

    def give(self, value: Any, error: BaseException | None) -> None:
        """Give a value, or the exception that is raised instead."""
        self._value, self._error, self.is_there = value, error, True
        for waiter in self._waiters:
            waiter.wake()

    def wait(self) -> Any:
        """Return the value, or raise."""
        while not self.is_there:
            waiter = Waiter()
            self._waiters.append(waiter)
            waiter.wait(self._lock, NEVER)
        if self._error is not None:
            raise self._error
        return self._value


class WaitQueue:
    """Threads in a queue: the first one goes when what it waits for is there."""

    __slots__ = ("_lock", "_spare", "threads")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._spare: Waiter | None = None  # of one that has waited: a lock less to be made
        self.threads: deque[Waiter] = deque()
        "Those that wait, the first one first."

    def __len__(self) -> int:
        """How many wait."""
        return len(self.threads)

    def wait(self, ready: Callable[[], object], by: float) -> None:
        """Return when this thread is the first and ``ready()``. Raises ``TimeoutError``."""
        waiter, self._spare = self._spare or Waiter(), None
        threads = self.threads
        try:
            threads.append(waiter)  # in here: Ctrl-C may come as it returns
            while threads[0] is not waiter or not ready():
                if not waiter.wait(self._lock, by):
                    raise TimeoutError
                waiter.again()
        finally:
            threads.remove(waiter)
            self.notify()
        waiter.again()
        self._spare = waiter

    def notify(self, _count: int = 1) -> None:
        """Let the first one look; when it has what it waited for, it lets the next one."""
        if self.threads:
            self.threads[0].wake()


class Thresholds:
    """Threads that wait until a growing number has reached theirs."""

    __slots__ = ("_errors", "_lock", "_numbers", "_waiters")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._errors: dict[Waiter, Exception] = {}  # what they raise as they wake
        self._numbers: list[int] = []
        self._waiters: dict[int, list[Waiter]] = {}

    def wait(self, number: int, by: float) -> None:
        """Return once ``number`` is reached. Raises ``TimeoutError``."""
        if number not in self._waiters:
            self._waiters[number] = []
            heapq.heappush(self._numbers, number)
        waiter = Waiter()
        self._waiters[number].append(waiter)
        try:
            if not waiter.wait(self._lock, by):
                raise TimeoutError
        finally:
            if not waiter.woken:
                self._waiters[number].remove(waiter)
        if self._errors and (error := self._errors.pop(waiter, None)) is not None:
            raise error

    def reach(self, number: int) -> None:
        """Wake the threads that wait for ``number`` or less."""
        while self._numbers and self._numbers[0] <= number:
            for waiter in self._waiters.pop(heapq.heappop(self._numbers)):
                waiter.wake()

    def fail(self, number: int, error: Callable[[], Exception]) -> None:
        """Raise in the threads that wait for more than ``number``, an exception for each."""
        for above in [one for one in self._numbers if one > number]:
            for waiter in self._waiters.pop(above):
                self._errors[waiter] = error()
                waiter.wake()
        self._numbers = [one for one in self._numbers if one <= number]
        heapq.heapify(self._numbers)
