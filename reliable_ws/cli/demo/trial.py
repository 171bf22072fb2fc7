"""One sender process, one receiver process, and a bad network between them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reliable_ws.cli.common import Failure
from reliable_ws.testing import ChaosProxy, Fault, FaultPlan
from reliable_ws.testing.plan import FaultName

from .material import Count, Material, count

__all__ = [
    "BREAKS",
    "MIN_STREAM_BYTES",
    "Contestant",
    "Result",
    "last_frame",
    "limits_for",
    "plan_for",
    "process",
    "stream",
]

BREAKS = 24
"""Connections that are broken while the stream flows; then the network becomes a good one."""

MIN_STREAM_BYTES = 160 * 1024
"""Bytes that are enough to be broken so often, beyond the greeting each time."""

KINDS: tuple[FaultName, ...] = ("cut", "reset", "stall", "cut", "reset", "stall", "half_open")
FAREWELL_LATE, FAREWELL_RESET = 1.0, 0.5
STARTING = 30.0
PACKAGE = str(Path(__file__).resolve().parents[3])
QUIET = 1.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class Contestant:
    """How the two processes are started."""

    name: str
    listen: Callable[[Path, float], list[str]]
    "(output, seconds late) -> arguments of Python"
    send: Callable[[str, Path], list[str]]
    "(uri, file) -> arguments of Python"
    limit: float
    "Seconds that a sender may take."


@dataclass
class Result:
    """How it went."""

    facts: dict[str, Any]
    "What the sender said."
    arrived: Count
    took: float
    connections: int
    faults: Counter[FaultName] = field(default_factory=Counter)
    identical: bool = False

    @property
    def breaks(self) -> int:
        """Faults that ended a connection."""
        return sum(times for name, times in self.faults.items() if name != "stall")

    @property
    def reported(self) -> int:
        """Messages of which the sender said that they are not confirmed."""
        return int(self.facts.get("unknown", 0)) + int(self.facts.get("not_taken", 0))


def plan_for(material: Material, seed: int) -> FaultPlan | None:
    """Return faults by bytes, close enough together that all of them strike while data flows."""
    apart = material.size // (BREAKS * 5 // 3)
    if not apart:
        return None
    return FaultPlan(seed, KINDS, (max(1, apart // 3), apart), (0.1, 0.4))


def limits_for(material: Material) -> tuple[int, int]:
    """Return (batch_bytes, max_frame): small enough that some get through between two faults."""
    apart = material.size // (BREAKS * 5 // 3) // 3
    return min(64 * 1024, max(1024, apart // 4)), min(1024 * 1024, max(4096, apart // 2))


async def stream(
    contestant: Contestant, material: Material, received: Path, seed: int, tell: Report
) -> Result:
    """Send the material through many faults."""
    loop = asyncio.get_running_loop()
    faults: Counter[FaultName] = Counter()

    def struck(fault: Fault) -> None:
        faults[fault.name] += 1
        kib = fault.carried / 1024
        tell(
            f"  {fault.name.replace('_', '-'):<9} on connection {fault.connection}, {kib:,.0f} KiB"
        )
        if sum(faults.values()) - faults["stall"] >= BREAKS and proxy.plan is not None:
            proxy.plan = None
            tell("  the network is good from now on")

    async with _listener(contestant, received, 0.0) as port:
        plan = plan_for(material, seed)
        async with ChaosProxy("127.0.0.1", port, plan=plan, on_fault=struck) as proxy:
            began = loop.time()
            facts = await _send(contestant, proxy.uri(), material.path, tell)
            took = loop.time() - began
            await _settle(received)
    return _judge(
        facts=facts,
        material=material,
        received=received,
        took=took,
        connections=proxy.connections,
        faults=faults,
    )


async def last_frame(
    contestant: Contestant, material: Material, received: Path, tell: Report
) -> Result:
    """Send a few lines and close at once; the reader is late, and the network breaks meanwhile."""
    loop = asyncio.get_running_loop()
    async with (
        _listener(contestant, received, FAREWELL_LATE) as port,
        ChaosProxy("127.0.0.1", port) as proxy,
    ):
        began = loop.time()
        sending = asyncio.ensure_future(_send(contestant, proxy.uri(), material.path, tell))
        while not proxy.live and not sending.done():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(FAREWELL_RESET)
        if proxy.reset():
            tell(f"  reset     when {_size(received):,} bytes were written")
        facts = await sending
        took = loop.time() - began
        await asyncio.sleep(FAREWELL_LATE)
        await _settle(received)
    return _judge(
        facts=facts,
        material=material,
        received=received,
        took=took,
        connections=proxy.connections,
        faults=Counter(proxy.faults),
    )


def _judge(
    *,
    facts: dict[str, Any],
    material: Material,
    received: Path,
    took: float,
    connections: int,
    faults: Counter[FaultName],
) -> Result:
    arrived = count(received, material.lines)
    identical = arrived.bare == material.bare and received.stat().st_size == material.size
    return Result(facts, arrived, took, connections, faults, identical)


async def _settle(received: Path) -> None:
    """Return when the receiver writes nothing more: what is under way shall arrive."""
    before, size = -1, _size(received)
    while size != before:
        await asyncio.sleep(QUIET)
        before, size = size, _size(received)


def _size(path: Path) -> int:
    return path.stat().st_size


@asynccontextmanager
async def process(arguments: list[str], stdout: int, stderr: int = PIPE) -> AsyncGenerator[Process]:
    """Run Python with these arguments; whatever happens, it is gone at the end."""
    path = os.pathsep.join(filter(None, (PACKAGE, os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "no_proxy": "127.0.0.1"}
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


@asynccontextmanager
async def _listener(contestant: Contestant, received: Path, late: float) -> AsyncGenerator[int]:
    """Run the receiver; give its port. Leaving tells it to stop, and waits until it has."""
    async with process(contestant.listen(received, late), DEVNULL) as listener:
        assert listener.stderr is not None  # noqa: S101 - a pipe was asked for
        try:
            async with asyncio.timeout(STARTING):
                line = (await listener.stderr.readline()).decode().strip()
        except TimeoutError:
            line = "nothing heard of the receiver"
        if "listening on" not in line:
            raise Failure(f"the receiver did not start: {line}", 1)
        saying = asyncio.ensure_future(listener.stderr.read())
        yield int(line.rpartition(":")[2])
        listener.terminate()
        try:
            async with asyncio.timeout(STARTING):
                await listener.wait()
        except TimeoutError:
            saying.cancel()
            raise Failure("the receiver does not stop", 1) from None
        await saying


async def _send(contestant: Contestant, uri: str, file: Path, tell: Report) -> dict[str, Any]:
    """Run the sender; return what it says at the end."""
    async with process(contestant.send(uri, file), PIPE) as sender:
        try:
            async with asyncio.timeout(contestant.limit + 5):
                out, err = await sender.communicate()
        except TimeoutError:
            tell(f"  the sender is stopped: it takes longer than {contestant.limit:g} s")
            return {"exit": None}
    for line in err.decode(errors="replace").splitlines():
        tell(f"  sender: {line}")
    facts: dict[str, Any] = json.loads(out) if out.strip() else {}
    return facts | {"exit": sender.returncode}
