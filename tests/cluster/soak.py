"""Faults at random, for as long as you say: ``make soak-cluster [SECONDS=600]``.

Three nodes of level "log". First a node is killed at each point of :data:`~.kills.POINTS`. Then,
every second or so, one of them is killed there or at any time, frozen beyond its lease, restarted
by SIGTERM, or cut off from the engine, or all WebSockets are cut, or the engine is emptied while
its nodes live. At the end :mod:`.audit` compares what clients and handlers have written down.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path

from . import faults, kills
from .audit import Load, check
from .processes import Node, running
from .servers import Balancer, RedisServer
from .test_relay import until

LEASE = 2.0


def leases(engine: RedisServer) -> int:
    """Return how many nodes have renewed their lease a moment ago."""
    with engine.client as client:
        left = [client.pttl(key) for key in client.keys("reliable-ws:node:*")]
    return sum(one > LEASE * 1000 / 2 for one in left)


async def strike(
    chance: random.Random,
    nodes: list[Node],
    balancer: Balancer,
    engine: RedisServer,
    load: Load,
) -> str:
    """Do one thing, and return when the cluster has had time to go on."""
    what = chance.choice([*faults.FAULTS, "kill at a step", "cut", "empty"])
    node = chance.choice(nodes)
    await node.ready()
    match what:
        case "kill at a step":
            await kills.strike(nodes, chance.choice(kills.POINTS), chance)
        case "cut":
            balancer.cut()
        case "empty":
            # What an owner had that is dead, or cut off, would be lost.
            await until(lambda: load.is_served and leases(engine) == len(nodes))
            with engine.client as client:
                client.flushall()
            await asyncio.sleep(LEASE * 1.5)  # the owners tell it all again
        case _:
            await faults.strike(what, node, chance, LEASE, while_frozen=balancer.cut)
    await asyncio.sleep(chance.uniform(0.1, 1.0))
    return what


async def soak(seconds: float, seed: int, clients: int) -> None:
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = RedisServer(folder)
        try:
            async with running(folder, engine, "log", lease=LEASE) as (nodes, balancer):
                load = Load(balancer.uri, chance)
                load.start(lasting=clients, passing=clients)
                for point in kills.POINTS:
                    done[str(await kills.strike(nodes, point, chance))] += 1

                async def step() -> str:
                    load.look()
                    return await strike(chance, nodes, balancer, engine, load)

                await faults.go_on(seconds, step, done)
                load.look()
                await load.finish()
                notes = check(nodes, load.accounts)
        finally:
            engine.stop()
    print(dict(done))
    print(
        f"{len(load.clients)} sessions, {notes.count} messages taken: 0 lost, 0 doubled without a "
        "flag, every report true"
    )


if __name__ == "__main__":
    faults.run(soak)
