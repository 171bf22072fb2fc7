"""A node is killed at each step of the engine, at level "log"."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .audit import Load, check
from .kills import POINTS, strike
from .processes import running
from .servers import RedisServer

SOME = [("append", True), ("trim", False), ("claim", True), ("end", True)]
"""Those that run each time; ``make soak-cluster`` kills at all of :data:`POINTS`."""


@pytest.mark.parametrize("points", [SOME, pytest.param(POINTS, marks=pytest.mark.slow)])
async def test_a_node_that_dies_at_a_step_of_the_engine_loses_nothing(
    engine: RedisServer, tmp_path: Path, points: list[tuple[str, bool]]
) -> None:
    """STORE-1, STORE-2, STORE-3, STORE-4: the engine has it before it is said."""
    chance = random.Random(7)
    async with running(tmp_path, engine, "log", lease=0.5) as (ring, balancer):
        load = Load(balancer.uri, chance, pause=0.01)
        load.start(lasting=4, passing=4)
        for point in points:
            await strike(ring, point, chance)
        for node in ring:
            await node.ready()
        await load.go_on(101)
        await load.finish()
        assert check(ring, load.accounts).count > 100
