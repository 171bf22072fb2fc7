"""picows: listeners."""

from __future__ import annotations

import asyncio

from picows import ws_create_server

from reliable_ws.adapters.picows import PicowsTransport, accepted

from . import ENDPOINTS, drained


def route(request):
    return accepted(request, PicowsTransport(ENDPOINTS.paths[request.path.decode()]))


async def main(port: int) -> None:
    server = await ws_create_server(route, "127.0.0.1", port)
    await drained()
    server.close()


def run(port: int) -> None:
    asyncio.run(main(port))
