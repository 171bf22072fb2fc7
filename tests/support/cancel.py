"""Cancel a coroutine at its every suspension, one run for each.

A *suspension* is one yield of the coroutine under test to the event loop. A scenario sets
things up, hands the coroutine under test to :meth:`Attempt.run` (once), and then looks at
what the cancellation left behind::

    async def scenario(attempt: Attempt) -> None:
        box = Box()
        outcome = await attempt.run(box.take())
        assert (outcome.how == "returned") == (len(box) == 0)

    cases = cancel_everywhere(scenario)

The first run cancels at suspension 0, the next at suspension 1, and so on until a run ends
without reaching its point. Two moments are worth trying::

    at="suspended"    the coroutine has just begun to wait: what it waits for is cancelled
    at="completed"    what it waited for is done, but the coroutine has not been told yet:
                      the result is there, and CancelledError comes instead

Each run has a fresh virtual loop, with all of its strictness (see ``virtual_clock.run``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from reliable_ws.testing.virtual_clock import run, where

__all__ = ["Attempt", "Case", "Moment", "Outcome", "cancel_everywhere"]

T = TypeVar("T")
R = TypeVar("R")

Moment = Literal["suspended", "completed"]


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How the coroutine under test ended."""

    how: Literal["returned", "raised", "cancelled"]
    reached: bool
    """Whether the point of cancellation was reached; if not, nobody interfered."""
    value: T | None = None
    error: BaseException | None = None

    @property
    def swallowed(self) -> bool:
        """It was cancelled and returned all the same."""
        return self.reached and self.how == "returned"


@dataclass(frozen=True)
class Case(Generic[R]):
    """One run: where it was cancelled, how that ended, what the scenario returned."""

    k: int
    at: Moment
    place: str
    """The line at which the coroutine waited; empty if it ended before its k-th suspension."""
    outcome: Outcome[Any]
    result: R


class Attempt:
    """What a scenario is given: it runs one coroutine and cancels it at suspension ``k``."""

    def __init__(self, k: int | None, at: Moment = "suspended") -> None:
        self.k = k
        self.at = at
        self.suspensions = 0
        self.place = ""
        self.outcome: Outcome[Any] | None = None
        self._armed = False
        self._reached = False

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> Outcome[T]:
        """Run ``coroutine`` in a task of its own; returns its outcome, never raises it."""
        assert not self._armed, "one attempt runs one coroutine"
        self._armed = True
        task = asyncio.ensure_future(self._watched(coroutine))
        await asyncio.wait({task})
        if task.cancelled():
            outcome = Outcome[T]("cancelled", self._reached)
        elif (error := task.exception()) is not None:
            outcome = Outcome("raised", self._reached, error=error)
        else:
            outcome = Outcome("returned", self._reached, value=task.result())
        self.outcome = outcome
        return outcome

    async def _watched(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await _Watched(coroutine, self._suspending)

    def _suspending(self, coroutine: Coroutine[Any, Any, Any], awaited: object) -> None:
        """Called in the task, just before ``awaited`` goes to the loop."""
        k, self.suspensions = self.suspensions, self.suspensions + 1
        if k != self.k:
            return
        task = asyncio.current_task()
        assert task is not None
        self.place = (where(coroutine) or [""])[-1]
        self._reached = True
        if self.at == "completed" and asyncio.isfuture(awaited):
            # Ahead of the task's own callback, which is added when this goes to the loop.
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


class _Watched(Generic[T]):
    """Awaits a coroutine and reports everything it yields to the loop, before it does."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        on_suspend: Callable[[Coroutine[Any, Any, T], object], None],
    ) -> None:
        self._coroutine = coroutine
        self._on_suspend = on_suspend

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine = self._coroutine
        answer: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                awaited = coroutine.send(answer) if thrown is None else coroutine.throw(thrown)
            except StopIteration as stop:
                value: T = stop.value
                return value
            self._on_suspend(coroutine, awaited)
            answer, thrown = None, None
            try:
                answer = yield awaited
            except BaseException as error:  # the coroutine's to handle
                thrown = error


def cancel_everywhere(
    make_scenario: Callable[[Attempt], Coroutine[Any, Any, R]],
    *,
    at: Moment = "suspended",
    seed: int | None = None,
    limit: float = 3600.0,
    most: int = 1000,
) -> list[Case[R]]:
    """Run the scenario once for each suspension of its coroutine under test, and once without.

    The last case is the one nobody interfered with (``outcome.reached`` is false); every other
    one was cancelled at suspension ``case.k``. An exception that leaves the scenario is given
    a note that says where the cancellation struck. More than ``most`` suspensions is an error.
    With a ``seed`` the loop shuffles, and a cancellation at "completed" may come just after
    the coroutine was told instead of just before.
    """
    cases: list[Case[R]] = []
    for k in range(most):
        attempt = Attempt(k, at)
        try:
            result = run(make_scenario(attempt), seed=seed, limit=limit)
            assert attempt.outcome is not None, "the scenario ran nothing: attempt.run(…)"
        except BaseException as error:
            place = attempt.place or "not reached"
            error.add_note(f"cancelled at suspension k={k}, at={at!r}: {place}")
            raise
        cases.append(Case(k, at, attempt.place, attempt.outcome, result))
        if not attempt.outcome.reached:
            return cases
    raise AssertionError(f"more than {most} suspensions")
