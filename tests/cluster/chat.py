"""An application of ASGI for several workers: each answers with its own process id."""

from __future__ import annotations

import os

import reliable_ws


async def handler(conn: reliable_ws.Connection) -> None:
    async for message in conn:
        await conn.send([os.getpid(), conn.restored is not None, message])


app = reliable_ws.ASGIApp(
    handler,
    cluster=reliable_ws.Cluster(os.environ["ENGINE"], lease=10.0),
    level="park",
    drain_timeout=3.0,
)
