"""Tornado: ``WebSocketHandler``."""

from __future__ import annotations

import asyncio
import signal

from tornado.web import Application
from tornado.websocket import WebSocketHandler

from reliable_ws.adapters import adapt

from . import ENDPOINTS, print_reports, selected


class Endpoint(WebSocketHandler):
    def select_subprotocol(self, subprotocols):
        return selected(subprotocols)

    def open(self) -> None:
        # The endpoints adapt what they get when they run, which is too late.
        self.serving = asyncio.create_task(ENDPOINTS.paths[self.request.path](adapt(self)))


async def main(port: int) -> None:
    server = Application([(path, Endpoint) for path in ENDPOINTS.paths]).listen(port, "127.0.0.1")
    gone = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
    await gone.wait()
    print_reports(await ENDPOINTS.session.sessions.drain(5.0))
    server.stop()


def run(port: int) -> None:
    asyncio.run(main(port))
