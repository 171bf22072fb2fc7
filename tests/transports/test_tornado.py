"""Tornado, both sides."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler, websocket_connect

import reliable_ws
from reliable_ws.adapters import adapt
from reliable_ws.adapters.callback import RECEIVE_LIMIT
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import ClientContract

from .programs import ProgramContract

MAX_FRAME = 10 * 1024 * 1024


class TestServer(ProgramContract):
    library = "Tornado"
    distributions = ("tornado",)
    program = ("own", "tornado_app")
    max_frame = MAX_FRAME


class TestClient(ClientContract):
    library = "Tornado"
    distributions = ("tornado",)
    max_frame = MAX_FRAME

    async def opened(self, uri):
        return await websocket_connect(uri, subprotocols=[SUBPROTOCOL])


@contextlib.asynccontextmanager
async def connected():
    """A WebSocket of each side; the handler was given to ``sessions.handle`` in ``open()``."""
    handlers = []
    closed = asyncio.Event()
    sessions = reliable_ws.Sessions()

    async def echo(conn):
        async for message in conn:
            await conn.send(message)

    class Endpoint(WebSocketHandler):
        def open(self):
            handlers.append(self)
            self.serving = asyncio.create_task(sessions.handle(self, echo))

        def on_close(self):
            closed.set()

    (listener,) = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/", Endpoint)]))
    server.add_socket(listener)
    port = listener.getsockname()[1]
    client = await websocket_connect(f"ws://127.0.0.1:{port}/")
    try:
        yield client, handlers[0]
        client.close()
        await closed.wait()  # the handler's own on_close is still called
        await handlers[0].serving
    finally:
        server.stop()


async def test_a_handler_is_taken_over_before_open_returns():
    async with connected() as (client, handler):
        with pytest.raises(ValueError, match="taken over already"):
            adapt(handler)
        async with reliable_ws.wrap(client) as conn:
            await conn.send("at once")
            assert await conn.recv() == "at once"
        assert handler.close_code == 1000


async def test_what_arrived_before_the_client_was_taken_over_comes_first():
    async with connected() as (client, handler):
        for message in (b"1", b"2", b"3"):
            await handler.write_message(message, binary=True)
        assert await client.read_message() == b"1"
        transport = adapt(client)
        assert (transport.role, transport.max_frame) == ("initiator", MAX_FRAME)
        assert [await transport.recv() for _ in range(2)] == [b"2", b"3"]
        await transport.close()


async def test_a_server_that_does_not_receive_is_not_sent_more():
    async with connected() as (client, handler):
        transport = adapt(client)
        await handler.write_message(bytes(RECEIVE_LIMIT), binary=True)
        for _ in range(3):
            await handler.write_message(b"more", binary=True)
        assert len(await transport.recv()) == RECEIVE_LIMIT
        assert [await transport.recv() for _ in range(3)] == [b"more"] * 3
        await transport.close()


async def test_what_cannot_be_taken_over_is_refused():
    with pytest.raises(TypeError, match="when it is awaited"):
        adapt(WebSocketClosedError())
    async with connected() as (client, handler):
        receiving = asyncio.ensure_future(client.read_message())
        with pytest.raises(ValueError, match="another task is receiving"):
            adapt(client)
        client.close()
        await receiving
        with pytest.raises(ValueError, match="is closed"):
            adapt(client)
    with pytest.raises(ValueError, match=r"not open: take it over in open\(\)"):
        adapt(handler)
