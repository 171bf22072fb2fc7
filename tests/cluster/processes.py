"""Nodes in processes of their own, which a test may kill, stop and start."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.ports import HOST, free_port

from .engine_proxy import EngineProxy
from .servers import Balancer, RedisServer

ROOT = Path(__file__).resolve().parent.parent.parent


class Node:
    """One node."""

    def __init__(
        self,
        folder: Path,
        engine: RedisServer,
        name: str,
        level: str,
        *,
        direct: bool = False,
        program: str = "node",
        **options: float,
    ) -> None:
        """``direct``: past :attr:`line`. ``options``: of the program, by name."""
        self.name = name
        self.port = free_port()
        self.notes = folder / f"{name}.notes"
        self.line = EngineProxy(name, engine.port, self.kill)
        uri = engine.url if direct else self.line.url
        self._command = [sys.executable, "-m", f"tests.cluster.{program}", "--engine", uri]
        self._command += ["--port", str(self.port), "--level", level, "--name", name]
        self._command += ["--notes", str(self.notes)]
        for option, value in options.items():
            self._command += [f"--{option}", str(value)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, cwd=ROOT)

    async def ready(self) -> None:
        """Return when it has started, and takes connections."""
        by = time.monotonic() + 30
        assert self.process is not None
        ready = f"ready {self.process.pid}\n".encode()
        while not (self.notes.exists() and ready in self.notes.read_bytes()):
            assert time.monotonic() < by, f"{self.name} does not start"
            await asyncio.sleep(0.02)
        while True:
            with contextlib.suppress(OSError):
                _reader, writer = await asyncio.open_connection(HOST, self.port)
                writer.transport.abort()
                return
            assert time.monotonic() < by, f"{self.name} does not listen"
            await asyncio.sleep(0.02)

    def read(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        self.signal(signal.SIGTERM)
        await self.gone()

    async def gone(self) -> None:
        """Return when its process has ended."""
        assert self.process is not None
        await asyncio.to_thread(self.process.wait, 20)
        self.process = None


@contextlib.asynccontextmanager
async def running(
    folder: Path, engine: RedisServer, level: str, count: int = 3, first: int = 0, **options: Any
) -> AsyncIterator[tuple[list[Node], Balancer]]:
    """So many nodes, and a balancer that sends every connection to a random one.

    ``first``: the number of the first one, for its name.
    """
    nodes = [
        Node(folder, engine, f"n{number}", level, **options)
        for number in range(first, first + count)
    ]
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.line)
            stack.callback(node.kill)
            node.start()
        for node in nodes:
            await node.ready()
        balancer = Balancer([node.port for node in nodes])
        yield nodes, await stack.enter_async_context(balancer)
