"""What the tests over real sockets share."""

from __future__ import annotations

import asyncio
import contextlib

from reliable_ws import Backoff, connect, serve
from reliable_ws.testing import ChaosProxy
from tests.adapters.links import RELEASE

NO_PROXY = {"proxy": None} if RELEASE >= (15, 0) else {}
AT_ONCE = Backoff(initial=0.02, longest=0.1)


def local(server, **options):
    return connect(f"ws://127.0.0.1:{server.port}/path", proxy=None, **options)


async def echo(conn):
    async for message in conn:
        await conn.send(message)


@contextlib.asynccontextmanager
async def through_a_proxy(server_methods, client_methods=None, *, config=None, handler=None):
    """A proxy, and both ends of a connection through it."""
    accepted: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def handle(conn):
        accepted.set_result(conn)
        if handler is not None:
            await handler(conn)
        async for _ in conn:
            pass

    async with (
        asyncio.timeout(60),
        serve(handle, "127.0.0.1", 0, methods=server_methods, config=config) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(
            proxy.uri(), methods=client_methods, config=config, reconnect=AT_ONCE, proxy=None
        ) as client,
    ):
        yield proxy, client, await accepted
