"""What is said of attempts to open a WebSocket, and which are final: with threads."""

from __future__ import annotations

import http
import logging

import pytest

from reliable_ws import Backoff, Config, SessionLost, State
from reliable_ws.sync import connect, serve, wrap

from .conftest import SECONDS, until
from .sockets import AT_ONCE, HASTY, echo, local, over_sockets
from .test_reconnect import Server


class HandshakeError(Exception):
    """What some libraries raise for an answer of HTTP."""

    def __init__(self, status):
        super().__init__(f"HTTP {status}")
        self.status_code = status


QUICK = Backoff(initial=0, longest=0)


def lost_after(reopen, **options):
    """What ``recv()`` raises, and the events, of a session whose WebSocket is cut."""
    server, events = Server(), []
    begun = server.open()
    ours = wrap(begun, reopen=reopen, reconnect=QUICK, on_event=events.append, **options)
    begun.cut()
    with pytest.raises(SessionLost) as lost:
        ours.recv(timeout=SECONDS)
    until(lambda: events and events[-1].name == "closed")
    return lost.value, events


def test_a_session_that_is_refused_ends_after_a_few_attempts_and_says_why(caplog):
    caplog.set_level(logging.INFO, "reliable_ws")
    refused = HandshakeError(403)

    def reopen():
        raise refused

    lost, events = lost_after(reopen)
    assert "HTTP 403 (5 times)" in lost.reason
    assert lost.__cause__ is refused
    names = [event.name for event in events]
    tried = ["attempt_failed"] * 5
    assert names == ["opened", "detached", *tried, "session_lost", "closed"]
    assert [event.attempt.number for event in events if event.attempt] == [1, 2, 3, 4, 5]
    assert "attempt 1 to open a WebSocket failed: HTTP 403" in caplog.text


def test_the_policy_is_asked_without_the_lock():
    server, asked = Server(), []

    def reopen():
        raise OSError("down")

    def retry(attempt):
        asked.append(attempt)
        return not ours.wait_closed(0) and len(asked) < 3  # takes the lock

    begun = server.open()
    ours = wrap(begun, reopen=reopen, reconnect=QUICK, retry=retry)
    begun.cut()
    with pytest.raises(SessionLost, match="down"):
        ours.recv(timeout=SECONDS)
    assert [attempt.number for attempt in asked] == [1, 2, 3]


def test_a_session_that_expires_names_its_last_attempt():
    def reopen():
        raise OSError("no route")

    lost, _ = lost_after(reopen, config=Config(session_ttl=0.2, open_timeout=1))
    assert lost.reason == "no contact with the peer; last attempt: no route"
    assert isinstance(lost.__cause__, OSError)


def test_the_next_attempt_begins_at_once():
    server = Server()
    begun = server.open()
    ours = wrap(begun, reopen=server.open, reconnect=Backoff(initial=1e6, longest=1e6))
    begun.cut()
    until(lambda: ours.state is State.DETACHED)
    ours.reconnect_now()
    until(lambda: ours.stats.resumes == 1)
    ours.abort()
    once = wrap(server.open())
    with pytest.raises(RuntimeError, match="opens no WebSockets"):
        once.reconnect_now()
    once.abort()


@pytest.mark.transport
class TestSockets:
    pytestmark = over_sockets

    def test_uri_and_headers_are_asked_for_before_each_attempt(self):
        seen, tokens = [], iter("abc")

        def process_request(ws, request):
            seen.append((request.path, request.headers["X-Token"]))

        with (
            serve(echo, "127.0.0.1", 0, process_request=process_request) as server,
            connect(
                lambda: f"ws://127.0.0.1:{server.port}/{len(seen)}",
                additional_headers=lambda: {"X-Token": next(tokens)},
                subprotocols=lambda: ["reliable-ws.v1"],
                reconnect=AT_ONCE,
                config=HASTY,
                proxy=None,
            ) as conn,
        ):
            conn.transport.abort()
            conn.send("x")
            assert conn.recv(timeout=SECONDS) == "x"
        assert seen == [("/0", "a"), ("/1", "b")]

    def test_a_refused_handshake_ends_a_session_that_reconnects(self):
        requests = []

        def gate(ws, request):
            requests.append(request)
            if len(requests) > 1:
                return ws.respond(http.HTTPStatus.UNAUTHORIZED, "")
            return None

        with (
            serve(echo, "127.0.0.1", 0, process_request=gate, drain_timeout=0.1) as server,
            local(server) as conn,
        ):
            conn.transport.abort()
            with pytest.raises(SessionLost, match="HTTP 401"):
                conn.recv(timeout=SECONDS)
            assert len(requests) == 6

    def test_what_is_wrong_for_an_attempt_is_raised_by_the_first(self):
        with pytest.raises(TypeError, match=r"what uri\(\) returned must be a URI"):
            connect(lambda: 5)
