"""Faults at random, for a group: ``make soak-cluster [SECONDS=600]``.

Three nodes of level "log" with members of one group, who talk all the time. Every second or so one
node is killed, frozen, restarted by SIGTERM, or cut off from the engine, or all WebSockets are cut,
or the engine is emptied. At the end what each member heard is compared with all receipts, and with
what the others heard (:mod:`.talkers`).
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path

from . import faults
from .processes import running
from .servers import RedisServer
from .talkers import Crowd

LEASE = 1.0


async def strike(chance: random.Random, crowd: Crowd, engine: RedisServer) -> str:
    """Do one thing, and return when the cluster has had time to go on."""
    what = chance.choice([*faults.FAULTS, "cut", "empty"])
    node = chance.choice(crowd.nodes)
    await node.ready()
    match what:
        case "cut":
            crowd.balancer.cut()
        case "empty":
            with engine.client as client:
                client.flushall()
        case _:
            await faults.strike(what, node, chance, LEASE)
    await asyncio.sleep(chance.uniform(0.1, 2.0))
    return what


async def soak(seconds: float, seed: int, clients: int) -> None:
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        engine = RedisServer(Path(name))
        try:
            options = {"program": "room", "lease": LEASE}
            async with running(Path(name), engine, "log", **options) as (nodes, balancer):
                crowd = Crowd(nodes, balancer)
                await crowd.come(clients)
                await faults.go_on(seconds, lambda: strike(chance, crowd, engine), done)
                for node in nodes:
                    await node.ready()
                tally = await crowd.finish()
        finally:
            engine.stop()
    print(dict(done))
    print(f"{sum(talker.lives for talker in crowd.talkers)} sessions; {dict(tally)}")
    print("one order, nothing twice, no hole in silence, every receipt true")


if __name__ == "__main__":
    faults.run(soak)
