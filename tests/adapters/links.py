"""Two connected transports of every kind, for tests that must hold for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import warnings
from dataclasses import dataclass
from typing import Any

import websockets
from websockets.asyncio.client import connect

from reliable_ws.adapters.websockets.asyncio import adapt, dial, listen
from reliable_ws.testing import memory
from reliable_ws.transport import TransportClosed

RELEASE = tuple(int(part) for part in websockets.__version__.split(".")[:2])

NO_PROXY = {"proxy": None} if RELEASE >= (15, 0) else {}

# What "ours" is. The other end is the asyncio implementation, or the other end of the pair.
LIBRARY_KINDS = ("asyncio client", "asyncio server", "legacy client", "legacy server")
KINDS = (*LIBRARY_KINDS, "memory")

TIME_LIMIT = 60  # seconds that a test may take
CHUNK = bytes(64 * 1024)


@dataclass
class Link:
    kind: str
    ours: Any
    theirs: Any

    @property
    def keeps_unread(self) -> bool:
        """Whether the library still delivers what was unread when the connection ended."""
        return not self.kind.startswith("asyncio") or RELEASE >= (14, 1)

    async def send_text(self, text: str) -> None:
        """Send a text from their end, which a transport cannot."""
        if self.kind == "memory":
            self.theirs.inject(text)
        else:
            await self.theirs.websocket.send(text)

    async def ended(self) -> None:
        """Wait, without receiving, until our end has noticed the end."""
        if self.kind != "memory":
            await self.ours.websocket.wait_closed()


@contextlib.asynccontextmanager
async def linked(kind: str, *, theirs_max: int | None = 2**20):
    async with asyncio.timeout(TIME_LIMIT):
        if kind == "memory":
            yield Link(kind, *memory.pair(max_frame=(2**20, theirs_max)))
            return
        async with contextlib.AsyncExitStack() as stack:
            ours, theirs = await _open(kind, theirs_max, stack)
            try:
                yield Link(kind, ours, theirs)
            finally:
                ours.abort()
                theirs.abort()


async def _open(kind: str, theirs_max: int | None, stack: contextlib.AsyncExitStack):
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(transport):
        accepted.set_result(transport)
        await transport.websocket.wait_closed()

    async def legacy_handler(ws):
        await handler(adapt(ws))

    if kind == "legacy server":
        serving = legacy("server").serve(legacy_handler, "127.0.0.1", 0, ping_interval=None)
    else:
        size = 2**20 if kind == "asyncio server" else theirs_max
        serving = listen(handler, "127.0.0.1", 0, max_size=size)
    uri = uri_of(await stack.enter_async_context(serving))
    if kind == "legacy client":
        client = adapt(await legacy("client").connect(uri, ping_interval=None))
    else:
        size = 2**20 if kind == "asyncio client" else theirs_max
        client = await dial(uri, proxy=None, max_size=size)
    server = await accepted
    return (client, server) if kind.endswith("client") else (server, client)


def legacy(side: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(f"websockets.legacy.{side}")


def uri_of(server) -> str:
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def bounded(test):
    """Give up a test that waits where it should not."""

    @functools.wraps(test)
    async def run(**fixtures):
        async with asyncio.timeout(TIME_LIMIT):
            await test(**fixtures)

    return run


async def turns(count: int = 100) -> None:
    """Let the event loop do all it has to do."""
    for _ in range(count):
        await asyncio.sleep(0)


async def fill(transport) -> int:
    """Send chunks until no more go, although the event loop had time to move them on."""
    sent = refused = 0
    while refused < 200:
        if transport.send_now(CHUNK):
            sent, refused = sent + 1, 0
        else:
            refused += 1
        await asyncio.sleep(0)
    return sent


async def drain(transport) -> tuple[list[bytes | str], TransportClosed]:
    """Receive until the end; return what came, and the end."""
    received = []
    while True:
        try:
            received.append(await transport.recv())
        except TransportClosed as end:
            return received, end


@contextlib.asynccontextmanager
async def listening(handler=None, **options):
    """A server made by ``listen``; yields it and the list of transports it has handed out."""
    accepted = []

    async def handle(transport):
        accepted.append(transport)
        if handler is not None:
            await handler(transport)
        else:
            await transport.websocket.wait_closed()

    async with asyncio.timeout(TIME_LIMIT), listen(handle, "127.0.0.1", 0, **options) as server:
        yield server, accepted


def raw_connect(server, **options):
    return connect(uri_of(server), **NO_PROXY, **options)
