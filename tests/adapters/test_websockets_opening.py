"""Connections that ``dial`` and ``listen`` open, over any release of websockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import InvalidStatus

from reliable_ws.adapters.websockets.asyncio import adapt, dial, listen
from reliable_ws.protocol.frames import SUBPROTOCOL
from tests.adapters.links import RELEASE, TIME_LIMIT, drain, listening, raw_connect, uri_of

pytestmark = pytest.mark.transport


async def test_dial_and_listen_agree_on_the_subprotocol():
    async with listening() as (server, accepted):
        client = await dial(uri_of(server), proxy=None)
        assert client.websocket.subprotocol == SUBPROTOCOL == "reliable-ws.v1"
        assert accepted[0].websocket.subprotocol == SUBPROTOCOL
        await client.close()


@pytest.mark.parametrize(
    ("offered", "selected"),
    [(None, None), (["chat"], None), (["chat", SUBPROTOCOL], SUBPROTOCOL)],
)
async def test_listen_refuses_nobody_for_a_subprotocol(offered, selected):
    """LINK-6"""
    async with (
        listening() as (server, accepted),
        raw_connect(server, subprotocols=offered) as ws,
    ):
        assert ws.subprotocol == selected
        assert accepted[0].websocket.subprotocol == selected


@pytest.mark.parametrize("subprotocols", [None, ["chat", SUBPROTOCOL]])
async def test_dial_takes_a_server_that_selects_none(subprotocols):
    """LINK-6, LINK-7"""
    async with (
        asyncio.timeout(TIME_LIMIT),
        serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0) as server,
    ):
        client = await dial(uri_of(server), proxy=None, subprotocols=subprotocols)
        assert client.websocket.subprotocol is None
        await client.close()


async def test_subprotocols_and_their_selection_can_be_given():
    def last(_, offered):
        return offered[-1]

    for options, selected in (
        ({"subprotocols": ["b", "a"]}, "b"),
        ({"subprotocols": None}, None),
        ({"select_subprotocol": last}, "c"),
    ):
        async with listening(**options) as (server, _):
            client = await dial(uri_of(server), proxy=None, subprotocols=["a", "b", "c"])
            assert client.websocket.subprotocol == selected
            await client.close()


async def test_listen_can_be_awaited():
    async with asyncio.timeout(TIME_LIMIT):
        server = await listen(lambda transport: transport.recv(), "127.0.0.1", 0)
        client = await dial(uri_of(server), proxy=None)
        server.close()
        await server.wait_closed()
        assert (await drain(client))[1].code == 1001


async def test_no_compression_and_no_pings_unless_told():
    async with listening() as (server, accepted):
        client = await dial(uri_of(server), proxy=None, compression="deflate")
        for transport in (client, accepted[0]):
            assert transport.websocket.ping_interval is None
        assert "Sec-WebSocket-Extensions" not in client.websocket.response.headers
        await client.close()
    async with listening(compression="deflate", ping_interval=7) as (server, accepted):
        client = await dial(uri_of(server), proxy=None)
        assert "Sec-WebSocket-Extensions" not in client.websocket.request.headers
        assert accepted[0].websocket.ping_interval == 7
        await client.close()
        client = await dial(uri_of(server), proxy=None, compression="deflate", ping_interval=8)
        assert "permessage-deflate" in client.websocket.response.headers["Sec-WebSocket-Extensions"]
        assert client.websocket.ping_interval == 8
        await client.close()


@pytest.mark.parametrize("headers", [{"X-One": "1"}, [("X-One", "1"), ("X-One", "2")]])
async def test_additional_headers_go_both_ways(headers):
    wanted = ["1"] if isinstance(headers, dict) else ["1", "2"]
    # An iterator must serve more than the first connection.
    given = headers if isinstance(headers, dict) else iter(headers)
    async with listening(additional_headers=given) as (server, accepted):
        for n in range(2):
            client = await dial(uri_of(server), proxy=None, additional_headers=headers)
            assert client.websocket.response.headers.get_all("X-One") == wanted
            assert accepted[n].websocket.request.headers.get_all("X-One") == wanted
            await client.close()


@pytest.mark.parametrize("as_coroutine", [False, True])
@pytest.mark.parametrize("replace", [False, True])
async def test_additional_headers_join_process_response(as_coroutine, replace):
    def process(_, request, response):
        response.headers["X-Path"] = request.path
        return response if replace else None

    async def process_later(ws, request, response):
        return process(ws, request, response)

    async with listening(
        additional_headers={"X-One": "1"},
        process_response=process_later if as_coroutine else process,
    ) as (server, _):
        client = await dial(uri_of(server) + "/path", proxy=None)
        assert client.websocket.response.headers["X-One"] == "1"
        assert client.websocket.response.headers["X-Path"] == "/path"
        await client.close()


async def test_additional_headers_are_for_connections_that_open():
    def refuse(ws, _):
        return ws.respond(403, "no\n")

    async with listening(additional_headers={"X-One": "1"}, process_request=refuse) as (server, _):
        with pytest.raises(InvalidStatus) as caught:
            await dial(uri_of(server), proxy=None)
        assert caught.value.response.status_code == 403
        assert "X-One" not in caught.value.response.headers


async def test_proxy_none_ignores_the_environment(monkeypatch):
    for name in ("http_proxy", "ws_proxy", "all_proxy", "socks_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with listening() as (server, _):
        client = await dial(uri_of(server), proxy=None)
        await client.close()


async def test_proxy_by_address():
    async with listening() as (server, _):
        with socket_without_listener() as port:
            # Nobody listens there; each event loop has its own words for that.
            error, message = (OSError, None) if RELEASE >= (15, 0) else (ValueError, r"15\.0")
            with pytest.raises(error, match=message):
                await dial(uri_of(server), proxy=f"http://127.0.0.1:{port}")


async def test_dial_raises_what_connect_raises():
    with socket_without_listener() as port, pytest.raises(ConnectionRefusedError):
        await dial(f"ws://127.0.0.1:{port}", proxy=None)


async def test_dial_gives_up_after_open_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(TIME_LIMIT):
            with pytest.raises(TimeoutError, match="handshake"):
                await dial(uri, proxy=None, open_timeout=0.1)


async def test_dial_returns_even_if_the_server_closes_at_once():
    async def refuse(transport):
        assert transport.send_now(b"why")
        await transport.close(4404, "no such session")

    async with listening(refuse) as (server, _):
        for _ in range(20):
            client = await dial(uri_of(server), proxy=None)
            received, end = await drain(client)
            if RELEASE >= (14, 1):
                assert received == [b"why"]
            assert (end.code, end.reason) == (4404, "no such session")


async def test_max_frame_is_what_was_asked_for():
    sizes = [(5000, 5000), (None, None)]
    if RELEASE >= (16, 0):
        sizes += [((9000, 5000), 5000), ((9000, None), 9000), ((None, None), None)]
    for max_size, max_frame in sizes:
        async with listening(max_size=max_size) as (server, accepted):
            client = await dial(uri_of(server), proxy=None, max_size=max_size)
            assert client.max_frame == accepted[0].max_frame == max_frame
            assert adapt(client.websocket).max_frame == max_frame
            await client.close()


async def test_the_limit_of_send_now_can_be_given():
    async with listening(send_now_limit=0) as (server, accepted):
        client = await dial(uri_of(server), proxy=None, send_now_limit=1)
        assert client.send_now(b"written to the socket at once")
        assert accepted[0].send_now(b"x") is False
        await accepted[0].send(b"x")
        assert await client.recv() == b"x"
        await client.close()


@contextlib.contextmanager
def socket_without_listener():
    """A port of this machine on which nobody listens, kept from anybody else meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
