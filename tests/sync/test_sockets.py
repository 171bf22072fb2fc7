"""The driver with threads over real sockets, on whatever release of websockets is installed."""

from __future__ import annotations

import contextlib
import inspect
import socket
import threading

import pytest
import websockets.sync.client
import websockets.sync.server

import reliable_ws
from reliable_ws import Backoff, Config, ConnectionClosed, NotReliablePeer, Outcome, SessionLost
from reliable_ws.protocol.frames import SUBPROTOCOL, Code
from reliable_ws.shared.facts import State
from reliable_ws.sync import Server, Sessions, connect, serve, wrap
from tests.adapters.links import RELEASE

from .conftest import SECONDS, run, until
from .network import looping, proxied

PROXIED = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
pytestmark = [
    pytest.mark.transport,
    # 13.1 alone: a connection that is reset while it is being made fails in a thread, too
    *([PROXIED] if RELEASE < (14, 0) else []),
]

AT_ONCE = Backoff(initial=0.02, longest=0.1)
HASTY = Config(open_timeout=2, idle_timeout=0.6, session_ttl=20, close_progress_timeout=10)


OPTIONS = inspect.signature(websockets.sync.client.connect).parameters
PLAIN = {"proxy": None, "legacy": True}
PLAIN = {key: value for key, value in PLAIN.items() if key in OPTIONS}


def echo(conn):
    for message in conn:
        conn.send(message)


def local(server, port=None, **options):
    options = {"reconnect": AT_ONCE, "config": HASTY} | options
    return connect(f"ws://127.0.0.1:{port or server.port}/path", proxy=None, **options)


@pytest.fixture
def loop():
    with looping() as loop:
        yield loop


def count_threads():
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def test_a_conversation():
    with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        for message in ("text", b"bytes", {"a": [1, 2.5, None]}, "x" * 3_000_000):
            receipt = conn.send(message)
            assert conn.recv(timeout=SECONDS) == message
            receipt.wait(SECONDS)
        assert conn.subprotocol == SUBPROTOCOL
        assert conn.remote_address[1] == server.port
        assert conn.websocket.request.path == "/path"
        assert len(server.connections) == len(server.sessions) == 1
    assert (conn.close_code, conn.report.undelivered) == (1000, ())


def test_no_thread_is_left_behind():
    with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        conn.send("x")
        conn.recv(timeout=SECONDS)
    before = count_threads()  # the clock is one, and goes on
    with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        conn.send("x")
        conn.recv(timeout=SECONDS)
    for thread in count_threads() - before:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_the_server_sends_and_closes_at_once_and_the_client_reads_later():
    def handler(conn):
        for number in range(1000):
            conn.send([number, "x" * 100])

    with serve(handler, "127.0.0.1", 0) as server, local(server) as conn:
        assert [number for number, _ in conn] == list(range(1000))


def test_two_that_only_send_do_not_wait_for_each_other():
    """With websockets.sync alone both would, for ever: it writes under the lock it reads under."""
    payload = b"x" * 100_000
    count = 300

    def handler(conn):
        for _ in range(count):
            conn.send(payload)
        for _ in range(count):
            assert conn.recv(timeout=SECONDS) == payload

    config = Config(window_bytes=256 * 2**20, outbox_bytes=256 * 2**20, idle_timeout=5)
    options = {"sock": small_buffers()}
    with (
        serve(handler, "127.0.0.1", 0, config=config) as server,
        local(server, config=config, **dialed(server, **options)) as conn,
    ):
        for _ in range(count):
            conn.send(payload)
        for _ in range(count):
            assert conn.recv(timeout=SECONDS) == payload
        assert conn.stats.resumes == 0


def small_buffers():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    return sock


