"""What is peculiar to websockets: opening, taking over, closing codes, and each release's ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection as Sync

from reliable_ws import adapters
from reliable_ws.adapters.websockets import adapt, dial, listen
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.transport import TransportClosed
from tests.adapters.links import (
    CHUNK,
    LIBRARY_KINDS,
    RELEASE,
    TIME_LIMIT,
    drain,
    linked,
    turns,
    uri_of,
)

pytestmark = pytest.mark.transport

NO_PROXY = {"proxy": None} if RELEASE >= (15, 0) else {}
ROOT = Path(__file__).resolve().parents[2]


@contextlib.asynccontextmanager
async def listening(handler=None, **options):
    """A server made by ``listen``; yields it and the list of transports it has handed out."""
    accepted = []

    async def handle(transport):
        accepted.append(transport)
        if handler is not None:
            await handler(transport)
        else:
            await transport.websocket.wait_closed()

    async with asyncio.timeout(TIME_LIMIT), listen(handle, "127.0.0.1", 0, **options) as server:
        yield server, accepted


def raw_connect(server, **options):
    return connect(uri_of(server), **NO_PROXY, **options)


# Opening


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
    async with (
        listening() as (server, accepted),
        raw_connect(server, subprotocols=offered) as ws,
    ):
        assert ws.subprotocol == selected
        assert accepted[0].websocket.subprotocol == selected


@pytest.mark.parametrize("subprotocols", [None, ["chat", SUBPROTOCOL]])
async def test_dial_takes_a_server_that_selects_none(subprotocols):
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


# Taking over


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_adapt_takes_a_connection_of_either_implementation(kind):
    async with linked(kind) as link:
        again = adapters.adapt(link.ours.websocket)
        assert again.websocket is link.ours.websocket
        assert again.max_frame == 2**20
        assert adapters.adapt(link.ours.websocket, max_frame=7).max_frame == 7
        role = "initiator" if kind.endswith("client") else "acceptor"
        assert adapters.role_of(again) == role
        await again.send(b"hello")
        assert await link.theirs.recv() == b"hello"


async def test_adapt_takes_a_subclass():
    class Mine(ClientConnection):
        pass

    async with listening() as (server, _), raw_connect(server, create_connection=Mine) as ws:
        transport = adapters.adapt(ws)
        assert adapters.role_of(transport) == "initiator"
        await transport.close()


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_adapt_refuses_a_connection_that_is_not_open(kind):
    async with linked(kind) as link:
        await link.ours.close()
        with pytest.raises(ValueError, match="not open but CLOSED"):
            adapt(link.ours.websocket)


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_adapt_refuses_a_connection_that_is_being_read(kind):
    async with linked(kind) as link:
        reading = asyncio.create_task(link.ours.websocket.recv())
        await turns()
        with pytest.raises(ValueError, match="one reader"):
            adapt(link.ours.websocket)
        reading.cancel()
        await asyncio.wait([reading])
        transport = adapt(link.ours.websocket)
        await link.theirs.send(b"hello")
        assert await transport.recv() == b"hello"


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_a_second_reader_ends_the_transport(kind):
    async with linked(kind) as link:
        reading = asyncio.create_task(link.ours.websocket.recv())
        await turns()
        with pytest.raises(TransportClosed) as caught:
            await link.ours.recv()
        assert isinstance(caught.value.__cause__, RuntimeError)
        await asyncio.wait([reading])
        assert reading.exception() is not None


async def test_adapt_says_what_is_wrong():
    for wrong, message in (
        (object(), "not a connection of websockets.asyncio or websockets.legacy: builtins.object"),
        (Sync.__new__(Sync), "does not run on asyncio"),
        (connect("ws://127.0.0.1:9"), "await it"),
    ):
        with pytest.raises(TypeError, match=message):
            adapt(wrong)


def test_legacy_is_never_imported_and_nothing_warns():
    program = """
        import asyncio, sys, websockets
        from reliable_ws.adapters import adapt, role_of
        from reliable_ws.adapters.websockets import dial, listen

        async def handler(transport):
            await transport.send(await transport.recv())

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # it warns, too
            async with listen(handler, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                ws = (await dial(f"ws://127.0.0.1:{port}", proxy=None)).websocket
                transport = adapt(ws)
                assert role_of(transport) == "initiator"
                await transport.send(b"x")
                assert await transport.recv() == b"x"
                await transport.close()
            # 13.1 imports it by itself and does not warn.
            if not websockets.__version__.startswith("13."):
                assert "websockets.legacy" not in sys.modules

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Sending, receiving, closing


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_fragments_arrive_as_one_message(kind):
    async with linked(kind) as link:
        await link.theirs.websocket.send([b"one ", b"two ", b"three"])
        assert await link.ours.recv() == b"one two three"
        await link.theirs.websocket.send(["eins ", "zwei"])
        assert await link.ours.recv() == "eins zwei"


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_send_now_waits_for_the_fragments_of_somebody_else(kind):
    proceed = asyncio.Event()

    async def fragments():
        yield b"one "
        await proceed.wait()
        yield b"two"

    async with linked(kind) as link:
        sending = asyncio.create_task(link.ours.websocket.send(fragments()))
        await turns()
        assert link.ours.send_now(b"three") is False
        proceed.set()
        await sending
        assert link.ours.send_now(b"three") is True
        assert [await link.theirs.recv() for _ in range(2)] == [b"one two", b"three"]


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_messages_and_the_end_in_one_packet(kind):
    # 13.1 and 14.0 raise IndexError here when their recv() was waiting.
    async with linked(kind) as link:
        receiving = asyncio.create_task(drain(link.ours))
        await turns()
        sent = [b"%d" % n for n in range(3)]
        for data in sent:
            assert link.theirs.send_now(data)
        link.theirs.websocket.protocol.send_close(4002, "done")
        link.theirs.websocket.send_data()
        received, end = await receiving
        assert received == (sent if link.keeps_unread else sent[: len(received)])
        assert (end.code, end.reason) == (4002, "done")


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_a_text_that_is_not_utf_8_ends_the_transport(kind):
    async with linked(kind) as link:
        link.theirs.websocket.protocol.send_text(b"\xff\xfe")
        link.theirs.websocket.send_data()
        received, _ = await drain(link.ours)
        assert received == []
        with pytest.raises(TransportClosed):
            await link.ours.send(b"late")


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_a_write_that_fails_ends_the_transport(kind, monkeypatch):
    def fail(_):
        raise OSError("broken")

    for by in ("send", "send_now"):
        async with linked(kind) as link:
            with monkeypatch.context() as patch:
                real = link.ours.websocket.transport
                patch.setattr(link.ours.websocket, "transport", Failing(real, fail))
                with pytest.raises(TransportClosed):
                    await (link.ours.send(b"x") if by == "send" else now(link.ours))
            with pytest.raises(TransportClosed):
                link.ours.send_now(b"x")
            assert await drain(link.ours)


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_a_close_frame_without_a_code_has_none(kind):
    async with linked(kind) as link:
        link.theirs.websocket.protocol.send_close()
        link.theirs.websocket.send_data()
        _, end = await drain(link.ours)
        assert (end.code, end.reason) == (None, "")


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
@pytest.mark.parametrize(
    ("given", "sent"),
    [
        *((code, code) for code in (1000, 1001, 1011, 1012, 3000, 4404, 4999)),
        *((code, 1011) for code in (-1, 0, 999, 1002, 1005, 1006, 1009, 1015, 2999, 5000, 70000)),
    ],
)
async def test_close_sends_only_codes_that_may_be_sent(kind, given, sent):
    async with linked(kind) as link:
        await link.ours.close(given)
        assert (await drain(link.theirs))[1].code == sent


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
@pytest.mark.parametrize("reason", ["", "short", "\u00e9" * 200, "\u2603" * 41 + "x", "a\udc80b"])
async def test_close_cuts_the_reason(kind, reason):
    async with linked(kind) as link:
        await link.ours.close(1000, reason)
        received = (await drain(link.theirs))[1].reason
        assert len(received.encode()) <= 123
        if "\udc80" in reason:
            assert received == "a?b"
        else:
            assert reason.startswith(received)
            assert len(received.encode()) >= min(len(reason.encode()), 122)


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_the_library_refuses_late_reads_and_we_say_so(kind):
    async with linked(kind) as link:
        await link.theirs.send(CHUNK)
        assert await link.ours.recv() == CHUNK
        await asyncio.gather(link.ours.close(), link.theirs.close())
        for _ in range(2):
            with pytest.raises(TransportClosed) as caught:
                await link.ours.recv()
            assert caught.value.code == 1000


async def now(transport):
    transport.send_now(b"x")


class Failing:
    """A transport of asyncio whose write fails."""

    def __init__(self, real, write):
        self.real = real
        self.write = write
        self.writelines = write

    def __getattr__(self, name):
        return getattr(self.real, name)


@contextlib.contextmanager
def socket_without_listener():
    """A port of this machine on which nobody listens, kept from anybody else meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
