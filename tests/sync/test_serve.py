"""Servers with threads: who is refused, draining, and the end."""

from __future__ import annotations

import contextlib
import logging
import re

import pytest
import websockets.sync.client
import websockets.sync.server

from reliable_ws import Backoff, Config, ConnectionClosed, SessionLost
from reliable_ws.driver.close_plan import CLOSE_TIMEOUT
from reliable_ws.protocol.frames import Code
from reliable_ws.sync import Connection, Server, Sessions, serve, wrap
from tests.support.inside import session_of

from .conftest import SECONDS, run, until
from .pipe import pipe
from .sockets import echo, local, over_sockets, plain

pytestmark = over_sockets


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
        with pytest.raises(ConnectionClosed) as raised, local(server) as conn:  # maybe at once
            conn.recv(timeout=SECONDS)
        assert raised.value.code == 1011
    assert re.search("the handler of session [0-9a-f]{8} raised", caplog.text)


def waiting(conn):
    while True:
        conn.recv()


@pytest.mark.parametrize("handler", [echo, waiting])
def test_a_client_that_leaves_normally_is_not_worth_a_line(handler, caplog):
    caplog.set_level(logging.INFO, "reliable_ws")
    with serve(handler, "127.0.0.1", 0) as server:
        conn = local(server)
        conn.send("x")
        until(lambda: conn.stats.confirmed)
        if handler is echo:
            assert conn.recv(timeout=SECONDS) == "x"
        conn.close()
        until(lambda: not server.connections)
    assert conn.close_code == 1000
    assert [record for record in caplog.records if record.name == "reliable_ws"] == []


def test_a_client_that_vanishes_is_worth_one_line(caplog):
    with serve(waiting, "127.0.0.1", 0, config=Config(session_ttl=0.05)) as server:
        local(server, reconnect=False).transport.abort()
        until(lambda: not server.connections)
    (record,) = (record for record in caplog.records if record.name == "reliable_ws")
    assert "ended as the peer was lost: 0 sent" in record.getMessage()
    assert record.exc_info is None


def test_another_principal_cannot_resume_and_the_log_says_why(caplog):
    who = iter(("ann", "bob"))
    with serve(echo, "127.0.0.1", 0, principal=lambda _: next(who)) as server:
        conn = local(server)
        (accepted,) = server.connections
        assert accepted.principal == "ann"
        assert "of 'ann' acceptor" in repr(accepted)
        conn.transport.abort()
        with pytest.raises(SessionLost):
            conn.recv(timeout=SECONDS)
        accepted.abort()
    assert "is of the principal 'ann', and the WebSocket of 'bob'" in caplog.text


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


def each_message(conn):
    for _ in conn:
        pass


@pytest.mark.parametrize("handler", [each_message, Connection.wait_closed])
def test_draining_waits_for_no_client_that_only_sends(handler, monkeypatch):
    monkeypatch.setattr("reliable_ws.driver.session_table.IDLE_LOOK_INTERVAL", 0.02)
    with serve(handler, "127.0.0.1", 0) as server:
        conn = local(server)
        draining = run(server.drain, 4 * SECONDS)
        until(lambda: conn.peer_finished)
        assert conn.peer_finished == (1001, "going away")
        assert draining.result(SECONDS).keys() == {conn.id}
        with pytest.raises(ConnectionClosed):
            conn.send("x")
        conn.close()


@pytest.mark.parametrize("handler", [each_message, Connection.wait_closed])
def test_draining_waits_for_no_client_that_is_gone_and_owed_nothing(handler, monkeypatch):
    monkeypatch.setattr("reliable_ws.driver.session_table.IDLE_LOOK_INTERVAL", 0.02)
    sessions = Sessions()
    near, far = pipe()
    run(sessions.handle, far, handler)
    conn = wrap(near, resume_within=4 * SECONDS)
    near.cut()
    until(lambda: not session_of(sessions.connections[0]).attached)
    assert not sessions.draining
    draining = run(sessions.drain, 4 * SECONDS)
    assert draining.result(SECONDS).keys() == {conn.id}
    assert sessions.draining
    conn.abort()


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


def test_closing_does_not_wait_for_clients_that_come_again_meanwhile():
    at_once = Backoff(0.001, longest=0.001)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serve(echo, "127.0.0.1", 0, drain_timeout=0))
        conns = [stack.enter_context(local(server, reconnect=at_once)) for _ in range(8)]
        closing = run(server.close)
        closing.result(CLOSE_TIMEOUT / 2)
        assert not server._open
        for conn in conns:
            conn.abort()


def test_serve_forever_returns_after_shutdown():
    with serve(echo, "127.0.0.1", 0) as server:
        forever = run(server.serve_forever)
        server.shutdown()
        server.shutdown()
        forever.result(SECONDS)
        server.serve_forever()


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
