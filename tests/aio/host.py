"""A server whose handler is a function."""

from __future__ import annotations

import asyncio

from reliable_ws import Sessions, wrap
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import start, until


class Host:
    """Sessions that run a handler, and clients of them."""

    def __init__(self, handler, *, on_event=None, config=None):
        self.handler = handler
        self.events = []
        self.sessions = Sessions(config=config, on_event=on_event or self.events.append)
        self.wires = []
        self.handling = []

    async def open(self):
        near, far = pair()
        self.wires.append(near)
        self.handling.append(start(self.sessions.handle(far, self.handler)))
        return near

    async def connect(self, **options):
        return await wrap(await self.open(), reopen=self.open, **options)

    async def over(self):
        """Everything has come to its end by itself."""
        async with asyncio.timeout(130):  # session_ttl, where the peer was not told
            await asyncio.gather(*self.handling)
            await until(lambda: not len(self.sessions))


async def echo(conn):
    async for message in conn:
        await conn.send(message)
