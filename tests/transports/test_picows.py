"""picows, both sides: its listeners, and its copy of websockets' interface."""

from __future__ import annotations

import asyncio
import contextlib

import picows.websockets
import pytest
from picows import WSListener, ws_connect, ws_create_server
from websockets.exceptions import ConnectionClosed

from reliable_ws.adapters import adapt
from reliable_ws.adapters.picows import MAX_FRAME, PicowsTransport
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import ClientContract
from reliable_ws.testing.transport_contract.scenarios import open_plain
from reliable_ws.transport import TransportClosed

from .programs import ProgramContract

CHUNK = bytes(64 * 1024)


class TestServer(ProgramContract):
    library = "picows"
    distributions = ("picows",)
    program = ("own", "picows_core")
    max_frame = MAX_FRAME


class TestClient(ClientContract):
    library = "picows"
    distributions = ("picows",)
    max_frame = MAX_FRAME

    async def opened(self, uri):
        headers = {"Sec-WebSocket-Protocol": SUBPROTOCOL}
        _, ws = await ws_connect(PicowsTransport, uri, extra_headers=headers)
        return ws


class TestWebsocketsServer(ProgramContract):
    library = "picows.websockets"
    distributions = ("picows",)
    program = ("own", "picows_websockets")


class TestWebsocketsClient(ClientContract):
    library = "picows.websockets"
    distributions = ("picows",)

    async def opened(self, uri):
        return await picows.websockets.connect(uri, subprotocols=[SUBPROTOCOL], proxy=None)


@contextlib.asynccontextmanager
async def accepted(**options):
    """A transport on the server's side, and the plain client at its other end."""
    arrived = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def serve(ws):
        arrived.set_result(ws)
        await over.wait()

    async with asyncio.timeout(60):
        server = await ws_create_server(
            lambda _request: PicowsTransport(serve, **options), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        client = await open_plain(f"ws://127.0.0.1:{port}")
        try:
            yield await arrived, client
        finally:
            over.set()
            client.transport.abort()
            server.close()


async def test_frames_are_joined():
    async with accepted() as (ours, theirs):
        await theirs.send([b"a", b"", b"b"])
        await theirs.send(["snow ", "\u2603"])
        await theirs.send(b"whole")
        assert [await ours.recv() for _ in range(3)] == [b"ab", "snow \u2603", b"whole"]


@pytest.mark.parametrize(
    ("frames", "code"),
    [([b"x" * 600, b"x" * 600], 1009), ([b"x" * 1001, b""], 1009)],
    ids=["in all", "the first"],
)
async def test_a_message_in_frames_is_bounded_and_nothing_comes_behind_it(frames, code):
    async with accepted(max_frame=1000) as (ours, theirs):
        await theirs.send(b"before")
        with contextlib.suppress(ConnectionClosed):
            await theirs.send(frames)
            await theirs.send(b"after")
        assert await ours.recv() == b"before"
        with pytest.raises(TransportClosed):
            await ours.recv()
        await theirs.wait_closed()
        assert theirs.protocol.close_rcvd.code == code


async def test_a_text_that_is_none_ends_the_connection():
    async with accepted() as (ours, theirs):
        await theirs.send(b"\xff", text=True)
        await theirs.send(b"after")
        with pytest.raises(TransportClosed):
            await ours.recv()
        await theirs.wait_closed()
        assert theirs.protocol.close_rcvd.code == 1007


async def test_a_close_without_a_code_is_answered_with_one():
    async with accepted() as (ours, theirs):
        theirs.protocol.send_close()
        theirs.send_data()
        with pytest.raises(TransportClosed) as end:
            await ours.recv()
        await theirs.wait_closed()
        assert end.value.code is None
        assert theirs.protocol.close_rcvd.code == 1000


async def test_the_network_is_held_back_while_much_waits_to_be_received():
    async with accepted() as (ours, theirs):
        reading = ours.websocket.underlying_transport.is_reading
        sending = asyncio.create_task(theirs.send(b"x" * MAX_FRAME))
        while reading():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        for _ in range(3):
            await theirs.send(CHUNK)
        assert len(await ours.recv()) == MAX_FRAME
        assert [await ours.recv() for _ in range(3)] == [CHUNK] * 3
        assert reading()
        await sending


async def test_sending_waits_for_room():
    async with accepted() as (ours, theirs):
        theirs.transport.pause_reading()
        count = 0
        while ours.send_now(CHUNK):
            count += 1
        sending = asyncio.create_task(ours.send(b"last"))
        await asyncio.sleep(0)
        assert not sending.done()
        theirs.transport.resume_reading()
        for _ in range(count):
            assert await theirs.recv() == CHUNK
        assert await theirs.recv() == b"last"
        await sending
        assert ours.send_now(b"room again")


async def test_a_transport_that_waits_for_room_learns_of_the_end():
    async with accepted() as (ours, theirs):
        theirs.transport.pause_reading()
        while ours.send_now(CHUNK):
            pass
        sending = asyncio.create_task(ours.send(b"last"))
        await asyncio.sleep(0)
        ours.websocket.disconnect(graceful=False)
        with pytest.raises(TransportClosed):
            await sending


async def test_other_listeners_are_refused_with_what_to_do():
    async with accepted() as (ours, _):
        for other in (WSListener(), ours.websocket):
            with pytest.raises(TypeError, match=r"be a reliable_ws\.adapters\.picows\.PicowsTr"):
                adapt(other)


async def test_a_connection_that_is_not_open_is_refused():
    async with picows.websockets.serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        ws = await picows.websockets.connect(f"ws://127.0.0.1:{port}", proxy=None)
        assert (adapt(ws).role, adapt(ws, max_frame=7).max_frame) == ("initiator", 7)
        await ws.close()
        with pytest.raises(ValueError, match="not open but CLOSED"):
            adapt(ws)
