"""Kills a node at a step of the engine, before the engine has done it or before the node hears."""

from __future__ import annotations

import asyncio
import random
import signal

from .engine_proxy import STEPS, Trap
from .processes import Node

POINTS = tuple((step, answered) for step in STEPS for answered in (False, True))
"""Where a node is killed. ``answered``: the engine has done the step, and the node is not told."""

FREQUENT = ("append", "trim")
"""Steps that come all the time: some are let through first."""


async def strike(nodes: list[Node], point: tuple[str, bool], chance: random.Random) -> Trap:
    """Let one node die at this point, under load, and start whatever is dead again."""
    step, answered = point
    trap = Trap(step, answered=answered, skip=chance.randrange(20) if step in FREQUENT else 0)
    for node in nodes:
        node.line.trap = trap
    async with asyncio.timeout(60):
        if step == "claim":  # others take over what it had
            chance.choice(nodes).kill()
        while step == "park" and not trap.sprung.is_set():  # one that has no session parks none
            node = chance.choice(nodes)
            await node.ready()
            node.signal(signal.SIGTERM)
            await node.gone()
            if not trap.sprung.is_set():
                node.start()
        await trap.sprung.wait()
    for node in nodes:
        node.line.trap = None
        if not node.is_running:
            node.kill()
            node.start()
    return trap
