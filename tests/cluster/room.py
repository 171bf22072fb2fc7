"""One node whose clients are in one group: ``python -m tests.cluster.room`` with a few options.

A client's first message is its name. Everything that it says later is published to all, with its
name. What became of each publication is written down, in a file of the node's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import Any

import reliable_ws
from reliable_ws import EngineUnavailable, Group, GroupFull

from .program import Program


class Node:
    """The group, and the notes."""

    def __init__(self, program: Program) -> None:
        self.group = Group("room", cluster=program.cluster)
        self.note = program.note
        self._again = 0
        self._watching: set[asyncio.Task[None]] = set()

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
            self.note("refused", json.dumps([message, type(error).__name__]))
            return
        watching = asyncio.create_task(self._watch(message, publication))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)

    async def _watch(self, message: Any, publication: reliable_ws.Publication) -> None:
        try:
            outcomes = await publication.wait()
        except (EngineUnavailable, GroupFull) as error:
            self.note("failed", json.dumps([message, type(error).__name__]))
            return
        told = [[r.identity, r.node, r.fate.value] for r in outcomes]
        self.note("told", json.dumps([message, told]))


async def main() -> None:
    program = Program()
    await program.serve(Node(program).handle)


if __name__ == "__main__":
    asyncio.run(main())
