"""What the tests of requests call."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from reliable_ws import Config, Connection
from tests.aio.memory_network import MemoryNetwork, paired, registry, start, until

FEW = Config(max_requests=4)


class CallHandlers:
    """Handlers that count, and wait until they may end."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.ended: list[object] = []
        self.cancelled: list[object] = []
        self.gate = asyncio.Event()
        self.methods = registry(self.echo, self.wait, self.stubborn, self.fail)

    async def echo(self, value):
        self.begun.append(value)
        self.ended.append(value)
        return value

    async def wait(self, value):
        self.begun.append(value)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(value)
            raise
        self.ended.append(value)
        return value

    async def stubborn(self, value):
        """Never ends, blocks cancellation."""
        self.begun.append(value)
        while not self.gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.gate.wait()

    async def fail(self, value):
        raise LookupError(value)


@dataclass
class Call:
    """A request whose handler runs, in a pair of connections."""

    calls: CallHandlers
    net: MemoryNetwork
    client: Connection
    server: Connection
    asking: asyncio.Task


@contextlib.asynccontextmanager
async def calling(method="wait", **options):
    """The client has asked for ``method(1)``, and the server's handler has begun."""
    calls = CallHandlers()
    async with paired(methods=calls.methods, **options) as (net, client, server):
        asking = start(client.request(method, [1]))
        await until(lambda: calls.begun)
        yield Call(calls, net, client, server, asking)
