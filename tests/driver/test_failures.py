"""Attempts that failed: what is repeated, what is final, and what is said."""

from __future__ import annotations

import logging
import ssl
from types import SimpleNamespace

import pytest

from reliable_ws import ConnectionClosed, NotReliablePeer, SessionLost
from reliable_ws.driver.failures import (
    ATTEMPTS,
    FEW,
    FailedAttempts,
    FailureKind,
    Stage,
    classify,
    describe,
    explain,
    retry_after,
)
from reliable_ws.protocol.report import End, Ending, Report
from reliable_ws.transport import TransportClosed

PASSING, REFUSED, OTHER, FINAL = FailureKind
NOTHING = Report(0, 0)


class HandshakeError(Exception):
    """As websockets raises it: the answer is in ``response``."""

    def __init__(self, status, headers=()):
        super().__init__(f"server rejected WebSocket connection: HTTP {status}")
        self.response = SimpleNamespace(status_code=status, headers=dict(headers))


def raised(error, cause=None, *, context=None):
    """An exception that was raised from another one, or while that was handled."""
    error.__cause__, error.__context__ = cause, context
    return error


def certificate_error():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


def tls_error(reason, kind=ssl.SSLError):
    error = kind(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


def refused(code):
    return ConnectionClosed(Ending(End.REFUSED, code, ""), NOTHING)


FAILURES = [
    (ConnectionRefusedError(111, "refused"), PASSING, "refused"),
    (TimeoutError(), PASSING, "no answer in time"),
    (ConnectionResetError(), PASSING, "was cut before the server had answered"),
    (tls_error("EOF", ssl.SSLEOFError), PASSING, "was cut"),
    (raised(Exception("no valid HTTP"), EOFError("ends")), PASSING, "is it a port with TLS"),
    (TransportClosed(1011, "no"), PASSING, "code 1011"),
    (certificate_error(), REFUSED, "not trusted: self-signed certificate"),
    (tls_error("WRONG_VERSION_NUMBER"), REFUSED, "TLS failed: WRONG_VERSION_NUMBER"),
    (HandshakeError(302, {"Location": "https://x/login?token=1"}), REFUSED, "'https://x/login'"),
    (
        raised(ValueError("no ws URI"), context=HandshakeError(301, {"Location": "/y"})),
        REFUSED,
        "HTTP 301, a redirect to '/y'",
    ),
    (RuntimeError("a\nb"), OTHER, "RuntimeError: a b"),
    (raised(ValueError("?"), ValueError("invalid HTTP status line")), OTHER, "ValueError: ?"),
    (refused(4529), PASSING, ""),
    (SessionLost(Ending(End.LOST, 1006, ""), NOTHING), PASSING, ""),
    (refused(4401), FINAL, ""),
    (NotReliablePeer("no Welcome"), FINAL, "no Welcome"),
]


@pytest.mark.parametrize(("error", "kind", "words"), FAILURES)
def test_what_an_attempt_failed_of(error, kind, words):
    assert classify(error) is kind
    assert words in describe(error)


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ((408, 425, 429, 500, 502, 503, 504, 520, 530, 599), PASSING),
        ((300, 302, 308, 401, 403, 407), REFUSED),
        ((200, 400, 404, 410, 426), OTHER),
    ],
)
def test_http_statuses(statuses, kind):
    for status in statuses:
        assert classify(HandshakeError(status)) is kind
        assert describe(HandshakeError(status)) == f"HTTP {status}"


def test_the_answer_is_found_where_other_libraries_have_it():
    aiohttp = raised(Exception(), None)
    aiohttp.status, aiohttp.headers = 429, {"Retry-After": "7"}
    assert (classify(aiohttp), retry_after(aiohttp)) == (PASSING, 7)
    tornado = raised(Exception(), None)
    tornado.code, tornado.response = 599, SimpleNamespace(code=302, headers={})
    assert classify(tornado) is REFUSED
    client = raised(Exception(), None)
    client.status_code, client.resp_headers = 403, {"retry-after": "8"}
    assert (classify(client), retry_after(client)) == (REFUSED, 8)


def test_what_was_handled_meanwhile_is_not_the_reason():
    error = raised(ConnectionRefusedError(), context=HandshakeError(403))
    assert classify(error) is PASSING


def test_a_peer_that_has_answered_before_may_only_be_slow():
    silent = raised(NotReliablePeer("no Welcome"), TimeoutError())
    assert classify(silent, Stage.FIRST) is FINAL
    assert classify(silent, Stage.NEXT) is PASSING


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        (
            {
                "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT",
                "Date": "Wed, 21 Oct 2026 07:27:30 GMT",
            },
            30,
        ),
    ],
)
def test_how_long_the_server_asks_to_wait(headers, seconds):
    assert retry_after(HandshakeError(503, headers)) == seconds


