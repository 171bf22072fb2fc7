"""What travels is logged in words, where the log is at DEBUG."""

from __future__ import annotations

import logging

from reliable_ws.driver.tracing import trace_of
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Ack
from reliable_ws.protocol.session import Session


def new_session():
    return Session("initiator", bytes(16), bytes(32), 0.0)


def test_a_line_says_who_gets_or_sends_what(caplog):
    caplog.set_level(logging.DEBUG, "reliable_ws")
    trace = trace_of(new_session(), "ann", None, float)
    trace("gets", encode([Ack(1, 1)]))
    trace.lost(None, "gone")
    trace.lost(1000, "bye")
    assert caplog.messages == [
        "session 00000000 of 'ann' gets Ack: received 1, confirmed 1",
        "session 00000000 of 'ann' loses its WebSocket without a close frame: gone",
        "session 00000000 of 'ann' loses its WebSocket with 1000: bye",
    ]


def test_nothing_is_called_unless_somebody_asks_for_it(caplog):
    caplog.set_level(logging.INFO, "reliable_ws")
    assert trace_of(new_session(), None, None, float) is None
