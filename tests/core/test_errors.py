"""One tree of errors of our own; a report in one line."""

from __future__ import annotations

import inspect

import pytest

from reliable_ws.protocol import errors
from reliable_ws.protocol.errors import (
    ConnectionClosedError,
    ConnectionClosedOK,
    DeliveryError,
    KeyExists,
    MethodNotFound,
    NotTaken,
    OutboxFull,
    OutcomeUnknown,
    ProtocolViolation,
    ReliableWSError,
    RemoteError,
    RequestTimeout,
    ServerBusy,
    SessionLost,
    StoreSlow,
    closed,
)
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.report import End, Ending, Outcome, Report, Undelivered
from reliable_ws.protocol.session import Session

NOT_TAKEN = Undelivered(2, Outcome.NOT_TAKEN, "b")
UNKNOWN = Undelivered(3, Outcome.UNKNOWN, "c")
PENDING = Undelivered(4, Outcome.PENDING, "d")
ENDING = Ending(End.EXPIRED, 4410, "no contact")


def test_every_public_error_is_of_our_tree():
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert inspect.isclass(kind)
        assert issubclass(kind, ReliableWSError) or name == "Violation"


def test_a_report_counts():
    report = Report(4, 1, (NOT_TAKEN, UNKNOWN, PENDING))
    assert [report.count(outcome) for outcome in Outcome] == [1, 1, 1, 1, 0, 0, 0]
    assert not report.final
    assert Report(3, 1, (NOT_TAKEN, UNKNOWN)).final


def test_a_report_is_one_line():
    report = Report(4, 1, (NOT_TAKEN, UNKNOWN), ENDING)
    assert str(report) == (
        "4 sent, 1 confirmed, 1 not taken, 1 unknown; expired (4410, 'no contact')"
    )
    assert str(Report(1, 1)) == "1 sent, 1 confirmed"


def test_the_peers_words_are_escaped():
    """They end in logs."""
    assert str(Ending(End.REFUSED, 4410, "\x1b[0m\n")) == "refused (4410, '\\x1b[0m\\n')"
    assert str(Ending(End.FINISHED, 1000, "")) == "finished (1000)"


def test_an_unknown_session_is_explained():
    """What a client is told with code 4404 it cannot look into: a page says where to look."""
    words = str(Ending(End.REFUSED, 4404, "no such session here"))
    assert words.startswith("refused (4404, 'no such session here'): the server was restarted")
    assert words.endswith("another worker or server has it (docs/proxies.md)")


def test_a_delivery_error_says_the_worst():
    assert type(DeliveryError.of(Report(3, 1, (NOT_TAKEN,)))) is NotTaken
    assert type(DeliveryError.of(Report(3, 1, (NOT_TAKEN, UNKNOWN)))) is OutcomeUnknown
    assert str(DeliveryError.of(Report(2, 1, (NOT_TAKEN,)))).endswith("first: number 2")
    assert str(NotTaken(Report(0, 0))) == "0 sent, 0 confirmed"


@pytest.mark.parametrize(
    ("kind", "code", "error"),
    [
        (End.FINISHED, 1000, ConnectionClosedOK),
        (End.FINISHED, 1001, ConnectionClosedOK),
        (End.FINISHED, 1011, ConnectionClosedError),
        (End.ABORTED, 4499, ConnectionClosedError),
        (End.VIOLATION, 4422, ProtocolViolation),
        (End.REFUSED, 4404, SessionLost),
        (End.EXPIRED, 4410, SessionLost),
        (End.SUPERSEDED, 4409, SessionLost),
        (End.LOST, 1009, SessionLost),
    ],
)
def test_each_end_has_its_exception(kind, code, error):
    ending = Ending(kind, code, "why")
    raised = closed(ending, Report(0, 0, (), ending))
    assert type(raised) is error
    assert (raised.code, raised.reason) == (code, "why")
    assert isinstance(raised, ConnectionError)


def test_a_closed_half_says_so_before_the_session_has_ended():
    raised = closed(Ending(End.FINISHED, 1000, ""), Report(2, 2))
    assert str(raised) == "session finished (1000): 2 sent, 2 confirmed"


def test_what_a_request_raises_says_what_is_known():
    """CALL-11"""
    assert str(RemoteError("failed", "no luck", [1])) == "failed: no luck"
    assert str(MethodNotFound("method-not-found")) == "method-not-found"
    assert RemoteError("failed", data=[1]).data == [1]
    timeouts = [RequestTimeout("add", taken=taken) for taken in (True, False, None)]
    assert [error.taken for error in timeouts] == [True, False, None]
    assert all(isinstance(error, TimeoutError) for error in timeouts)
    assert len({str(error) for error in timeouts}) == 3


def test_a_session_that_the_driver_ends_says_what_ended_it():
    """The cause is the exception of the driver, and the first end stands."""
    session = Session("initiator", bytes(16), bytes(32), 0.0)
    why = ValueError("in use")
    session.end(0.0, Ending(End.LOST, 1006, "no other WebSocket"), why)
    session.end(0.0, Ending(End.LOST, 1006, "again"), ValueError("again"))
    assert session.error().__cause__ is why


def test_a_code_is_shown_as_its_number():
    assert repr(Code.ENDED) == f"{Code.ENDED}" == "4410"


def test_a_busy_peer_says_when_to_come_again():
    ending = Ending(End.REFUSED, 4529, "too many sessions")
    error = ServerBusy(ending, Report(0, 0), 2.5)
    assert error.retry_after == 2.5
    assert "after 2.5 s" in str(error)
    assert "after" not in str(ServerBusy(ending, Report(0, 0)))


def test_errors_of_stores_carry_what_goes_on():
    slow = StoreSlow("not in time", "receipt")
    assert isinstance(slow, TimeoutError)
    assert slow.receipt == "receipt"
    known = KeyExists("k", (b"id", 1, b"facts"))
    assert (known.key, known.found) == ("k", (b"id", 1, b"facts"))
    assert "'k'" in str(known)


def test_a_message_behind_others_says_how_many_wait():
    error = errors.behind(3)
    assert isinstance(error, OutboxFull)
    assert str(error).startswith("3 callers of send() wait for room")
