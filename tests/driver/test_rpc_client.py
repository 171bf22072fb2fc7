"""Requests of ours that are open: who is admitted, and what becomes of each."""

from __future__ import annotations

import math

import msgpack
import pytest

from reliable_ws import (
    Config,
    ConnectionClosed,
    InvalidParams,
    MethodNotFound,
    NotTaken,
    OutcomeUnknown,
    RemoteError,
)
from reliable_ws.driver.rpc_client import (
    STREAM_CREDIT,
    OpenRequest,
    OpenRequests,
    request_deadline,
)
from reliable_ws.protocol.config import HIGHEST
from reliable_ws.protocol.events import Faulted, Itemized, Replied, Requested
from reliable_ws.protocol.frames import EXT_VALUE
from tests.support.pair import Pair


class Request(OpenRequest):
    woken = 0

    def wake(self):
        self.woken += 1


class Client(OpenRequests[Request]):
    def ask(self, method="work", params="x", *, by=None, credit=0):
        request = Request(method, params, *self.seal(method, params))
        return self.open(request, by, credit), request


@pytest.fixture
def pair():
    both = Pair(Config(max_requests=2))
    both.connect()
    return both


@pytest.fixture
def client(pair):
    return Client(pair.client)


def dispatch(pair, client):
    """Let everything arrive that was sent, and hand it to whoever asked."""
    pair.run()
    for event in pair.client_events:
        if isinstance(event, Replied):
            client.replied(event)
        elif isinstance(event, Faulted):
            client.faulted(event)
        elif isinstance(event, Itemized):
            client.itemized(event)
    pair.client_events.clear()


@pytest.mark.parametrize(
    ("timeout", "by"), [(None, None), (2, 12), (0, 10), (HIGHEST, None), (math.inf, None)]
)
def test_when_a_request_is_over(timeout, by):
    assert request_deadline(10, timeout) == by


def test_a_reply_is_handed_to_whoever_asked(pair, client):
    number, request = client.ask(params="question")
    pair.run()
    assert [event for event in pair.server_events if isinstance(event, Requested)] == [
        Requested(number, "work", "question", None, 0)
    ]
    pair.server.reply(number, "answer", 10)
    dispatch(pair, client)
    assert request.woken == 1
    assert client.result(number, request) == "answer"


def test_what_comes_for_a_request_that_nobody_waits_for_is_dropped(client):
    client.replied(Replied(7, "late"))
    client.faulted(Faulted(7, "late", "", b""))
    client.itemized(Itemized(7, "late"))


@pytest.mark.parametrize(
    ("code", "payload", "kind"),
    [
        ("method-not-found", b"", MethodNotFound),
        ("invalid-params", b"", InvalidParams),
        ("mine", b"", RemoteError),
        ("closing", b"", NotTaken),
        ("timeout", b"", TimeoutError),
        ("closing", "with data", RemoteError),
    ],
)
def test_a_fault_is_raised(pair, client, code, payload, kind):
    number, request = client.ask()
    pair.run()
    pair.server.fault(number, code, "words", payload)
    dispatch(pair, client)
    with pytest.raises(kind) as raised:
        client.result(number, request)
    if isinstance(raised.value, RemoteError):
        assert raised.value.code == code
        assert raised.value.data == (payload or None)


def test_data_that_cannot_be_decoded_is_left_out(pair, client):
    number, request = client.ask()
    request.answer = Faulted(number, "mine", "words", msgpack.ExtType(EXT_VALUE, b"\xc1"))
    with pytest.raises(RemoteError) as raised:
        client.result(number, request)
    assert raised.value.data is None


def test_items_wait_until_they_are_taken(pair, client):
    number, request = client.ask(credit=STREAM_CREDIT)
    pair.run()
    for item in ("one", "two"):
        pair.server.item(number, item, 9)
    dispatch(pair, client)
    assert request.woken == 2
    assert [request.take() for _ in range(2)] == [("one", 0), ("two", 0)]


def test_there_is_room_for_as_many_as_the_peer_takes(pair, client):
    waiting = Request("work", "x", "x", 7)
    assert client.is_admitted(waiting)
    numbers = [client.ask()[0] for _ in range(2)]
    assert not client.is_admitted(waiting)
    pair.run()
    pair.server.reply(numbers[0], "answer", 10)
    dispatch(pair, client)
    assert client.is_admitted(waiting)


def test_one_that_waits_is_let_go_on_when_it_can_only_fail(pair, client):
    waiting = Request("work", "x", "x", 7)
    for _ in range(2):
        client.ask()
    pair.client.close(pair.now)
    assert client.is_admitted(waiting)
    with pytest.raises(ConnectionClosed):
        client.check(waiting)


def test_no_answer_can_come_after_a_finish(pair, client):
    pair.client.finish(pair.now)
    with pytest.raises(NotTaken, match="'work' never reached"):
        client.check(Request("work", "x", "x", 7))


def test_a_peer_that_takes_no_requests(pair, client):
    pair.client.outgoing_calls.limit = 0  # it is of another version
    with pytest.raises(NotTaken, match="does not take requests"):
        client.check(Request("work", "x", "x", 7))


@pytest.mark.parametrize("wrong", [b"work", 5, None])
def test_a_name_is_text(pair, client, wrong):
    """The peer would end the session."""
    with pytest.raises(TypeError, match="a method's name must be a str, not"):
        client.ask(wrong)
    client.ask()
    pair.run()
    assert isinstance(pair.server_events[-1], Requested)


def test_names_have_a_length(client):
    client.seal("ä" * 127, None)
    with pytest.raises(ValueError, match="255 bytes"):
        client.seal("ä" * 128, None)


def test_a_timeout_says_what_is_known(pair, client):
    waiting = Request("work", "x", "x", 7)
    assert client.not_admitted(waiting).taken is False
    number, _request = client.ask()
    assert client.timed_out(number, "work").taken is False  # it was taken back
    assert client.drop(number) is False
    number, _request = client.ask()
    pair.run()
    pair.advance(1)  # its arrival is acknowledged
    assert client.timed_out(number, "work").taken is True
    number, _request = client.ask()
    pair.wire.session.link.transmit(pair.now)
    assert client.timed_out(number, "work").taken is None


def test_what_has_no_answer_fails_when_none_can_come(pair, client):
    arrived, asked = client.ask("arrived")
    answered, has_answer = client.ask("answered")
    pair.run()
    pair.server.reply(answered, "answer", 10)
    dispatch(pair, client)
    unsent, never_sent = client.ask("unsent")
    pair.client.abort(pair.now)
    client.settle()
    assert client.result(answered, has_answer) == "answer"
    with pytest.raises(OutcomeUnknown, match="'arrived' has no answer"):
        client.result(arrived, asked)
    with pytest.raises(NotTaken, match=r"'unsent' never reached .*; aborted"):
        client.result(unsent, never_sent)


def test_while_one_can_come_nothing_fails(pair, client):
    _number, request = client.ask()
    pair.run()
    client.settle()
    assert request.answer is None
