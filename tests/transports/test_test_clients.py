"""The clients with which frameworks test their applications, as initiators: no sockets."""

from __future__ import annotations

import contextlib

import pytest

import reliable_ws
from tests.support.lazy import Lazy

from . import settings  # noqa: F401 - Django's

falcon, httpx, httpx_ws = map(Lazy, ("falcon", "httpx", "httpx_ws"))

sessions = reliable_ws.Sessions()


async def echo(conn):
    async for message in conn:
        await conn.send(message)


CLIENTS = {}


def client(function):
    CLIENTS[function.__name__] = contextlib.asynccontextmanager(function)
    return function


class Resource:
    async def on_websocket(self, _req, ws):
        await ws.accept()
        await sessions.handle(ws, echo)


@client
async def falcon_conductor():
    app = falcon.asgi.App()
    app.add_route("/live", Resource())
    async with (
        falcon.testing.ASGIConductor(app) as conductor,
        conductor.simulate_ws("/live") as ws,
    ):
        yield ws


@client
async def channels_communicator():
    from channels.testing import WebsocketCommunicator

    from reliable_ws.adapters.channels import ReliableConsumer

    class Consumer(ReliableConsumer):
        async def connect(self):
            await self.accept()
            await sessions.handle(self, echo)

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/live")
    assert await communicator.connect() == (True, None)
    yield communicator
    await communicator.wait()


@client
async def httpx_ws_transport():
    """For any ASGI application, of whatever framework."""
    app = reliable_ws.ASGIApp(echo, sessions=sessions, drain_timeout=None)
    async with (
        httpx.AsyncClient(transport=httpx_ws.transport.ASGIWebSocketTransport(app)) as http,
        httpx_ws.aconnect_ws("http://server/live", http) as session,
    ):
        yield session


@pytest.mark.parametrize("name", CLIENTS)
async def test_echoes_and_closes(name):
    async with CLIENTS[name]() as ws:
        async with reliable_ws.wrap(ws) as conn:
            for message in ("text", b"bytes", bytes(3 * 1024 * 1024)):
                await conn.send(message)
                assert await conn.recv() == message
        assert (conn.report.sent, conn.report.confirmed) == (3, 3)
