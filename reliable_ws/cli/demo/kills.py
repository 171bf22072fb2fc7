"""Both processes are killed while the stream flows, and started again."""

from __future__ import annotations

import asyncio
import random
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from reliable_ws.cli.common import Failure

from .material import Count, Material, count, digest
from .trial import Report, process

__all__ = ["KILLS", "TIME_LIMIT", "Killed", "Mortal", "kill_both", "lines"]

KILLS = 10
"How often both are killed, unless told otherwise."

TIME_LIMIT = 90.0
CHECK_INTERVAL = 0.005
"Seconds between two looks at the output."


@dataclass(frozen=True)
class Mortal:
    """How the two processes are started, each time anew."""

    name: str
    listen: Callable[[int, Path], list[str]]
    "(port, output) -> arguments of Python"
    send: Callable[[int, Path], list[str]]
    "(port, file) -> arguments of Python"


@dataclass(frozen=True)
class Killed:
    """How it went."""

    name: str
    kills: int
    "How often both were killed."
    arrived: Count
    identical: bool
    took: float
    exit: int | None
    "Of the last sender; ``None``: its time was up."


async def kill_both(
    mortal: Mortal, material: Material, received: Path, times: int, tell: Report
) -> Killed:
    """Send the material, and kill sender and receiver so many times while it flows."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    port = _free_port()
    _make(received)
    step = material.size // (2 * times)
    kills, code = 0, None
    try:
        async with asyncio.timeout(TIME_LIMIT):
            while True:
                async with _both(mortal, port, material.path, received) as (listener, sender):
                    if kills == times or not step:
                        code = await sender.wait()
                        await _settle(received)
                        break
                    if not await _flows(received, step, sender):
                        code = sender.returncode
                        await _settle(received)
                        break
                    for one in (sender, listener):
                        if one.returncode is None:
                            one.kill()
                    for one in (sender, listener):
                        await one.wait()
                kills += 1
                tell(f"  kill -9   of both, {_size(received) / 1024:,.0f} KiB written")
    except TimeoutError:
        tell(f"  the sender is stopped: it takes longer than {TIME_LIMIT:g} s")
    arrived = count(received, material.lines)
    identical = digest(received) == digest(material.path)
    return Killed(mortal.name, kills, arrived, identical, loop.time() - began, code)


@asynccontextmanager
async def _both(
    mortal: Mortal, port: int, file: Path, received: Path
) -> AsyncGenerator[tuple[Process, Process]]:
    async with AsyncExitStack() as stack:
        listen, send = mortal.listen(port, received), mortal.send(port, file)
        listener = await stack.enter_async_context(process(listen, DEVNULL, DEVNULL))
        yield listener, await stack.enter_async_context(process(send, DEVNULL, DEVNULL))


async def _flows(received: Path, step: int, sender: Process) -> bool:
    """Return when so much more was written; ``False``: the sender has ended before."""
    before = _size(received)
    while _size(received) < before + step:
        if sender.returncode is not None:
            return False
        await asyncio.sleep(CHECK_INTERVAL)
    return sender.returncode is None


async def _settle(received: Path) -> None:
    """Return when nothing more is written."""
    before, size = -1, _size(received)
    while size != before:
        await asyncio.sleep(0.3)
        before, size = size, _size(received)


def _size(path: Path) -> int:
    return path.stat().st_size


def _make(path: Path) -> None:
    path.touch()


def _free_port() -> int:
    """Return a port that no client is given while nobody listens at it: not even our own sender."""
    for port in random.sample(range(12_000, 20_000), 100):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise Failure("no free port between 12,000 and 20,000")


def lines(material: Material, results: list[Killed]) -> Iterator[str]:
    """Return the lines of the table."""
    yield "the stream again, sender and receiver killed with -9 and started again"
    rows: list[tuple[str, Callable[[Killed], str], str]] = [
        ("kills", lambda one: f"{one.kills:,}", "of both processes"),
        ("taken once", lambda one: f"{one.arrived.once:,}", "written by the receiver, once"),
        ("duplicates", lambda one: f"{one.arrived.duplicates:,}", "written again"),
        ("lost", lambda one: f"{material.lines - one.arrived.taken:,}", "never written"),
        ("identical", lambda one: "yes" if one.identical else "no", "byte by byte"),
        ("sender's exit", lambda one: str(one.exit), "0: all is well, says the sender"),
        ("seconds", lambda one: f"{one.took:,.1f}", "starting 22 processes and all"),
    ]
    for label, value, meaning in rows:
        yield f"  {label:<15}" + "".join(f"{value(one):>13}" for one in results) + f"   {meaning}"
    yield ""
