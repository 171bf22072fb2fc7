"""The driver over real sockets, on whatever release of websockets is installed."""

from __future__ import annotations

import asyncio
import contextlib
import http
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import websockets.asyncio.client
import websockets.asyncio.server

from reliable_ws import (
    Backoff,
    Config,
    ConnectionClosed,
    ConnectionClosedOK,
    DeliveryError,
    End,
    NotReliablePeer,
    Outcome,
    SessionLost,
    Sessions,
    connect,
    serve,
    wrap,
)
from reliable_ws.adapters.websockets import SUBPROTOCOL, adapt
from reliable_ws.testing import ChaosProxy, FaultPlan
from tests.adapters.links import RELEASE, legacy
from tests.aio.stage import rest, start, take

pytestmark = [pytest.mark.transport, pytest.mark.usefixtures("clean")]

NO_PROXY = {"proxy": None} if RELEASE >= (15, 0) else {}
ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = Backoff(initial=0.02, longest=0.1)
HASTY = Config(open_timeout=2, idle_timeout=0.6, session_ttl=20, close_progress_timeout=10)


def local(server, **options):
    return connect(f"ws://127.0.0.1:{server.port}/path", proxy=None, **options)


async def echo(conn):
    async for message in conn:
        await conn.send(message)


# -- the everyday --------------------------------------------------------------------------------


async def test_a_conversation():
    async with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        for message in ("text", b"bytes", {"a": [1, 2.5, None]}, "x" * 100_000):
            receipt = await conn.send(message)
            assert await conn.recv() == message
            await receipt
        assert conn.subprotocol == SUBPROTOCOL
        assert conn.remote_address[1] == server.port
        assert conn.websocket.request.path == "/path"
        assert len(server.connections) == 1
    assert conn.close_code == 1000


async def test_awaited_instead_of_entered():
    server = await serve(echo, "127.0.0.1", 0)
    conn = await local(server)
    await conn.send("x")
    assert await conn.recv() == "x"
    await conn.close()
    reports = await server.drain()
    assert reports == {}


async def test_the_server_sends_and_closes_at_once_and_the_client_reads_later():
    """What plain websockets loses: with 14.0 everything, later with a slow reader the rest."""

    async def handler(conn):
        for n in range(20):
            await conn.send(f"{n}" * 1000)

    async with serve(handler, "127.0.0.1", 0) as server, local(server) as conn:
        await asyncio.sleep(0.3)
        assert await rest(conn) == [f"{n}" * 1000 for n in range(20)]


async def test_headers_both_ways_and_the_origin():
    seen = {}

    async def handler(conn):
        headers = conn.websocket.request.headers
        seen.update(origin=headers["Origin"], token=headers["Authorization"])
        await conn.recv()

    serving = serve(handler, "127.0.0.1", 0, additional_headers={"X-Server": "yes"})
    async with serving as server:
        options = {
            "additional_headers": {"Authorization": "Bearer x"},
            "origin": "https://a.example",
        }
        async with local(server, **options) as conn:
            assert conn.websocket.response.headers["X-Server"] == "yes"
            await conn.send("done")
    assert seen == {"origin": "https://a.example", "token": "Bearer x"}


async def test_a_principal_is_asked_for_every_websocket():
    asked = []

    async def principal(websocket):
        asked.append(websocket.request.headers["Authorization"])
        return asked[-1]

    async with (
        serve(echo, "127.0.0.1", 0, principal=principal) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(
            proxy.uri(),
            proxy=None,
            reconnect=AT_ONCE,
            additional_headers={"Authorization": "alice"},
        ) as conn,
    ):
        proxy.reset()
        await conn.send("x")
        assert await conn.recv() == "x"
    assert asked == ["alice"] * 2


async def test_several_mebibytes_travel_in_parts():
    big = bytes(range(256)) * (12 * 2**12)
    async with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        for message in (big, "small", big.hex()):
            await conn.send(message)
            assert await conn.recv() == message


async def test_a_thousand_tasks_at_once():
    async with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:

        async def one(n):
            await (await conn.send(n))
            return await conn.recv()

        assert sorted(await asyncio.gather(*map(one, range(1000)))) == list(range(1000))


async def test_a_reader_that_never_reads_bounds_its_sender():
    config = Config(window_messages=100, outbox_messages=100, close_progress_timeout=0.5)
    done = asyncio.Event()

    async def handler(conn):
        await done.wait()
        conn.abort()

    async with serve(handler, "127.0.0.1", 0, config=config) as server:
        conn = await local(server, config=config)
        for _ in range(100):
            await conn.send(bytes(10_000))
        with pytest.raises(TimeoutError):
            await conn.send(bytes(10_000), timeout=0.3)
        assert conn.stats.sent == 100
        done.set()
        with pytest.raises(SessionLost):
            await conn.recv()


