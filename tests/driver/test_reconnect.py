"""When the next WebSocket is opened, and what an end of one means."""

from __future__ import annotations

import pytest

from reliable_ws import Backoff, Config, ConnectionClosed, NotReliablePeer, SessionLost
from reliable_ws.driver.reconnect import (
    Reconnect,
    ending_before_welcome,
    ending_unusable,
    greeting_error,
    loss_error,
    resume_error,
)
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import TransportClosed

KEY = bytes(32)
BACKOFF = Backoff(initial=1, factor=2, longest=8, stable=10)


def session(now=0.0, **options):
    return Session("initiator", bytes(16), KEY, now, Config(**options), None)


def test_pauses_grow_with_every_attempt_that_fails():
    dialing = Reconnect(session(), BACKOFF)
    dialing.opened(0)
    pauses = []
    dialing.lost(1, 1.0, None)
    for _ in range(5):
        pauses.append(dialing.pause(1))
        dialing.failed(1, 1.0)
    assert pauses == [1, 2, 4, 8, 8]


def test_a_websocket_that_does_not_last_counts_as_a_failure():
    dialing = Reconnect(session(), BACKOFF)
    pauses = []
    for now in (0, 1, 2):
        dialing.opened(now)
        dialing.lost(now + 0.5, 1.0, None)
        pauses.append(dialing.pause(now + 0.5))
    assert pauses == [1, 2, 4]
    dialing.opened(10)
    dialing.lost(20, 1.0, None)
    assert dialing.pause(20) == 1  # it was stable


def test_failures_are_not_forgotten_when_a_websocket_opens_and_does_not_last():
    dialing = Reconnect(session(), BACKOFF)
    dialing.opened(0)
    dialing.lost(1, 1.0, None)
    dialing.failed(1, 1.0)
    dialing.opened(2)
    dialing.lost(3, 1.0, None)
    assert dialing.pause(3) == 4


def test_chance_makes_a_pause_shorter_and_the_peer_longer():
    dialing = Reconnect(session(), BACKOFF)
    dialing.opened(0)
    dialing.lost(0, 0.25, None)
    assert dialing.pause(0) == 0.25
    dialing.opened(0)
    dialing.lost(0, 0.5, 3)
    assert dialing.pause(0) == 4
    assert dialing.pause(1) == 3
    assert dialing.pause(5) == 0


def test_a_close_cuts_a_long_pause_short():
    closing = session(close_progress_timeout=8, close_timeout=100)
    dialing = Reconnect(closing, Backoff(initial=30, longest=30))
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    assert dialing.pause(0) == 30
    closing.outbox.offer("x")
    closing.close(1)
    assert dialing.pause(1) == 2  # a quarter of what is left
    assert dialing.pause(2) == 1
    assert dialing.pause(3) == 0


def test_a_close_that_is_nearly_over_leaves_the_shortest_pause():
    closing = session()
    dialing = Reconnect(closing, Backoff(initial=30, longest=30))
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    closing.close(0, timeout=0.1)
    assert dialing.pause(0) == pytest.approx(0.2)


def test_a_session_that_has_ended_opens_no_other():
    over = session()
    dialing = Reconnect(over, BACKOFF)
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    over.abort(0)
    assert dialing.pause(0) is None


# ------------------------------------------------------------------ what an end means


def test_before_a_welcome_there_is_one_attempt():
    assert ending_before_welcome(session(), None, "") == Ending(
        End.LOST, 1006, "the network was lost before the peer had greeted"
    )
    assert ending_before_welcome(session(), None, "cut").reason == "cut"
    assert ending_before_welcome(session(), Code.BUSY, "full").kind is End.REFUSED
    assert ending_before_welcome(session(), 1011, "") is None
    welcomed = session()
    welcomed.incarnation = 1
    assert ending_before_welcome(welcomed, None, "") is None


def test_what_the_first_greeting_failed_of():
    welcomed = session()
    welcomed.incarnation = 1
    assert greeting_error(welcomed, None) is None

    silent = greeting_error(session(), loss_error(Code.SILENT, "nothing heard in time"))
    assert isinstance(silent, NotReliablePeer)
    assert "no Welcome: nothing heard" in str(silent)

    cut = session()
    cut.end(0.0, Ending(End.LOST, 1006, "cut"))
    assert isinstance(greeting_error(cut, loss_error(None, "cut")), SessionLost)

    old = session()
    old.end(0.0, Ending(End.REFUSED, Code.VERSION, "version 2"))
    assert isinstance(greeting_error(old, None), NotReliablePeer)

    busy = session()
    busy.end(0.0, Ending(End.REFUSED, Code.BUSY, "full"))
    failure = greeting_error(busy, None)
    assert isinstance(failure, ConnectionClosed)
    assert failure.code == Code.BUSY


def test_how_a_websocket_was_lost():
    assert isinstance(loss_error(Code.SILENT, "x"), TimeoutError)
    assert isinstance(loss_error(1006, "x"), TransportClosed)


def test_what_resuming_failed_of():
    detached = session()
    assert isinstance(resume_error(detached), NotReliablePeer)
    detached.abort(0)
    assert isinstance(resume_error(detached), ConnectionClosed)


def test_a_websocket_that_is_not_to_be_had_says_why():
    ending = ending_unusable(ValueError("it is wrapped already"))
    assert ending.kind is End.LOST
    assert "it is wrapped already" in ending.reason
