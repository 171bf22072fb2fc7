"""picows, as ``serve(transport="picows")`` listens with it."""

from __future__ import annotations

import asyncio

from reliable_ws.adapters.picows_opener import listen

from . import ENDPOINTS, drained


async def endpoint(ws) -> None:
    await ENDPOINTS.paths[ws.websocket.request.path.decode()](ws)


async def main(port: int) -> None:
    server = await listen(endpoint, "127.0.0.1", port)
    await drained()
    server.close()
    await server.wait_closed()


def run(port: int) -> None:
    asyncio.run(main(port))
