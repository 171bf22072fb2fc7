"""What watching costs (docs/metrics.md): ``make bench-observe``.

A scrape reads many sessions of a network in memory: first all are idle, then a message waits in
every third. The other rows stream or call over real sockets, both sides in this process.
Each round has two connections, one of which is watched. Short blocks of the same work alternate
between them, so that whatever else the machine does slows both. What counts is the processor's
time of two blocks, one behind the other: the median of the ratios of all pairs. What disturbs one
block spoils one pair, while in sums over a round it spoiled the round: the same work again gave
from 0.53x to 1.02x there. Exporters are different: they read beside a few blocks only, which a
median leaves out, so their ratio is that of the sums over all rounds. The range printed is that of
the rounds.

The garbage collector rests in a block and works between two. A full collection takes as long as
a block, and looks at everything that both connections have.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, generate_latest

import reliable_ws
from reliable_ws.metrics import otel, prometheus
from reliable_ws.telemetry import trace_calls
from reliable_ws.testing import Network

HOST = "127.0.0.1"
PAYLOAD = b"x" * 32
SCRAPES = 1.0
"""Seconds of watched work between two scrapes by each exporter. Prometheus asks every 15 to 60."""

BLOCKS = 60
"Blocks of work for each of the two connections in a round."

WAITING = 3
"In one of so many sessions a message waits."

CALLERS = 64

Work = Callable[[reliable_ws.Connection, int], Awaitable[None]]
Aside = Callable[[float], Awaitable[None]]
"What is done beside a block of watched work; called with the seconds of work until then."
Watching = Generator[Aside, None, None]
Watch = Callable[
    [reliable_ws.Server, reliable_ws.Connection], contextlib.AbstractContextManager[Aside]
]


# ---------------------------------------------------------------------- a scrape


async def scrape(sessions: int, rounds: int) -> None:
    """Read many sessions; print what it costs."""
    ids: set[bytes] = set()

    async def handler(conn: reliable_ws.Connection) -> None:
        ids.add(conn.id)
        await conn.send(b"first")
        async for _message in conn:
            await conn.send(b"nobody takes it")

    network = Network()
    server = await network.serve(handler)
    connections = []
    for _ in range(sessions):
        connections.append(await network.connect())
        await connections[-1].recv()
    registry = CollectorRegistry()
    registry.register(prometheus(server))
    await read_all(f"{sessions:,} idle sessions", server, registry, rounds)
    for connection in connections[::WAITING]:
        await (await connection.send(b"x"))
    await read_all(f"a message waits in one of {WAITING} of them", server, registry, rounds)
    for connection in connections:
        connection.abort()
    await server.drain(0)


async def read_all(
    name: str, server: reliable_ws.Server, registry: CollectorRegistry, rounds: int
) -> None:
    """Print what it costs to read these sessions, in both ways."""
    server.figures()  # the first look
    gc.collect()
    gc.freeze()  # a collection looks at every session: it would be measured as well
    costs, scrapes, turns, others = [], [], [], []
    for _ in range(rounds):
        await asyncio.sleep(0.6)  # the next look is none, if it comes too soon
        begun = time.thread_time()
        server.figures()
        costs.append(time.thread_time() - begun)
        others.append(await longest_turn(0.3))
        await asyncio.sleep(0.3)
        longest, cost = await asyncio.gather(longest_turn(0.3), asyncio.to_thread(timed, registry))
        turns.append(longest)
        scrapes.append(cost)
    print(f"{name:35}  least median")
    print(f"  figures() in the event loop      {ms(costs)} ms")
    print(f"  a scrape in a thread, its work   {ms(scrapes)} ms")
    print(f"  longest turn of the loop then    {ms(turns)} ms")
    print(f"  longest turn without a scrape    {ms(others)} ms")


def timed(registry: CollectorRegistry) -> float:
    begun = time.thread_time()
    generate_latest(registry)
    return time.thread_time() - begun


async def longest_turn(seconds: float) -> float:
    """Return the longest turn of the event loop in some time."""
    longest, now = 0.0, time.perf_counter()
    until = now + seconds
    while now < until:
        await asyncio.sleep(0)
        before, now = now, time.perf_counter()
        longest = max(longest, now - before)
    return longest


def ms(seconds: list[float]) -> str:
    return f"{1000 * min(seconds):6.1f} {1000 * statistics.median(seconds):6.1f}"


# ---------------------------------------------------------------------- streams and calls


async def take(conn: reliable_ws.Connection) -> None:
    async for _message in conn:
        pass


async def echo(value: bytes) -> bytes:
    return value


async def stream(conn: reliable_ws.Connection, count: int) -> None:
    for _ in range(count):
        await conn.send(PAYLOAD)
    await conn.flush()


async def call(conn: reliable_ws.Connection, count: int) -> None:
    async def caller() -> None:
        for _ in range(max(1, count // CALLERS)):
            await conn.request("echo", PAYLOAD)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


@contextlib.contextmanager
def nothing(_server: reliable_ws.Server, _conn: reliable_ws.Connection) -> Watching:
    async def aside(_spent: float) -> None: ...

    yield aside


@contextlib.contextmanager
def exporters(server: reliable_ws.Server, conn: reliable_ws.Connection) -> Watching:
    """Both exporters read, each in a thread, while the work goes on."""
    registry, reader = CollectorRegistry(), InMemoryMetricReader()
    provider = MeterProvider([reader])
    registry.register(prometheus(there=server, here=conn))
    otel(meter=provider.get_meter("bench"), there=server, here=conn)
    scrapes = 0

    async def aside(spent: float) -> None:
        nonlocal scrapes
        if spent < (scrapes + 0.5) * SCRAPES:
            return
        scrapes += 1
        await asyncio.to_thread(generate_latest, registry)
        await asyncio.to_thread(reader.get_metrics_data)

    yield aside
    provider.shutdown()


class Side:
    """One connection and its work."""

    def __init__(self, work: Work, conn: reliable_ws.Connection, aside: Aside) -> None:
        self.work, self.conn, self.aside = work, conn, aside
        self.spent: list[float] = []  # on each block

    async def do(self, count: int) -> None:
        """Do a block of work, and note the processor's time."""
        gc.collect(1)
        gc.disable()
        begun = time.process_time()
        await asyncio.gather(self.work(self.conn, count), self.aside(sum(self.spent)))
        self.spent.append(time.process_time() - begun)
        gc.enable()


