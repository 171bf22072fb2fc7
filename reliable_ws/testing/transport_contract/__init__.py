"""What every adapter has to pass: a contract suite for WebSocket transports, yours too.

Subclass :class:`ServerContract` for the server side of a library or framework,
:class:`ClientContract` for a client, :class:`BlockingClientContract` for one whose methods block,
say how a WebSocket is served or opened, and let pytest (with pytest-asyncio) collect the class.
Every scenario runs over real sockets against ``websockets`` at the other end, through a proxy that
breaks the network::

    class TestMyServer(ServerContract):
        @contextlib.asynccontextmanager
        async def serving(self, endpoints):
            async with my_library.serve(routes=endpoints.paths) as server:
                yield Served(f"ws://127.0.0.1:{server.port}", endpoints.drain)

What a library cannot do is declared by the flags of :class:`Traits`, never guessed: a trait that
is denied turns a check into its opposite or narrows it, it skips nothing silently.
"""

from __future__ import annotations

from .blocking import BlockingClientContract
from .client import ClientContract
from .endpoints import Endpoints
from .scenarios import Served, Traits
from .server import ServerContract

__all__ = [
    "BlockingClientContract",
    "ClientContract",
    "Endpoints",
    "Served",
    "ServerContract",
    "Traits",
]