async def test_sessions_are_shared_between_servers():
    sessions = Sessions()
    async with (
        serve(echo, "127.0.0.1", 0, sessions=sessions) as one,
        serve(echo, "127.0.0.1", 0, sessions=sessions) as two,
        ChaosProxy("127.0.0.1", one.port) as proxy,
        connect(proxy.uri(), proxy=None, reconnect=AT_ONCE) as conn,
    ):
        await conn.send(1)
        assert await conn.recv() == 1
        proxy.target = ("127.0.0.1", two.port)
        proxy.reset()
        await conn.send(2)
        assert await conn.recv() == 2
        assert len(sessions) == 1


async def test_leaving_the_server_drains_it():
    async def handler(conn):
        async for message in conn:
            await conn.send(message)

    async with serve(handler, "127.0.0.1", 0) as server:
        conn = await local(server)
        await conn.send("x")
        assert await conn.recv() == "x"
        reading = start(rest(conn))
        reading.add_done_callback(lambda _: closing.append(start(conn.close())))
        closing = []
    assert await reading == []
    await closing[0]
    assert conn.close_code == 1001


# -- a network that breaks -----------------------------------------------------------------------


async def stream(conn, count, got):
    """Send so many numbers with some ballast, and read what comes until the peer has finished."""

    async def sender():
        for n in range(count):
            await conn.send([n, "x" * (n % 200)])
            if n % 64 == 0:
                await asyncio.sleep(0)
        await conn.finish()

    sending = start(sender())
    async for number, _ in conn:
        got.append(number)
    await sending


@pytest.mark.parametrize("faults", [("cut",), ("reset",), ("stall",), ("half_open",), None])
@pytest.mark.parametrize("seed", [1, 2])
async def test_streams_both_ways_through_a_network_that_keeps_breaking(faults, seed):
    count, there = 3000, []
    kinds = {"faults": faults} if faults else {}
    plan = FaultPlan(seed, every_bytes=(20_000, 200_000), stall_for=(0.05, 0.5), **kinds)

    async def handler(conn):
        await stream(conn, count, there)
        await conn.flush()

    async with (
        serve(handler, "127.0.0.1", 0, config=HASTY) as server,
        ChaosProxy("127.0.0.1", server.port, plan=plan) as proxy,
    ):
        here = []
        async with connect(proxy.uri(), proxy=None, config=HASTY, reconnect=AT_ONCE) as conn:
            await stream(conn, count, here)
            await conn.flush()
        assert proxy.faults
    assert here == there == list(range(count))
    assert conn.report.confirmed == conn.report.sent == count


async def test_a_network_that_is_gone_for_a_while():
    async with (
        serve(echo, "127.0.0.1", 0) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
    ):
        events = []
        options = {"reconnect": AT_ONCE, "on_event": lambda event: events.append(event.name)}
        async with connect(proxy.uri(), proxy=None, **options) as conn:
            proxy.refuse()
            proxy.reset()
            for n in range(100):
                await conn.send(n)
            with pytest.raises(TimeoutError):
                await conn.recv(timeout=0.5)
            proxy.accept()
            assert await take(conn, 100) == list(range(100))
    assert events == ["opened", "detached", "resumed", "closed"]
    assert proxy.refused > 1


async def test_no_reconnecting_where_it_is_not_wanted():
    async with (
        serve(echo, "127.0.0.1", 0, config=Config(session_ttl=0.3)) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
    ):
        conn = await connect(proxy.uri(), proxy=None, reconnect=False)
        receipt = await conn.send("x")
        assert await conn.recv() == "x"
        await receipt
        proxy.reset()
        with pytest.raises(SessionLost):
            await conn.recv()
        assert proxy.connections == 1


SERVER = """
import asyncio, sys
from reliable_ws import serve
async def handler(conn):
    async for message in conn:
        await conn.send(message)
async def main():
    async with serve(handler, "127.0.0.1", int(sys.argv[1])) as server:
        print(server.port, flush=True)
        await asyncio.Future()
asyncio.run(main())
"""


@contextlib.contextmanager
def process(port=0):
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with child:
        try:
            yield child, int(child.stdout.readline())
        finally:
            child.kill()


async def test_a_server_that_is_killed_and_restarted():
    """It has forgotten the session: SessionLost, with a report that is true; never a hang."""
    events = []
    with process() as (first, port):
        conn = await connect(
            f"ws://127.0.0.1:{port}",
            proxy=None,
            reconnect=AT_ONCE,
            on_event=lambda event: events.append(event.name),
        )
        for n in range(10):
            await conn.send(n)
        assert await take(conn, 10) == list(range(10))
        await conn.flush()
        first.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        first.wait()
        last = await conn.send("nobody may have taken this")
    with process(port):
        with pytest.raises(SessionLost) as caught:
            await conn.recv()
        report = caught.value.report
        assert (report.sent, report.confirmed) == (11, 10)
        [entry] = report.undelivered
        assert entry.message == "nobody may have taken this"
        assert entry.outcome in (Outcome.UNKNOWN, Outcome.NOT_TAKEN)
        assert last.outcome is entry.outcome
        assert caught.value.ending.kind is End.REFUSED
        async with connect(f"ws://127.0.0.1:{port}", proxy=None) as fresh:
            await fresh.send("x")
            assert await fresh.recv() == "x"
    assert events == ["opened", "detached", "session_lost", "closed"]


