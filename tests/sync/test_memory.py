"""What detached sessions of a server with threads hold is bounded."""

from __future__ import annotations

from reliable_ws import Config
from reliable_ws.sync import Sessions, wrap

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
    until(lambda: not theirs._session.attached)
    looks.clear()
    until(lambda: looks)  # nothing was held then
    theirs.send(bytes(20_000))
    until(lambda: not len(sessions))
    ours.abort()