def dialed(server, sock):
    sock.connect(("127.0.0.1", server.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return {"sock": sock, "reconnect": False}


def test_a_reset_is_survived_again_and_again(loop):
    runs = []

    def handler(conn):
        runs.append(conn.id)
        echo(conn)

    with (
        serve(handler, "127.0.0.1", 0, config=HASTY) as server,
        proxied(loop, server.port) as proxy,
        local(server, proxy.port) as conn,
    ):
        received = []
        for round_ in range(4):
            for number in range(200):
                conn.send([round_, number])
            loop.run(proxy.reset)
            received += [conn.recv(timeout=SECONDS) for _ in range(200)]
        assert received == [[round_, number] for round_ in range(4) for number in range(200)]
        assert conn.stats.resumes >= 1
    assert runs == [conn.id]


def test_a_network_that_falls_silent_is_left_for_another(loop):
    with (
        serve(echo, "127.0.0.1", 0, config=HASTY) as server,
        proxied(loop, server.port) as proxy,
        local(server, proxy.port) as conn,
    ):
        conn.send("before")
        assert conn.recv(timeout=SECONDS) == "before"
        loop.run(proxy.stall)
        conn.send("meanwhile")
        assert conn.recv(timeout=SECONDS) == "meanwhile"
        assert conn.stats.resumes == 1


def test_messages_wait_while_there_is_no_network(loop):
    told = []
    with (
        serve(echo, "127.0.0.1", 0, config=HASTY) as server,
        proxied(loop, server.port) as proxy,
        local(server, proxy.port, on_event=lambda event: told.append(event.name)) as conn,
    ):
        loop.run(proxy.refuse)
        loop.run(proxy.reset)
        receipt = conn.send("kept")
        with pytest.raises(TimeoutError):
            receipt.wait(0.2)
        assert conn.state is State.DETACHED
        assert conn.websocket is None
        loop.run(proxy.accept)
        assert conn.recv(timeout=SECONDS) == "kept"
    assert told[:3] == ["opened", "detached", "resumed"]


def test_without_reconnecting_a_lost_websocket_ends_the_session(loop):
    with serve(echo, "127.0.0.1", 0) as server, proxied(loop, server.port) as proxy:
        conn = local(server, proxy.port, reconnect=False)
        reading = run(conn.recv)
        loop.run(proxy.reset)
        with pytest.raises(SessionLost):
            reading.result(SECONDS)
        assert conn.send is not None
        with pytest.raises(ConnectionClosed):
            conn.send("late")
        for connection in server.connections:
            connection.abort()


def test_a_session_that_cannot_be_resumed_in_time_says_what_is_unknown(loop):
    config = Config(session_ttl=0.5, idle_timeout=0.4)
    with (
        serve(lambda conn: conn.wait_closed(), "127.0.0.1", 0, config=config) as server,
        proxied(loop, server.port) as proxy,
    ):
        conn = local(server, proxy.port, config=config)
        receipt = conn.send("x")
        loop.run(proxy.refuse)
        loop.run(proxy.stall)
        with pytest.raises(reliable_ws.OutcomeUnknown):
            receipt.wait(SECONDS)
        assert receipt.outcome is Outcome.UNKNOWN
        with pytest.raises(reliable_ws.DeliveryError):
            conn.close()


def test_closing_is_not_kept_by_a_long_pause_between_attempts(loop):
    with serve(echo, "127.0.0.1", 0) as server, proxied(loop, server.port) as proxy:
        conn = local(
            server, proxy.port, reconnect=Backoff(initial=60, longest=60, factor=1), config=Config()
        )
        conn.send("x")
        assert conn.recv(timeout=SECONDS) == "x"
        loop.run(proxy.reset)
        conn.close(timeout=8)
        assert conn.report.confirmed == 1


def test_a_limit_of_the_transport_is_found_and_large_messages_go_in_parts():
    with (
        serve(echo, "127.0.0.1", 0, max_size=64 * 1024) as server,
        local(server, max_size=64 * 1024) as conn,
    ):
        conn.send("x" * 5_000_000)
        assert conn.recv(timeout=SECONDS) == "x" * 5_000_000
        assert conn.stats.resumes == 0


def test_a_limit_that_nobody_told_is_halved_until_it_fits():
    sessions = Sessions()

    def accept(ws):
        from reliable_ws.adapters.websockets_sync import adapt

        sessions.handle(adapt(ws, max_frame=2**20), echo)

    inner = websockets.sync.server.serve(accept, "127.0.0.1", 0, max_size=100_000)
    threading.Thread(target=inner.serve_forever, daemon=True).start()
    with local(None, inner.socket.getsockname()[1]) as conn:
        conn.send("x" * 1_000_000)
        assert conn.recv(timeout=SECONDS) == "x" * 1_000_000
        assert 1 <= conn.stats.resumes <= 6
    inner.shutdown()


def test_a_server_with_an_event_loop_and_a_client_with_threads(loop):
    async def handler(conn):
        async for message in conn:
            await conn.send(message)

    async def serving():
        return await reliable_ws.serve(handler, "127.0.0.1", 0)

    server = loop.run(serving)
    with local(server) as conn:
        for number in range(1000):
            conn.send(number)
        assert [conn.recv(timeout=SECONDS) for _ in range(1000)] == list(range(1000))
    loop.run(server.drain)


def test_a_client_with_an_event_loop_and_a_server_with_threads(loop):
    async def client(port):
        async with reliable_ws.connect(f"ws://127.0.0.1:{port}", proxy=None) as conn:
            for number in range(1000):
                await conn.send([number, "x" * 1000])
            return [(await conn.recv())[0] for _ in range(1000)]

    with serve(echo, "127.0.0.1", 0) as server:
        assert loop.run(client, server.port) == list(range(1000))


def test_a_peer_that_speaks_something_else_is_told_apart():
    inner = websockets.sync.server.serve(lambda ws: ws.recv(), "127.0.0.1", 0)
    threading.Thread(target=inner.serve_forever, daemon=True).start()
    with pytest.raises(NotReliablePeer):
        local(None, inner.socket.getsockname()[1])
    inner.shutdown()
    with pytest.raises(OSError, match=r".*"):
        local(None, free_port())


def test_a_client_that_never_greets_is_refused():
    config = Config(open_timeout=0.2)
    with serve(echo, "127.0.0.1", 0, config=config) as server, plain(server) as ws:
        assert isinstance(ws.recv(timeout=SECONDS), bytes)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as raised:
            ws.recv(timeout=SECONDS)
        assert raised.value.rcvd.code == Code.NO_HELLO


def test_a_client_that_greets_badly_is_refused():
    with serve(echo, "127.0.0.1", 0) as server, plain(server) as ws:
        ws.send(b"nonsense")
        assert isinstance(ws.recv(timeout=SECONDS), bytes)
        ws.close()
        assert len(server.sessions) == 0


def test_a_handler_that_raises_closes_its_connection_with_1011(caplog):
    def handler(conn):
        raise ValueError("of the handler")

    with serve(handler, "127.0.0.1", 0) as server:
        conn = local(server)
        with pytest.raises(ConnectionClosed) as raised:
            conn.recv(timeout=SECONDS)
        assert raised.value.code == 1011
        conn.close()
    assert "a handler raised" in caplog.text


def test_draining_closes_every_session_and_reports_each():
    conns = []
    with serve(echo, "127.0.0.1", 0) as server:
        for _ in range(3):
            conn = local(server)
            conn.send("last words")
            conns.append(conn)
        until(lambda: all(conn.stats.received for conn in conns))
        draining = run(server.drain)
        for conn in conns:
            assert list(conn) == ["last words"]
            conn.close()
            assert conn.close_code == 1001
        reports = draining.result(SECONDS)
    assert set(reports) == {conn.id for conn in conns}
    assert all(report.confirmed == 1 for report in reports.values())


def test_draining_does_not_wait_for_a_handler_that_does_not_end():
    def handler(conn):
        with contextlib.suppress(ConnectionClosed):
            while True:
                conn.recv()
        conn.wait_closed()

    with serve(handler, "127.0.0.1", 0, drain_timeout=0.1) as server:
        conn = local(server)
        assert run(lambda: list(conn))
        assert server.drain().keys() == {conn.id}
        conn.close()


def test_serve_forever_returns_after_shutdown():
    with serve(echo, "127.0.0.1", 0) as server:
        forever = run(server.serve_forever)
        server.shutdown()
        server.shutdown()
        forever.result(SECONDS)
        server.serve_forever()


def test_wrapped_on_both_sides_and_resumed_by_hand(loop):
    sessions, runs = Sessions(config=HASTY), []

    def accept(ws):
        sessions.handle(ws, lambda conn: (runs.append(conn), echo(conn)))

    inner = websockets.sync.server.serve(accept, "127.0.0.1", 0)
    threading.Thread(target=inner.serve_forever, daemon=True).start()
    with proxied(loop, inner.socket.getsockname()[1]) as proxy:
        ws = websockets.sync.client.connect(proxy.uri(), **PLAIN)
        with wrap(ws, resume_within=20, config=HASTY) as conn:
            conn.send(1)
            assert conn.recv(timeout=SECONDS) == 1
            loop.run(proxy.reset)
            conn.send(2)
            conn.resume(websockets.sync.client.connect(proxy.uri(), **PLAIN))
            assert conn.recv(timeout=SECONDS) == 2
            assert conn.stats.resumes == 1
        assert len(runs) == 1
        with pytest.raises(ConnectionClosed):
            conn.resume(websockets.sync.client.connect(proxy.uri(), **PLAIN))
    sessions.drain(0.1)
    inner.shutdown()


def test_who_opens_websockets_by_itself_is_handed_none():
    with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        with plain(server) as other, pytest.raises(RuntimeError, match="without reopen="):
            conn.resume(other)
        conn.send("x")
        assert conn.recv(timeout=SECONDS) == "x"


def plain(server):
    return websockets.sync.client.connect(f"ws://127.0.0.1:{server.port}", **PLAIN)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_a_server_may_be_shut_down_again_at_the_moment_when_it_returns():
    """By a second signal, say."""
    server = Server(Sessions(), 0)

    class Again:
        def __init__(self, lock):
            self.release = lock.release
            self._lock = lock

        def acquire(self, **options):
            taken = self._lock.acquire(**options)
            server.shutdown()
            return taken

    server.shutdown()
    server._stopped = Again(server._stopped)
    server.serve_forever()
