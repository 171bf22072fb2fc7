"""``connect`` and ``serve`` with ``transport="picows"``."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import re
import socket
import ssl
import sys

import picows
import pytest
import websockets.asyncio.server
from picows import WSUpgradeResponse, WSUpgradeResponseWithListener

import reliable_ws
from reliable_ws.adapters.opener import opener
from reliable_ws.adapters.picows import PicowsTransport
from reliable_ws.adapters.picows_opener import MAX_SIZE, dial, listen, proxy_of
from reliable_ws.testing import ChaosProxy
from reliable_ws.testing.transport_contract import ClientContract
from tests.aio.sockets import AT_ONCE, echo

from .programs import ProgramContract

UNTRUSTED = pathlib.Path(__file__).parents[1] / "support" / "untrusted.pem"


class TestServer(ProgramContract):
    library = 'picows, `transport="picows"`'
    distributions = ("picows",)
    program = ("own", "picows_serve")
    max_frame = MAX_SIZE


class TestClient(ClientContract):
    library = 'picows, `transport="picows"`'
    distributions = ("picows",)
    max_frame = MAX_SIZE

    async def opened(self, uri):
        return await dial(uri, proxy=None)


@pytest.fixture(autouse=True)
async def in_time():
    async with asyncio.timeout(60):
        yield


def serve(handler=echo, host="127.0.0.1", port=0, **options):
    return reliable_ws.serve(handler, host, port, transport="picows", **options)


def connect(uri, **options):
    return reliable_ws.connect(uri, transport="picows", **{"proxy": None, **options})


def uri_of(server, scheme="ws"):
    return f"{scheme}://127.0.0.1:{server.port}/path"


async def same(conn, message="x"):
    await conn.send(message)
    assert await conn.recv() == message


@contextlib.asynccontextmanager
async def answering(status, headers=()):
    """A server that answers each request with this status; yields its URI and the requests."""
    requests = []

    def route(request):
        requests.append(request)
        response = WSUpgradeResponse.create_error_response(status, b"no", headers)
        return WSUpgradeResponseWithListener(response, None)

    server = await picows.ws_create_server(route, "127.0.0.1", 0)
    yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
    server.close()


# -- both ends ------------------------------------------------------------------------------------


async def test_messages_and_calls_survive_a_cut():
    methods = reliable_ws.Methods()
    methods.register(lambda value: value + 1, name="add")
    async with (
        serve(methods=methods) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.uri(), reconnect=AT_ONCE) as conn,
    ):
        await same(conn)
        proxy.reset()
        await same(conn, "y")
        assert await conn.request("add", 1) == 2
        assert conn.stats.resumes == 1
        assert isinstance(conn.transport, PicowsTransport)


async def test_either_end_may_use_websockets():
    async with (
        serve() as server,
        reliable_ws.connect(uri_of(server), proxy=None) as conn,
        reliable_ws.serve(echo, "127.0.0.1", 0) as other,
        connect(uri_of(other)) as back,
    ):
        await same(conn)
        await same(back)


async def test_the_connection_tells_addresses_and_subprotocol():
    ends = []

    async def handler(conn):
        ends.append((conn.remote_address, conn.local_address, conn.subprotocol))

    async with serve(handler) as server, connect(uri_of(server)) as conn:
        await conn.wait_closed()
    ((remote, local, subprotocol),) = ends
    assert remote[0] == local[0] == "127.0.0.1"
    assert local[1] != remote[1]
    assert subprotocol == conn.subprotocol == "reliable-ws.v1"


async def test_sockets_that_are_open_already():
    listening = socket.create_server(("127.0.0.1", 0))
    async with reliable_ws.serve(echo, sock=listening, transport="picows") as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        async with connect("ws://127.0.0.1:1/", sock=sock, proxy=True) as conn:
            await same(conn)


async def test_unix_sockets_are_refused():
    with socket.socket(socket.AF_UNIX) as sock:
        for call in (
            lambda: reliable_ws.unix_connect("path", transport="picows"),
            lambda: reliable_ws.unix_serve(echo, "path", transport="picows"),
            lambda: connect("ws://localhost", sock=sock),
            lambda: serve(sock=sock),
        ):
            with pytest.raises(ValueError, match="picows' has no Unix sockets"):
                call()


async def test_tls():
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(UNTRUSTED)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
    async with serve(ssl=theirs) as server:
        async with connect(uri_of(server, "wss"), ssl=ours) as conn:
            await same(conn)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await connect(uri_of(server, "wss"))
        assert "certificate is not trusted" in caught.value.__notes__[0]


async def test_headers_and_cookies_go_both_ways():
    seen = []

    def principal(ws):
        seen.append(ws.request.headers)

    tokens = iter(["one", "two"])
    async with (
        serve(
            principal=principal,
            additional_headers={"X-Server": "1", "Set-Cookie": "node=7; Path=/"},
        ) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(
            proxy.uri().replace("//", "//user:p%40ss@"),
            additional_headers=lambda: [("X-Token", next(tokens)), ("X-Two", "a"), ("X-Two", "b")],
            origin="https://page",
            user_agent_header="me",
            reconnect=AT_ONCE,
        ) as conn,
    ):
        assert conn.websocket.response.headers["X-Server"] == "1"
        proxy.reset()
        await same(conn)
    first, second = seen
    assert first["X-Token"] == "one"
    assert first.getall("X-Two") == ["a", "b"]
    assert first["Origin"] == "https://page"
    assert first["User-Agent"] == "me"
    assert first["Authorization"] == "Basic dXNlcjpwQHNz"
    assert "Cookie" not in first
    assert (second["X-Token"], second["Cookie"]) == ("two", "node=7")


async def test_subprotocols_are_negotiated():
    async with serve(subprotocols=["b", "a"]) as server:
        for offered, selected in ((["a", "b"], "b"), (["c"], None), (None, None)):
            async with connect(uri_of(server), subprotocols=offered) as conn:
                assert conn.subprotocol == selected


async def test_max_size_is_what_each_end_takes():
    async with serve(max_size=5000) as server, connect(uri_of(server), max_size=None) as conn:
        assert conn.transport.max_frame == sys.maxsize
        await same(conn, "x" * 20_000)
        assert conn.stats.resumes == 0


async def test_pings_keep_an_answering_peer_and_drop_a_silent_one():
    async with (
        serve(drain_timeout=0.1) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.uri(), ping_interval=0.02, ping_timeout=0.6, reconnect=False) as conn,
    ):
        await same(conn)
        for _ in range(5):
            await conn.websocket.measure_roundtrip_time(1)
        await same(conn)
        proxy.stall()
        await conn.wait_closed()


# -- the server -----------------------------------------------------------------------------------


async def test_closing_the_inner_server_closes_its_connections():
    server = await serve()
    transport = await dial(uri_of(server), proxy=None)
    server.inner.close()
    with pytest.raises(reliable_ws.transport.TransportClosed) as end:
        await transport.recv()
    assert end.value.code == 1001
    await server.wait_closed()
    server.inner.close()
    assert server.sockets == ()
    with pytest.raises(OSError, match="onnect"):
        await dial(f"ws://127.0.0.1:{transport.remote_address[1]}", proxy=None)


async def test_a_request_that_comes_after_the_close_is_refused():
    server = await listen(lambda transport: transport.recv(), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\n")
    await dial(f"ws://{host}:{port}", proxy=None)  # so the first one has been accepted, too
    server.close()
    writer.write(b"\r\n")
    assert b"503" in await reader.readline()
    writer.close()


async def test_leaving_the_block_drains():
    async with serve() as server:
        conn = await connect(uri_of(server), reconnect=False)
        await same(conn)
    await conn.wait_closed()
    assert conn.close_code == 1001


async def test_origins():
    origins = ["https://page", re.compile(r"https://\w+\.page")]
    async with serve(origins=origins) as server:
        for origin in ("https://page", "https://sub.page"):
            async with connect(uri_of(server), origin=origin) as conn:
                await same(conn)
        for origin in ("https://other", "https://sub.page.other", None):
            with pytest.raises(picows.WSHandshakeError, match="403"):
                await connect(uri_of(server), origin=origin)
    async with serve(origins=[None]) as server, connect(uri_of(server)) as conn:
        await same(conn)


async def test_an_address_that_is_taken():
    async with serve() as server:
        with pytest.raises(OSError, match=str(server.port)):
            await serve(port=server.port)


# -- attempts that fail ---------------------------------------------------------------------------


async def test_a_refusal_tells_its_status_and_is_repeated_when_it_may_pass():
    attempts = []

    def retry(attempt):
        attempts.append((attempt.status, attempt.retry_after, attempt.kind))
        return False

    async with answering(503, {"Retry-After": "3"}) as (uri, _):
        with pytest.raises(picows.WSHandshakeError) as caught:
            await connect(uri)
        assert caught.value.__notes__ == ["reliable_ws: HTTP 503"]
        with pytest.raises(picows.WSHandshakeError):
            await anext(aiter(connect(uri, retry=retry)))
    assert attempts == [(503, 3.0, reliable_ws.FailureKind.PASSING)]


async def test_a_server_that_hangs_up_has_failed_for_a_passing_reason():
    async def hang_up(reader, writer):
        await reader.readline()
        writer.close()

    kinds = []

    def retry(attempt):
        kinds.append(attempt.kind)
        return False

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ConnectionResetError, match="hung up") as caught:
            await anext(aiter(connect(uri, retry=retry)))
    assert kinds == [reliable_ws.FailureKind.PASSING]
    del caught


async def test_a_silent_server_is_given_up_in_time_and_what_comes_later_is_dropped():
    writers = []

    async def silent(reader, writer):
        writers.append((reader, writer))

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(TimeoutError, match="opening handshake"):
            await connect(uri, open_timeout=0.05)
        dialling = asyncio.create_task(dial(uri, proxy=None))
        while len(writers) < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        reader, writer = writers[1]
        head = await reader.readuntil(b"\r\n\r\n")
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", head, re.IGNORECASE)[1].decode()
        accept = websockets.utils.accept_key(key)
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        assert await reader.read() == b""
        for _, one in writers:
            one.close()


async def test_proxies(monkeypatch):
    for name in ("ws", "wss", "http", "https", "all", "socks", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)
    assert proxy_of("ws://example.org/") is None
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    assert proxy_of("ws://example.org/") == "http://proxy:1"
    assert proxy_of("wss://example.org/") is None
    monkeypatch.setenv("https_proxy", "http://proxy:2")
    assert proxy_of("wss://example.org/") == "http://proxy:2"
    monkeypatch.setenv("socks_proxy", "http://proxy:3")
    assert proxy_of("ws://example.org/") == "socks5h://proxy:3"
    monkeypatch.setenv("no_proxy", "example.org")
    assert proxy_of("ws://example.org:80/") is None


async def test_a_proxy_of_the_environment_is_used(monkeypatch):
    asked = []

    async def refuse(reader, writer):
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 no\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("ws_proxy", address)
        monkeypatch.setenv("no_proxy", "")
        for given in (True, address):
            with pytest.raises(ConnectionError, match=r"proxy does not connect: .*403"):
                await connect("ws://example.invalid/", proxy=given)
    assert asked == [b"CONNECT example.invalid:80 HTTP/1.1\r\n"] * 2


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"compression": "deflate"}, ValueError, "compression= must be None .* leave it out"),
        ({"ping_interval": 1, "ping_timeout": None}, ValueError, "ping_timeout= must be"),
        ({"max_queue": 7}, TypeError, "max_queue=: websockets has it, picows has not: leave"),
        ({"server_header": "x"}, TypeError, "no option server_header="),
        ({"read_bufer_init_size": 1}, TypeError, "did you mean read_buffer_init_size="),
        ({"extra_headers": {}}, TypeError, "additional_headers"),
        ({"open_timeout": "1"}, TypeError, "open_timeout= must be a number of seconds"),
        ({"max_size": 3}, ValueError, "max_size= must be at least"),
    ],
)
async def test_an_option_that_cannot_be_served_raises_at_the_call(options, error, words):
    with pytest.raises(error, match=words):
        connect("ws://127.0.0.1", **options)
    with pytest.raises(error, match=words):
        serve(**options)


async def test_options_of_one_side_only():
    with pytest.raises(TypeError, match="process_request=: websockets has it, picows has not"):
        serve(process_request=None)
    with pytest.raises(TypeError, match="proxy_verify="):
        connect("ws://127.0.0.1", proxy_verify=1)
    with pytest.raises(TypeError, match="connect\\(\\) has no option origins="):
        connect("ws://127.0.0.1", origins=[])


async def test_a_library_that_there_is_not(monkeypatch):
    for call in (connect, lambda uri, **options: serve(**options)):
        with pytest.raises(ValueError, match="must be 'websockets' or 'picows', not 'pico'"):
            reliable_ws.connect("ws://127.0.0.1", transport="pico")
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "reliable_ws.adapters.picows_opener")
            patch.setitem(sys.modules, "picows", None)
            with pytest.raises(ImportError, match=r"needs picows: pip install .*\[fast\]"):
                call("ws://127.0.0.1")
    assert opener("picows").listen is listen
