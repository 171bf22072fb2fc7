"""``make bench``: reliable_ws and picows beside plain websockets.

With ``--full`` also what one would take instead, and uvloop. Ratios mean something only within one
run. The clock swings with the machine, most of all at 64 KiB and more; the time of the processor,
of both processes together, swings less.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from . import crowd, report
from .contestants import FULL, QUICK, THREADS, Contestant, run
from .measure import Server, measure
from .rows import ROWS

CROWDS = ((100, 32, 3_000, 0.7), (1_000, 32, 500, 0.7))
"""Members, payload size, messages a round, target ratio."""

LIBRARIES = ("websockets", "msgpack", "picows", "aiohttp", "uvloop")

IDLE = (500, 5)
"""Connections, KiB that one may need more than a plain one."""


async def rows(
    contestants: Sequence[Contestant], loop: str, rounds: int, only: str
) -> report.Results:
    """Measure every row whose name contains a text."""
    results: report.Results = {}
    async with AsyncExitStack() as stack:
        present = [one for one in contestants if one.absent() is None]
        servers = [await stack.enter_async_context(Server(one, loop)) for one in present]
        for row in ROWS:
            if only in row.name and any(row.takes(server.one) for server in servers):
                began = time.monotonic()
                results[row.name] = await measure(row, servers, rounds)
                took = time.monotonic() - began
                print(f"{loop}: {row.name}: {took:.0f} s", file=sys.stderr, flush=True)
    return results


def many(rounds: int) -> Iterator[str]:
    """Yield the lines of what has more than two processes."""
    for members, size, count, target in CROWDS:
        pairs = [asyncio.run(crowd.publications(members, size, count)) for _ in range(rounds)]
        speeds = [plain / reliable for plain, reliable in pairs]
        span = f"{min(speeds):.2f} - {max(speeds):.2f}"
        what = f"publications confirmed by {members} / broadcast"
        yield f"| {what} | {median(speeds):.2f}x | {span} | | ≥ {target:g}x | | | |"
    members, limit = IDLE
    plain, reliable = asyncio.run(crowd.idle(members))
    more = f"{(reliable - plain) / 1024:+.1f} KiB"
    yield f"| memory of an idle connection | {more} | | | ≤ +{limit} KiB | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row (default 5)")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--full", action="store_true", help="all contestants, and uvloop")
    parser.add_argument("--save", type=Path, help="write the samples into this file")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for 1,000 connections of each
    versions = [f"{name} {version(name)}" for name in LIBRARIES if find_spec(name)]
    versions += [f"medians of {options.rounds} rounds"]
    about = ", ".join([f"Python {platform.python_version()}", *versions])
    contestants = (*(FULL if options.full else QUICK), *THREADS)
    rounds, only = options.rounds, options.only
    results = {"asyncio": run(rows(contestants, "asyncio", rounds, only), "asyncio")}
    if options.full:
        results["uvloop"] = run(rows(QUICK, "uvloop", rounds, only), "uvloop")
    more = [] if only else list(many(min(3, rounds)))
    absent = {one.name: why for one in contestants if (why := one.absent())}
    measured = report.Measured(about, results, more, absent)
    if options.save:
        report.save(measured, options.save)
    print("\n".join(report.pages([measured])))


if __name__ == "__main__":
    main()
