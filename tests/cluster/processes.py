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

from tests.support.ports import HOST, free_port

from .servers import Balancer, RedisServer

ROOT = Path(__file__).resolve().parent.parent.parent


class Node:
    """One node."""

    def __init__(
        self, folder: Path, engine: RedisServer, name: str, level: str, within: float = 0.5
    ) -> None:
        self.name = name
        self.port = free_port()
        self.notes = folder / f"{name}.notes"
        self._command = [sys.executable, "-m", "tests.cluster.node", "--engine", engine.url]
        self._command += ["--port", str(self.port), "--level", level, "--name", name]
        self._command += ["--notes", str(self.notes), "--within", str(within)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, cwd=ROOT)

    async def ready(self, times: int = 1) -> None:
        by = time.monotonic() + 30
        while self.read().count("ready") < times:
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
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, 20)
        self.process = None


@contextlib.asynccontextmanager
async def running(
    folder: Path, engine: RedisServer, level: str, count: int = 3, within: float = 0.5
) -> AsyncIterator[tuple[list[Node], Balancer]]:
    """So many nodes, and a balancer that sends every connection to a random one."""
    nodes = [Node(folder, engine, f"n{number}", level, within) for number in range(count)]
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            await node.ready()
        async with Balancer([node.port for node in nodes]) as balancer:
            yield nodes, balancer
    finally:
        for node in nodes:
            node.kill()


def taken(nodes: list[Node]) -> dict[str, list[tuple[str, str]]]:
    """What each session's handlers have taken, and whether it was flagged, in all nodes."""
    by_session: dict[str, list[tuple[str, str]]] = {}
    for node in nodes:
        for line in node.read():
            kind, *words = line.split()
            if kind == "take":
                by_session.setdefault(words[0], []).append((words[1], words[2]))
    return by_session


def check_nothing_lost_or_doubled(
    nodes: list[Node], sent: dict[str, list[str]], *, confirmed: bool = True
) -> None:
    """Every message was taken; twice only if it was flagged."""
    took = taken(nodes)
    for session, messages in sent.items():
        notes = took.get(session, [])
        new = [message for message, again in notes if again == "new"]
        assert len(new) == len(set(new)), f"{session}: doubled without a flag"
        if confirmed:
            assert {message for message, _again in notes} >= set(messages), session
