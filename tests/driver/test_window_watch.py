"""Deliveries that are never confirmed: the window stands still, and that is told once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from reliable_ws.driver.window_watch import STUCK_AFTER, WindowWatch
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import Finish
from reliable_ws.protocol.inbox import Inbox

WARNING = "session 1a: 4 deliveries are not confirmed and fill the window"


def filled(config, count=4, payload=b"x" * 100):
    inbox = Inbox(config)
    inbox.arrived(1, [payload] * count, count * len(payload))
    for _ in range(count):
        inbox.deliver()
    return inbox, WindowWatch(SimpleNamespace(inbox=inbox), "session 1a")


@pytest.mark.parametrize("config", [Config(window_messages=5), Config(window_bytes=500)])
def test_a_window_that_stands_still_is_told_once(config):
    inbox, watch = filled(config)
    assert not watch.look(100.0)
    assert not watch.look(100.0 + STUCK_AFTER - 0.1)
    assert watch.look(100.0 + STUCK_AFTER).startswith(WARNING)
    assert not watch.look(1000.0)
    inbox.confirm(1)
    inbox.arrived(5, [b"x" * 100], 100)
    inbox.deliver()
    assert not watch.look(1000.0)  # it moves
    assert watch.look(1000.0 + STUCK_AFTER)


def test_what_is_no_stall_is_not_told():
    inbox, watch = filled(Config())  # there is room
    assert not watch.look(1.0)
    assert not watch.look(100.0)
    inbox, watch = filled(Config(window_messages=5))
    assert not watch.look(1.0)
    inbox.arrived_finish(Finish(5, 1000, ""))  # the peer has nothing more to send
    assert not watch.look(2.0)
    assert not watch.look(100.0)
    inbox, watch = filled(Config(window_messages=5))
    for number in range(1, 5):
        inbox.confirm(number)
    assert not watch.look(1.0)
    assert not watch.look(100.0)
