"""Several nodes in one process, a balancer before them, and clients."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import reliable_ws
from reliable_ws import Backoff, Cluster, Config, Server
from tests.support.ports import HOST

from .servers import Balancer, RedisServer

BACKOFF = Backoff(initial=0.01, longest=0.2)
CONFIG = Config(open_timeout=5, close_progress_timeout=5, close_timeout=5)

LEASE = 10.0
"""Seconds: no node loses it, however busy this machine is."""

SHORT = 1.0
"""The same where a lease has to end, or where it has to be noticed that the engine has changed."""


class LocalNodes:
    """Nodes of one cluster."""

    def __init__(
        self,
        engine: RedisServer,
        level: str,
        handler: Any,
        *,
        lease: float = LEASE,
        **options: Any,
    ) -> None:
        self.engine = engine
        self.lease = lease
        self.level = level
        self.handler = handler
        self.options = options
        self.clusters: list[Cluster] = []
        self.servers: list[Server] = []
        self.balancer = Balancer([])

    async def add(self, way: Any = None, **options: Any) -> Server:
        """Start a node more; ``way``: its own way to the engine."""
        shared = {"lease": self.lease, "engine_timeout": 3.0} | options
        cluster = Cluster(way or self.engine.url, node=f"node-{len(self.servers)}", **shared)
        server = await reliable_ws.serve(
            self.handler,
            HOST,
            0,
            cluster=cluster,
            level=self.level,  # type: ignore[arg-type]
            config=CONFIG,
            **self.options,
        )
        self.clusters.append(cluster)
        self.servers.append(server)
        self.balancer.ports.append(server.port)
        return server

    def only(self, number: int) -> None:
        """Let the balancer send all connections from now on to one node."""
        port = self.servers[number].port
        self.balancer.choose = lambda _ports: port

    def move_to(self, number: int) -> None:
        """Cut every connection; the next one goes to this node."""
        self.only(number)
        self.balancer.cut()

    def connect(self, **options: Any) -> reliable_ws.connect:
        """Connect through the balancer."""
        options = {"reconnect": BACKOFF, "config": CONFIG} | options
        return reliable_ws.connect(self.balancer.uri, **options)

    def owner_of(self, connection: reliable_ws.Connection) -> reliable_ws.Connection | None:
        """Return the other end of a client's connection, wherever it is."""
        for server in self.servers:
            for other in server.connections:
                if other.id == connection.id:
                    return other
        return None


@contextlib.asynccontextmanager
async def nodes(
    engine: RedisServer, level: str, handler: Callable[..., Any], count: int = 2, **options: Any
) -> AsyncIterator[LocalNodes]:
    """So many nodes, for as long as the block lasts."""
    local = LocalNodes(engine, level, handler, **options)
    async with local.balancer:
        for _ in range(count):
            await local.add()
        local.only(0)
        try:
            yield local
        finally:
            for server in local.servers:
                await server.drain(1, sessions="close")


async def echo(conn: reliable_ws.Connection) -> None:
    async for message in conn:
        await conn.send(message)
