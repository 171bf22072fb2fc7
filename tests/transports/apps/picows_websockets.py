"""picows.websockets: connections go in as they are."""

from __future__ import annotations

import asyncio
import signal

from picows.websockets import serve

from reliable_ws.protocol.frames import SUBPROTOCOL

from . import ENDPOINTS, print_reports


async def endpoint(ws) -> None:
    await ENDPOINTS.paths[ws.request.path](ws)


async def main(port: int) -> None:
    async with serve(endpoint, "127.0.0.1", port, subprotocols=[SUBPROTOCOL]) as server:
        gone = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
        await gone.wait()
        print_reports(await ENDPOINTS.session.sessions.drain(5.0))
        server.close()


def run(port: int) -> None:
    asyncio.run(main(port))
