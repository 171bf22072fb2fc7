"""What the virtual loop refuses: deadlocks, endless runs, and what is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import reliable_ws
from reliable_ws.testing.virtual_clock import run


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("as asked")


def test_a_deadlock_is_told_with_the_line_at_which_it_waits() -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        await asyncio.create_task(hang(), name="the one that hangs")

    with pytest.raises(AssertionError, match="deadlock") as caught:
        run(main())
    assert "the one that hangs" in str(caught.value)
    assert "hang (" in str(caught.value)


def test_endless_turns_are_told() -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="endless: too many turns"):
        run(spin(), max_turns=1000)


def test_endless_time_is_told() -> None:
    async def beat() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(1)

    with pytest.raises(AssertionError, match=r"endless: past 10.0 s") as caught:
        run(beat(), limit=10.0)
    assert "beat (" in str(caught.value)
    assert "timer at 11.0" in str(caught.value)


def test_a_task_that_swallows_its_cancellation_does_not_hang_the_run() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                pass

    with pytest.raises(AssertionError, match="endless") as caught:
        run(stubborn(), limit=10.0)
    assert "did not end it" in "".join(caught.value.__notes__)


def test_a_task_left_over_is_told() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def main() -> None:
        tasks.append(asyncio.create_task(asyncio.sleep(10), name="forgotten"))

    with pytest.raises(AssertionError, match="task left over: forgotten"):
        run(main())
    assert tasks[0].cancelled()


def test_a_task_that_needs_a_few_more_turns_is_not_left_over() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def nearly() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def main() -> None:
        tasks.append(asyncio.create_task(nearly()))

    run(main())
    assert tasks[0].done()


def test_an_exception_that_nobody_looked_at_is_told() -> None:
    kept: list[object] = []

    async def of_a_task() -> None:
        kept.append(asyncio.create_task(fail()))
        await asyncio.sleep(1)

    async def of_a_future() -> None:
        future = asyncio.get_running_loop().create_future()
        kept.append(future)
        future.set_exception(ValueError("as asked"))

    async def of_a_task_that_is_gone() -> None:
        asyncio.get_running_loop().call_soon(lambda: [asyncio.ensure_future(fail())])
        await asyncio.sleep(1)

    for main in (of_a_task, of_a_future, of_a_task_that_is_gone):
        with pytest.raises(AssertionError, match="never retrieved"):
            run(main())


def test_an_exception_in_a_callback_is_told() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(AssertionError, match=r"(?s)exception handler called.*ZeroDivisionError"):
        run(main())


def test_a_task_that_nobody_refers_to_is_told_when_garbage_is_collected() -> None:
    async def island() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        asyncio.create_task(island())  # noqa: RUF006
        await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="destroyed but it is pending"):
        run(main(), collect=True)


def test_an_exception_of_main_comes_out_as_it_is() -> None:
    kept: list[object] = []

    async def main() -> None:
        kept.append(asyncio.create_task(asyncio.sleep(10)))
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)
        raise LookupError("of main")

    with pytest.raises(LookupError, match="of main") as caught:
        run(main(), seed=5)
    notes = "\n".join(caught.value.__notes__)
    assert "replay with seed=5" in notes
    assert "ZeroDivisionError" in notes


@pytest.mark.parametrize(
    "use",
    [
        lambda: reliable_ws.connect("ws://127.0.0.1:9")._open(),
        lambda: reliable_ws.serve(echo, "127.0.0.1", 0)._start(),
        lambda: anext(aiter(reliable_ws.connect("ws://localhost:9"))),
        lambda: reliable_ws.unix_connect("none")._open(),
        lambda: asyncio.open_connection("localhost", 9),
        lambda: asyncio.create_subprocess_exec("true"),
    ],
)
def test_what_is_real_is_refused_in_words(use: Any) -> None:
    async def main() -> None:
        await use()

    with pytest.raises(NotImplementedError, match=r"reliable_ws.testing.Network or pair\(\)"):
        run(main())


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)
