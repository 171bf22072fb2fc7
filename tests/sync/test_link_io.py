"""Who writes, in every order in which threads may come to it."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from reliable_ws import AlreadyServed, Config, NotReliablePeer, OutcomeUnknown, SessionLost
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.sync import Sessions, wrap
from reliable_ws.sync.link_io import LinkIO
from reliable_ws.sync.pump import SEND_AT_ONCE
from reliable_ws.transport import TransportClosed

from .conftest import SECONDS, Interrupting, pair, run, until
from .pipe import EagerPipe, Pipe, pipe


class Gate(EagerPipe):
    """Stops in ``send_now`` when told to, and then says that there is no room."""

    stop = False

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.stopped, self.go = threading.Event(), threading.Event()

    def send_now(self, data):
        if self.stop:
            self.stop = False
            self.stopped.set()
            assert self.go.wait(SECONDS)
            return False
        return super().send_now(data)


def test_the_writer_takes_over_from_a_thread_that_finds_no_room_while_others_wake_it():
    with pair(Gate) as (ours, theirs):
        gate = ours.websocket
        gate.stop = True
        writing = run(ours.send, 1)  # a lone message, written by its sender
        assert gate.stopped.wait(SECONDS)
        ours.send(2)  # wakes the writer, which has to wait for the other thread
        ours.send(3)
        gate.go.set()
        writing.result(SECONDS)
        assert [theirs.recv(timeout=SECONDS) for _ in range(3)] == [1, 2, 3]


class Signed(EagerPipe):
    """Notes how large what it sends is, and whether the writer sent it."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.notes = []

    def send_now(self, data):
        self.notes.append((len(data), False))
        return super().send_now(data)

    def send(self, data):
        if threading.current_thread().name == "reliable_ws":
            self.notes.append((len(data), True))
        super().send(data)


def test_what_is_enough_for_one_write_is_written_by_its_sender():
    with pair(Signed) as (ours, theirs):
        large = b"x" * SEND_AT_ONCE
        ours.send(large)  # alone
        ours.websocket.notes.clear()
        for _ in range(10):
            ours.send(large)
        assert [theirs.recv(timeout=SECONDS) for _ in range(11)] == [large] * 11
        ours.flush(timeout=SECONDS)
        by_sender = [size for size, by_writer in ours.websocket.notes if not by_writer]
        assert len([size for size in by_sender if size > SEND_AT_ONCE]) == 10


def test_messages_behind_a_write_of_their_sender_leave_though_nobody_wakes_the_writer():
    with pair(Signed) as (ours, theirs):
        for count in range(20):  # the writer dozes, or looks, or sleeps
            ours.send(b"x" * SEND_AT_ONCE)
            ours.send(count)
            ours.send(count)
            assert [theirs.recv(timeout=SECONDS) for _ in range(3)][1:] == [count, count]


def test_a_reader_sends_what_acks_have_made_room_for():
    config = Config(window_messages=8)
    with pair(Signed, config=config) as (ours, theirs):
        sending = run(lambda: [ours.send(number) for number in range(100)])
        assert [theirs.recv(timeout=SECONDS) for _ in range(100)] == list(range(100))
        sending.result(SECONDS)
        ours.flush(timeout=SECONDS)


def test_the_reader_goes_on_while_the_writer_is_stuck():
    with pair(Pipe) as (ours, theirs):
        ours.websocket.freeze()
        for number in range(10):
            ours.send(number)
            theirs.send(number)
        assert [ours.recv(timeout=SECONDS) for _ in range(10)] == list(range(10))
        ours.websocket.thaw()
        assert [theirs.recv(timeout=SECONDS) for _ in range(10)] == list(range(10))


def test_a_peer_that_falls_silent_while_the_writer_is_stuck_is_given_up():
    config = Config(idle_timeout=0.3, session_ttl=0.3)
    with pair(Pipe, config=config) as (ours, theirs):
        for conn in (ours, theirs):
            conn.websocket.freeze()
        receipt = ours.send("lost")
        with pytest.raises(OutcomeUnknown):
            receipt.wait(SECONDS)
        with pytest.raises(SessionLost):
            ours.recv(timeout=SECONDS)


