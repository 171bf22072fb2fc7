"""The driver with threads over networks that break, and WebSockets handed over after that."""

from __future__ import annotations

import threading

import pytest
import websockets.sync.client
import websockets.sync.server

import reliable_ws
from reliable_ws import Backoff, Config, ConnectionClosed, Outcome, SessionLost
from reliable_ws.driver.status import State
from reliable_ws.sync import Sessions, serve, wrap

from .conftest import SECONDS, run
from .network import proxied
from .sockets import HASTY, PLAIN, echo, local, over_sockets, plain

pytestmark = over_sockets


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
        assert conn.stats.resumes >= 1


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
    told = [name for name in told if name != "attempt_failed"]
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
