"""``sweep``: a scenario once for each message at which the network can break."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .network import Network
from .plan import FaultName, Strike
from .virtual_clock import run

__all__ = ["Run", "sweep"]

T = TypeVar("T")


@dataclass(frozen=True)
class Run(Generic[T]):
    """One run of a scenario."""

    strike: Strike | None
    "What happened to it; ``None``: nothing, the scenario was over before."
    result: T
    "What it returned."
    seconds: float
    "How long it took, on the virtual clock."


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
    """Run ``scenario(network)`` once for each fault at each message: it has to survive them all.

    First it runs undisturbed: what fails by itself is not blamed on a fault.
    Every run has a network of its own, and a virtual clock: timeouts of minutes take no time,
    and a wait that never ends is an ``AssertionError`` (see :func:`run`, also for ``seed`` and
    ``limit``). The fault strikes behind the message that it is at, and, unless it is a stall, in
    another run instead of it, so that it is lost. ``seconds`` is how long the trouble lasts (see
    :class:`Strike`). The counting begins at ``first``; 3 spares the first Hello and its answer.

    What the scenario raises comes out with a note that tells how to replay that run. Returns all
    runs; those without a ``strike`` were not disturbed, for comparison. A scenario of more than
    ``most`` messages is an error, and so is one that ends before ``first``.
    """
    runs = [_run(scenario, [], seed, limit)]
    for fault, lost in itertools.product(faults, (False, True)):
        if fault == "stall" and lost:
            continue  # which loses nothing
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
