"""Peers of servers with threads that say nothing, take nothing, or break the rules."""

from __future__ import annotations

import threading
import time

import pytest

from reliable_ws import Config, Methods
from reliable_ws.driver import close_plan
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.frames import CallAck, Calls, Code, Reply, Request
from reliable_ws.protocol.session import Session
from reliable_ws.sync import Sessions
from reliable_ws.transport import TransportClosed
from tests.support.inside import driver_of

from .conftest import SECONDS, pair, run, until
from .pipe import pipe


def greeted(sessions):
    """Return the client's end of a pipe on which the session has begun, and what serves it."""
    near, far = pipe()
    serving = run(sessions.handle, far, lambda conn: conn.wait_closed())
    session = Session("initiator", bytes(16), bytes(32), 0.0)
    near.send(session.dial(0.0).transmit(0.0))
    near.recv()
    return near, serving


@pytest.mark.parametrize("side", ["client", "server"])
def test_close_with_nothing_left_to_confirm_is_short_on_a_dead_network(side):
    """CLOSE-25"""
    config = Config(close_timeout=SECONDS, close_progress_timeout=0.1)
    with pair(config=config) as (ours, theirs):
        conn, other = (ours, theirs) if side == "client" else (theirs, ours)
        conn.send("x")
        assert other.recv(timeout=SECONDS) == "x"
        conn.flush()
        for end in (conn, other):
            driver_of(end).pump.link_io.transport.freeze()
        began = time.monotonic()
        run(conn.close).result(SECONDS)
        assert time.monotonic() - began < SECONDS / 2


@pytest.mark.parametrize("taken", ["as they come", "before any has run"])
def test_no_handler_starts_while_its_peer_receives_nothing(taken):
    """CALL-45"""
    methods = Methods()
    ran = []
    may_run = threading.Event()

    @methods.register
    def work(_):
        assert may_run.wait(SECONDS)
        ran.append(len(ran))
        return bytes(600)

    sessions = Sessions(methods=methods, config=Config(outbox_bytes=1000, max_handlers=1))
    near, serving = greeted(sessions)
    near.send(encode([Calls(1, [Request("work", None, 0, b"") for _ in range(20)])]))
    if taken == "before any has run":
        until(lambda: len(driver_of(sessions.connections[0]).rpc_server.running) == 20)
    may_run.set()
    answers = 0
    while answers < 20:
        for frame in decode(near.recv(), 2**24):
            if isinstance(frame, Calls):
                answers += sum(isinstance(entry, Reply) for entry in frame.entries)
        assert len(ran) <= answers + 2
        near.send(encode([CallAck(answers)]))
    assert ran == list(range(20))
    near.cut()
    for conn in sessions.connections:
        conn.abort()
    serving.result(SECONDS)


def test_what_a_peer_sends_behind_its_violation_is_read_for_a_second_only(monkeypatch):
    monkeypatch.setattr(close_plan, "VIOLATION_TIMES", (0.05, 0.1))
    sessions = Sessions()
    near, serving = greeted(sessions)
    began = time.monotonic()
    near.send(b"nonsense")
    assert isinstance(near.recv(), bytes)  # why the session is over; then we do not close
    with pytest.raises(TransportClosed) as raised:
        near.recv()
    assert raised.value.code == Code.MALFORMED
    serving.result(SECONDS)
    assert time.monotonic() - began < close_plan.LINGER
    until(lambda: not sessions.connections)
