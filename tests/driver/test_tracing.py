"""What travels is logged in words, where the log is at DEBUG."""

from __future__ import annotations

import logging

from reliable_ws.driver.tracing import trace_of
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Ack


def test_a_line_says_who_gets_or_sends_what(caplog):
    caplog.set_level(logging.DEBUG, "reliable_ws")
    trace_of("session 00000000")("gets", encode([Ack(1, 1)]))
    assert caplog.messages == ["session 00000000 gets Ack: received 1, confirmed 1"]
