"""aiohttp, both sides."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from reliable_ws.adapters import adapt
from reliable_ws.adapters.aiohttp import MAX_FRAME
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import ClientContract
from reliable_ws.transport import TransportClosed

from .programs import ProgramContract


class TestServerSide(ProgramContract):
    library = "aiohttp"
    distributions = ("aiohttp",)
    program = ("own", "aiohttp_app")
    max_frame = MAX_FRAME


class TestClientSide(ClientContract):
    library = "aiohttp"
    distributions = ("aiohttp",)
    max_frame = MAX_FRAME

    @pytest.fixture(autouse=True)
    async def _session(self):
        async with aiohttp.ClientSession() as self.session:
            yield

    async def opened(self, uri):
        return await self.session.ws_connect(uri, protocols=[SUBPROTOCOL])


@contextlib.asynccontextmanager
async def connected(**options):
    """A WebSocket of each side, made with these options."""
    accepted = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def endpoint(request):
        ws = web.WebSocketResponse(**options)
        await ws.prepare(request)
        accepted.set_result(ws)
        await over.wait()
        return ws

    app = web.Application()
    app.add_routes([web.get("/", endpoint)])
    async with TestClient(TestServer(app)) as client, client.ws_connect("/", **options) as near:
        try:
            yield near, await accepted
        finally:
            over.set()


async def test_knows_its_role_and_its_limit():
    async with connected() as (near, far):
        assert [adapt(ws).role for ws in (near, far)] == ["initiator", "acceptor"]
        assert [adapt(ws).max_frame for ws in (near, far)] == [MAX_FRAME] * 2
        assert adapt(near, max_frame=1000).max_frame == 1000


@pytest.mark.parametrize("closing", ["near", "far"])
async def test_the_peers_close_is_answered_although_aiohttp_shall_not_do_it(closing):
    async with connected(autoclose=False) as (near, far):
        closer, other = (near, far) if closing == "near" else (far, near)
        closes = asyncio.create_task(closer.close(code=4001))
        with pytest.raises(TransportClosed) as end:
            await adapt(other).recv()
        await closes
        assert (end.value.code, closer.close_code, other.closed) == (4001, 1000, True)


async def test_what_cannot_be_taken_over_is_refused():
    with pytest.raises(ValueError, match=r"await ws\.prepare\(request\) first"):
        adapt(web.WebSocketResponse())
    async with connected() as pair:
        for ws in pair:
            receiving = asyncio.create_task(ws.receive())
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="another task is receiving"):
                adapt(ws)
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
        closing = [asyncio.create_task(ws.close()) for ws in pair]
        await asyncio.gather(*closing)
        for ws in pair:
            with pytest.raises(ValueError, match="is closed"):
                adapt(ws)


async def test_anything_else_of_the_library_is_refused():
    async with aiohttp.ClientSession() as session:
        opening = session.ws_connect("ws://127.0.0.1:1")
        with pytest.raises(TypeError, match="when it is awaited"):
            adapt(opening)
        opening.close()


@pytest.mark.filterwarnings("ignore:float parameter 'receive_timeout'")  # 3.10 has no other
async def test_a_timeout_of_the_library_for_one_message_is_not_the_end():
    """The session has a time limit of its own for silence."""
    async with connected(receive_timeout=0.01) as (near, far):
        ours, theirs = adapt(near), adapt(far)
        for transport, peer in ((ours, theirs), (theirs, ours)):
            receiving = asyncio.create_task(transport.recv())
            asked = transport.websocket.receive
            timeouts = asyncio.Event()

            async def receive(asked=asked, timeouts=timeouts):
                try:
                    return await asked()
                except TimeoutError:
                    timeouts.set()
                    raise

            transport.websocket.receive = receive
            await timeouts.wait()
            await peer.send(b"late")
            assert await receiving == b"late"
        await asyncio.gather(ours.close(), theirs.close())
