"""``pair``: two connected connections, and the network between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import NamedTuple

from reliable_ws.aio.connection import Connection
from reliable_ws.backoff import Backoff
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.status import ConnectionEvent
from reliable_ws.protocol.config import Config

from .network import Network
from .plan import FaultPlan, Strike

__all__ = ["Pair", "pair"]

FAST_BACKOFF = Backoff(initial=0.01, longest=0.5)
"""Between attempts: no crowd has to be spread here."""

END_TIMEOUT = 10.0
"""Seconds for the end, at most."""


class Pair(NamedTuple):
    """What :func:`pair` gives: both ends of one session, and the network between them."""

    client: Connection
    "The client's end."
    server: Connection
    "The server's end."
    network: Network
    "What breaks the WebSockets between them."


@contextlib.asynccontextmanager
async def pair(
    handler: Callable[[Connection], Awaitable[object]] | None = None,
    *,
    config: Config | None = None,
    server_config: Config | None = None,
    methods: Methods | None = None,
    client_methods: Methods | None = None,
    on_event: Callable[[ConnectionEvent], object] | None = None,
    reconnect: bool | Backoff = FAST_BACKOFF,
    plan: Sequence[Strike] | FaultPlan | None = None,
    network: Network | None = None,
) -> AsyncGenerator[Pair, None]:
    """Connect a client and a server in this process.

    ``async with pair() as (client, server, network)``. Both are connections as ``connect`` and
    ``serve`` make them. The client opens another WebSocket when one breaks. When the block ends,
    the network is healed and both ends are closed. That never raises: ``client.report`` and
    ``server.report`` say what became of your messages. To see what ``close()`` raises, call it in
    the block. If the block raises, both ends are aborted.

    Args:
        handler: The server's application, called with the server's connection. Default: none. Then
            both ends are yours.
        config: For both sides, unless the server has its own.
        server_config: For the server.
        methods: What the client may request.
        client_methods: What the server may request.
        on_event: Called with each event of the client.
        reconnect: As in :func:`reliable_ws.connect`. Default: a short back-off.
        plan: Where faults strike. It starts to count when both ends are connected.
        network: A network of your own. Its plan also starts to count then.
    """
    network = network or Network()
    plan, network.plan = plan or network.plan, None
    ready: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    async def at_server(conn: Connection) -> None:
        if not ready.done():
            ready.set_result(conn)
        await (conn.wait_closed() if handler is None else handler(conn))

    serving = network.serve(
        at_server, config=server_config or config, methods=methods, drain_timeout=1.0
    )
    async with serving:
        client = await network.connect(
            config=config, methods=client_methods, on_event=on_event, reconnect=reconnect
        )
        try:
            server = await ready
            network.plan = plan
            yield Pair(client, server, network)
            network.heal()
            mine = [client] if handler else [client, server]
            await asyncio.gather(
                *(c.close(timeout=END_TIMEOUT) for c in mine), return_exceptions=True
            )
        finally:
            client.abort()
