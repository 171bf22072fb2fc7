"""picows: listeners."""

from __future__ import annotations

import asyncio
import signal

from picows import WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server

from reliable_ws.adapters.picows import PicowsTransport

from . import ENDPOINTS, print_reports, selected


def route(request):
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(", ")
    name = selected(offered)
    return WSUpgradeResponseWithListener(
        WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": name} if name else None),
        PicowsTransport(ENDPOINTS.paths[request.path.decode()]),
    )


async def main(port: int) -> None:
    server = await ws_create_server(route, "127.0.0.1", port)
    gone = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
    await gone.wait()
    print_reports(await ENDPOINTS.session.sessions.drain(5.0))
    server.close()


def run(port: int) -> None:
    asyncio.run(main(port))
