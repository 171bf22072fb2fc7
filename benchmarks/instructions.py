"""``make instructions``: how many machine instructions the hot paths take, counted by valgrind.

A wall clock swings with the machine, this count does not. Both ends run in one process, over a Unix
socket and websockets. The process does everything once, and then forks. Each fork does one case so
many times: the count of a long fork less that of a short one is the cost of the operations that the
long one has done more. The clock stands still, because valgrind is fifty times slower than the
machine, and when something is flushed depends on the time.

Counts depend on how Python was built. What is stored, for each version of Python, is therefore the
ratio to what plain websockets takes for the same in the same run. (For calls whose traces are not
sampled it is the ratio to calls that nobody traces.) ``--check`` fails when a ratio is
3 % above the stored one (6 % where Python or websockets is another build), ``--store`` writes the
ratios of this run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

Connect = Callable[[], AbstractAsyncContextManager[Any]]
Work = Callable[[Connect, int], Awaitable[None]]

TOLERANCE = 0.03
"""How much above the stored one a ratio may be, with the same build of Python and websockets. From
one run to the next it changes by less than 0.1 %, whatever else the machine does."""

ELSEWHERE = 0.06
"The same with another build. Two builds of Python 3.11 differed by 4 % at most."

FIGURES = Path(__file__).with_name("instructions.json")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
AT_ONCE = 2
"Forks that run at the same time."

LIMIT = 300
"Seconds after which each process is ended. A run takes 16 seconds on two idle cores."

SIDES = ("reliable", "plain")

CROWD = 20
"Connections of the cases with many."


# ---------------------------------------------------------------------- what is counted


async def confirmed(connect: Connect, count: int) -> None:
    async with connect() as conn:
        for _ in range(count):
            await (await conn.send(b"x" * 32))


async def request(connect: Connect, count: int) -> None:
    async with connect() as conn:
        for _ in range(count):
            await conn.request("echo", b"x" * 32)


async def echo(connect: Connect, count: int) -> None:
    async with connect() as ws:
        for _ in range(count):
            await ws.send(b"x" * 32)
            await ws.recv()


async def opening(connect: Connect, count: int) -> None:
    for _ in range(count):
        async with connect():
            pass


def stream(size: int) -> Work:
    async def work(connect: Connect, count: int) -> None:
        payload = b"x" * size
        async with connect() as conn:
            for _ in range(count):
                await conn.send(payload)
            await conn.flush()

    return work


def plain_stream(size: int) -> Work:
    async def work(connect: Connect, count: int) -> None:
        payload = b"x" * size
        async with connect() as ws:
            for _ in range(count):
                await ws.send(payload)
            await ws.send(b"")
            await ws.recv()

    return work


async def burst(conn: Any, size: int) -> None:
    for _ in range(size):
        receipt = await conn.send(b"x" * 32)
    await receipt


async def plain_burst(ws: Any, size: int) -> None:
    for _ in range(size):
        await ws.send(b"x" * 32)
    for _ in range(size):
        await ws.recv()


def crowd(send: Callable[[Any, int], Awaitable[None]], size: int) -> Work:
    """Send some messages on each of many connections at the same time."""

    async def work(connect: Connect, count: int) -> None:
        async with contextlib.AsyncExitStack() as stack:
            conns = [await stack.enter_async_context(connect()) for _ in range(CROWD)]
            for _ in range(count):
                await asyncio.gather(*(send(conn, size) for conn in conns))

    return work


class Case(NamedTuple):
    """The same done by both, and how often in a short and in a long fork."""

    reliable: Work
    plain: Work
    short: int
    long: int
    traced: bool = False
    "Whether both are reliable_ws: the first traces its calls, and samples none."
    echoed: bool = False
    "Whether plain websockets send every message back."
    stored: bool = False
    "Whether both ends of reliable_ws have a store."


CASES = {
    "confirmed send / plain echo": Case(confirmed, echo, 50, 250, echoed=True),
    "request / plain echo": Case(request, echo, 50, 250, echoed=True),
    "request, traced but not sampled / request": Case(request, request, 50, 250, traced=True),
    "stream, 32 B": Case(stream(32), plain_stream(32), 500, 2500),
    "stream, 64 KiB": Case(stream(65536), plain_stream(65536), 20, 80),
    "open and close": Case(opening, opening, 5, 25),
}

MORE_CASES = {
    "durable confirmed send / plain echo": Case(confirmed, echo, 50, 250, echoed=True, stored=True),
    "stream, 4 KiB": Case(stream(4096), plain_stream(4096), 160, 480),
    "stream, 256 KiB": Case(stream(1 << 18), plain_stream(1 << 18), 10, 30),
    "stream, 1 MiB": Case(stream(1 << 20), plain_stream(1 << 20), 5, 15),
    f"{CROWD} connections, one each": Case(
        crowd(burst, 1), crowd(plain_burst, 1), 3, 13, echoed=True
    ),
    f"{CROWD} connections, bursts of 16": Case(
        crowd(burst, 16), crowd(plain_burst, 16), 3, 13, echoed=True
    ),
}
"Those of ``--more``, which are neither stored nor compared."


# ---------------------------------------------------------------------- under valgrind


def do_all(cases: dict[str, Case]) -> None:
    """Do each case in forks of this process, and print which process did what."""
    signal.alarm(LIMIT)
    time.monotonic = itertools.repeat(0.0).__next__  # a C function, as the clock itself is
    gc.disable()  # when it runs depends on all that was made before
    for name in cases:
        for side in SIDES:
            asyncio.run(do(side, name, 3))  # imports are done, and Python has specialised the code
    running = 0
    for name, case in cases.items():
        for side in SIDES:
            for count in (case.short, case.long):
                if running == AT_ONCE:
                    wait_for_one()
                else:
                    running += 1
                if pid := os.fork():
                    print(json.dumps([pid, name, side, count]), flush=True)
                else:
                    signal.alarm(LIMIT)
                    asyncio.run(do(side, name, count))
                    os._exit(0)
    for _ in range(running):
        wait_for_one()


def wait_for_one() -> None:
    pid, status = os.wait()
    if status:
        sys.exit(f"process {pid} failed")


async def do(side: str, name: str, count: int) -> None:
    """Do one case so many times."""
    import websockets.asyncio.client
    import websockets.asyncio.server

    import reliable_ws
    from reliable_ws.telemetry import trace_calls

    from . import peers

    case = (CASES | MORE_CASES)[name]
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory, "socket"))
        if side == "reliable" or case.traced:
            methods = reliable_ws.Methods()
            methods.register(peers.echo)
            traced = case.traced and side == "reliable"

            ours: dict[str, Any] = {}
            theirs: dict[str, Any] = {}
            if case.stored:
                ours = {"store": reliable_ws.SQLiteStore(f"{path}.ours"), "name": "counted"}
                theirs = {"store": reliable_ws.SQLiteStore(f"{path}.theirs")}

            def connect() -> AbstractAsyncContextManager[Any]:
                return reliable_ws.unix_connect(path, **ours)

            @contextlib.asynccontextmanager
            async def connect_traced() -> AsyncIterator[Any]:
                async with connect() as conn:
                    trace_calls(conn, ratio=0.0)
                    yield conn

            async with reliable_ws.unix_serve(
                peers.reliable_sink, path, methods=methods, **theirs
            ) as server:
                if traced:
                    trace_calls(server, ratio=0.0)
                await case.reliable(connect_traced if traced else connect, count)
            return
        handler = peers.plain_echo if case.echoed else peers.plain_sink
        async with websockets.asyncio.server.unix_serve(handler, path, **peers.PLAIN):
            await case.plain(
                lambda: websockets.asyncio.client.unix_connect(path, **peers.PLAIN), count
            )


# ---------------------------------------------------------------------- around it


class Cost(NamedTuple):
    """Instructions of one operation."""

    reliable: float
    plain: float

    @property
    def ratio(self) -> float:
        return self.reliable / self.plain


def count_all(valgrind: str, *, more: bool = False) -> dict[str, Cost]:
    """Run everything under valgrind; return what each case costs. ``more``: of the others."""
    counts: dict[tuple[str, str, int], int] = {}
    with tempfile.TemporaryDirectory() as directory:
        tool = ("--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={directory}/%p")
        this = [sys.executable, "-m", "benchmarks.instructions", "--in-valgrind"]
        this += ["--more"] if more else []
        done = subprocess.run(
            [valgrind, "--quiet", "--log-file=/dev/null", *tool, *this],
            env=os.environ | {"PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            check=True,
        )
        for line in done.stdout.splitlines():
            pid, name, side, count = json.loads(line)
            counts[name, side, count] = total(Path(directory, str(pid)).read_text())
    return {
        name: Cost(
            *(
                (counts[name, side, case.long] - counts[name, side, case.short])
                / (case.long - case.short)
                for side in SIDES
            )
        )
        for name, case in (MORE_CASES if more else CASES).items()
    }


def total(written: str) -> int:
    """Return how many instructions a process took, by the file that valgrind wrote."""
    found = re.search(r"^summary: (\d+)", written, re.MULTILINE)
    assert found is not None
    return int(found[1])


def judge(ratios: dict[str, float], stored: dict[str, float], tolerance: float) -> list[str]:
    """Return a line for each ratio that is worse than the stored one, or that is not stored."""
    faults = []
    for name, ratio in ratios.items():
        if name not in stored:
            faults.append(f"{name}: no figure is stored; make instructions-store")
        elif ratio > stored[name] * (1 + tolerance):
            more = ratio / stored[name] - 1
            faults.append(f"{name}: {more:.1%} more instructions than stored ({stored[name]})")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a ratio is worse than stored")
    parser.add_argument("--store", action="store_true", help="store the ratios")
    parser.add_argument("--more", action="store_true", help="other cases; nothing is compared")
    parser.add_argument("--in-valgrind", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_valgrind:
        do_all(MORE_CASES if options.more else CASES)
        return
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("Instructions are not counted: apt-get install valgrind")
        sys.exit(not options.check)
    if options.more and (options.check or options.store):
        parser.error("the cases of --more are neither stored nor compared")
    figures: dict[str, Any] = json.loads(FIGURES.read_text())
    stored = figures.get(PYTHON, {"build": "", "ratios": {}})
    build = f"Python {platform.python_version()} ({platform.python_compiler()})"
    build += f", websockets {version('websockets')}"
    print(f"{build}\n")
    print("| instructions of one | reliable_ws | compared with | ratio | stored |")
    print("|---|---|---|---|---|")
    costs = count_all(valgrind, more=options.more)
    ratios = {name: float(f"{cost.ratio:.4g}") for name, cost in costs.items()}
    for name, cost in costs.items():
        counts = f"{cost.reliable:,.0f} | {cost.plain:,.0f}"
        print(f"| {name} | {counts} | {ratios[name]} | {stored['ratios'].get(name, '')} |")
    if options.store:
        figures[PYTHON] = {"build": build, "ratios": ratios}
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    elif not stored["ratios"] and not options.more:
        print(f"\nNo figures are stored for Python {PYTHON}: nothing was compared.")
    elif options.check:
        same = build == stored["build"]
        faults = judge(ratios, stored["ratios"], TOLERANCE if same else ELSEWHERE)
        for fault in faults:
            print(f"\n{fault}", file=sys.stderr)
        if faults:
            sys.exit(
                f"\nStored with {stored['build']}. Where the cost is wanted, or the library of "
                "WebSockets has changed: make instructions-store"
            )


if __name__ == "__main__":
    main()
