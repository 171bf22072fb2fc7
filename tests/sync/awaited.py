"""What blocks, as something to await: so that the contract for asyncio is the one for threads."""

from __future__ import annotations

import asyncio

from reliable_ws.adapters import adapt_blocking as adapt
from reliable_ws.backoff import Backoff
from reliable_ws.sync import wrap
from reliable_ws.testing.transport_contract import ClientContract, Served
from reliable_ws.testing.transport_contract.endpoints import SESSION
from reliable_ws.testing.transport_contract.scenarios import QUICK

from .conftest import run


async def in_thread(work, *args, **options):
    return await asyncio.wrap_future(run(lambda: work(*args, **options)))


class AwaitedTransport:
    """A ``SyncTransport`` as a ``Transport``."""

    def __init__(self, transport) -> None:
        self._transport = transport
        self.websocket = transport.websocket
        self.max_frame = transport.max_frame
        self.role = transport.role

    async def send(self, data):
        await in_thread(self._transport.send, data)

    def send_now(self, data):
        send_now = getattr(self._transport, "send_now", None)
        return send_now is not None and send_now(data)

    async def recv(self):
        return await in_thread(self._transport.recv)

    async def close(self, code=1000, reason=""):
        await in_thread(self._transport.close, code, reason)

    def abort(self):
        self._transport.abort()


class AwaitedConnection:
    """A connection of ``reliable_ws.sync`` as one of ``reliable_ws``."""

    VERBS = ("send", "recv", "flush", "request", "close", "wait_closed")

    def __init__(self, conn) -> None:
        self._conn = conn

    def __getattr__(self, name):
        found = getattr(self._conn, name)
        if name not in self.VERBS:
            return found

        async def verb(*args, **options):
            return await in_thread(found, *args, **options)

        return verb

    async def finish(self):
        self._conn.finish()

    async def __aiter__(self):
        messages = iter(self._conn)
        while (message := await in_thread(next, messages, self)) is not self:
            yield message

    async def __aenter__(self):
        return self

    async def __aexit__(self, *reason):
        await in_thread(self._conn.__exit__, *reason)


class BlockingClientContract(ClientContract):
    """The contract for the client side of a library that blocks; subclasses say how to open."""

    def open(self, uri):
        """Open a WebSocket, offering the subprotocol; return the library's own object."""
        raise NotImplementedError

    async def opened(self, uri):
        return AwaitedTransport(adapt(await in_thread(self.open, uri)))

    async def connected(self, where, path=SESSION, *, config=QUICK, boasted=None):
        uri = where.uri + path if isinstance(where, Served) else where.uri(path)

        def another():
            transport = adapt(self.open(uri))
            if boasted is not None:
                transport.max_frame = boasted
            return transport

        def connecting():
            return wrap(
                another(),
                role="initiator",
                config=config,
                reopen=another,
                reconnect=Backoff(initial=0.02, longest=0.2),
            )

        return AwaitedConnection(await in_thread(connecting))