async def test_a_server_that_is_killed_for_good():
    config = Config(session_ttl=1)
    with process() as (first, port):
        conn = await connect(f"ws://127.0.0.1:{port}", proxy=None, reconnect=AT_ONCE, config=config)
        await conn.send("x")
        assert await conn.recv() == "x"
        first.kill()
        with pytest.raises(SessionLost) as caught:
            await conn.recv()
        assert caught.value.ending.kind is End.EXPIRED


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


# -- wrap ----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def opened(client_kind, server_kind, **options):
    """Two open connections of websockets: the client's and the server's."""
    accepted, done = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def handler(ws):
        accepted.set_result(ws)
        await done.wait()

    servers = {"asyncio": websockets.asyncio.server, "legacy": legacy("server")}
    clients = {"asyncio": websockets.asyncio.client, "legacy": legacy("client")}
    proxy = NO_PROXY if client_kind == "asyncio" else {}
    async with servers[server_kind].serve(handler, "127.0.0.1", 0, **options) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = await clients[client_kind].connect(uri, **proxy, **options)
        try:
            yield client, await accepted
        finally:
            done.set()


@pytest.mark.parametrize("server_kind", ["asyncio", "legacy"])
@pytest.mark.parametrize("client_kind", ["asyncio", "legacy"])
async def test_wrap_of_every_kind_of_connection(client_kind, server_kind):
    async with opened(client_kind, server_kind) as (ours, theirs):
        client, server = await asyncio.gather(wrap(ours), wrap(theirs))
        assert client.websocket is ours
        assert server.websocket is theirs
        for n in range(500):
            await client.send(n)
            await server.send(str(n))
        assert await take(server, 500) == list(range(500))
        assert await take(client, 500) == [str(n) for n in range(500)]
        big = bytes(3 * 2**20)
        await server.send(big)
        assert await client.recv() == big
        await asyncio.gather(client.close(), server.close())


@pytest.mark.parametrize("kind", ["asyncio", "legacy"])
async def test_wrapped_connections_resume(kind):
    sessions, opened_ws = Sessions(), []

    async def handler(ws):
        await sessions.handle(ws, echo)

    servers = {"asyncio": websockets.asyncio.server, "legacy": legacy("server")}
    clients = {"asyncio": websockets.asyncio.client, "legacy": legacy("client")}
    proxy = NO_PROXY if kind == "asyncio" else {}
    async with servers[kind].serve(handler, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def reopen():
            opened_ws.append(await clients[kind].connect(uri, **proxy))
            return opened_ws[-1]

        async with wrap(await reopen(), reopen=reopen, reconnect=AT_ONCE) as conn:
            for n in range(5):
                await conn.send(n)
                assert await conn.recv() == n
                opened_ws[-1].transport.abort()
        assert len(opened_ws) >= 5
        assert len(sessions) == 0


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("limit", [5000, 40_000])
async def test_a_limit_smaller_than_announced_is_found_and_kept(way, limit):
    """Each 1009 halves the frames and the session resumes: no loop (PART-6)."""
    sessions, connections = Sessions(), []
    up = {"max_size": limit} if way == "up" else {}
    down = {"max_size": limit} if way == "down" else {}

    async def handler(ws):
        connections.append(ws)
        await sessions.handle(adapt(ws, max_frame=2**20), echo)

    async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0, **up) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def reopen():
            ws = await websockets.asyncio.client.connect(uri, **NO_PROXY, **down)
            return adapt(ws, max_frame=2**20)

        async with wrap(await reopen(), reopen=reopen, reconnect=AT_ONCE) as conn:
            for message in ("x" * 300_000, "small", bytes(100_000)):
                await conn.send(message)
                assert await conn.recv() == message
            assert 2 <= len(connections) <= 10


async def test_a_message_above_the_peers_limit_is_refused_at_send():
    async with (
        serve(echo, "127.0.0.1", 0, config=Config(max_message=10_000)) as server,
        local(server) as conn,
    ):
        with pytest.raises(ValueError, match="10000"):
            await conn.send(bytes(10_001))
        await conn.send(bytes(10_000))
        assert await conn.recv() == bytes(10_000)


# -- leaving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "abort", "cancelled", "raised", "server first"])
async def test_nothing_is_left_however_it_ends(how):
    async def handler(conn):
        with contextlib.suppress(ConnectionClosed):
            await conn.recv()
        if how == "server first":
            await conn.close()

    async def body(server):
        async with local(server) as conn:
            await conn.send("x")
            match how:
                case "close":
                    await conn.close()
                case "abort":
                    conn.abort()
                case "cancelled":
                    raise asyncio.CancelledError
                case "raised":
                    raise LookupError
                case "server first":
                    with contextlib.suppress(ConnectionClosedOK):
                        await conn.recv()

    async with serve(handler, "127.0.0.1", 0) as server:
        for _ in range(5):
            expected = {
                "abort": DeliveryError,
                "cancelled": asyncio.CancelledError,
                "raised": LookupError,
            }.get(how, ())
            with contextlib.suppress(expected):
                await body(server)
