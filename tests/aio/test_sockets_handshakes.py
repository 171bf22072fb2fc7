"""Over real sockets: handshakes that fail, and one session after the other."""

from __future__ import annotations

import asyncio
import contextlib
import http

import pytest
import websockets.asyncio.client
import websockets.asyncio.server

from reliable_ws import (
    Backoff,
    Config,
    ConnectionClosed,
    NotReliablePeer,
    SessionLost,
    connect,
    serve,
)
from reliable_ws.testing import ChaosProxy
from tests.aio.sockets import AT_ONCE, NO_PROXY, echo, local
from tests.aio.stage import start

pytestmark = [pytest.mark.transport, pytest.mark.usefixtures("clean")]


# -- handshakes ----------------------------------------------------------------------------------


def refusing(count):
    """``process_request`` that answers 503 so many times, from the second request on."""
    answers = []

    def process_request(ws, request):
        answers.append(request.path)
        if 1 < len(answers) <= 1 + count:
            return ws.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "later\n")
        return None

    return process_request, answers


async def test_a_handshake_refused_with_503_while_reconnecting():
    process_request, answers = refusing(3)
    async with (
        serve(echo, "127.0.0.1", 0, process_request=process_request) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.uri(), proxy=None, reconnect=AT_ONCE) as conn,
    ):
        proxy.reset()
        await conn.send("x")
        assert await conn.recv() == "x"
        assert len(answers) == 5


async def test_a_first_attempt_that_fails_raises_what_websockets_raises():
    async with websockets.asyncio.server.serve(
        lambda ws: None,
        "127.0.0.1",
        0,
        process_request=lambda ws, _: ws.respond(http.HTTPStatus.FORBIDDEN, "no\n"),
    ) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(websockets.exceptions.InvalidStatus):
            await connect(f"ws://127.0.0.1:{port}", proxy=None)
    with pytest.raises(OSError, match=str(port)):
        await connect(f"ws://127.0.0.1:{port}", proxy=None)


async def test_a_server_that_is_no_peer():
    async def plain_echo(ws):
        async for message in ws:
            await ws.send(message)

    async def silent(ws):
        await ws.wait_closed()

    for handler in (plain_echo, silent):
        async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(NotReliablePeer):
                await connect(f"ws://127.0.0.1:{port}", proxy=None, config=Config(open_timeout=0.5))


async def test_a_client_that_is_no_peer():
    async with serve(echo, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.port}"
        async with websockets.asyncio.client.connect(uri, **NO_PROXY) as ws:
            assert ws.subprotocol is None
            await ws.send("hello?")
            assert isinstance(await ws.recv(), bytes)  # Refuse
            await ws.close()
        assert server.connections == []


# -- one session after the other -----------------------------------------------------------------


async def test_iterating_over_connect_begins_new_sessions():
    runs = []

    async def handler(conn):
        runs.append(conn)
        await conn.send(len(runs))
        with contextlib.suppress(ConnectionClosed):
            await conn.recv()
        if len(runs) < 3:
            conn.abort()

    process_request, answers = refusing(2)
    async with serve(handler, "127.0.0.1", 0, process_request=process_request) as server:
        got, ids = [], set()
        connecting = aiter(local(server, reconnect=AT_ONCE))
        async for conn in connecting:
            ids.add(conn.id)
            try:
                got.append(await conn.recv())
                await conn.send("go on")
                if len(got) == 3:
                    break
                await conn.recv()
            except SessionLost:
                continue
        await connecting.aclose()
        assert got == [1, 2, 3]
        assert len(ids) == 3
        assert len(answers) == 5


async def test_iterating_over_connect_does_not_hammer_a_server_that_loses_sessions():
    runs = []

    async def handler(conn):
        runs.append(conn)
        await conn.recv()
        conn.abort()

    backoff = Backoff(initial=10, longest=10)
    async with serve(handler, "127.0.0.1", 0) as server:

        async def client():
            async for conn in local(server, reconnect=backoff):
                with contextlib.suppress(SessionLost):
                    await conn.send("x")
                    await conn.recv()

        running = start(client())
        await asyncio.sleep(0.5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(runs) <= 3


async def test_iterating_over_connect_raises_what_cannot_get_better():
    async def plain(ws):
        await ws.send("hello")

    async with websockets.asyncio.server.serve(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotReliablePeer):
            await anext(aiter(connect(f"ws://127.0.0.1:{port}", proxy=None)))
