"""Faults at random, for a group: ``make soak-cluster [SECONDS=600]``.

Three nodes of level "log" with members of one group, who talk all the time. Every second or so one
node is killed, frozen, restarted by SIGTERM, or cut off from the engine, or all WebSockets are cut,
or the engine is emptied. At the end what each member heard is compared with all receipts, and with
what the others heard (:mod:`.talkers`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

from .processes import running
from .servers import RedisServer
from .talkers import Crowd

LEASE = 1.0


async def strike(chance: random.Random, crowd: Crowd, engine: RedisServer) -> str:
    """Do one thing, and return when the cluster has had time to go on."""
    what = chance.choice(["kill", "freeze", "restart", "cut off", "cut", "empty"])
    node = chance.choice(crowd.nodes)
    await node.ready()
    match what:
        case "kill":
            node.kill()
            node.start()
        case "freeze":
            node.signal(signal.SIGSTOP)
            await asyncio.sleep(LEASE * chance.uniform(0.3, 2))
            node.signal(signal.SIGCONT)
        case "restart":
            await node.stop()
            node.start()
        case "cut off":
            chance.choice([node.line.cut, node.line.hold])()
            await asyncio.sleep(LEASE * chance.uniform(0.3, 2))
            node.line.mend()
        case "cut":
            crowd.balancer.cut()
        case "empty":
            with engine.client as client:
                client.flushall()
    await asyncio.sleep(chance.uniform(0.1, 2.0))
    return what


async def soak(seconds: float, seed: int, talkers: int) -> None:
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        engine = RedisServer(Path(name))
        try:
            options = {"program": "room", "lease": LEASE}
            async with running(Path(name), engine, "log", **options) as (nodes, balancer):
                crowd = Crowd(nodes, balancer)
                await crowd.come(talkers)
                until = asyncio.get_running_loop().time() + seconds
                while asyncio.get_running_loop().time() < until:
                    done[await strike(chance, crowd, engine)] += 1
                for node in nodes:
                    await node.ready()
                tally = await crowd.finish()
        finally:
            engine.stop()
    print(dict(done))
    print(f"{sum(talker.lives for talker in crowd.talkers)} sessions; {dict(tally)}")
    print("one order, nothing twice, no hole in silence, every receipt true")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--talkers", type=int, default=6)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    asyncio.run(soak(given.seconds, given.seed, given.talkers))


if __name__ == "__main__":
    main()
