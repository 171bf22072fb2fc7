"""Waiting without losing anything to a cancellation.

A future here carries nothing: what was waited for stays where it is until its taker runs, in a
step with no await in it. A waiter that was woken and then cancelled passes its turn on.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Generator

__all__ = ["Line", "Milestones"]


class Line:
    """Tasks that wait for their turn, first come first served."""

    __slots__ = ("_waiting", "called")

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.called = 0
        "Turns given to tasks that have not run since."

    def __len__(self) -> int:
        """Waiters that have not been woken."""
        return len(self._waiting)

    async def wait(self) -> None:
        """Return when it is this task's turn. Cancelling passes the turn on."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._waiting:
                    self._waiting.remove(turn)
            else:
                self.called -= 1
                self.call()
            raise
        self.called -= 1

    def call(self, count: int = 1) -> None:
        """Wake up to ``count`` waiters, the first ones first."""
        waiting = self._waiting
        while count > 0 and waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self.called += 1
                count -= 1

    def call_all(self) -> None:
        """Wake every waiter."""
        self.call(len(self._waiting))


class Milestones:
    """Tasks that wait until a growing number has reached theirs."""

    __slots__ = ("_futures", "_numbers")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._futures: dict[int, list[asyncio.Future[None]]] = {}

    def wait(self, number: int) -> Generator[object, None, None]:
        """Return once ``number`` is reached. Cancelling touches no other waiter."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if number not in self._futures:
            self._futures[number] = []
            heapq.heappush(self._numbers, number)
        self._futures[number].append(reached)
        try:
            yield from reached
        finally:
            if reached.cancelled() and number in self._futures:
                self._futures[number].remove(reached)

    def reach(self, number: int) -> None:
        """Wake everybody who waits for ``number`` or less."""
        while self._numbers and self._numbers[0] <= number:
            for reached in self._futures.pop(heapq.heappop(self._numbers)):
                if not reached.done():
                    reached.set_result(None)
