"""Tornado: ``WebSocketHandler``."""

from __future__ import annotations

import asyncio

from tornado.web import Application
from tornado.websocket import WebSocketHandler

from reliable_ws.adapters import adapt

from . import ENDPOINTS, drained, selected


class Endpoint(WebSocketHandler):
    def select_subprotocol(self, subprotocols):
        return selected(subprotocols)

    def open(self) -> None:
        # The endpoints adapt what they get when they run, which is too late.
        self.serving = asyncio.create_task(ENDPOINTS.paths[self.request.path](adapt(self)))


async def main(port: int) -> None:
    server = Application([(path, Endpoint) for path in ENDPOINTS.paths]).listen(port, "127.0.0.1")
    await drained()
    server.stop()


def run(port: int) -> None:
    asyncio.run(main(port))
