"""Requests of the peer that run, and ours that are open, whatever waits for them."""

from __future__ import annotations

import logging
from collections import deque
from types import SimpleNamespace

import pytest

from reliable_ws import Config, MessageTooLarge, Methods, RemoteError
from reliable_ws.driver.log_limit import BURST
from reliable_ws.driver.rpc_client import STREAM_CREDIT, OpenRequest
from reliable_ws.driver.rpc_server import RunningRequest, RunningRequests
from reliable_ws.protocol.events import Cancelled, Granted, Requested
from reliable_ws.protocol.payload import MsgpackCodec, seal
from reliable_ws.protocol.session import Session


class Answers:
    """A session, as far as answers go into it."""

    id = bytes(16)

    def __init__(self):
        self.faults = []
        self.call_queue = SimpleNamespace(crowded=False, weight=0, most_held=100)

    def fault(self, number, code, message, payload):
        self.faults.append((number, code))


class Running(RunningRequest):
    woken = 0

    def wake(self):
        self.woken += 1


class Server(RunningRequests[Running]):
    def __init__(self, methods):
        super().__init__(Session("acceptor", bytes(16), bytes(32), 0.0, Config(), None), methods)
        self._session = self.calls = Answers()
        self.begun = []

    def start(self, event, method):
        self.running = {**self.running, event.id: Running(event.credit)}
        self.running[event.id].worker = f"worker {event.id}"
        self.begun.append(event.id)

    def cancelled(self, event):
        self._ended(event.id)
        self.keep_place(event.id)

    def abort(self):
        self.turn_away()


@pytest.fixture
def server():
    methods = Methods()
    methods.register(lambda: None, name="work")
    return Server(methods)


def request(number, method="work", *, by=None, credit=0):
    return Requested(number, method, b"", by, credit)


def test_a_request_is_run_or_turned_away(server):
    server.requested(request(1), 0.0)
    server.requested(request(2, "other"), 0.0)
    server.requested(request(3, by=5.0), 5.0)
    server.turn_away()
    server.requested(request(4), 0.0)
    assert server.begun == [1]
    assert server.busy
    assert server.calls.faults == [(2, "method-not-found"), (3, "timeout"), (4, "closing")]


class TestPostponed:
    """CALL-45: while many bytes of answers are not received, no handler starts."""

    @pytest.fixture(autouse=True)
    def crowded(self, server):
        server.requested(request(1), 0.0)
        server.calls.call_queue.weight = 100
        for number in (2, 3, 4):
            server.requested(request(number, by=5.0), 0.0)
        assert server.begun == [1]

    def test_they_start_when_the_peer_has_received_some(self, server):
        """CALL-45"""
        server.calls.call_queue.weight = 99
        server.eased(0.0)
        assert server.begun == [1, 2, 3, 4]
        assert not server._postponed

    def test_as_many_as_there_is_room_for(self, server):
        really_start = server.start

        def start(event, method):
            really_start(event, method)
            server.calls.call_queue.weight = 100  # it has answered

        server.start = start
        server.calls.call_queue.weight = 0
        server.eased(0.0)
        assert server.begun == [1, 2]
        assert [event.id for event in server._postponed] == [3, 4]

    def test_their_time_may_run_out_meanwhile(self, server):
        server.calls.call_queue.weight = 0
        server.eased(5.0)
        assert server.begun == [1]
        assert server.calls.faults == [(2, "timeout"), (3, "timeout"), (4, "timeout")]

    def test_what_is_cancelled_is_not_run(self, server):
        server.cancel(Cancelled(3))
        server.cancel(Cancelled(1))
        assert server.calls.faults == [(3, "cancelled")]
        assert not server.running
        server.calls.call_queue.weight = 0
        server.eased(0.0)
        assert server.begun == [1, 2, 4]

    def test_a_close_turns_them_away(self, server):
        server.turn_away()
        assert server.calls.faults == [(2, "closing"), (3, "closing"), (4, "closing")]
        assert not server._postponed


