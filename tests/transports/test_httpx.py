"""Clients of httpx: httpx-ws, and httpx2, which has it inside."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import httpx2
import pytest
from httpx_ws import WebSocketDisconnect, aconnect_ws
from websockets.asyncio.server import serve

from reliable_ws.adapters import adapt
from reliable_ws.adapters.httpx_ws import held
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import ClientContract

KIB = 1024


class TestHttpxWs(ClientContract):
    library = "httpx-ws"
    distributions = ("httpx-ws", "httpx", "wsproto")
    max_frame = 64 * KIB
    refuses_larger = False

    @pytest.fixture(autouse=True)
    async def _client(self):
        async with httpx.AsyncClient() as self.client:
            yield

    async def opened(self, uri):
        return await held(aconnect_ws(uri, self.client, subprotocols=[SUBPROTOCOL]))


class TestHttpx2(ClientContract):
    library = "httpx2"
    distributions = ("httpx2", "wsproto")
    max_frame = 64 * KIB

    @pytest.fixture(autouse=True)
    async def _client(self):
        async with httpx2.AsyncClient() as self.client:
            yield

    async def opened(self, uri):
        return await held(self.client.websocket(uri, subprotocols=[SUBPROTOCOL]))


@contextlib.asynccontextmanager
async def opening():
    """The context of a session with an echoing server, not entered yet."""

    async def echo(ws):
        async for message in ws:
            await ws.send(message)

    async with asyncio.timeout(60), serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient() as client:
            yield aconnect_ws(f"ws://127.0.0.1:{port}", client, max_message_size_bytes=5000)


async def test_a_session_is_taken_over_in_its_context():
    async with opening() as context, context as session:
        transport = adapt(session)
        assert (transport.role, transport.max_frame) == ("initiator", 5000)
        assert adapt(session, max_frame=7).max_frame == 7
        await transport.send(b"hello")
        assert await transport.recv() == b"hello"
        await transport.close()


async def test_the_task_that_holds_a_session_ends_with_it():
    before = asyncio.all_tasks()
    async with opening() as context:
        transport = await held(context)
        await transport.close()
        while asyncio.all_tasks() - before - {asyncio.current_task()}:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("moment", ["while it opens", "when it is open", "never opened"])
async def test_a_session_that_nobody_waits_for_any_more_is_given_up(moment):
    loop = asyncio.get_running_loop()

    @contextlib.asynccontextmanager
    async def cancelling():
        if moment == "never opened":
            loop.call_soon(holding.cancel)
            await loop.create_future()
        if moment == "while it opens":
            holding.cancel()
        async with opening() as context, context as session:
            loop.call_soon(holding.cancel)  # before its task is told
            yield session

    before = asyncio.all_tasks()
    holding = asyncio.create_task(held(cancelling()))
    await asyncio.wait({holding})
    assert holding.cancelled()
    async with asyncio.timeout(60):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_session_that_cannot_be_opened_says_why():
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await held(aconnect_ws("ws://127.0.0.1:1", client))


async def test_what_cannot_be_taken_over_is_refused():
    async with opening() as context, context as session:
        receiving = asyncio.create_task(session.receive())
        while not session._receive_event.statistics().tasks_waiting_receive:  # noqa: ASYNC110
            await asyncio.sleep(0)
        with pytest.raises(ValueError, match="another task is receiving"):
            adapt(session)
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        await session.close()
        with pytest.raises(ValueError, match="is closed"):
            adapt(session)
        with pytest.raises(TypeError, match="entered with async with"):
            adapt(WebSocketDisconnect(1000))
