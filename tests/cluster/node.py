"""One node in a process of its own: ``python -m tests.cluster.node`` with a few options.

Its handler writes down, in a file of its own: each message that it takes, before it confirms it;
each answer that it sends, once that is accepted; each answer that it was told is confirmed. Clients
compare (:mod:`.audit`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

import reliable_ws
from reliable_ws import Cluster, Config

CONFIG = Config(open_timeout=5, close_progress_timeout=5, close_timeout=5)
END = "end"
"""What a message begins with that ends its handler."""


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--level", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--within", type=float, default=0.5)
    parser.add_argument("--lease", type=float, default=10.0)
    parser.add_argument("--ahead", type=float, default=0.0)
    parser.add_argument("--drain", type=float, default=5.0)
    given = parser.parse_args()
    if given.ahead:  # this machine's clock is wrong
        right = time.time
        time.time = lambda: right() + given.ahead
    notes = os.open(given.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    telling: set[asyncio.Task[None]] = set()
    runs = 0

    def note(*words: object) -> None:
        os.write(notes, (" ".join(map(str, words)) + "\n").encode())

    async def tell(session: str, answer: str, receipt: reliable_ws.Receipt) -> None:
        with suppress(reliable_ws.ReliableWSError):
            await receipt
            note("told", session, answer)

    async def handler(conn: reliable_ws.Connection) -> None:
        nonlocal runs
        runs += 1
        run, session = f"{os.getpid()}.{runs}", conn.id.hex()
        note("begin", session, conn.restored is not None, conn.fence)
        try:
            async for delivery in conn.deliveries():
                async with delivery as message:
                    again = "again" if delivery.redelivered else "new"
                    note("take", session, message, again, time.monotonic())
                if message.startswith(END):
                    return
                answer = f"{given.name}:{message}:{run}"
                receipt = await conn.send(answer)
                note("sent", session, answer)
                task = asyncio.create_task(tell(session, answer, receipt))
                telling.add(task)
                task.add_done_callback(telling.discard)
        except reliable_ws.ConnectionClosed as error:
            note("closed", session, type(error.__cause__).__name__)
            raise

    cluster = Cluster(given.engine, node=given.name, lease=given.lease, engine_timeout=1.0)
    sessions = reliable_ws.Sessions(cluster=cluster, level=given.level, config=CONFIG)
    server = await reliable_ws.serve(handler, "127.0.0.1", given.port, sessions=sessions)
    gone = asyncio.Event()
    reliable_ws.drain_on_sigterm(sessions, timeout=given.drain, then=gone.set, within=given.within)
    note("ready", os.getpid())
    await gone.wait()
    server.inner.close()


if __name__ == "__main__":
    asyncio.run(main())
