"""Waiting without losing anything to a cancellation.

A future here carries nothing: what was waited for stays where it is until its taker runs, in a
step with no await in it. A waiter that was woken and then cancelled passes its turn on.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Callable, Generator
from operator import itemgetter
from typing import TypeAlias

__all__ = ["Condition", "Line", "Milestones", "Signal", "is_cancelled"]

Milestone: TypeAlias = tuple[int, asyncio.Future[None]]
"""A number, and the future of a task that waits for it."""


def is_cancelled() -> bool:
    """Whether this task was cancelled, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Line:
    """Tasks that wait for their turn, first come first served."""

    __slots__ = ("called", "waiting")

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []  # a deque takes 0.7 KiB
        "Those whose turn has not come."
        self.called = 0
        "Turns given to tasks that have not run since."

    async def wait(self) -> None:
        """Return when it is this task's turn. Cancelling passes the turn on."""
        turn = self.join()
        try:
            await turn
        except asyncio.CancelledError:
            self.leave(turn)
            raise
        self.called -= 1

    def join(self) -> asyncio.Future[None]:
        """Wait in two steps, without a coroutine between: await this, then lower ``called``.

        If the first raises, :meth:`leave` instead.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        return turn

    def leave(self, turn: asyncio.Future[None]) -> None:
        """Wait no more: pass the turn on if it has come."""
        if turn in self.waiting:
            self.waiting.remove(turn)
        elif not turn.cancelled():
            self.called -= 1
            self.call()

    def call(self, count: int = 1) -> None:
        """Wake up to ``count`` waiters, the first ones first."""
        waiting = self.waiting
        while waiting and count > 0:
            turn = waiting.pop(0)
            if not turn.done():
                turn.set_result(None)
                self.called += 1
                count -= 1

    def call_all(self) -> None:
        """Wake every waiter."""
        self.call(len(self.waiting))


class Signal:
    """What :class:`asyncio.Event` is, without the 0.8 KiB that one takes."""

    __slots__ = ("_line", "_set")

    def __init__(self) -> None:
        self._set = False
        self._line: list[asyncio.Future[None]] | tuple[()] = ()

    def is_set(self) -> bool:
        """Whether it was given and not cleared since."""
        return self._set

    def set(self) -> None:
        """Set it: every task that waits goes on."""
        self._set = True
        for waiter in self._line:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Let tasks wait again from now on."""
        self._set = False

    async def wait(self) -> None:
        """Return once it is given, at once if it is."""
        if self._set:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._line = self._line or []
        line.append(waiter)
        try:
            await waiter
        finally:
            line.remove(waiter)


class Condition:
    """Tasks that look again whenever something has changed."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] | tuple[()] = ()

    def notify_all(self) -> None:
        """Let every task look."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:
        """Return once notified, or after so many seconds."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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


class Milestones:
    """Tasks that wait until a growing number has reached theirs."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Milestone] | tuple[()] = ()  # in order of their numbers

    def wait(self, number: int) -> Generator[object, None, None]:
        """Return once ``number`` is reached. Cancelling touches no other waiter."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting
        if isinstance(waiting, tuple):
            waiting = self._waiting = deque()
        milestone = (number, reached)
        if waiting and number < waiting[-1][0]:
            insort(waiting, milestone, key=itemgetter(0))
        else:
            waiting.append(milestone)
        try:
            yield from reached
        finally:
            if reached.cancelled() and milestone in waiting:
                waiting.remove(milestone)

    def reach(self, number: int) -> None:
        """Wake the tasks that wait for ``number`` or less."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= number:
            _number, reached = waiting.popleft()
            if not reached.done():
                reached.set_result(None)
