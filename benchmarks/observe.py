"""What watching costs (docs/metrics.md): ``make bench-observe``.

A scrape reads many sessions of a network in memory. The other rows stream or call over a real
socket, both sides in this process, with and without what watches. Their rounds alternate, each on
a connection of its own. What counts is the processor's time, and the median of the rounds' ratios.
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
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

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
SCRAPES = 0.5
"""Seconds between two scrapes while messages are streamed: far more often than in real life."""

CALLERS = 64

Work = Callable[[reliable_ws.Connection, int], Awaitable[None]]
Watch = Callable[
    [reliable_ws.Server, reliable_ws.Connection], contextlib.AbstractContextManager[Any]
]


# ---------------------------------------------------------------------- a scrape


async def scrape(sessions: int, rounds: int) -> None:
    """Read many sessions, in one of ten of which a message waits; print what it costs."""

    async def handler(conn: reliable_ws.Connection) -> None:
        await conn.send(b"first")
        if conn.id[0] % 10 == 0:
            await conn.send(b"nobody takes it")
        await conn.wait_closed()

    network = Network()
    server = await network.serve(handler)
    connections = []
    for _ in range(sessions):
        connections.append(await network.connect())
        await connections[-1].recv()
    registry = CollectorRegistry()
    registry.register(prometheus(server))
    server.figures()  # the first look
    gc.collect()
    gc.freeze()  # a collection looks at every session: it would be measured as well
    costs, scrapes, turns, others = [], [], [], []
    for _ in range(rounds):
        await asyncio.sleep(0.6)
        begun = time.thread_time()
        server.figures()
        costs.append(time.thread_time() - begun)
        others.append(await longest_turn(0.3))
        await asyncio.sleep(0.3)
        longest, cost = await asyncio.gather(longest_turn(0.3), asyncio.to_thread(timed, registry))
        turns.append(longest)
        scrapes.append(cost)
    print(f"{sessions:,} sessions, a message waits in one of ten:")
    print(f"  figures() in the event loop      {ms(costs)} ms")
    print(f"  a scrape in a thread, its work   {ms(scrapes)} ms")
    print(f"  longest turn of the loop then    {ms(turns)} ms")
    print(f"  longest turn without a scrape    {ms(others)} ms")
    for connection in connections:
        connection.abort()
    await server.drain(0)


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
    return f"{1000 * statistics.median(seconds):6.1f}"


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
        for _ in range(count // CALLERS):
            await conn.request("echo", PAYLOAD)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


@contextlib.contextmanager
def nothing(_server: reliable_ws.Server, _conn: reliable_ws.Connection) -> Iterator[None]:
    yield


@contextlib.contextmanager
def exporters(server: reliable_ws.Server, conn: reliable_ws.Connection) -> Iterator[None]:
    """Both exporters read all the time."""
    registry, reader = CollectorRegistry(), InMemoryMetricReader()
    provider = MeterProvider([reader])
    registry.register(prometheus(there=server, here=conn))
    otel(meter=provider.get_meter("bench"), there=server, here=conn)

    async def read() -> None:
        while True:
            await asyncio.to_thread(generate_latest, registry)
            await asyncio.to_thread(reader.get_metrics_data)
            await asyncio.sleep(SCRAPES)

    reading = asyncio.ensure_future(read())
    try:
        yield
    finally:
        reading.cancel()
        provider.shutdown()


async def once(
    work: Work, count: int, watch: Watch, *, ratio: float | None, trace: Path | None
) -> float:
    """Return the processor's time for one round."""
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
            with watch(server, conn):
                await work(conn, count // 10)  # warms up
                begun = time.process_time()
                await work(conn, count)
                return time.process_time() - begun


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
    ratios = []
    for _ in range(rounds):
        without = await once(work, count, nothing, ratio=None, trace=None)
        watched = await once(work, count, watch, ratio=ratio, trace=trace)
        ratios.append(without / watched)
    ratios.sort()
    middle = statistics.median(ratios)
    print(f"{name:42}{middle:5.2f}x  ({ratios[0]:.2f} to {ratios[-1]:.2f})")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    messages, rounds = given.messages, given.rounds
    calls = messages // 10
    logging.disable(logging.WARNING)  # what is left at the end is no news
    await scrape(given.sessions, rounds)
    print("watched, beside the same without (processor's time, both sides):")
    await compare("  stream, the same again", stream, messages, rounds)
    await compare("  stream, both exporters", stream, messages, rounds, exporters)
    await compare("  calls, the same again", call, calls, rounds)
    await compare("  calls, traces not sampled", call, calls, rounds, ratio=0.0)
    await compare("  calls, traces sampled", call, calls, rounds, ratio=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wire.jsonl"
        await compare("  stream, trace=FILE", stream, messages, rounds, trace=path)
        await compare("  calls, trace=FILE", call, calls, rounds, trace=path)


if __name__ == "__main__":
    asyncio.run(main())
