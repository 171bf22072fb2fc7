"""The sessions of a server: retired, evicted, drained."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from reliable_ws import Config
from reliable_ws.driver.session_table import CLOSING, IDLE_LOOK_INTERVAL, TASKS_END, SessionTable
from reliable_ws.protocol.registry import SessionRegistry


class Acceptor:
    """Notes what it is told."""

    def __init__(
        self,
        number,
        *,
        handling=None,
        attached=True,
        closing=False,
        ended=None,
        at_rest=False,
        rests=False,
    ):
        self.session = SimpleNamespace(
            id=bytes([number]),
            attached=attached,
            closing=closing,
            ended=ended,
            at_rest=at_rest or rests,
            report=lambda: f"report {number}",
            outbox=SimpleNamespace(messages=number, transmitted=0, confirmed=number),
            inbox=SimpleNamespace(received=0),
            resumes=0,
            replayed=0,
        )
        self.stalls = None
        self.handling = handling
        self.at_rest = at_rest
        self.told = []

    def finish(self, code, reason):
        self.told.append(("finish", code, reason))

    def start_closing(self, code, reason):
        self.told.append(("close", code, reason))

    def abort(self, code, reason):
        self.told.append(("abort", code, reason))

    def dispatch(self, events):
        self.told += events


class Registry:
    def __init__(self):
        self.draining = False
        self.retired = []
        self.to_evict = []

    def retire(self, session, now):
        self.retired.append((session.id, now))

    def evict(self, now):
        return self.to_evict

    def take_evicted(self):
        return self.to_evict


@pytest.fixture
def table():
    return SessionTable(Registry())


def add(table, *acceptors):
    for acceptor in acceptors:
        table.acceptors[acceptor.session.id] = acceptor
    return acceptors


def test_a_session_that_has_ended_is_retired(table):
    first, second = add(table, Acceptor(1), Acceptor(2))
    table.retire(first, 5.0)
    assert table.registry.retired == [(b"\1", 5.0)]
    assert list(table.acceptors.values()) == [second]
    assert table.left.sent == 1


def test_reports_are_kept_from_the_first_drain_on(table):
    first, second = add(table, Acceptor(1), Acceptor(2))
    table.retire(first, 5.0)
    reports = table.begin_drain()
    assert table.draining
    table.retire(second, 6.0)
    assert reports == {b"\2": "report 2"}
    assert table.begin_drain() is reports


def test_it_is_empty_when_nothing_lives_or_runs_but_who_asks(table):
    assert table.is_empty
    (acceptor,) = add(table, Acceptor(1))
    assert not table.is_empty
    table.retire(acceptor, 0.0)
    table.handlers.add("handler")
    table.callers.add("another")
    assert not table.is_empty
    table.callers.add("handler")
    assert table.is_empty


def test_what_holds_too_much_is_told_and_sessions_are_looked_at_as_long_as_any_lives(table):
    first, second = add(table, Acceptor(1), Acceptor(2))
    table.registry.to_evict = [(first.session, ["ended"]), (SimpleNamespace(id=b"gone"), [])]
    assert table.evict(0.0) is True
    assert first.told == ["ended"]
    for acceptor in (first, second):
        table.retire(acceptor, 0.5)
    assert table.evict(1.0) is False


def test_what_makes_room_for_a_new_session_is_told(table):
    (first,) = add(table, Acceptor(1))
    table.registry.to_evict = [(first.session, ["ended"])]
    table.tell_evicted()
    assert first.told == ["ended"]


AWAY = (1001, "going away")


def test_draining_goes_in_three_steps(table):
    served, wrapped, detached, closing = add(
        table,
        Acceptor(1, handling="handler"),
        Acceptor(2),
        Acceptor(3, handling="another", attached=False),
        Acceptor(4, attached=False, closing=True),
    )
    stopped = []
    steps = table.drain(1.2, lambda: stopped.append("handlers"))
    assert next(steps) == IDLE_LOOK_INTERVAL
    assert served.told == detached.told == [("finish", *AWAY)]
    assert wrapped.told == closing.told == [("close", *AWAY)]
    late = add(table, Acceptor(5))[0]  # it resumed, or was being greeted
    assert next(steps) == pytest.approx(0.1)  # after half of the time, handlers are stopped
    assert stopped == []

    assert next(steps) == CLOSING
    assert stopped == ["handlers"]
    assert detached.told[1:] == [("abort", *AWAY)]
    assert not served.told[1:]
    assert not closing.told[1:]

    assert next(steps) == TASKS_END
    for acceptor in (served, wrapped, closing):
        assert acceptor.told[-1] == ("abort", *AWAY)
    assert late.told == []
    assert list(steps) == []


@pytest.mark.parametrize("timeout", [0, 0.4, 1, 10, 60])
def test_draining_keeps_its_bound(table, timeout):
    seconds = sum(table.drain(timeout, list))
    assert timeout <= seconds + 1e-9
    assert seconds <= (timeout + 1e-9 if timeout >= 8 else timeout + 4)


def test_a_drain_ends_sessions_that_only_wait_for_their_peer(table):
    attached, gone, busy, wrapped_and_gone, wrapped, ended = add(
        table,
        Acceptor(1, handling="handler", at_rest=True),
        Acceptor(2, handling="handler", at_rest=True, attached=False),
        Acceptor(3, handling="handler"),
        Acceptor(4, attached=False, closing=True, rests=True),
        Acceptor(5, closing=True, rests=True),
        Acceptor(6, handling="handler", ended="ended", attached=False, at_rest=True),
    )
    steps = table.drain(10, list)
    next(steps)
    for acceptor in (attached, gone, busy, wrapped_and_gone, wrapped, ended):
        assert len(acceptor.told) == 1
    next(steps)
    assert attached.told[1:] == [("close", *AWAY)]
    assert gone.told[1:] == wrapped_and_gone.told[1:] == [("abort", *AWAY)]
    for acceptor in (busy, wrapped, ended):
        assert len(acceptor.told) == 1
    attached.session.closing = True
    next(steps)
    assert len(attached.told) == 2


def test_with_the_registry_of_the_core():
    table = SessionTable(SessionRegistry(1, Config(), None))
    assert table.evict(0.0) is False
    table.begin_drain()
    assert table.registry.draining
