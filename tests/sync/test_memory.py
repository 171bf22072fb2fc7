"""What the sessions of a server with threads hold is bounded, and how many there are."""

from __future__ import annotations

import pytest

from reliable_ws import Config, SessionLost
from reliable_ws.sync import Sessions, wrap
from tests.support.inside import session_of

from .conftest import SECONDS, run, until
from .pipe import pipe


def test_memory_that_sessions_come_to_hold_while_they_are_detached_is_bounded(monkeypatch):
    monkeypatch.setattr("reliable_ws.sync.sessions.EVICTION_INTERVAL", 0.01)
    sessions = Sessions(config=Config(max_bytes=10_000))
    looks = []
    evict = sessions._registry.evict
    monkeypatch.setattr(sessions._registry, "evict", lambda now: looks.append(now) or evict(now))
    near, far = pipe()
    accepted = run(sessions.accept, far)
    ours = wrap(near, resume_within=SECONDS)
    theirs = accepted.result(SECONDS)
    far.abort()
    until(lambda: not session_of(theirs).attached)
    looks.clear()
    until(lambda: looks)  # nothing was held then
    theirs.send(bytes(20_000))
    until(lambda: not len(sessions))
    ours.abort()


def accept(sessions, principal):
    """Open a session; the client, the server's connection and the server's end of the wire."""
    near, far = pipe()
    accepted = run(sessions.accept, far, principal)
    ours = wrap(near, resume_within=SECONDS)
    return ours, accepted.result(SECONDS), far


def test_a_crashed_client_makes_room_for_the_next_one_of_its_principal():
    sessions = Sessions(config=Config(max_per_principal=1))
    others, *_ = accept(sessions, "bob")
    crashed, theirs, far = accept(sessions, "ann")
    far.abort()
    until(lambda: not session_of(theirs).attached)
    again, theirs_again, _far = accept(sessions, "ann")
    again.send("hello")
    assert theirs_again.recv(timeout=SECONDS) == "hello"
    with pytest.raises(SessionLost, match="made room for a newer session"):
        theirs.recv(timeout=SECONDS)
    assert len(sessions) == 2
    for conn in (others, crashed, again):
        conn.abort()
    sessions.drain(0)
