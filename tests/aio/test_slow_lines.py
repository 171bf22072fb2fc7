"""A close over a slow line, with real sockets: what the kernel has swallowed has not arrived yet.

``make bench-slow`` has the same at full length. Here sizes and limits are scaled down together.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import reliable_ws.sync
from reliable_ws import Config, connect, serve
from reliable_ws.testing import ChaosProxy
from tests.sync.sockets import over_sockets

pytestmark = over_sockets

KIB = 1024
RATE = 128 * KIB
MESSAGE = secrets.token_bytes(300 * KIB)
"It takes twice as long as a close may last in which nothing moves."

LIMITS = Config(idle_timeout=1.2, close_progress_timeout=1.2, close_timeout=1.2, max_frame=32 * KIB)


@contextlib.asynccontextmanager
async def slow(port):
    async with ChaosProxy("127.0.0.1", port) as proxy:
        proxy.throttle(RATE)
        yield proxy.uri()


async def between_tasks(upwards):
    """Send the message one way and close at once; return what arrived, and how both ended."""
    got, ends = [], []

    async def send(conn):
        await conn.send(MESSAGE)

    async def take(conn):
        got.extend([message async for message in conn])

    async def handler(conn):
        ends.append(conn)
        await (take if upwards else send)(conn)

    async with (
        serve(handler, "127.0.0.1", 0, config=LIMITS) as server,
        slow(server.port) as uri,
        connect(uri, config=LIMITS, proxy=None) as conn,
    ):
        ends.append(conn)
        await (send if upwards else take)(conn)
    return got, ends


async def between_threads(upwards):
    """Do the same with threads at both ends."""
    got, ends = [], []

    def send(conn):
        conn.send(MESSAGE)

    def take(conn):
        got.extend(conn)

    def handler(conn):
        ends.append(conn)
        (take if upwards else send)(conn)

    def client(uri):
        with reliable_ws.sync.connect(uri, config=LIMITS, proxy=None) as conn:
            ends.append(conn)
            (send if upwards else take)(conn)

    server = reliable_ws.sync.serve(handler, "127.0.0.1", 0, config=LIMITS)
    async with slow(server.port) as uri:
        try:
            await asyncio.to_thread(client, uri)
        finally:
            await asyncio.to_thread(server.drain)
    return got, ends


async def test_nothing_is_lost_in_either_direction_with_tasks_and_with_threads():
    """CLOSE-24: a close goes on as long as something new arrives."""
    transfers = [
        transfer(upwards)
        for transfer in (between_tasks, between_threads)
        for upwards in (True, False)
    ]
    for got, ends in await asyncio.gather(*transfers):
        assert got == [MESSAGE]
        for conn in ends:
            assert (conn.close_code, conn.report.undelivered) == (1000, ())
