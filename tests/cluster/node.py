"""One node in a process of its own: ``python -m tests.cluster.node`` with a few options.

Its handler writes down each message that it takes, in a file of its own, before it confirms it, and
sends a number of its own back for each: clients compare.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

import reliable_ws
from reliable_ws import Cluster, Config

CONFIG = Config(open_timeout=5, close_progress_timeout=5, close_timeout=5)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--level", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--within", type=float, default=0.5)
    given = parser.parse_args()
    notes = os.open(given.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(words: str) -> None:
        os.write(notes, f"{words}\n".encode())

    async def handler(conn: reliable_ws.Connection) -> None:
        note(f"begin {conn.id.hex()} {conn.restored is not None} {conn.fence}")
        try:
            async for delivery in conn.deliveries():
                async with delivery as message:
                    again = "again" if delivery.redelivered else "new"
                    note(f"take {conn.id.hex()} {message} {again} {conn.fence}")
                await conn.send(f"{given.name}:{message}")
        except reliable_ws.ConnectionClosed as error:
            note(f"closed {conn.id.hex()} {type(error.__cause__).__name__}")
            raise

    cluster = Cluster(given.engine, node=given.name, lease=2.0, engine_timeout=1.0)
    sessions = reliable_ws.Sessions(cluster=cluster, level=given.level, config=CONFIG)
    server = await reliable_ws.serve(handler, "127.0.0.1", given.port, sessions=sessions)
    gone = asyncio.Event()
    reliable_ws.drain_on_sigterm(sessions, timeout=5, then=gone.set, within=given.within)
    note("ready")
    await gone.wait()
    server.inner.close()


if __name__ == "__main__":
    asyncio.run(main())