def test_a_stream_goes_on_with_credit_and_room(server):
    server.requested(request(1, credit=100), 0.0)
    running = server.running[1]
    assert server.may_send(running)
    running.sent = 100
    assert not server.may_send(running)
    server.granted(Granted(1, 200))
    assert running.woken == 1
    assert server.may_send(running)
    server.granted(Granted(1, 150))  # of an older frame
    assert running.granted == 200
    server.calls.call_queue.crowded = True
    assert not server.may_send(running)
    server.calls.call_queue.crowded = False
    server.eased(0.0)
    assert running.woken == 3
    server.granted(Granted(9, 5))  # it has ended


def test_what_is_no_stream_is_not_woken(server):
    server.requested(request(1), 0.0)
    server.eased(0.0)
    assert server.running[1].woken == 0


def test_a_stream_that_is_over_goes_on_in_order_to_end(server):
    server.requested(request(1, credit=1), 0.0)
    running = server.running[1]
    running.sent = 1
    server.give_up("why")
    assert running.over
    assert running.woken == 1
    assert server.may_send(running)
    assert not server.busy


def test_one_that_closes_its_connection_is_not_waited_for(server):
    for number in (1, 2):
        server.requested(request(number), 0.0)
    server.release(None)
    server.release("a stranger")
    assert len(server.running) == 2
    server.release(server.running[1].worker)
    assert list(server.running) == [2]
    assert server.calls.faults == [(1, "cancelled")]


def test_a_thread_that_nobody_waits_for_keeps_its_place_until_it_ends(server):
    server.requested(request(1), 0.0)
    server.cancelled(Cancelled(1))
    assert server.calls.faults == []
    server.free_place(1)
    server.free_place(1)
    assert server.calls.faults == [(1, "cancelled")]


def test_or_until_nothing_more_is_taken(server):
    for number in (1, 2):
        server.requested(request(number), 0.0)
    server.cancelled(Cancelled(1))
    server.turn_away()
    server.cancelled(Cancelled(2))
    assert server.calls.faults == [(1, "cancelled"), (2, "cancelled")]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RemoteError("mine", "words", [1]), "mine"),
        (RemoteError("", "words"), "error"),
        (RemoteError("mine", "words", object()), "mine"),
        (RemoteError("mine", "words", b""), "mine"),
        (ZeroDivisionError(), "internal"),
    ],
)
def test_what_a_handler_raises_becomes_a_fault(server, error, code):
    text = server.explain(request(1), error, 0.0)
    assert text.code == code
    assert "Traceback" not in text.message


def test_an_answer_that_the_peer_does_not_take_is_a_line_without_a_traceback(server, caplog):
    """Whatever the peer's limit is: it is no bug of the handler's."""
    server.principal = "ann"
    name = f"session {server._session.id.hex()[:8]} of 'ann'"
    assert server.explain(request(1), MessageTooLarge("9 bytes"), 0.0).code == "internal"
    [record] = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert record.getMessage() == f"{name}: the answer to 'work' cannot be sent: 9 bytes"


def test_lines_about_requests_that_fail_are_bounded(server, caplog):
    """A peer can ask for what fails without end, and one line tells how many it left out."""
    errors = [ZeroDivisionError(), MessageTooLarge("9 bytes")]
    for number in range(1000):
        server.explain(request(number), errors[number % 2], 0.0)
    assert len(caplog.records) == BURST
    for error in errors:
        server.explain(request(1), error, 10.0)
    assert "(and 980 more that were not logged)" in caplog.records[-2].getMessage()
    assert "not logged" not in caplog.records[-1].getMessage()


def test_a_reader_grants_more_when_it_has_taken_half():
    asked = OpenRequest("method", None, b"", 6)
    payload, _weight = seal(bytes(STREAM_CREDIT // 4), MsgpackCodec())
    asked.items = deque([payload] * 5)
    grants = [asked.take()[1] for _ in range(5)]
    assert [bool(total) for total in grants] == [False, True, False, True, False]
    assert grants[3] > grants[1] > STREAM_CREDIT
