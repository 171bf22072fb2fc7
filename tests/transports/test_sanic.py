"""Sanic on its own server."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from sanic import Sanic
from sanic.exceptions import SanicException
from tornado.netutil import bind_sockets
from websockets.frames import Frame, Opcode

from reliable_ws.adapters import adapt
from reliable_ws.testing.transport_contract.scenarios import open_plain
from reliable_ws.transport import TransportClosed

from .programs import ProgramContract


class TestServer(ProgramContract):
    library = "Sanic"
    distributions = ("sanic", "websockets")
    program = ("own", "sanic_app")
    keeps_unread = False
    tells_end = False
    tells_code = False
    tells_reason = False
    negotiates = False


@contextlib.asynccontextmanager
async def accepted():
    """The WebSocket of a handler, and the plain client at its other end."""
    arrived = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def endpoint(_request, ws):
        arrived.set_result(ws)
        await over.wait()

    Sanic.test_mode = True  # or every application needs a name of its own
    app = Sanic("one_websocket")
    app.add_websocket_route(endpoint, "/")
    async with asyncio.timeout(60):
        with bind_sockets(0, "127.0.0.1")[0] as listener:
            server = await app.create_server(
                sock=listener, return_asyncio_server=True, asyncio_server_kwargs={}
            )
            await server.startup()
            client = await open_plain(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
            try:
                yield await arrived, client
            finally:
                over.set()
                client.transport.abort()
                server.close()
                await server.wait_closed()


async def settled(ws) -> None:
    """Return when Sanic holds a message that nobody has asked for."""
    async with asyncio.timeout(60):
        await ws.assembler.message_complete.wait()


async def test_what_arrived_before_it_is_taken_over_comes_first():
    async with accepted() as (ws, client):
        for message in (b"1", "2", [b"3", b"4"], b"5"):
            await client.send(message)
        await settled(ws)
        transport = adapt(ws)
        assert [await transport.recv() for _ in range(4)] == [b"1", "2", b"34", b"5"]


async def test_a_message_of_which_a_frame_arrived_before_is_whole():
    async with accepted() as (ws, client):
        sent = asyncio.Event()

        async def frames():
            yield "snow "
            await sent.wait()
            yield "\u2603"

        sending = asyncio.create_task(client.send(frames()))
        while not ws.assembler.chunks:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        transport = adapt(ws)
        sent.set()
        assert await transport.recv() == "snow \u2603"
        await sending


async def test_messages_keep_their_order_while_an_answer_waits_for_room():
    async with accepted() as (ws, client):
        transport = adapt(ws)
        ws.io_proto._can_write.clear()  # the write buffer is full
        client.protocol.send_binary(b"1")
        client.protocol.send_ping(b"")
        client.send_data()
        await client.send(b"2")
        assert await transport.recv() == b"1"
        await client.send(b"3")
        assert [await transport.recv() for _ in range(2)] == [b"2", b"3"]
        ws.io_proto._can_write.set()


async def test_a_text_that_is_none_ends_the_connection():
    async with accepted() as (ws, client):
        transport = adapt(ws)
        await client.send(b"\xff", text=True)
        await client.send(b"after")
        with pytest.raises(TransportClosed):
            await transport.recv()
        await client.wait_closed()
        assert client.protocol.close_rcvd.code == 1007


async def test_the_network_is_held_back_while_much_waits_to_be_received():
    async with accepted() as (ws, client):
        transport = adapt(ws)
        assert (transport.role, transport.max_frame) == ("acceptor", 2**20)
        for _ in range(3):
            await client.send(bytes(2**20))
        while ws.io_proto.transport.is_reading():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        for _ in range(3):
            assert len(await transport.recv()) == 2**20
        assert ws.io_proto.transport.is_reading()


async def test_frames_with_nothing_in_them_take_no_memory():
    async with accepted() as (ws, _):
        transport = adapt(ws)
        await transport.put(Frame(Opcode.BINARY, b"1", fin=False))
        for _ in range(1000):
            await transport.put(Frame(Opcode.CONT, b"", fin=False))
        assert len(transport._chunks) == 1
        await transport.put(Frame(Opcode.CONT, b"2"))
        assert await transport.recv() == b"12"


async def test_a_lost_connection_that_sanic_tells_by_a_cancellation_is_the_end():
    async with accepted() as (ws, _):
        transport = adapt(ws)
        ws.io_proto.transport.abort()  # of which Sanic hears in the next turn
        with pytest.raises(TransportClosed):
            await transport.send(b"too late")


async def test_closing_a_connection_that_is_lost_meanwhile_raises_nothing():
    async with accepted() as (ws, _):
        transport = adapt(ws)
        ws.io_proto._can_write.clear()  # the write buffer is full
        closing = asyncio.create_task(transport.close())
        while not ws.conn_mutex.locked():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        ws.io_proto.transport.abort()
        await closing


async def test_what_cannot_be_taken_over_is_refused():
    with pytest.raises(TypeError, match="Sanic's own server"):
        adapt(SanicException())
    async with accepted() as (ws, client):
        receiving = asyncio.create_task(ws.recv())
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="another task is receiving"):
            adapt(ws)
        await client.close()
        await asyncio.gather(receiving, return_exceptions=True)
        with pytest.raises(ValueError, match="is closed"):
            adapt(ws)
