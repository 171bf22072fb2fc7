"""The virtual loop: its clock, its order, and what runs on it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from reliable_ws.testing.virtual_clock import VirtualClockLoop, run, virtual_clock


def now() -> float:
    return asyncio.get_running_loop().time()


# -- the clock --------------------------------------------------------------------------------


def test_hours_pass_at_once_and_exactly() -> None:
    async def main() -> tuple[float, str]:
        await asyncio.sleep(3000.1)
        return now(), "done"

    began = time.monotonic()
    assert run(main()) == (3000.1, "done")
    assert time.monotonic() - began < 60


def test_the_clock_stands_while_anything_is_ready() -> None:
    async def main() -> None:
        for _ in range(1000):
            await asyncio.sleep(0)
        assert now() == 0.0

    run(main())


def test_timers_run_in_order_of_their_time() -> None:
    async def main() -> list[tuple[float, str]]:
        loop = asyncio.get_running_loop()
        log: list[tuple[float, str]] = []

        def note(name: str) -> None:
            log.append((now(), name))

        for delay, name in ((3.0, "c"), (1.0, "a"), (2.0, "b")):
            loop.call_later(delay, note, name)
        loop.call_later(1.5, note, "never").cancel()
        await asyncio.sleep(4)
        return log

    assert run(main(), seed=1) == [(1.0, "a"), (2.0, "b"), (3.0, "c")]


def test_a_great_many_cancelled_timers_are_no_trouble() -> None:
    async def main() -> None:
        for _ in range(1000):
            async with asyncio.timeout(20):
                await asyncio.sleep(0.001)
        assert now() == pytest.approx(1.0)

    run(main())


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_timeout_gather_and_task_groups_work(seed: int | None) -> None:
    async def after(delay: float) -> float:
        await asyncio.sleep(delay)
        return now()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(6)
        assert now() == 5.0
        assert [*await asyncio.gather(after(2), after(1))] == [7.0, 6.0]
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(after(1)), group.create_task(after(3))
        assert (first.result(), second.result()) == (8.0, 10.0)
        with pytest.raises(ExceptionGroup):  # noqa: PT012
            async with asyncio.TaskGroup() as group:
                group.create_task(after(100))
                group.create_task(fail())
        assert now() == 10.0

    run(main(), seed=seed)


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("as asked")


# -- the order --------------------------------------------------------------------------------


async def three_tasks() -> str:
    log: list[str] = []

    async def step(name: str) -> None:
        for _ in range(4):
            log.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(*(step(name) for name in "abc"))
    return "".join(log)


def test_without_a_seed_the_order_is_that_of_asyncio() -> None:
    assert run(three_tasks()) == "abcabcabcabc"


def test_a_seed_shuffles_and_replays() -> None:
    orders = [run(three_tasks(), seed=seed) for seed in range(50)]
    assert orders == [run(three_tasks(), seed=seed) for seed in range(50)]
    assert len(set(orders)) > 40
    # What is scheduled in one turn runs in the next: no task gets ahead by more than one step.
    assert all(set(order[at : at + 3]) == set("abc") for order in orders for at in (0, 3, 6, 9))


def test_callbacks_keep_the_order_in_which_they_were_scheduled() -> None:
    async def main() -> list[int]:
        log: list[int] = []
        for number in range(20):
            asyncio.get_running_loop().call_soon(log.append, number)
        await asyncio.sleep(1)
        return log

    assert all(run(main(), seed=seed) == list(range(20)) for seed in range(20))


def test_a_cancellation_that_was_scheduled_is_a_callback_too() -> None:
    async def main() -> list[bool]:
        loop, log = asyncio.get_running_loop(), []
        tasks = [loop.create_task(asyncio.sleep(1)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            loop.call_soon(task.cancel)
            loop.call_soon(lambda task=task: log.append(task.cancelling() == 1))
        await asyncio.gather(*tasks, return_exceptions=True)
        return log

    assert all(run(main(), seed=seed) == [True] * 5 for seed in range(20))


def test_timers_of_the_same_time_are_shuffled() -> None:
    async def main() -> str:
        log: list[str] = []
        for name in "abcd":
            asyncio.get_running_loop().call_at(1.0, log.append, name)
        await asyncio.sleep(2)
        return "".join(log)

    assert len({run(main(), seed=seed) for seed in range(50)}) > 10


def test_the_order_does_not_hang_on_addresses_of_tasks() -> None:
    """asyncio keeps the tasks of a group in a set and cancels them in the set's order."""

    async def main() -> str:
        log: list[str] = []

        async def wait(name: str) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                log.append(name)

        with pytest.raises(ExceptionGroup):  # noqa: PT012
            async with asyncio.TaskGroup() as group:
                for name in "abcdefgh":
                    group.create_task(wait(name))
                group.create_task(fail())
        return "".join(log)

    ballast: list[Any] = []
    for seed in range(20):
        orders = set()
        for _ in range(5):
            orders.add(run(main(), seed=seed))
            ballast.append([object() for _ in range(37)])  # other addresses next time
        assert len(orders) == 1


# -- what runs on it ----------------------------------------------------------------------------


def test_generators_are_closed() -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def main(keep: Callable[[object], None]) -> None:
        generator = numbers()
        keep(generator)
        async for _ in generator:
            break

    run(main(lambda _: None))
    kept: list[object] = []
    run(main(kept.append))
    assert closed == ["closed", "closed"]


def test_a_thread_is_a_call() -> None:
    async def main() -> None:
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ValueError, match="invalid literal"):
            await asyncio.to_thread(int, "x")

    run(main())


def test_chance_is_seeded_for_the_run_and_restored() -> None:
    async def main() -> float:
        return random.random()

    random.seed(5)
    first = random.random()
    random.seed(5)
    assert run(main(), seed=1) == run(main(), seed=1) != run(main(), seed=2)
    assert random.random() == first


@virtual_clock
async def test_decorated(request: pytest.FixtureRequest) -> None:
    """A plain test with fixtures, whatever plugins there are."""
    await asyncio.sleep(1000)
    assert now() == 1000.0
    assert request.function is test_decorated


def test_it_is_a_loop_factory() -> None:
    async def main() -> float:
        await asyncio.sleep(1000)
        return now()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        assert runner.run(main()) == 1000.0
        assert runner.run(main()) == 2000.0


def test_timers_that_still_run_can_be_seen() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)
        assert loop.timers() == []
        timer = loop.call_later(5, print)
        assert loop.timers() == [timer]
        timer.cancel()
        assert loop.timers() == []

    run(main())
