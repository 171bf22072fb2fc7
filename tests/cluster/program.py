"""What the programs of nodes share: options, notes, and a server that drains on SIGTERM.

``python -m tests.cluster.node`` and ``python -m tests.cluster.room`` are such programs;
:class:`~.processes.Node` starts them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import reliable_ws
from reliable_ws import Cluster, Config

CONFIG = Config(open_timeout=5, close_progress_timeout=5, close_timeout=5)


class Program:
    """One node in a process of its own, with a file for its notes."""

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--engine", required=True)
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--level", required=True)
        parser.add_argument("--name", required=True)
        parser.add_argument("--notes", type=Path, required=True)
        parser.add_argument("--within", type=float, default=0.5)
        parser.add_argument("--lease", type=float, default=10.0)
        parser.add_argument("--takeover", type=float, default=6.0)
        parser.add_argument("--drain", type=float, default=5.0)
        parser.add_argument(
            "--ahead", type=float, default=0.0, help="its clock is wrong by so much"
        )
        self._given = given = parser.parse_args()
        if given.ahead:
            right = time.time
            time.time = lambda: right() + given.ahead
        self.name: str = given.name
        self._notes = os.open(given.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.cluster = Cluster(
            given.engine,
            node=given.name,
            lease=given.lease,
            engine_timeout=1.0,
            takeover_timeout=given.takeover,
        )

    def note(self, *words: object) -> None:
        """Write a line down, at once."""
        os.write(self._notes, (" ".join(map(str, words)) + "\n").encode())

    async def serve(self, handler: Callable[[reliable_ws.Connection], Awaitable[None]]) -> None:
        """Serve until SIGTERM has come, and the node has drained."""
        given = self._given
        sessions = reliable_ws.Sessions(cluster=self.cluster, level=given.level, config=CONFIG)
        server = await reliable_ws.serve(handler, "127.0.0.1", given.port, sessions=sessions)
        gone = asyncio.Event()
        reliable_ws.drain_on_sigterm(
            sessions, timeout=given.drain, then=gone.set, within=given.within
        )
        self.note("ready", os.getpid())
        await gone.wait()
        server.inner.close()
