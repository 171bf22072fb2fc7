"""Kills a node at a step of the engine, before the engine has done it or before the node hears."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal

from .engine_proxy import STEPS, Trap
from .processes import Node

POINTS = tuple((step, answered) for step in STEPS for answered in (False, True))
"""Where a node is killed. ``answered``: the engine has done the step, and the node is not told."""

PROVOKED = ("park", "claim")
"""Steps that come only when a node goes."""

PATIENCE = 5.0
"""Seconds within which a claim follows, if there is one."""

FREQUENT = ("append", "trim")
"""Steps that come all the time: some are let through first."""


async def strike(nodes: list[Node], point: tuple[str, bool], chance: random.Random) -> Trap:
    """Let one node die at this point, under load, and start whatever is dead again."""
    step, answered = point
    trap = Trap(step, answered=answered, skip=chance.randrange(20) if step in FREQUENT else 0)
    for node in nodes:
        node.line.trap = trap
    async with asyncio.timeout(120):
        # A node that has no session parks none, and leaves none to be claimed: then the next one.
        while step in PROVOKED and not trap.sprung.is_set():
            node = chance.choice(nodes)
            await node.ready()
            if step == "park":
                node.signal(signal.SIGTERM)
                await node.gone()
            else:
                node.kill()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(trap.sprung.wait(), PATIENCE)
            if not node.is_running and not trap.sprung.is_set():
                node.start()
        await trap.sprung.wait()
    for node in nodes:
        node.line.trap = None
        if not node.is_running:
            node.kill()
            node.start()
    return trap
