"""How an initiator with threads comes to its next WebSocket."""

from __future__ import annotations

import threading

import pytest

from reliable_ws import AlreadyServed, Backoff, Config, DeliveryError, SessionLost, State
from reliable_ws.sync import Sessions, initiator, wrap
from reliable_ws.transport import TransportClosed

from .conftest import SECONDS, run, until
from .pipe import EagerPipe, pipe

AT_ONCE = Backoff(initial=0, longest=0)


class Server:
    """Opens pipes to its sessions."""

    def __init__(self):
        self.sessions = Sessions()

    def open(self):
        near, far = pipe()
        run(lambda: wrap(far, sessions=self.sessions))
        return near


def test_a_websocket_of_another_connection_is_not_taken_over(caplog):
    """Two sessions on one WebSocket would both be lost."""
    server = Server()
    near = server.open()
    first = wrap(near)
    begun = server.open()
    second = wrap(begun, reopen=lambda: near, reconnect=AT_ONCE)
    begun.cut()
    second.wait_closed(SECONDS)
    for use in (second.recv, lambda: second.send("x"), lambda: second.request("x")):
        with pytest.raises(SessionLost, match="the WebSocket is wrapped already") as lost:
            use()
        assert isinstance(lost.value.__cause__, ValueError)
    assert isinstance(caplog.records[-1].exc_info[1], ValueError)
    first.send("on it")
    peer = next(conn for conn in server.sessions.connections if conn.id == first.id)
    assert peer.recv(timeout=SECONDS) == "on it"
    first.abort()


def test_what_was_undelivered_then_says_why():
    server = Server()
    near, begun = server.open(), server.open()
    first, gate = wrap(near), threading.Event()

    def reopen():
        gate.wait(SECONDS)
        return near

    second = wrap(begun, reopen=reopen, reconnect=AT_ONCE)
    begun.cut()
    until(lambda: second.state is State.DETACHED)
    receipt = second.send("never taken")
    gate.set()
    for wait in (receipt.wait, second.flush, second.close):
        with pytest.raises(DeliveryError, match="the WebSocket is wrapped already") as undelivered:
            wait(timeout=SECONDS)
        assert isinstance(undelivered.value.__cause__, ValueError)
    first.abort()


def test_an_opening_that_hangs_is_given_up():
    server, gate, late = Server(), threading.Event(), []
    calls = []

    def reopen():
        calls.append(None)
        if len(calls) == 1:
            gate.wait(SECONDS)
            late.append(server.open())
            return late[0]
        return server.open()

    begun = server.open()
    ours = wrap(begun, reopen=reopen, reconnect=AT_ONCE, config=Config(open_timeout=0.05))
    begun.cut()
    until(lambda: ours.stats.resumes == 1)
    gate.set()
    until(lambda: late and late[0]._end)  # a WebSocket that comes too late is dropped
    ours.send("x")
    assert server.sessions.connections[0].recv(timeout=SECONDS) == "x"
    ours.abort()


def test_the_end_of_a_session_does_not_wait_for_an_opening_that_hangs():
    server, gate = Server(), threading.Event()
    hangs = threading.Event()

    def reopen():
        hangs.set()
        gate.wait(SECONDS)

    begun = server.open()
    ours = wrap(begun, reopen=reopen, reconnect=AT_ONCE)
    begun.cut()
    assert hangs.wait(SECONDS)
    ours.abort()
    assert ours.state is State.CLOSED
    gate.set()


@pytest.mark.parametrize("error", [OSError, TypeError, SystemExit, LookupError])
def test_whatever_opening_raises_it_is_tried_again(error):
    server, calls = Server(), []

    def reopen():
        calls.append(None)
        if len(calls) < 4:
            raise error
        return server.open()

    begun = server.open()
    ours = wrap(begun, reopen=reopen, reconnect=AT_ONCE)
    begun.cut()
    ours.send("x")
    until(lambda: len(calls) == 4)
    assert server.sessions.connections[0].recv(timeout=SECONDS) == "x"
    ours.abort()


def test_a_policy_that_would_end_its_thread_ends_the_session():
    server = Server()

    def policy(attempt):
        raise SystemExit

    begun, error = server.open(), OSError("no way")
    ours = wrap(begun, reopen=lambda: raising(error), reconnect=AT_ONCE, retry=policy)
    begun.cut()
    with pytest.raises(SessionLost, match="internal error"):
        ours.recv(timeout=SECONDS)


def raising(error):
    raise error


def test_one_handler_has_the_connection_whatever_websocket_carries_it():
    """A second one would take every other message, and close what the first one uses."""
    sessions, got, handling, wires = Sessions(), [], [], []

    def handle(far):
        with wrap(far, sessions=sessions) as conn:
            got.extend(conn)

    def reopen():
        near, far = pipe()
        wires.append(near)
        handling.append(run(handle, far))
        return near

    client = wrap(reopen(), reopen=reopen, reconnect=AT_ONCE)
    for number in range(6):
        client.send(number)
        client.flush(timeout=SECONDS)
        if not number % 3:
            wires[-1].cut()
    client.close()
    assert got == list(range(6))
    handling[0].result(SECONDS)
    assert len(handling) == 3
    for later in handling[1:]:
        with pytest.raises(AlreadyServed, match=r"Sessions\.handle"):
            later.result(SECONDS)


def resume_by_hand(client, server):
    """Resume both sides on another WebSocket, and see that it carries the session."""
    another, other = pipe()
    resumed = run(server.resume, other)
    client.resume(another)
    resumed.result(SECONDS)
    client.send("x")
    assert server.recv(timeout=SECONDS) == "x"
    client.abort()


class Unaware(EagerPipe):
    """One that does not notice its end before it is told to."""

    def __init__(self, *args):
        super().__init__(*args)
        self.notices = threading.Event()

    def recv(self):
        try:
            return super().recv()
        except TransportClosed:
            assert self.notices.wait(SECONDS)
            raise


def test_resume_by_hand_before_the_loss_of_the_older_websocket_was_noticed(monkeypatch):
    """Its end was taken for that of the new one: NotReliablePeer."""
    near, far = pipe(Unaware)
    started = []

    def start(work):
        if len(started) == 1:  # the second time: the older WebSocket's reader goes first
            near.notices.set()
            started[0].join(SECONDS)
        started.append(really_start(work))

    really_start = initiator.start
    monkeypatch.setattr(initiator, "start", start)
    sessions = Sessions()
    accepted = run(lambda: wrap(far, sessions=sessions))
    client = wrap(near, resume_within=SECONDS)
    server = accepted.result(SECONDS)
    near.cut()
    resume_by_hand(client, server)
    far.notices.set()


def test_resume_by_hand_at_the_server_returns_at_once():
    sessions = Sessions()
    near, far = pipe()
    accepted = run(lambda: wrap(far, sessions=sessions))
    client = wrap(near, resume_within=SECONDS)
    server = accepted.result(SECONDS)
    near.cut()
    resume_by_hand(client, server)
