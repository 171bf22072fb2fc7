"""Waiting under one lock, each thread at a door of its own.

A turn carries nothing: what was waited for stays where it is until its taker, holding the lock,
takes it. Whoever leaves a line, however, lets the next one look.

A signal that comes after the interpreter has looked for one, and before the thread sleeps, does not
end that sleep: the main thread, which is the one that handles signals, never sleeps for long.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable

from reliable_ws.protocol.deadline import NEVER

__all__ = ["Condition", "Line", "Milestones", "Turn", "retake", "take", "until"]

LONGEST_SLEEP_OF_MAIN = 0.5
"""Seconds that the main thread sleeps at most before it looks for signals again."""


def until(timeout: float | None) -> float:
    """Return when a wait of so many seconds is over."""
    return NEVER if timeout is None else time.monotonic() + timeout


def longest_sleep() -> float:
    """Return how many seconds this thread may sleep at a time."""
    is_main = threading.get_ident() == threading.main_thread().ident
    return LONGEST_SLEEP_OF_MAIN if is_main else threading.TIMEOUT_MAX


def take(lock: threading.Lock, by: float = NEVER) -> bool:
    """Wait until the lock can be taken, or the time has come; whether it was taken."""
    longest = longest_sleep()
    while not lock.acquire(timeout=min(max(0.0, by - time.monotonic()), longest)):
        if time.monotonic() >= by:
            return False
    return True


def retake(lock: threading.Lock | threading.Condition) -> None:
    """Take the lock again: Ctrl-C while it is waited for is raised once it is taken.

    Else whoever holds it by a ``with`` statement would release another thread's. Signals are looked
    at after a call, when nobody could tell whether the lock was taken; not after a step of an
    iterator. What is left is the instant in which this is called.
    """
    try:
        for _ in map(lock.acquire, (True,)):
            return
    except BaseException:
        retake(lock)
        raise


class Condition(threading.Condition):
    """A condition to be waited for in a loop: it may return too early."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified, or ``timeout`` seconds, or a while."""
        longest = longest_sleep()
        return super().wait(longest if timeout is None else min(timeout, longest))

    def _acquire_restore(self, _: object) -> None:
        retake(self)  # what Condition.wait() ends with


class Turn:
    """One thread's wait, to be ended by another; both hold the lock when they call."""

    __slots__ = ("_door", "given")

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._door.acquire()
        self.given = False

    def give(self) -> None:
        """Let the thread go on. Again: no effect."""
        if not self.given:
            self.given = True
            self._door.release()

    def wait(self, lock: threading.Lock, by: float) -> bool:
        """Wait without the lock until given, or the time has come; whether it was given."""
        try:
            lock.release()  # in here: Ctrl-C may come as it returns
            take(self._door, by)
        finally:
            retake(lock)
        return self.given


class Line:
    """Threads in a queue: the first one goes when what it waits for is there."""

    __slots__ = ("_lock", "_turns")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._turns: deque[Turn] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._turns)

    def wait(self, ready: Callable[[], object], by: float) -> None:
        """Return when this thread is the first and ``ready()``. Raises ``TimeoutError``."""
        turn = Turn()
        try:
            self._turns.append(turn)  # in here: Ctrl-C may come as it returns
            while self._turns[0] is not turn or not ready():
                if not turn.wait(self._lock, by):
                    raise TimeoutError
                turn = self._turns[0] = Turn()  # only the first one is called
        finally:
            self._turns.remove(turn)
            self.call()

    def call(self, _count: int = 1) -> None:
        """Let the first one look; when it has what it waited for, it lets the next one."""
        if self._turns:
            self._turns[0].give()


class Milestones:
    """Threads that wait until a growing number has reached theirs."""

    __slots__ = ("_lock", "_numbers", "_turns")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._numbers: list[int] = []
        self._turns: dict[int, list[Turn]] = {}

    def wait(self, number: int, by: float) -> None:
        """Return once ``number`` is reached. Raises ``TimeoutError``."""
        if number not in self._turns:
            self._turns[number] = []
            heapq.heappush(self._numbers, number)
        turn = Turn()
        self._turns[number].append(turn)
        try:
            if not turn.wait(self._lock, by):
                raise TimeoutError
        finally:
            if not turn.given:
                self._turns[number].remove(turn)

    def reach(self, number: int) -> None:
        """Wake the threads that wait for ``number`` or less."""
        while self._numbers and self._numbers[0] <= number:
            for turn in self._turns.pop(heapq.heappop(self._numbers)):
                turn.give()
