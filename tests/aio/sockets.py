"""What the tests over real sockets share."""

from __future__ import annotations

from reliable_ws import Backoff, connect
from tests.adapters.links import RELEASE

NO_PROXY = {"proxy": None} if RELEASE >= (15, 0) else {}
AT_ONCE = Backoff(initial=0.02, longest=0.1)


def local(server, **options):
    return connect(f"ws://127.0.0.1:{server.port}/path", proxy=None, **options)


async def echo(conn):
    async for message in conn:
        await conn.send(message)
