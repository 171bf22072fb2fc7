"""``conn.explain()`` with threads: the same rules, and no lock that a caller could wait for."""

from __future__ import annotations

import threading

from reliable_ws import Config, Methods
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
