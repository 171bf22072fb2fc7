"""One node whose clients are in one group: ``python -m tests.cluster.room`` with a few options.

A client's first message is its name. Everything that it says later is published to all, with its
name. What became of each publication is written down, in a file of the node's own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import reliable_ws
from reliable_ws import Cluster, Config, EngineUnavailable, Group, GroupFull

CONFIG = Config(open_timeout=5, close_progress_timeout=5, close_timeout=5)
LEASE = 2.0
TAKEOVER = 6.0


class Node:
    """The group, and the notes."""

    def __init__(self, group: Group, notes: int) -> None:
        self.group = group
        self._notes = notes
        self._again = 0
        self._watching: set[asyncio.Task[None]] = set()

    def note(self, words: str) -> None:
        os.write(self._notes, f"{words}\n".encode())

    async def handle(self, conn: reliable_ws.Connection) -> None:
        """Let a client in, and publish what it says."""
        if conn.restored is not None:  # another node had it: it has to join again
            await conn.send(["who", ""])
        async for delivery in conn.deliveries():
            async with delivery as (kind, word):
                if kind == "name" and conn not in self.group:
                    missed = None  # not known
                    with contextlib.suppress(EngineUnavailable):
                        missed = await self.group.join(conn, word)
                    await conn.send(["joined", missed])
                elif kind == "say":
                    self.say([kind, word + (self._mark() if delivery.redelivered else "")])
                elif kind == "quiet":
                    self.group.leave(conn)
                    await self.known()
                    break

    async def known(self) -> None:
        """Return when the outcomes of all publications of this node are known."""
        await asyncio.gather(*self._watching)

    def _mark(self) -> str:
        """Return what tells a publication from that of a process that is gone."""
        self._again += 1
        return f" again {os.getpid()}.{self._again}"

    def say(self, message: Any) -> None:
        try:
            publication = self.group.publish(message)
        except (EngineUnavailable, GroupFull) as error:
            self.note(f"refused {json.dumps([message, type(error).__name__])}")
            return
        watching = asyncio.create_task(self._watch(message, publication))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)

    async def _watch(self, message: Any, publication: reliable_ws.Publication) -> None:
        try:
            outcomes = await publication.wait()
        except (EngineUnavailable, GroupFull) as error:
            self.note(f"failed {json.dumps([message, type(error).__name__])}")
            return
        told = [[r.identity, r.node, r.fate.value] for r in outcomes]
        self.note(f"told {json.dumps([message, told])}")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--level", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--within", type=float, default=0.5)
    parser.add_argument("--lease", type=float, default=LEASE)
    parser.add_argument("--takeover", type=float, default=TAKEOVER)
    given = parser.parse_args()
    cluster = Cluster(
        given.engine,
        node=given.name,
        lease=given.lease,
        engine_timeout=1.0,
        takeover_timeout=given.takeover,
    )
    group = Group("room", cluster=cluster)
    node = Node(group, os.open(given.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    sessions = reliable_ws.Sessions(cluster=cluster, level=given.level, config=CONFIG)
    server = await reliable_ws.serve(node.handle, "127.0.0.1", given.port, sessions=sessions)
    gone = asyncio.Event()
    reliable_ws.drain_on_sigterm(sessions, timeout=5, then=gone.set, within=given.within)
    node.note(f"ready {os.getpid()}")
    await gone.wait()
    server.inner.close()


if __name__ == "__main__":
    asyncio.run(main())
