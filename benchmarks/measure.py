"""Measuring rows: the contestants in turn, round after round, by the clock and by the processor."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from . import brokers
from .contestants import Broker, Contestant, Reliable, ReliableThreads
from .rows import Row

__all__ = ["Sample", "Server", "measure"]

LIMIT = 120
"Seconds that a round of one contestant may take."

OURS = (Reliable, ReliableThreads)

OPENING = 50
"Connections that are opened at the same time."


class Sample(NamedTuple):
    """Seconds for one message in one round."""

    wall: float
    cpu: float
    "Of the processor, of both processes together."


class Server:
    """The process of a contestant, for the time of a block."""

    def __init__(self, one: Contestant, loop: str) -> None:
        self.one = one
        self._loop = loop
        self.port = 0

    async def __aenter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        if isinstance(self.one, Broker):
            self.port = brokers.free_port()
            self._start(*self.one.command(self.port, Path(self._directory.name)))
            await brokers.until_open(self.port)
        else:
            python = (sys.executable, "-m", "benchmarks.contestants")
            self.port = int(self._start(*python, self.one.name, self._loop).readline())
        return self

    def _start(self, *command: str) -> IO[bytes]:
        """Start the process; return what it says."""
        pipe = subprocess.PIPE
        errors = subprocess.DEVNULL if isinstance(self.one, Broker) else None  # brokers log there
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors)
        assert self._process.stdout is not None
        return self._process.stdout

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._directory.cleanup()

    def cpu(self) -> float:
        """Return the seconds of the processor that all its threads have had."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


async def measure(row: Row, servers: Sequence[Server], rounds: int) -> dict[str, list[Sample]]:
    """Return the samples of each contestant by its name; a first round warms up."""
    samples: dict[str, list[Sample]] = {}
    async with AsyncExitStack() as stack:
        conns: dict[Server, list[Any]] = {}
        for server in servers:
            if row.takes(server.one):
                with _reported(row, server):
                    conns[server] = await _connections(stack, row, server)
                    samples[server.one.name] = []
        for number in range(rounds + 1):
            for server in list(conns):
                with _reported(row, server):
                    async with asyncio.timeout(LIMIT):
                        sample = await _sample(row, server, conns[server])
                    if number:
                        samples[server.one.name].append(sample)
                    continue
                del conns[server], samples[server.one.name]
    return samples


@contextlib.contextmanager
def _reported(row: Row, server: Server) -> Iterator[None]:
    """Say that a contestant has failed, and leave it out of the row, unless it is ours."""
    try:
        yield
    except Exception as error:
        if isinstance(server.one, OURS):
            raise
        print(f"{row.name}: {server.one.name} has failed: {error!r}", file=sys.stderr, flush=True)


async def _sample(row: Row, server: Server, conns: Sequence[Any]) -> Sample:
    each = max(1, round(row.count * server.one.share))
    payload = b"x" * row.size
    gc.collect()
    ours, theirs, began = time.process_time(), server.cpu(), time.perf_counter()
    counted = await row.work(server.one, conns, payload, each)
    wall = time.perf_counter() - began if counted is None else counted
    cpu = time.process_time() - ours + server.cpu() - theirs
    messages = each * max(1, row.connections)
    return Sample(wall / messages, cpu / messages)


async def _connections(stack: AsyncExitStack, row: Row, server: Server) -> list[Any]:
    """Open the connections of a row. For a row without any, return what opens one."""
    connect = partial(server.one.connect, server.port, row.path)
    if not row.connections:
        return [connect]
    opened: list[Any] = []
    contexts: list[Any] = []

    async def close() -> None:
        for at in range(0, len(contexts), OPENING):
            some = contexts[at : at + OPENING]
            closing = (context.__aexit__(None, None, None) for context in some)
            await asyncio.gather(*closing, return_exceptions=True)

    stack.push_async_callback(close)
    while len(opened) < row.connections:
        some = [connect() for _ in range(min(OPENING, row.connections - len(opened)))]
        opened += await asyncio.gather(*(context.__aenter__() for context in some))
        contexts += some
    return opened
