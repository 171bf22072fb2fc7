"""Deliveries, forks, and the end of a handler."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace

import pytest

from reliable_ws import (
    ConnectionClosed,
    ConnectionClosedOK,
    MessageTooLarge,
    NotTaken,
    PayloadError,
    Report,
    SessionLost,
)
from reliable_ws.driver import fork
from reliable_ws.driver.delivery import BaseDelivery
from reliable_ws.driver.handler_end import HandlerEnd
from reliable_ws.driver.status import (
    ConnectionEvent,
    State,
    Status,
    log_left_open,
    name_of,
    notify_end,
    raise_undelivered,
    tell_interrupted,
)
from reliable_ws.protocol.report import End, Ending
from tests.support.pair import Pair

LOST = Ending(End.LOST, 1006, "cut")


def test_a_delivery_has_a_key_that_lasts():
    class Receiver:
        session_id = bytes(15) + b"\x0a"

    delivery = BaseDelivery(Receiver(), 7, "message", True)
    assert delivery.key == "0" * 30 + "0a:7"
    assert (delivery.number, delivery.message, delivery.redelivered) == (7, "message", True)


# ------------------------------------------------------------------ forks


def test_in_a_child_process_every_driver_is_told_once(monkeypatch):
    class Driver:
        told = 0

        def after_fork(self):
            self.told += 1

    monkeypatch.setattr(fork, "_drivers", type(fork._drivers)())
    driver = Driver()
    fork.watch_forks(driver)
    fork._in_child()
    fork._in_child()
    assert driver.told == 1


def test_the_childs_copy_of_a_session_ends_and_sends_nothing():
    pair = Pair()
    link = pair.connect().dialer
    fork.end_in_child(pair.client)
    assert pair.client.ended.kind is End.LOST
    assert "forked" in pair.client.ended.reason
    assert link.close_action is None


# ------------------------------------------------------------------ the end of a handler


LEFT = ConnectionClosedOK(Ending(End.FINISHED, 1000, ""), Report(2, 1))
GONE = SessionLost(LOST, Report(2, 1))
NEVER_TAKEN = NotTaken(Report(2, 1))
GROUPED = ExceptionGroup("tasks", [LEFT, ExceptionGroup("more", [GONE, NEVER_TAKEN])])
BUG = ExceptionGroup("tasks", [LEFT, ZeroDivisionError("x")])


@pytest.mark.parametrize(
    ("error", "over", "level", "words"),
    [
        *((error, LEFT, logging.DEBUG, "ended as the peer left") for error in (LEFT, GROUPED)),
        *((error, GONE, logging.WARNING, "was lost: session") for error in (GONE, GROUPED)),
        (NEVER_TAKEN, GONE, logging.WARNING, "the peer was lost: session"),
        (GONE, None, logging.WARNING, "ended with SessionLost: session"),
        (GROUPED, None, logging.WARNING, "ended with ExceptionGroup: tasks"),
        (ZeroDivisionError("x"), None, logging.ERROR, "raised"),
        (ZeroDivisionError("x"), GONE, logging.ERROR, "raised"),
        (BUG, LEFT, logging.ERROR, "raised"),
        (SystemExit(1), None, logging.ERROR, "raised"),
        (MessageTooLarge("5 bytes"), None, logging.WARNING, "ended with MessageTooLarge: 5 bytes"),
        (PayloadError(7, b"\n", "\n"), None, logging.WARNING, "message 7 cannot be decoded"),
    ],
)
def test_a_handler_that_raises_closes_its_session(error, over, level, words, caplog):
    caplog.set_level(logging.DEBUG)
    end = HandlerEnd(SimpleNamespace(name="session 1a of 'ann'"))
    end.raised(error, over)
    assert end.code == (1000 if level is logging.DEBUG else 1011)
    assert [record.levelno for record in caplog.records] == [level]
    assert re.search(rf"the handler of session 1a of 'ann' .*{words}", caplog.text)
    end.undelivered(NotTaken(Report(3, 1)))  # said by the first line, or by the exception
    is_told = over is not None and error is not BUG and not isinstance(error, ZeroDivisionError)
    assert len(caplog.records) == 2 - is_told


def test_a_handler_that_cannot_send_because_its_server_drains_is_not_worth_a_line(caplog):
    end = HandlerEnd(SimpleNamespace(name="session 1a"))
    end.raised(LEFT, None, is_finishing=True)
    assert end.code == 1000
    assert not caplog.records
    end.undelivered(NotTaken(Report(3, 1)))  # of this, nobody was told
    assert len(caplog.records) == 1


def test_what_the_close_after_a_handler_cannot_deliver_is_logged(caplog):
    end = HandlerEnd(SimpleNamespace(name="session 1a"))
    assert end.code == 1000
    end.undelivered(NotTaken(Report(3, 1)))
    assert "session 1a ended with undelivered messages: 3 sent, 1 confirmed" in caplog.text


# ------------------------------------------------------------------ status


class Connection(Status):
    class _driver:  # noqa: N801 - an attribute
        principal = None

    def __init__(self, session, transport=None):
        self._session = session
        self.carrier = transport

    @property
    def _current(self):
        return self.carrier


class Transport:
    class websocket:  # noqa: N801 - an attribute
        remote_address = ("host", 1)


def test_states_of_a_connection():
    pair = Pair()
    connection = Connection(pair.client, Transport())
    assert connection.state is State.CONNECTING
    assert connection.transport is None
    assert connection.websocket is None
    pair.connect()
    assert connection.state is State.OPEN
    assert connection.remote_address == ("host", 1)
    assert connection.subprotocol is None
    assert connection.close_code is connection.close_reason is None
    pair.cut()
    assert connection.state is State.DETACHED
    assert connection.transport is None
    pair.client.close(pair.now)
    assert connection.state is State.CLOSING
    pair.client.end(pair.now, LOST)
    assert connection.state is State.CLOSED
    assert (connection.close_code, connection.close_reason) == (1006, "cut")
    assert connection.transport is connection.carrier
    assert repr(connection) == f"<Connection {pair.client.id.hex()[:8]} initiator closed>"


def test_counts_of_a_connection():
    pair = Pair()
    pair.connect()
    ours, theirs = Connection(pair.client), Connection(pair.server)
    assert ours.id == theirs.id
    for message in ("one", "two"):
        pair.client.send(message)
    pair.run()
    assert theirs.stats.received == 2
    assert theirs.stats.inbox_bytes > 0
    pair.server.take()
    pair.server.poll(pair.now)
    pair.advance(1)
    assert (ours.stats.sent, ours.stats.confirmed, theirs.stats.taken) == (2, 1, 1)
    assert ours.report.undelivered[0].message == "two"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (End.FINISHED, ["closed"]),
        (End.ABORTED, ["closed"]),
        (End.SUPERSEDED, ["superseded", "closed"]),
        (End.LOST, ["session_lost", "closed"]),
    ],
)
def test_the_end_is_reported(kind, names):
    told = []
    notify_end(lambda name, *_: told.append(name), Ending(kind, 4000, "why"))
    assert told == names
    assert ConnectionEvent("opened", None).replayed == 0


def test_what_is_undelivered_is_raised_with_its_cause():
    session = Pair().client
    raise_undelivered(session, session.report())
    session.send("x")
    with pytest.raises(NotTaken) as raised:
        raise_undelivered(session, session.report())
    assert raised.value.__cause__ is None
    why = ValueError("in use")
    session.end(0.0, LOST, why)
    session.end(0.0, LOST, ValueError("too late"))
    with pytest.raises(NotTaken) as raised:
        raise_undelivered(session, session.report())
    assert raised.value.__cause__ is why
    assert session.error().__cause__ is why
    assert isinstance(session.error(), ConnectionClosed)


def test_a_session_that_is_left_open_is_logged(caplog):
    session = Pair().client
    log_left_open(session, "session 1a")
    assert not caplog.records
    session.send("x")
    log_left_open(session, "session 1a")
    assert "session 1a was left without close(): 1 sent" in caplog.text


def test_what_an_interruption_leaves_is_logged_and_noted(caplog):
    session, error = Pair().client, KeyboardInterrupt()
    tell_interrupted(session, "session 1a", error)
    assert not caplog.records
    assert not hasattr(error, "__notes__")
    session.send("x")
    tell_interrupted(session, "session 1a", error)
    assert "session 1a: KeyboardInterrupt left a connection: 1 sent" in caplog.text
    assert "1 sent" in error.__notes__[0]


def test_log_lines_name_the_session_and_its_principal():
    assert name_of(bytes(16), None) == "session 00000000"
    assert name_of(bytes(16), "ann") == "session 00000000 of 'ann'"
    assert len(name_of(bytes(16), "a" * 1000)) < 130
