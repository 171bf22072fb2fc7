"""``conn.explain()`` with threads: the same rules, and no lock that a caller could wait for."""

from __future__ import annotations

import threading

from reliable_ws import Config, Methods
from reliable_ws.driver import stalls
from tests.support.inside import driver_of

from .conftest import SECONDS, pair, run, until


def test_what_waits_for_whom():
    entered, go_on = threading.Event(), threading.Event()
    methods = Methods()

    @methods.register
    def add() -> None:
        entered.set()
        go_on.wait(SECONDS)

    with pair(methods=methods) as (ours, theirs):
        ours.send("x")
        asked = run(lambda: ours.request("add"))
        entered.wait(SECONDS)
        until(lambda: theirs.stats.received == 1)
        kinds = [(reason.kind, reason.waits_for) for reason in theirs.explain().reasons]
        assert kinds == [("not-taken-here", "application"), ("handler", "application")]
        assert "the handler of 'add' runs" in str(theirs.explain())
        assert "request 'add' waits for its answer" in str(ours.explain())
        with driver_of(ours).lock:  # what is asked while it is held does not wait for it
            assert "'add'" in str(ours.explain())
            assert repr(ours).startswith("<Connection ")
        go_on.set()
        asked.result(SECONDS)
        theirs.recv(timeout=SECONDS)
        until(lambda: str(ours.explain()) == "nothing waits")


def test_a_full_outbox():
    with pair(config=Config(window_messages=2)) as (ours, theirs):
        ours.send("1")
        ours.send("2")
        sending = run(lambda: ours.send("3"))
        until(lambda: "the outbox is full" in str(ours.explain()))
        assert theirs.recv(timeout=SECONDS) == "1"
        sending.result(SECONDS)


def test_an_application_that_stopped_taking_is_logged_at_its_own_side(monkeypatch, caplog):
    monkeypatch.setattr(stalls, "READER_STOPPED_AFTER", 0.01)
    monkeypatch.setattr(stalls, "STALL_LOOK_INTERVAL", 0.01)
    config = Config(window_messages=2, outbox_messages=9, idle_timeout=1.0)
    with pair(config=config) as (ours, theirs):
        for number in range(3):
            ours.send(number)
        until(lambda: "2 messages wait here and fill the window" in caplog.text)
        assert [theirs.recv(timeout=SECONDS) for _ in range(3)] == [0, 1, 2]
