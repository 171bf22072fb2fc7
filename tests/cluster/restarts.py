"""A rolling restart of all nodes, under many clients: part of ``make soak-cluster``.

Three nodes of level "park". Each is told to go by SIGTERM and started again, one after the other,
while every client sends now and then. Before that all WebSockets are cut once, so that most of them
are passed on to another node than the one they reach. The balancer leaves out a node that goes.
:mod:`.audit` compares what clients and handlers have written down. For every second it is counted
how many clients were told to come in it, and how many WebSockets came. That must not be more than
``within`` allows. The clients have processes of their own (:mod:`.clients`); the balancer, which
counts, runs in this one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .audit import check
from .clients import Clients
from .processes import Node, running
from .servers import Balancer, RedisServer
from .test_relay import until

OPENED = 50
"""WebSockets that are cut at the same time."""

TOLD = {"4503 moving to another process", "4503 this process is going away"}
"""Why a WebSocket ends whose client was told when to come again."""

SLACK = 1.5
"""What the busiest second may have above the even rate: a client adds up to
:data:`.clients.JITTER` seconds at random, and all share this machine."""


async def scatter(clients: Clients, balancer: Balancer, count: int) -> None:
    """Cut all WebSockets, some at a time; return when each session has another one."""
    cut = 0
    while cut < count:
        before = balancer.connections
        balancer.cut(OPENED)
        cut += OPENED
        await until(lambda: balancer.connections >= before + OPENED)  # noqa: B023
        await clients.served()


def lateness(moments: Sequence[float], came: Sequence[float]) -> float:
    """Return how late WebSockets came at worst: by then fewer had come than were told to come."""
    pairs = zip(sorted(moments), sorted(came), strict=False)
    return max((arrival - moment for moment, arrival in pairs), default=0.0)


def busiest(times: Sequence[float]) -> int:
    """Return how many there are within one second at most."""
    times = sorted(times)
    most = first = 0
    for place, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, place - first + 1)
    return most


async def restart(node: Node, clients: Clients, balancer: Balancer, within: float) -> None:
    """Restart one node, and print who came back."""
    await clients.told()
    begun, before = time.monotonic(), balancer.connections
    balancer.ports.remove(node.port)  # who reached it would be sent away, and come twice
    await node.stop()
    node.start()
    await node.ready()
    balancer.ports.append(node.port)
    await asyncio.sleep(max(0.0, begun + within + 1 - time.monotonic()))
    await clients.served()
    came = balancer.arrivals[before:]
    moments, why = await clients.told()
    even = len(moments) / within
    print(
        f"{node.name} restarted: {len(moments)} clients were told when to come again, at most "
        f"{busiest(moments)} of them in a second (evenly: {even:.0f}); {len(came)} WebSockets "
        f"came, at most {busiest(came)} in a second, {lateness(moments, came):.1f} s late at worst",
        flush=True,
    )
    for reason in why.keys() - TOLD:
        print(f"    and {why[reason]} for {reason!r}")
    assert busiest(came) <= even * SLACK, "they came all at once"


async def roll(count: int, processes: int, within: float, pause: float) -> None:
    """Restart every node in turn, and print what came of it."""
    with tempfile.TemporaryDirectory() as name:
        engine = RedisServer(Path(name))
        options = {"within": within, "drain": within, "lease": 30.0, "direct": True}
        clients = None
        try:
            async with running(Path(name), engine, "park", **options) as (nodes, balancer):
                clients = Clients(balancer.uri, count, processes, longest=within, pause=pause)
                await clients.open()
                await scatter(clients, balancer, count)
                gc.collect()
                gc.freeze()  # a collection looks at all connections, and holds up the balancer
                for node in nodes:
                    await restart(node, clients, balancer, within)
                notes = check(nodes, await clients.close())
        finally:
            if clients is not None:
                clients.kill()
            engine.stop()
    print(
        f"{count} sessions over {len(nodes)} restarts, {notes.count} messages taken: 0 told 4404, "
        "0 lost, 0 doubled without a flag, every report true"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=4, help="that the clients share")
    parser.add_argument("--within", type=float, default=40.0)
    parser.add_argument("--pause", type=float, default=60.0)
    given = parser.parse_args()
    asyncio.run(roll(given.clients, given.processes, given.within, given.pause))


if __name__ == "__main__":
    main()
