"""One node in a process of its own: ``python -m tests.cluster.node`` with a few options.

Its handler writes down, in a file of its own: each message that it takes, before it confirms it;
each answer that it sends, once that is accepted; each answer that it was told is confirmed. Clients
compare (:mod:`.audit`).
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress

import reliable_ws

from .program import Program

END = "end"
"""What a message begins with that ends its handler."""


async def main() -> None:
    program = Program()
    note = program.note
    telling: set[asyncio.Task[None]] = set()
    runs = 0

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
                answer = f"{program.name}:{message}:{run}"
                receipt = await conn.send(answer)
                note("sent", session, answer)
                task = asyncio.create_task(tell(session, answer, receipt))
                telling.add(task)
                task.add_done_callback(telling.discard)
        except reliable_ws.ConnectionClosed as error:
            note("closed", session, type(error.__cause__).__name__)
            raise

    await program.serve(handler)


if __name__ == "__main__":
    asyncio.run(main())
