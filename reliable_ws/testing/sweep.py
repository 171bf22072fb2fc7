"""``sweep``: a scenario once for each message at which the network can break."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .network import Network
from .plan import LOSES_NOTHING, FaultName, Strike
from .virtual_clock import run

__all__ = ["Run", "sweep"]

T = TypeVar("T")


@dataclass(frozen=True)
class Run(Generic[T]):
    """One run of a scenario."""

    strike: Strike | None
    "Where the fault struck. ``None``: the scenario was over before."
    result: T
    "What the scenario returned."
    seconds: float
    "How long the run took, on the virtual clock."


def sweep(
    scenario: Callable[[Network], Coroutine[Any, Any, T]],
    *,
    faults: Sequence[FaultName] = ("cut",),
    seconds: float | None = None,
    first: int = 1,
    seed: int | None = None,
    limit: float = 3600.0,
    most: int = 1000,
) -> list[Run[T]]:
    """Run ``scenario(network)`` once for each fault at each message.

    The first run is undisturbed. Every run has its own network and a virtual clock. So timeouts of
    minutes take no time, and a wait that never ends is an ``AssertionError`` (see :func:`run`).
    Each fault strikes after the message that it is at. In another run it strikes instead of the
    message, which is then lost. A stall and a drain lose nothing and have no such run. Returns all
    runs. Runs whose ``strike`` is ``None`` were not disturbed.

    Args:
        scenario: A coroutine function. It gets the :class:`Network`, and raises if the application
            fails.
        faults: Which faults to try. ``"drain"`` is what a deploy does to a server: the commonest
            fault of all.
        seconds: How long the trouble lasts. See :class:`Strike`.
        first: The first message at which a fault strikes. 3 spares the first Hello and its answer.
        seed: See :func:`run`.
        limit: See :func:`run`.
        most: The most messages that a scenario may have.

    Raises:
        Exception: What the scenario raises, with a note that says how to replay that run.
        AssertionError: The scenario has more than ``most`` messages, or ends before ``first``, or
            waits without end.
    """
    runs = [_run(scenario, [], seed, limit)]
    for fault, lost in itertools.product(faults, (False, True)):
        if fault in LOSES_NOTHING and lost:
            continue
        for at in range(first, most + 1):
            strike = Strike(fault, at, lost=lost, seconds=seconds)
            runs.append(_run(scenario, [strike], seed, limit))
            if runs[-1].strike is None:
                break
        else:
            raise AssertionError(f"the scenario goes on after {most} messages")
        if all(run.strike is None for run in runs):
            raise AssertionError(f"the scenario ends before message {first}: nothing was shown")
    return runs


def _run(
    scenario: Callable[[Network], Coroutine[Any, Any, T]],
    plan: list[Strike],
    seed: int | None,
    limit: float,
) -> Run[T]:
    network = Network(plan=plan)

    async def main() -> tuple[T, float]:
        result = await scenario(network)
        return result, asyncio.get_running_loop().time()

    try:
        result, seconds = run(main(), seed=seed, limit=limit)
    except BaseException as error:
        error.add_note(f"this run: run(scenario(Network({plan=})), {seed=}, {limit=})")
        raise
    return Run(plan[0] if network.struck else None, result, seconds)