@pytest.mark.parametrize("verb", ["recv", "send", "send_now"])
def test_a_transport_that_raises_what_it_may_not_ends_and_nobody_hangs(verb, caplog):
    class Broken(EagerPipe):
        broken = False

        def recv(self):
            data = super().recv()
            if self.broken == "recv":
                raise ZeroDivisionError
            return data

        def send(self, data):
            if self.broken == "send":
                raise ZeroDivisionError
            super().send(data)

        def send_now(self, data):
            if self.broken == "send":
                return False
            if self.broken == "send_now":
                raise ZeroDivisionError
            return super().send_now(data)

    with pair(Broken) as (ours, theirs):
        ours.websocket.broken = verb
        theirs.send("x")
        receipt = ours.send("y")
        assert ours.wait_closed(SECONDS)
        with pytest.raises(OutcomeUnknown):
            receipt.wait(SECONDS)
        assert theirs.wait_closed(SECONDS)
    assert "failed" in caplog.text


def test_a_greeting_that_does_not_come_is_bounded():
    config = Config(open_timeout=0.2)
    for role in (0, 1):
        ours = pipe()[role]
        with pytest.raises(NotReliablePeer):
            wrap(ours, config=config)
        with pytest.raises(TransportClosed):
            ours.recv()


@pytest.mark.parametrize("options", [{}, {"resume_within": 60}, {"reopen": pipe}])
def test_a_network_that_is_lost_in_the_first_greeting_is_no_stranger(options):
    near, far = pipe()
    greeting = run(lambda: wrap(near, **options))
    far.recv()
    far.cut()
    with pytest.raises(SessionLost, match="the network was lost before the peer had greeted"):
        greeting.result(SECONDS)


def test_a_close_that_the_other_side_does_not_answer_is_bounded():
    with pair() as (ours, theirs):
        theirs.websocket.freeze()
        ours.send("x")
        with pytest.raises(OutcomeUnknown):
            ours.close(timeout=0.2)
        assert ours.close_code == 4410


def test_a_write_that_is_interrupted_costs_the_websocket_and_no_message():
    class Interrupted(EagerPipe):
        interrupts = False

        def send_now(self, data):
            if self.interrupts:
                self.interrupts = False
                raise KeyboardInterrupt  # by Ctrl-C, in the midst of a frame
            return super().send_now(data)

    sessions = Sessions()
    near, far = pipe(Interrupted)
    accepted = run(lambda: wrap(far, sessions=sessions))

    def reopen():
        another, other = pipe()
        run(lambda: wrap(other, sessions=sessions))
        return another

    ours = wrap(near, reopen=reopen)
    theirs = accepted.result(SECONDS)
    near.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        ours.send(1)
    ours.send(2)
    assert [theirs.recv(timeout=SECONDS) for _ in range(2)] == [1, 2]
    assert ours.stats.resumes == 1
    ours.abort()


def test_ctrl_c_as_a_write_ends_leaves_the_lock_taken():
    near, far = pipe()
    lock = Interrupting()
    link = SimpleNamespace(has_output=True, close_action=None, transmit=lambda _now: b"written")
    link_io = LinkIO(near, link, None, lock, list, confirm_timer=SimpleNamespace(due=NEVER))
    with pytest.raises(KeyboardInterrupt):
        link_io.flush()
    assert lock.locked()
    assert far.recv() == b"written"
    with pytest.raises(TransportClosed):
        far.recv()


def test_a_websocket_that_is_overtaken_while_it_takes_over_carries_nothing():
    sessions = Sessions()
    near, far = pipe(Gate)
    accepted = run(lambda: wrap(far, sessions=sessions))
    ours = wrap(near, resume_within=SECONDS)
    theirs = accepted.result(SECONDS)
    far.stop = True  # in the last word to the first one, which does not go by itself
    near.close = near.abort = lambda *_: None

    def resume():
        another, other = pipe()
        resumed = run(lambda: wrap(other, sessions=sessions))
        run(ours.resume, another)
        return resumed, another

    second, _ = resume()
    assert far.stopped.wait(SECONDS)
    third, websocket = resume()
    until(lambda: theirs.websocket is websocket.peer)
    far.go.set()
    with pytest.raises(AlreadyServed):
        second.result(SECONDS)
    theirs.send("x")
    assert ours.recv(timeout=SECONDS) == "x"
    assert theirs.websocket is websocket.peer
    ours.abort()
    with pytest.raises(AlreadyServed):
        third.result(SECONDS)


def test_a_transport_that_cannot_be_closed_is_dropped(caplog):
    class Broken(EagerPipe):
        def close(self, code=1000, reason=""):
            raise ZeroDivisionError

    with pair(Broken) as (ours, theirs):
        closing = run(ours.close)
        theirs.close()
        closing.result(SECONDS)
    assert "a transport failed" in caplog.text
