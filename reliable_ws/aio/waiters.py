"""Waiting without losing anything to a cancellation.

A future here carries nothing: what was waited for stays where it is until its taker runs, in a
step with no await in it. A waiter that is cancelled after it was notified notifies the next one.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Callable, Generator
from operator import itemgetter
from typing import Generic, TypeAlias, TypeVar

__all__ = [
    "DONE",
    "Condition",
    "Done",
    "Signal",
    "Thresholds",
    "WaitQueue",
    "is_cancelled",
    "is_loop_ending",
]

Threshold: TypeAlias = tuple[int, asyncio.Future[None]]
"""A number, and who waits for it."""


def is_cancelled() -> bool:
    """Whether this task was cancelled, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_loop_ending() -> bool:
    """Whether every other task was cancelled as well: ``asyncio.run`` does so at its end."""
    me = asyncio.current_task()
    return all(task.cancelling() for task in asyncio.all_tasks() if task is not me)


Result = TypeVar("Result")


class Done(Generic[Result]):
    """What a call returns that may be awaited, where there is nothing to wait for."""

    __slots__ = ("_result",)

    def __init__(self, result: Result) -> None:
        self._result = result

    def __await__(self) -> Generator[object, None, Result]:
        """Return at once."""
        yield from ()
        return self._result


DONE = Done(None)


class WaitQueue:
    """Tasks that wait, first come first served."""

    __slots__ = ("_loop", "notified", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop  # a task of another loop gets a RuntimeError, instead of waiting for ever
        self.waiting: list[asyncio.Future[None]] = []  # a deque takes 0.7 KiB
        "Those that were not notified."
        self.notified = 0
        "How many were notified and have not run since."

    async def wait(self) -> None:
        """Return when notified. If this is cancelled after that, the next one is notified."""
        waiter = self.enter()
        try:
            await waiter
        except asyncio.CancelledError:
            self.leave(waiter)
            raise
        self.notified -= 1

    def enter(self) -> asyncio.Future[None]:
        """Wait in two steps, without a coroutine between: await this, then lower ``notified``.

        If the first raises, :meth:`leave` instead.
        """
        waiter: asyncio.Future[None] = self._loop.create_future()
        self.waiting.append(waiter)
        return waiter

    def leave(self, waiter: asyncio.Future[None]) -> None:
        """Wait no more. Notify the next one if this one was notified."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)
        elif not waiter.cancelled():
            self.notified -= 1
            self.notify()

    def notify(self, count: int = 1) -> None:
        """Wake up to ``count`` waiters, the first ones first."""
        waiting = self.waiting
        while waiting and count > 0:
            waiter = waiting.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                self.notified += 1
                count -= 1

    def notify_all(self) -> None:
        """Wake every waiter."""
        self.notify(len(self.waiting))


class Signal:
    """What :class:`asyncio.Event` is, without the 0.8 KiB that one takes."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[asyncio.Future[None]] | tuple[()] = ()

    def is_set(self) -> bool:
        """Whether it was set and not cleared since."""
        return self._set

    def set(self) -> None:
        """Set it, and wake every task that waits."""
        self._set = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Let tasks wait again from now on."""
        self._set = False

    async def wait(self) -> None:
        """Return once it is set, at once if it is."""
        if self._set:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting = self._waiting or []
        waiting.append(waiter)
        try:
            await waiter
        finally:
            waiting.remove(waiter)


class Condition:
    """Tasks that look again whenever something has changed."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """``loop``: that of the tasks, if it is known already."""
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] | tuple[()] = ()

    def notify_all(self) -> None:
        """Let every task look."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:
        """Return once notified, or after so many seconds."""
        loop = self._loop or asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        waiting = self._waiting = self._waiting or []
        waiting.append(waiter)
        try:
            if timeout is None:
                await waiter
            else:
                await asyncio.wait((waiter,), timeout=timeout)
        finally:
            waiting.remove(waiter)

    async def wait_for(self, predicate: Callable[[], object]) -> None:
        """Return once it is true, at once if it is."""
        while not predicate():
            await self.wait()


class Thresholds:
    """Tasks that wait until a growing number has reached theirs."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Threshold] | tuple[()] = ()  # in order of their numbers

    def wait(self, number: int) -> Generator[object, None, None]:
        """Return once ``number`` is reached. Cancelling touches no other waiter."""
        reached: asyncio.Future[None] = self._loop.create_future()
        waiting = self._waiting
        if isinstance(waiting, tuple):
            waiting = self._waiting = deque()
        threshold = (number, reached)
        if waiting and number < waiting[-1][0]:
            insort(waiting, threshold, key=itemgetter(0))
        else:
            waiting.append(threshold)
        try:
            yield from reached
        finally:
            if reached.cancelled() and threshold in waiting:
                waiting.remove(threshold)

    def reach(self, number: int) -> bool:
        """Wake the tasks that wait for ``number`` or less. Return whether there was one."""
        waiting = self._waiting
        has_woken = False
        while waiting and waiting[0][0] <= number:
            _number, reached = waiting.popleft()
            if not reached.done():
                reached.set_result(None)
                has_woken = True
        return has_woken

    def fail(self, number: int, error: Callable[[], Exception]) -> None:
        """Raise in the tasks that wait for more than ``number``, an exception for each."""
        waiting = self._waiting
        while isinstance(waiting, deque) and waiting and waiting[-1][0] > number:
            _number, reached = waiting.pop()
            if not reached.done():
                reached.set_exception(error())