def test_an_exception_that_says_little_gets_a_note():
    cut, status, plain = ConnectionResetError(), HandshakeError(403), OSError("down")
    for error in (cut, status, plain):
        explain(error)
    (note,) = cut.__notes__
    assert note.startswith("reliable_ws: the connection was cut before the server had answered")
    assert not hasattr(status, "__notes__")
    assert not hasattr(plain, "__notes__")


def test_headers_that_raise_are_not_there():
    class Twice(dict):
        def get(self, name):
            raise LookupError(name)

    error = HandshakeError(503)
    error.response.headers = Twice(x=1)
    assert retry_after(error) is None


# ------------------------------------------------------------------ how often


def attempts(stage, error, count, policy=None):
    """Whether each of so many attempts in a row is final."""
    failures = FailedAttempts(stage, policy, "test")
    return [failures.is_final(failures.failed(error, float(now))) for now in range(count)]


def test_a_passing_failure_is_never_final():
    for stage in Stage:
        assert not any(attempts(stage, ConnectionRefusedError(), 100))


def test_a_refusal_is_final_at_once_or_after_a_few():
    assert attempts(Stage.FIRST, HandshakeError(403), 1) == [True]
    for stage in (Stage.NEXT, Stage.RESUMING):
        assert attempts(stage, HandshakeError(403), FEW) == [False] * (FEW - 1) + [True]


def test_what_is_unclear_is_repeated_as_long_as_the_session_lives():
    assert attempts(Stage.FIRST, HandshakeError(404), 1) == [True]
    assert attempts(Stage.NEXT, HandshakeError(404), FEW)[-1]
    assert not any(attempts(Stage.RESUMING, HandshakeError(404), 100))


def test_the_table_is_complete():
    for kind in FailureKind:
        assert set(ATTEMPTS[kind]) == set(Stage)


def test_a_success_begins_the_count_anew():
    failures = FailedAttempts(Stage.FIRST, None, "test")
    for _ in range(3):
        for _ in range(FEW - 1):
            failures.succeeded(Stage.RESUMING)
            assert not failures.failed(HandshakeError(401), 0.0).final


def test_a_policy_decides_otherwise():
    assert attempts(Stage.RESUMING, ConnectionRefusedError(), 1, lambda _: False) == [True]
    assert attempts(Stage.FIRST, HandshakeError(403), 9, lambda _: True) == [False] * 9
    assert attempts(Stage.FIRST, HandshakeError(403), 1, lambda _: None) == [True]


def test_a_policy_sees_what_there_is_to_know():
    seen = []
    attempts(Stage.RESUMING, ConnectionRefusedError(), 1, seen.append)
    attempts(Stage.RESUMING, HandshakeError(401, {"Retry-After": "3"}), 2, seen.append)
    last = seen[-1]
    assert (last.kind, last.status, last.retry_after) == (REFUSED, 401, 3)
    assert (last.number, last.of_this_kind, last.resuming, last.final) == (2, 2, True, False)


def test_a_policy_that_raises_is_logged_and_the_default_holds(caplog):
    assert attempts(Stage.FIRST, HandshakeError(403), 1, lambda _: 1 / 0) == [True]
    assert "retry= raised" in caplog.text


def test_so_is_one_whose_answer_is_neither_true_nor_false(caplog):
    class Unclear:
        def __bool__(self):
            raise ValueError("of more than one element")

    assert attempts(Stage.FIRST, HandshakeError(403), 1, lambda _: Unclear()) == [True]
    assert "retry= raised" in caplog.text


def test_attempts_in_a_row_are_logged_now_and_then(caplog):
    caplog.set_level(logging.INFO, "reliable_ws")
    failures = FailedAttempts(Stage.RESUMING, None, "session 0102")
    for now in (0.0, 1.0, 4.9, 5.0, 10.0, 11.0, 20.0):
        failures.failed(HandshakeError(502), now)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (level, f"session 0102: attempt {number} to open a WebSocket failed: HTTP 502")
        for level, number in (("INFO", 1), ("INFO", 4), ("WARNING", 5), ("INFO", 7))
    ]
    failures.succeeded(Stage.RESUMING)
    failures.failed(HandshakeError(502), 20.0)
    assert caplog.records[-1].getMessage().startswith("session 0102: attempt 1 ")
