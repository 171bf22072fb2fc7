"""Over real sockets: handshakes that fail, and one session after the other."""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import pathlib
import ssl

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
from tests.aio.memory_network import start
from tests.aio.sockets import AT_ONCE, NO_PROXY, echo, local

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
                await connect(f"ws://127.0.0.1:{port}", proxy=None, config=Config(open_timeout=1))


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


# -- what cannot get better, and what says so ----------------------------------------------------

UNTRUSTED = pathlib.Path(__file__).parents[1] / "support" / "untrusted.pem"


def with_tls():
    """Serve with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(UNTRUSTED)
    return serve(echo, "127.0.0.1", 0, ssl=context)


async def test_iterating_over_connect_raises_that_a_certificate_is_not_trusted():
    async with with_tls() as server:
        uri = f"wss://127.0.0.1:{server.port}"
        with pytest.raises(ssl.SSLCertVerificationError):
            await anext(aiter(connect(uri, proxy=None)))


async def test_a_port_with_or_without_tls_is_tried_again_and_named(caplog):
    caplog.set_level(logging.INFO, "reliable_ws")
    cut = (OSError, EOFError, websockets.exceptions.InvalidHandshake)  # EOFError: up to 14.1
    async with serve(echo, "127.0.0.1", 0) as plain, with_tls() as secret:
        for uri in (f"wss://127.0.0.1:{plain.port}", f"ws://127.0.0.1:{secret.port}"):
            caplog.clear()
            connecting = connect(
                uri, proxy=None, reconnect=AT_ONCE, retry=lambda attempt: attempt.number < 6
            )
            with pytest.raises(cut):
                await anext(aiter(connecting))
            with pytest.raises(cut) as first:
                await connect(uri, proxy=None)
            assert "is it a port with TLS" in first.value.__notes__[0]
            seen = [r for r in caplog.records if "attempt" in r.getMessage()]
            assert "is it a port with TLS for wss://" in seen[0].getMessage()


async def test_http_statuses_that_pass_are_repeated():
    answers = iter([429, 408, 503, 403])

    def process_request(ws, request):
        return ws.respond(http.HTTPStatus(next(answers)), "")

    async with websockets.asyncio.server.serve(
        lambda ws: None, "127.0.0.1", 0, process_request=process_request
    ) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(websockets.exceptions.InvalidStatus, match="403"):
            await anext(aiter(connect(f"ws://127.0.0.1:{port}", proxy=None, reconnect=AT_ONCE)))


async def test_what_is_refused_after_a_session_is_raised_after_a_few_attempts():
    requests = []

    def process_request(ws, request):
        requests.append(request)
        return ws.respond(http.HTTPStatus.NOT_FOUND, "") if len(requests) > 1 else None

    async with serve(echo, "127.0.0.1", 0, process_request=process_request) as server:
        connecting = aiter(local(server, reconnect=AT_ONCE))
        conn = await anext(connecting)
        conn.abort()
        with pytest.raises(websockets.exceptions.InvalidStatus, match="404"):
            await anext(connecting)
        assert len(requests) == 6


async def test_a_redirect_to_a_login_page_ends_a_session_that_reconnects():
    requests = []

    def process_request(ws, request):
        requests.append(request.path)
        if len(requests) == 1:
            return None
        response = ws.respond(http.HTTPStatus.FOUND, "")
        response.headers["Location"] = "http://127.0.0.1/login?to=secret"
        return response

    async with (
        serve(echo, "127.0.0.1", 0, process_request=process_request, drain_timeout=0.1) as server,
        local(server, reconnect=AT_ONCE) as conn,
    ):
        conn.websocket.transport.abort()
        with pytest.raises(SessionLost, match="HTTP 302") as lost:
            await conn.recv()
        assert "secret" not in lost.value.reason
        assert len(requests) == 6


async def test_uri_headers_and_subprotocols_are_asked_for_before_each_attempt():
    seen, tokens = [], iter("abc")

    def process_request(ws, request):
        seen.append((request.path, request.headers["X-Token"]))

    async with serve(echo, "127.0.0.1", 0, process_request=process_request) as server:

        async def uri():
            return f"ws://127.0.0.1:{server.port}/{len(seen)}"

        async with connect(
            uri,
            additional_headers=lambda: {"X-Token": next(tokens)},
            subprotocols=lambda: ["reliable-ws.v1"],
            proxy=None,
            reconnect=AT_ONCE,
        ) as conn:
            conn.websocket.transport.abort()
            await conn.send("x")
            assert await conn.recv() == "x"
            assert conn.subprotocol == "reliable-ws.v1"
    assert seen == [("/0", "a"), ("/1", "b")]


async def test_what_is_wrong_for_an_attempt_is_raised_by_the_first():
    with pytest.raises(TypeError, match=r"what uri\(\) returned must be a URI"):
        await connect(lambda: 5)
    with pytest.raises(LookupError):
        await connect("ws://127.0.0.1:1", additional_headers=lambda: {}["token"])

    async def hangs():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        await connect(hangs, config=Config(open_timeout=0.05))


async def test_cookies_of_a_handshake_are_sent_with_the_next_ones():
    """A balancer in front of several servers knows a client by its cookie."""
    cookies = []

    def note(_ws, request):
        cookies.append(request.headers.get("Cookie"))

    headers = {"Set-Cookie": "SERVERID=s1; Path=/; HttpOnly"}
    async with (
        serve(echo, "127.0.0.1", 0, process_request=note, additional_headers=headers) as server,
        local(server, reconnect=AT_ONCE, additional_headers={"Cookie": "auth=token"}) as conn,
    ):
        conn.websocket.transport.abort()
        await conn.send("x")
        assert await conn.recv() == "x"
    assert cookies == ["auth=token", "auth=token; SERVERID=s1"]
