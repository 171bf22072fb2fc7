"""Faults at random, for as long as you say: ``make soak-cluster [SECONDS=600]``.

Three nodes of level "log". First a node is killed at each point of :data:`~.kills.POINTS`. Then,
every second or so, one of them is killed there or at any time, frozen beyond its lease, restarted
by SIGTERM, or cut off from the engine, or all WebSockets are cut, or the engine is emptied while
its nodes live. At the end :mod:`.audit` compares what clients and handlers have written down.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

from . import kills
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
    what = chance.choice(["kill", "kill at a step", "freeze", "restart", "cut off", "cut", "empty"])
    node = chance.choice(nodes)
    await node.ready()
    match what:
        case "kill":
            node.kill()
            node.start()
        case "kill at a step":
            await kills.strike(nodes, chance.choice(kills.POINTS), chance)
        case "freeze":
            node.signal(signal.SIGSTOP)
            balancer.cut()
            await asyncio.sleep(LEASE * chance.uniform(0.5, 2))
            node.signal(signal.SIGCONT)
        case "restart":
            await node.stop()
            node.start()
        case "cut off":
            chance.choice([node.line.cut, node.line.hold])()
            await asyncio.sleep(LEASE * chance.uniform(0.5, 3))
            node.line.mend()
        case "cut":
            balancer.cut()
        case "empty":
            # What an owner had that is dead, or cut off, would be lost.
            await until(lambda: load.is_served and leases(engine) == len(nodes))
            with engine.client as client:
                client.flushall()
            await asyncio.sleep(LEASE * 1.5)  # the owners tell it all again
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
                until = asyncio.get_running_loop().time() + seconds
                while asyncio.get_running_loop().time() < until:
                    done[await strike(chance, nodes, balancer, engine, load)] += 1
                    load.look()
                await load.finish()
                notes = check(nodes, load.clients)
        finally:
            engine.stop()
    print(dict(done))
    print(
        f"{len(load.clients)} sessions, {notes.count} messages taken: 0 lost, 0 doubled without a "
        "flag, every report true"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int, default=6)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    asyncio.run(soak(given.seconds, given.seed, given.clients))


if __name__ == "__main__":
    main()
