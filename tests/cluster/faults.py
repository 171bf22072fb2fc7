"""What the soaks share: faults of one node, and the command line."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from .processes import Node

FAULTS = ("kill", "freeze", "restart", "cut off")


async def strike(
    what: str,
    node: Node,
    chance: random.Random,
    lease: float,
    while_frozen: Callable[[], object] = lambda: None,
) -> None:
    """Let one of :data:`FAULTS` happen to a node; it runs again when this returns.

    ``while_frozen``: called once the node is frozen.
    """
    match what:
        case "kill":
            node.kill()
            node.start()
        case "freeze":
            node.signal(signal.SIGSTOP)
            while_frozen()
            await asyncio.sleep(lease * chance.uniform(0.3, 2))
            node.signal(signal.SIGCONT)
        case "restart":
            await node.stop()
            node.start()
        case "cut off":
            chance.choice([node.line.cut, node.line.hold])()
            await asyncio.sleep(lease * chance.uniform(0.3, 3))
            node.line.mend()


async def go_on(
    seconds: float, step: Callable[[], Awaitable[str]], done: Counter[str]
) -> Counter[str]:
    """Do step after step for so long; return how often what was done."""
    loop = asyncio.get_running_loop()
    by = loop.time() + seconds
    while loop.time() < by:
        done[await step()] += 1
    return done


def run(soak: Callable[[float, int, int], Coroutine[Any, Any, None]]) -> None:
    """Run a soak: seconds, seed and clients come from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int, default=6)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    asyncio.run(soak(given.seconds, given.seed, given.clients))
