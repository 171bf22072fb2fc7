"""picows: listeners."""

from __future__ import annotations

import asyncio
import signal

from picows import ws_create_server

from reliable_ws.adapters.picows import PicowsTransport, accepted

from . import ENDPOINTS, print_reports


def route(request):
    return accepted(request, PicowsTransport(ENDPOINTS.paths[request.path.decode()]))


async def main(port: int) -> None:
    server = await ws_create_server(route, "127.0.0.1", port)
    gone = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
    await gone.wait()
    print_reports(await ENDPOINTS.session.sessions.drain(5.0))
    server.close()


def run(port: int) -> None:
    asyncio.run(main(port))
