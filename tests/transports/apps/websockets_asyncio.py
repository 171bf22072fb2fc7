"""The library websockets, its asyncio implementation: connections go in as they are."""

from __future__ import annotations

import asyncio
import signal

from websockets.asyncio.server import serve

from . import ENDPOINTS, print_reports, selected


async def endpoint(ws) -> None:
    await ENDPOINTS.paths[ws.request.path](ws)


async def main(port: int) -> None:
    async with serve(
        endpoint,
        "127.0.0.1",
        port,
        compression=None,
        select_subprotocol=lambda _, offered: selected(offered),
    ) as server:
        gone = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
        await gone.wait()
        print_reports(await ENDPOINTS.session.sessions.drain(5.0))
        server.close()


def run(port: int) -> None:
    asyncio.run(main(port))