@contextlib.asynccontextmanager
async def opened(
    work: Work, watch: Watch, *, ratio: float | None, trace: Path | None
) -> AsyncGenerator[Side, None]:
    """Open a connection for one side."""
    methods = reliable_ws.Methods()
    methods.register(echo)
    async with reliable_ws.serve(
        take, HOST, 0, methods=methods, drain_timeout=1, trace=trace
    ) as server:
        if ratio is not None:
            trace_calls(server, tracer=TracerProvider().get_tracer("bench"), ratio=ratio)
        async with reliable_ws.connect(
            f"ws://{HOST}:{server.port}", proxy=None, trace=trace
        ) as conn:
            if ratio is not None:
                trace_calls(conn, tracer=TracerProvider().get_tracer("bench"), ratio=ratio)
            with watch(server, conn) as aside:
                yield Side(work, conn, aside)


async def compare(
    name: str,
    work: Work,
    count: int,
    rounds: int,
    watch: Watch = nothing,
    *,
    ratio: float | None = None,
    trace: Path | None = None,
) -> None:
    """Print how much faster it is without being watched."""
    pairs: list[tuple[float, float]] = []
    of_rounds = []
    ratio_of = ratio_of_sums if watch is exporters else median_of_ratios
    for number in range(rounds):
        async with (
            opened(work, nothing, ratio=None, trace=None) as without,
            opened(work, watch, ratio=ratio, trace=trace) as watched,
        ):
            sides = [without, watched]
            for side in sides:
                await work(side.conn, count // 10)  # warms up
            for block in range(BLOCKS):
                # In the order a b, b a, …: what grows steadily counts for both.
                for side in sides if (block + number) % 2 else reversed(sides):
                    await side.do(count // BLOCKS)
        in_round = list(zip(without.spent, watched.spent, strict=True))
        of_rounds.append(ratio_of(in_round))
        pairs += in_round
    print(f"{name:42}{ratio_of(pairs):6.3f}x  ({min(of_rounds):.3f} to {max(of_rounds):.3f})")


def median_of_ratios(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(without / watched for without, watched in pairs)


def ratio_of_sums(pairs: list[tuple[float, float]]) -> float:
    return sum(without for without, _ in pairs) / sum(watched for _, watched in pairs)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    messages, rounds = given.messages, given.rounds
    calls = messages // 20
    logging.disable(logging.WARNING)  # what is left at the end is no news
    await scrape(given.sessions, rounds)
    print("watched, beside the same without (processor's time, both sides):")
    # So long that a scrape comes in each round, and one only.
    await compare("  stream, the same again", stream, 4 * messages, rounds)
    await compare("  stream, both exporters", stream, 4 * messages, rounds, exporters)
    await compare("  calls, the same again", call, calls, rounds)
    await compare("  calls, traces not sampled", call, calls, rounds, ratio=0.0)
    await compare("  calls, traces sampled", call, calls, rounds, ratio=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wire.jsonl"
        await compare("  stream, trace=FILE", stream, messages, rounds, trace=path)
        await compare("  calls, trace=FILE", call, calls, rounds, trace=path)


if __name__ == "__main__":
    asyncio.run(main())
