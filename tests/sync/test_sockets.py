"""The driver with threads over real sockets, on whatever release of websockets is installed."""

from __future__ import annotations

import socket
import threading

import pytest
import websockets.sync.client
import websockets.sync.server

import reliable_ws
from reliable_ws import Config, NotReliablePeer
from reliable_ws.adapters.websockets.sync import _Threaded
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.sync import Sessions, serve
from tests.support.ports import free_port

from .conftest import SECONDS
from .sockets import echo, local, over_sockets

pytestmark = over_sockets


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

    config = Config(window_bytes=256 * 2**20, outbox_bytes=256 * 2**20)
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
        from reliable_ws.adapters.websockets.sync import adapt

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


def test_cookies_of_a_handshake_are_sent_with_the_next_ones():
    """A balancer in front of several servers knows a client by its cookie."""
    cookies = []

    def note(_ws, request):
        cookies.append(request.headers.get("Cookie"))

    headers = {"Set-Cookie": "SERVERID=s1; Path=/; HttpOnly"}
    with (
        serve(echo, "127.0.0.1", 0, process_request=note, additional_headers=headers) as server,
        local(server) as conn,
    ):
        conn.websocket.socket.shutdown(socket.SHUT_RDWR)
        conn.send("x")
        assert conn.recv(timeout=SECONDS) == "x"
    assert cookies == [None, "SERVERID=s1"]


def test_usual_frames_are_taken_without_the_librarys_parser(monkeypatch):
    passed = []
    pass_on = _Threaded.pass_on
    monkeypatch.setattr(
        _Threaded, "pass_on", lambda ws, data: passed.append(data) or pass_on(ws, data)
    )
    with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
        messages = ["first", *(bytes([number]) * 1000 * number for number in range(100))]
        for message in messages:
            conn.send(message)
        assert [conn.recv(timeout=SECONDS) for _ in messages] == messages
        opening = len(passed)  # the handshakes, and maybe the first frame
        for message in messages:
            conn.send(message)
        ws = conn.websocket
        ponged = ws.ping()
        assert [conn.recv(timeout=SECONDS) for _ in messages] == messages
        assert ponged.wait(SECONDS)
        assert [len(data) for data in passed[opening:]] == [10, 6]  # a masked ping, a pong
        conn.close()
    ws.recv_events_thread.join(SECONDS)
    assert ws.hand is None
    assert "receive_data" not in vars(ws.protocol)
