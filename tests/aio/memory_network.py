"""A client and a server over in-memory WebSockets, on the virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from reliable_ws import (
    Config,
    Connection,
    ConnectionClosedOK,
    ConnectionEvent,
    Methods,
    Sessions,
    wrap,
)
from reliable_ws.aio.initiator import Initiator
from reliable_ws.driver.options import SessionOptions
from reliable_ws.testing.memory import MemoryTransport, pair
from reliable_ws.testing.virtual_clock import VirtualClockLoop, run
from tests.support.inside import session_of

__all__ = [
    "SEEDS",
    "MemoryNetwork",
    "block",
    "disguise",
    "iterate",
    "now",
    "on_virtual_clock",
    "paired",
    "receive",
    "registry",
    "rest",
    "second_holder",
    "settle",
    "start",
    "take",
    "turns",
    "until",
]

ORDERS = int(os.environ.get("RELIABLE_WS_ORDERS", "1"))
"""``make explore`` runs every scenario in four orders."""

SEEDS = (None, *range(1, ORDERS))
"""Orders in which the tasks that are ready run: asyncio's own first, then shuffled ones."""


def on_virtual_clock(test=None, *, seeds=SEEDS, limit=3600.0):
    """Run a test on a virtual loop, once for each seed; it leaves no task behind."""
    if test is None:
        return functools.partial(on_virtual_clock, seeds=seeds, limit=limit)

    def run_it(seed, **arguments):
        run(test(**arguments), seed=seed, limit=limit)

    disguise(run_it, test, takes=("seed",))
    return pytest.mark.parametrize("seed", seeds)(run_it)


def disguise(run_it, test, *, takes, instead_of=()):
    """Let pytest take ``run_it`` for ``test``, with other parameters."""
    run_it.__name__, run_it.__doc__, run_it.__module__ = test.__name__, test.__doc__, __name__
    kind = inspect.Parameter.KEYWORD_ONLY
    names = [name for name in inspect.signature(test).parameters if name not in instead_of]
    run_it.__signature__ = inspect.Signature(
        [inspect.Parameter(name, kind) for name in (*takes, *names)]
    )
    run_it.pytestmark = list(getattr(test, "pytestmark", []))


class MemoryNetwork:
    """Opens WebSockets between clients and the sessions of one server.

    ``wires`` are the clients' ends, the newest last. While ``closed`` nothing opens.
    """

    def __init__(
        self,
        *,
        config: Config | None = None,
        server_config: Config | None = None,
        methods: Methods | None = None,
        **of_pair: Any,
    ) -> None:
        self.config = config or Config()
        self.events: list[ConnectionEvent] = []
        self.server_events: list[ConnectionEvent] = []
        self.sessions = Sessions(
            methods=methods,
            config=server_config or self.config,
            on_event=self.server_events.append,
        )
        self.accepted: list[Connection] = []
        "The server's connections, one for each session."
        self.wires: list[MemoryTransport] = []
        self.closed = False
        self._of_pair = of_pair
        self._accepting: set[asyncio.Task[None]] = set()

    @property
    def wire(self) -> MemoryTransport:
        return self.wires[-1]

    async def open(self) -> MemoryTransport:
        """Open a WebSocket to the server."""
        if self.closed:
            raise ConnectionRefusedError
        near, far = pair(**self._of_pair)
        self.wires.append(near)
        task = asyncio.create_task(self._accept(far))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        return near

    async def _accept(self, far: MemoryTransport) -> None:
        with contextlib.suppress(ConnectionError):
            connection = await wrap(far, sessions=self.sessions)
            if connection not in self.accepted:
                self.accepted.append(connection)

    async def connect(self, **options: Any) -> Connection:
        options = {"reopen": self.open, "config": self.config} | options
        return await wrap(await self.open(), on_event=self.events.append, **options)

    async def pair(self, **options: Any) -> tuple[Connection, Connection]:
        """Both ends of a new session; the client reconnects by itself."""
        client = await self.connect(**options)
        await until(lambda: self.accepted and self.accepted[-1].id == client.id)
        return client, self.accepted[-1]

    async def reopened(self) -> None:
        """Return when one more WebSocket is open."""
        count = len(self.wires)
        await until(lambda: len(self.wires) > count)

    def cut(self) -> None:
        self.wire.cut()

    def freeze(self) -> None:
        """The network goes half open, both ways."""
        self.wire.freeze()
        self.wire.peer.freeze()

    def names(self) -> list[str]:
        """Names of what ``on_event`` of the client was told."""
        return [event.name for event in self.events]


@contextlib.asynccontextmanager
async def paired(
    wrapped: Any = (), **options: Any
) -> AsyncIterator[tuple[MemoryNetwork, Connection, Connection]]:
    """A net and a pair on it; in the end both are closed, or aborted if the test failed."""
    net = MemoryNetwork(**options)
    client, server = await net.pair(**dict(wrapped))
    try:
        yield net, client, server
        await settle(client, server)
    finally:
        client.abort()
        server.abort()


async def settle(*connections: Connection) -> None:
    """Close all, whatever was or was not delivered."""
    await asyncio.gather(*(c.close(timeout=60) for c in connections), return_exceptions=True)


def second_holder(client: Connection) -> Initiator:
    """Another holder of the same session, in the same state; not started."""
    twin = Initiator(SessionOptions(config=session_of(client).config), None)
    ours, theirs = twin.session, session_of(client)
    ours.id, ours.key, ours.attempt = theirs.id, theirs.key, theirs.attempt
    ours.incarnation = theirs.incarnation
    ours.outbox.restore(theirs.outbox.confirmed, [])
    ours.inbox.restore(theirs.inbox.confirmed)
    return twin


async def take(connection: Connection, count: int) -> list[Any]:
    return [await connection.recv() for _ in range(count)]


async def rest(connection: Connection) -> list[Any]:
    """Everything that comes until the peer has finished."""
    return [message async for message in connection]


async def receive(connection: Connection, got: list[Any]) -> None:
    """Put what ``recv()`` returns into ``got``; several tasks may do so."""
    with contextlib.suppress(ConnectionClosedOK):
        while True:
            got.append(await connection.recv())


async def iterate(messages: Any, got: list[Any]) -> None:
    """Put what comes into ``got``, which also has what came before an exception."""
    async for message in messages:
        got.append(message)  # noqa: PERF401 - see above


def start(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine)


async def turns(count: int = 100) -> None:
    """Let the event loop do all it has to do, without moving the clock."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    """Let others run until this holds."""
    pause = 0.001
    while not condition():
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, 0.1)


def block(seconds: float) -> None:
    """The event loop is blocked for so long."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    loop._now += seconds


def now() -> float:
    return asyncio.get_running_loop().time()


def registry(*functions: Callable[..., Any]) -> Methods:
    """Methods under their own names."""
    methods = Methods()
    for function in functions:
        methods.register(function)
    return methods
