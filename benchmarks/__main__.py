"""``make bench``: the table of the README's performance section."""

from __future__ import annotations

import argparse
import asyncio
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import median

from . import calls, crowd, measure
from .measure import Pair, Peers

STREAMS = ((32, 200_000, 12.0), (256, 100_000, 8.0), (4096, 30_000, 2.5), (65536, 4_000, 1.0))
"""Payload size, messages a round, target ratio."""

ONE_BY_ONE = (32, 3_000, 1.15)
"""Payload size, messages a round, target ratio of times."""


CONCURRENT = (32, 12_800, 2.0)
SEQUENTIAL = (32, 3_000, 1.3)
CROWDS = ((100, 32, 3_000, 0.7), (1000, 32, 500, 0.7))
"""Members, payload size, messages a round, target ratio."""

IDLE = (500, 6 * 1024)
"""Connections, bytes that one may need more than a plain one."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each (default 7)")
    rounds = max(5, parser.parse_args().rounds)
    print(
        f"Python {platform.python_version()}, websockets {version('websockets')}, "
        f"msgpack {version('msgpack')}; medians of {rounds} rounds, range in brackets.\n"
        "plain = websockets, compression and pings off; every message confirmed by reliable_ws.\n"
    )
    print("| what | reliable_ws / plain | range | target |")
    print("|---|---|---|---|")
    with Peers() as peers:
        for size, count, target in STREAMS:
            pairs = measure.run(measure.stream, peers, size, count, rounds=rounds)
            _row(f"one-way stream, {_bytes(size)}: messages/s", _speedups(pairs), f"≥ {target:g}x")
        size, count, limit = ONE_BY_ONE
        pairs = measure.run(measure.one_by_one, peers, size, count, rounds=rounds)
        _row("confirmed send / plain echo: time", _slowdowns(pairs), f"≤ {limit:g}x")
        size, count, target = CONCURRENT
        pairs = measure.run(calls.concurrent, peers, size, count, rounds=rounds)
        _row("64 concurrent requests: answers/s", _speedups(pairs), f"≥ {target:g}x")
        size, count, limit = SEQUENTIAL
        pairs = measure.run(calls.sequential, peers, size, count, rounds=rounds)
        _row("request / plain echo: time", _slowdowns(pairs), f"≤ {limit:g}x")
    for members, size, count, target in CROWDS:
        pairs = [asyncio.run(crowd.publications(members, size, count)) for _ in range(3)]
        what = f"publications confirmed by {members} / broadcast: deliveries/s"
        _row(what, _speedups(pairs), f"≥ {target:g}x")
    if Path("/proc/self/statm").exists():
        members, limit = IDLE
        plain, reliable = asyncio.run(crowd.idle(members))
        more = f"{(reliable - plain) / 1024:+.1f} KiB"
        print(f"| memory of an idle connection | {more} | | ≤ +{limit // 1024} KiB |")


def _speedups(pairs: list[Pair]) -> list[float]:
    return [plain / reliable for plain, reliable in pairs]


def _slowdowns(pairs: list[Pair]) -> list[float]:
    return [reliable / plain for plain, reliable in pairs]


def _row(what: str, ratios: list[float], target: str) -> None:
    span = f"{min(ratios):.2f} - {max(ratios):.2f}"
    print(f"| {what} | {median(ratios):.2f}x | {span} | {target} |", flush=True)


def _bytes(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


if __name__ == "__main__":
    main()
