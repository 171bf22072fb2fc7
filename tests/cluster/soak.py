"""Faults at random, for as long as you say: ``make soak-cluster [SECONDS=600]``.

Three nodes of level "log". Every second or so one of them is killed, frozen beyond its lease,
restarted by SIGTERM, or all WebSockets are cut, or the engine is emptied while its nodes live. At
the end each message that a client was told is confirmed must have been taken, twice only if it was
flagged, and no session may have been lost.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

import reliable_ws

from .processes import Node, check_nothing_lost_or_doubled, running, taken
from .scene import BACKOFF
from .servers import Balancer, RedisServer

LEASE = 2.0
CONFIG = reliable_ws.Config(open_timeout=5)


class Client:
    """Sends, and notes what was confirmed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.session = ""
        self.confirmed: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        async with reliable_ws.connect(self.uri, reconnect=BACKOFF, config=CONFIG) as conn:
            self.session = conn.id.hex()
            reading = asyncio.create_task(self._read(conn))
            number = 0
            while not stop.is_set():
                number += 1
                await (await conn.send(str(number)))
                self.confirmed.append(str(number))
                await asyncio.sleep(0.005)
            reading.cancel()

    async def _read(self, conn: reliable_ws.Connection) -> None:
        last = 0
        async for message in conn:
            number = int(message.split(":")[1])
            assert number <= last + 1, f"{self.session}: {number} behind {last}"
            last = max(last, number)


async def strike(
    chance: random.Random, nodes: list[Node], balancer: Balancer, engine: RedisServer
) -> str:
    """Do one thing, and return when the cluster has had time to go on."""
    what = chance.choice(["kill", "freeze", "restart", "cut", "cut", "empty"])
    node = chance.choice(nodes)
    starts = node.read().count("ready")
    match what:
        case "kill":
            node.kill()
            node.start()
            await node.ready(times=starts + 1)
            await asyncio.sleep(LEASE)
        case "freeze":
            node.signal(signal.SIGSTOP)
            balancer.cut()
            await asyncio.sleep(LEASE * chance.uniform(0.5, 2))
            node.signal(signal.SIGCONT)
        case "restart":
            await node.stop()
            node.start()
            await node.ready(times=starts + 1)
        case "cut":
            balancer.cut()
        case "empty":
            with engine.client as client:
                client.flushall()
            await asyncio.sleep(LEASE * 1.5)  # the owners tell it all again
    await asyncio.sleep(chance.uniform(0.1, 1.0))
    return what


async def soak(seconds: float, seed: int, clients: int) -> None:
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    stop = asyncio.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = RedisServer(folder)
        try:
            async with running(folder, engine, "log") as (nodes, balancer):
                everybody = [Client(balancer.uri) for _ in range(clients)]
                tasks = [asyncio.create_task(client.run(stop)) for client in everybody]
                until = asyncio.get_running_loop().time() + seconds
                while asyncio.get_running_loop().time() < until:
                    done[await strike(chance, nodes, balancer, engine)] += 1
                    for task in tasks:
                        if task.done():
                            task.result()  # a session was lost
                stop.set()
                await asyncio.gather(*tasks)
                sent = {client.session: client.confirmed for client in everybody}
                check_nothing_lost_or_doubled(nodes, sent)
                count = sum(map(len, taken(nodes).values()))
        finally:
            engine.stop()
    print(f"seed {seed}: {dict(done)}; {count} messages, 0 lost, 0 doubled without a flag")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int, default=12)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    asyncio.run(soak(given.seconds, given.seed, given.clients))


if __name__ == "__main__":
    main()
