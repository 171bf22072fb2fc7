"""What happens while the system has no more threads to give."""

from __future__ import annotations

import threading

import pytest

from reliable_ws import Methods
from reliable_ws.sync import thread_pool
from reliable_ws.sync.timers import call_at

from .conftest import SECONDS, pair, run
from .pipe import EagerPipe, Pipe


class Scarcity:
    """How many threads will be refused."""

    left = 0


@pytest.fixture
def scarcity(monkeypatch):
    call_at(0, int)  # the clock has its thread already
    scarcity = Scarcity()
    really_start = threading.Thread.start

    def start(thread):
        if scarcity.left and thread.name == "reliable_ws":
            scarcity.left -= 1
            raise RuntimeError("can't start new thread")
        really_start(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return scarcity


@pytest.mark.parametrize("kind", [Pipe, EagerPipe])
def test_a_session_waits_for_its_threads(scarcity, kind):
    scarcity.left = 5
    with pair(kind) as (ours, theirs):
        receipt = ours.send("x")
        assert theirs.recv(timeout=SECONDS) == "x"
        receipt.wait(SECONDS)
    assert not scarcity.left


def test_a_request_waits_for_a_thread_to_run_it(scarcity, monkeypatch):
    methods = Methods()
    methods.register(lambda: "done", name="work")
    monkeypatch.setattr(thread_pool, "work", thread_pool.ThreadPool().work)  # nobody is idle there
    with pair(methods=methods) as (ours, _):
        scarcity.left = 3
        assert ours.request("work", timeout=SECONDS) == "done"
    assert not scarcity.left


def test_an_end_waits_for_a_thread_to_be_told(scarcity):
    told = threading.Event()

    def on_event(event):
        if event.name == "closed":
            told.set()

    with pair(on_event=on_event) as (ours, theirs):
        closing = run(theirs.close)
        scarcity.left = 3
        ours.close(timeout=SECONDS)
        closing.result(SECONDS)
        assert told.wait(SECONDS)
