"""Who is told what, and how a session ends: with workers that only take notes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from reliable_ws import Config, Methods
from reliable_ws.driver.rpc_client import OpenRequest, OpenRequests
from reliable_ws.driver.rpc_server import RunningRequest, RunningRequests
from reliable_ws.driver.session_driver import SessionDriver
from reliable_ws.protocol.events import (
    Arrived,
    Cancelled,
    Confirmed,
    Detached,
    Eased,
    Ended,
    Faulted,
    Granted,
    Itemized,
    Opened,
    PeerFinished,
    Replied,
    Requested,
    Settled,
)
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session


class Notes(list):
    """What was called, in order."""

    def of(self, name):
        return lambda *values: self.append((name, *values))


class Running(RunningRequest):
    def wake(self):
        pass


class Server(RunningRequests[Running]):
    def __init__(self, session, notes):
        methods = Methods()
        methods.register(lambda: None, name="work")
        super().__init__(session, methods)
        self.notes = notes
        self.fault = notes.of("fault")

    def start(self, event, method):
        self.running = {**self.running, event.id: Running(event.credit)}
        self.notes.append(("start", method.name))

    def cancelled(self, event):
        self.notes.append(("cancelled", event.id))

    def abort(self):
        self.turn_away()
        self.notes.append(("stop handlers",))

    def end(self, number):
        self._ended(number)
        if self.on_idle is not None and not self.running:
            self.on_idle()


class Asked(OpenRequest):
    def wake(self):
        self.woken.append("woken")


class Client(OpenRequests[OpenRequest]):
    def __init__(self, session, notes):
        super().__init__(session)
        self.admit = notes.of("admit")
        self.settle = notes.of("settle requests")


class Driver(SessionDriver):
    def __init__(self, *, resumable=True, grace=0.0, **config):
        session = Session("initiator", bytes(16), bytes(32), 0.0, Config(**config), None)
        notes = self.notes = Notes()
        sender = SimpleNamespace(
            confirmed=notes.of("confirmed"),
            settled=notes.of("all known"),
            try_again=notes.of("try again"),
        )
        receiver = SimpleNamespace(
            waiters=SimpleNamespace(notify=notes.of("arrived")), wake_if_over=notes.of("over?")
        )
        pump = SimpleNamespace(
            after_step=notes.of("after step"),
            after_events=notes.of("after events"),
            after_answers=notes.of("after answers"),
        )
        server = Server(session, notes)
        super().__init__(session, pump, sender, receiver, server, resumable=resumable)
        self.GRACE = grace
        self.time = 0.0
        self.timers = []
        self.notify = lambda name, *_: notes.append(("told", name))

    def now(self):
        return self.time

    def call_at(self, when, call):
        timer = SimpleNamespace(when=when, call=call, cancel=lambda: self.timers.remove(timer))
        self.timers.append(timer)
        return timer

    def pass_until(self, when):
        """Let time pass; at its end what is due is called."""
        self.time = when
        for timer in [timer for timer in self.timers if timer.when <= when]:
            timer.call()

    def changed(self):
        self.notes.append(("changed",))

    def drop_transport(self):
        self.notes.append(("drop transport",))

    def happens(self, *events):
        """Return what was called for these events."""
        self.notes.clear()
        self.dispatch(list(events))
        return list(self.notes)


def ask(driver, number=1):
    driver.dispatch([Requested(number, "work", b"", None, 0)])
    driver.notes.clear()


# ------------------------------------------------------------------ what happened


@pytest.mark.parametrize(
    ("event", "call", "then"),
    [
        (Arrived(3), ("arrived", 3), "after events"),
        (Confirmed(7), ("confirmed", 7), "after step"),
    ],
)
def test_messages_are_for_the_sender_and_the_receiver(event, call, then):
    """Whoever goes on after a confirmation sends by itself: nothing is to be written for that."""
    assert Driver().happens(event) == [call, (then,)]


def test_nothing_at_all_is_a_step_too():
    assert Driver().happens() == [("after step",)]


@pytest.mark.parametrize(
    "event", [Replied(1, b"\x01"), Faulted(1, "code", "words", b""), Itemized(1, b"\x01")]
)
def test_answers_wake_whoever_asked_and_let_the_next_one_ask(event):
    driver = Driver()
    driver.rpc_client = Client(driver.session, driver.notes)
    woken = []
    request = Asked("method", None, b"", 6)
    request.woken = woken
    driver.rpc_client._open[1] = request
    assert driver.happens(event) == [("after step",)]
    assert woken == ["woken"]
    driver.rpc_client.has_waiters = True
    assert driver.happens(event) == [("admit",), ("after step",)]


def test_requests_are_for_the_server():
    driver = Driver()
    assert driver.happens(Requested(1, "work", b"", None, 5)) == [
        ("start", "work"),
        ("after step",),  # the answer of a lone handler is sent when it ends
    ]
    driver.dispatch([Granted(1, 99)])
    assert driver.rpc_server.running[1].granted == 99
    assert driver.happens(Cancelled(1)) == [("cancelled", 1), ("after events",)]


def test_several_handlers_answer_together():
    driver = Driver()
    driver.happens(Requested(1, "work", b"", None, 0))
    assert driver.happens(Requested(2, "work", b"", None, 0))[-1] == ("after events",)


def test_a_request_whose_time_is_up_is_not_run():
    driver = Driver()
    driver.time = 10.0
    assert driver.happens(Requested(1, "work", b"", 9.0, 0))[0][0] == "fault"
    assert driver.happens(Requested(2, "work", b"", 11.0, 0))[0] == ("start", "work")


def test_eased_wakes_streams_and_the_peers_last_word_requests():
    driver = Driver()
    driver.rpc_server.eased = driver.notes.of("eased")
    assert ("eased", driver.time) in driver.happens(Eased())
    assert ("settle requests",) not in driver.happens(PeerFinished(1000, ""))
    driver.rpc_client = Client(driver.session, driver.notes)
    assert ("settle requests",) in driver.happens(PeerFinished(1000, ""))


@pytest.mark.parametrize(("resumed", "name"), [(False, "opened"), (True, "resumed")])
def test_an_opening_is_told(resumed, name):
    driver = Driver()
    assert driver.happens(Opened(resumed, 0)) == [
        ("told", name),
        ("changed",),
        ("after events",),
    ]
    assert driver.attempt_over


def test_when_all_is_settled_nobody_waits_and_handlers_stop():
    driver = Driver()
    driver.rpc_client = Client(driver.session, driver.notes)
    calls = driver.happens(Settled())
    assert calls[:3] == [("all known",), ("settle requests",), ("stop handlers",)]


def test_a_session_that_can_be_resumed_outlives_its_websocket():
    driver = Driver()
    driver.happens(Opened(False, 0))
    assert ("told", "detached") in driver.happens(Detached(1006, "", 5.0))
    assert driver.attempt_over
    assert driver.retry == 5.0
    assert not driver.session.ended


def test_one_that_cannot_ends_with_it_and_all_of_that_is_one_step():
    driver = Driver(resumable=False)
    driver.session.incarnation = 1
    driver.happens(Opened(False, 0))
    calls = driver.happens(Detached(1006, "", None))
    assert driver.session.ended.kind is End.LOST
    told = [call[1] for call in calls if call[0] == "told"]
    assert told == ["detached", "session_lost", "closed"]
    assert calls.count(("changed",)) == 1
    assert [call for call in calls if call[0].startswith("after ")] == calls[-1:]


def test_a_session_that_has_expired_drops_its_transport():
    driver = Driver()
    assert ("drop transport",) in driver.happens(Ended(Ending(End.EXPIRED, 4410, "")))
    assert ("drop transport",) not in Driver().happens(Ended(Ending(End.FINISHED, 1000, "")))


# ------------------------------------------------------------------ the end


def test_a_close_without_handlers_begins_at_once():
    driver = Driver()
    driver.rpc_client = Client(driver.session, driver.notes)
    driver.start_closing(4000, "bye", timeout=5)
    assert driver.session.closing
    assert driver.session.deadline == 5
    assert driver.rpc_server.closing
    assert not driver.timers
    for call in (("try again",), ("over?",), ("settle requests",), ("changed",)):
        assert call in driver.notes
    assert driver.notes[-1][0].startswith("after ")


def test_a_close_waits_for_handlers():
    driver = Driver()
    ask(driver)
    driver.start_closing(4000, "bye")
    assert not driver.session.closing
    assert driver.rpc_server.closing  # new ones are turned away
    driver.rpc_server.end(1)
    assert driver.session.closing
    assert not driver.timers
    assert driver.session.outbox.finish.code == 4000
    assert driver.rpc_server.on_idle is None


def test_a_close_gives_up_handlers_that_cannot_be_cancelled():
    driver = Driver()
    ask(driver)
    driver.start_closing(timeout=8)
    driver.pass_until(5.9)
    assert not driver.session.closing
    driver.pass_until(6)
    assert driver.session.closing
    assert driver.session.deadline == 8
    assert ("stop handlers",) not in driver.notes
    [(_, number, text)] = [call for call in driver.notes if call[0] == "fault"]
    assert (number, text.code) == (1, "cancelled")
    assert not driver.rpc_server.busy


def test_a_close_cancels_handlers_that_can_be_and_waits_a_little():
    driver = Driver(grace=1.0)
    ask(driver)
    driver.start_closing(timeout=8)
    driver.pass_until(6)
    assert ("stop handlers",) in driver.notes
    assert not driver.session.closing
    driver.pass_until(7)
    assert driver.session.closing
    assert not driver.timers


def test_a_handler_that_ends_when_it_is_cancelled_lets_the_close_go_on():
    driver = Driver(grace=1.0)
    ask(driver)
    driver.start_closing(timeout=8)
    driver.pass_until(6)
    driver.rpc_server.end(1)
    assert driver.session.closing
    assert not driver.timers


def test_a_second_close_joins_the_first_and_may_shorten_it():
    driver = Driver()
    ask(driver)
    driver.start_closing(4000, "first")
    driver.start_closing(4001, "second", timeout=8)
    assert [timer.when for timer in driver.timers] == [6]
    driver.pass_until(6)
    assert driver.session.outbox.finish.code == 4000
    driver.start_closing(timeout=1)
    assert driver.session.deadline == 7


def test_a_session_that_ends_meanwhile_is_not_closed():
    driver = Driver()
    ask(driver)
    driver.start_closing()
    driver.abort()
    assert not driver.timers
    assert driver.rpc_server.on_idle is None
    assert driver.session.ended.kind is End.ABORTED
    assert not [call for call in driver.notes if call[0] == "fault"]


def test_finish_turns_requests_away_and_sends_on():
    driver = Driver()
    driver.finish(1001, "going away")
    assert driver.rpc_server.closing
    assert not driver.session.closing
    assert driver.notes[-1] == ("try again",)


def test_abort_drops_the_transport():
    driver = Driver()
    driver.abort(4499, "no")
    assert driver.session.ended.kind is End.ABORTED
    assert driver.notes[-1] == ("drop transport",)


def test_in_a_forked_process_everything_ends_and_nothing_is_said():
    driver = Driver()
    ask(driver)
    driver.after_fork()
    assert driver.session.ended.kind is End.LOST
    assert driver.notes == [("stop handlers",), ("changed",)]
