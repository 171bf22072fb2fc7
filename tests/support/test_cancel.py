"""The cancellation harness: it counts precisely, and it finds what it is there to find."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

import pytest

from tests.support.cancel import Attempt, Moment, Outcome, cancel_everywhere

MOMENTS: list[Moment] = ["suspended", "completed"]


async def three_suspensions() -> str:
    await asyncio.sleep(0)
    await asyncio.sleep(1)
    async with asyncio.timeout(5):
        await asyncio.get_running_loop().create_task(asyncio.sleep(2))
    return "done"


# -- counting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", MOMENTS)
def test_every_suspension_is_visited_once(at: Moment) -> None:
    async def scenario(attempt: Attempt) -> float:
        outcome = await attempt.run(three_suspensions())
        assert attempt.suspensions == min((attempt.k or 0) + 1, 3)
        assert outcome.how == ("cancelled" if outcome.reached else "returned")
        return asyncio.get_running_loop().time()

    cases = cancel_everywhere(scenario, at=at)
    assert [case.k for case in cases] == [0, 1, 2, 3]
    assert [case.outcome.reached for case in cases] == [True, True, True, False]
    assert cases[-1].outcome == Outcome("returned", reached=False, value="done")
    # Cancelled when it begins to wait, or when what it waits for is there.
    began, ended = [0.0, 0.0, 1.0, 3.0], [0.0, 1.0, 3.0, 3.0]
    assert [case.result for case in cases] == (began if at == "suspended" else ended)
    assert "sleep" in cases[1].place
    assert cases[-1].place == ""


def test_a_coroutine_that_never_suspends_is_run_once() -> None:
    async def at_once() -> int:
        return 7

    async def scenario(attempt: Attempt) -> None:
        assert (await attempt.run(at_once())).value == 7

    assert len(cancel_everywhere(scenario)) == 1


def test_exceptions_pass_into_and_out_of_the_coroutine() -> None:
    async def under_test() -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError as error:
            raise LookupError from error
        await asyncio.create_task(failing())

    async def failing() -> None:
        raise ValueError

    async def scenario(attempt: Attempt) -> type[object]:
        outcome = await attempt.run(under_test())
        assert outcome.how in ("raised", "cancelled")
        return type(outcome.error)

    assert [case.result for case in cancel_everywhere(scenario)] == [
        LookupError,  # cancelled in sleep
        type(None),  # cancelled while it waits for failing()
        ValueError,
    ]


def test_the_cancellation_is_a_real_one() -> None:
    """``asyncio.timeout`` and TaskGroup ask ``Task.cancelling()`` whose cancellation it is."""

    async def under_test() -> None:
        async with asyncio.timeout(5):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1))
                await asyncio.sleep(2)

    async def scenario(attempt: Attempt) -> str:
        return (await attempt.run(under_test())).how

    for at in MOMENTS:
        cases = cancel_everywhere(scenario, at=at)
        assert [case.result for case in cases] == ["cancelled"] * (len(cases) - 1) + ["returned"]
        assert len(cases) >= 2


def test_a_swallowed_cancellation_is_seen() -> None:
    async def under_test() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)

    async def scenario(attempt: Attempt) -> bool:
        return (await attempt.run(under_test())).swallowed

    assert [case.result for case in cancel_everywhere(scenario)] == [True, False]


# -- complaining ------------------------------------------------------------------------------


def test_a_failing_scenario_says_where_it_was_cancelled() -> None:
    async def scenario(attempt: Attempt) -> None:
        outcome = await attempt.run(three_suspensions())
        assert outcome.how == "returned" or attempt.k != 1

    with pytest.raises(AssertionError) as caught:
        cancel_everywhere(scenario)
    assert any("k=1, at='suspended': sleep" in note for note in caught.value.__notes__)


def test_a_scenario_that_runs_nothing_is_told() -> None:
    async def scenario(attempt: Attempt) -> None:
        return

    with pytest.raises(AssertionError, match="ran nothing"):
        cancel_everywhere(scenario)


def test_too_many_suspensions_are_told() -> None:
    async def under_test() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def scenario(attempt: Attempt) -> None:
        await attempt.run(under_test())

    with pytest.raises(AssertionError, match="more than 10 suspensions"):
        cancel_everywhere(scenario, most=10)


# -- finding: a good inbox and two bad ones -----------------------------------------------------


class Box(Protocol):
    def put(self, item: str) -> None: ...
    def take(self) -> Coroutine[Any, Any, str]: ...
    def left(self) -> list[str]: ...


class WaitThenPop:
    """The future carries nothing; the item stays until the taker runs."""

    def __init__(self) -> None:
        self.items: deque[str] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def put(self, item: str) -> None:
        self.items.append(item)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def take(self) -> str:
        while not self.items:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.items.popleft()

    def left(self) -> list[str]:
        return list(self.items)


class ItemInTheFuture(WaitThenPop):
    """The classic mistake: the item travels in the future's result."""

    link_io: asyncio.Future[str] | None = None

    def put(self, item: str) -> None:
        if self.link_io is not None and not self.link_io.done():
            self.link_io.set_result(item)
        else:
            self.items.append(item)

    async def take(self) -> str:
        if self.items:
            return self.items.popleft()
        self.link_io = asyncio.get_running_loop().create_future()
        return await self.link_io


class AwaitAfterPop(WaitThenPop):
    """The other one: an await between taking the item and returning it."""

    async def take(self) -> str:
        item = await super().take()
        await asyncio.sleep(0)
        return item


def lost(make_box: type[Box], at: Moment, seed: int | None = None) -> list[int]:
    """The suspensions at which a cancellation loses the item."""

    async def scenario(attempt: Attempt) -> bool:
        box = make_box()
        asyncio.get_running_loop().call_later(1, box.put, "item")
        outcome = await attempt.run(box.take())
        await asyncio.sleep(2)
        taken = [outcome.value] if outcome.how == "returned" else []
        return taken + box.left() != ["item"]

    return [case.k for case in cancel_everywhere(scenario, at=at, seed=seed) if case.result]


@pytest.mark.parametrize("at", MOMENTS)
def test_wait_then_pop_loses_nothing(at: Moment) -> None:
    assert lost(WaitThenPop, at) == []
    assert all(lost(WaitThenPop, at, seed) == [] for seed in range(20))


def test_an_item_in_a_future_is_lost_in_the_tick_in_which_it_arrives() -> None:
    assert lost(ItemInTheFuture, "suspended") == []
    assert lost(ItemInTheFuture, "completed") == [0]


@pytest.mark.parametrize("at", MOMENTS)
def test_an_await_after_the_pop_loses_the_item(at: Moment) -> None:
    assert lost(AwaitAfterPop, at) == [1]
