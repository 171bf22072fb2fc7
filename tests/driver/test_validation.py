"""What callers pass: refused at the call, and named."""

from __future__ import annotations

import functools
from fractions import Fraction

import pytest

from reliable_ws import Backoff, Config, Methods, MsgpackCodec, Sessions
from reliable_ws.driver.options import SessionOptions
from reliable_ws.driver.validation import (
    can_be_awaited,
    check_handler,
    check_headers_now,
    check_options,
    check_reopening,
    check_seconds,
    check_sessions,
    check_shared,
    check_uri,
    is_plain,
    role_for,
)


def plain():
    pass


async def coroutine():
    pass


def generate():
    yield


@functools.wraps(coroutine)
def decorated():
    return coroutine()


class Awaitable:
    async def __call__(self):
        pass


class Called:
    def method(self):
        pass


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", Config()),
        ("drain_timeout", 5),
        ("methods", Methods()),
        ("on_event", plain),
        ("payload_codec", MsgpackCodec()),
        ("principal", plain),
        ("reconnect", Backoff()),
        ("reconnect", True),
        ("resume_within", Fraction(1, 2)),
    ],
)
def test_options_that_fit(name, value):
    check_options(**{name: value})
    check_options(**{name: None})
    with pytest.raises(TypeError, match=rf"^{name}= must be .*, not '.*'"):
        check_options(**{name: "wrong"})


def test_a_coroutine_function_is_named_as_such():
    with pytest.raises(TypeError, match="on_event= must be a plain function, not the coroutine fu"):
        check_options(on_event=coroutine)


def test_seconds():
    for fits in (None, 0, 1.5):
        check_seconds(fits)
    with pytest.raises(TypeError, match="timeout= must be a number of seconds, not '1'"):
        check_seconds("1")


def test_sessions_of_the_other_driver():
    check_sessions("text", str)
    with pytest.raises(TypeError, match=r"sessions must be a reliable_ws\.Sessions"):
        check_sessions("text", Sessions)


def test_options_beside_sessions_that_have_their_own():
    check_shared(None, str, config=Config())
    check_shared("sessions", str, config=None)
    with pytest.raises(ValueError, match="config=, methods= would have no effect"):
        check_shared("sessions", str, config=Config(), methods=Methods())
    with pytest.raises(TypeError, match="config= must be"):
        check_shared(None, str, config=1)


def test_a_uri():
    check_uri("ws://host")
    with pytest.raises(TypeError, match="uri must be a URI"):
        check_uri(object())


@pytest.mark.parametrize(
    ("function", "awaited", "is_run"),
    [
        (plain, False, True),
        (Called().method, False, True),
        (functools.partial(plain), False, True),
        (coroutine, True, False),
        (functools.partial(coroutine), True, False),
        (Awaitable(), True, False),
        (decorated, True, True),
        (lambda: None, True, True),
        (len, True, True),
        (generate, False, False),
        ("text", False, False),
    ],
)
def test_kinds_of_functions(function, awaited, is_run):
    assert can_be_awaited(function) is awaited
    assert is_plain(function) is is_run


@pytest.mark.parametrize("wrong", [5, "X: y", b"X: y"])
def test_additional_headers(wrong):
    with pytest.raises(TypeError, match="additional_headers must be a mapping, or pairs"):
        check_headers_now(wrong)
    for fits in (None, {"X": "y"}, [("X", "y")]):
        check_headers_now(fits)


def test_handlers():
    check_handler(functools.partial(with_path, path="/"), awaited=True)
    check_handler(print, awaited=False)
    for wrong, awaited in ((plain, True), (coroutine, False)):
        with pytest.raises(TypeError, match="the handler must be"):
            check_handler(wrong, awaited=awaited)


async def with_path(conn, path):
    """Return nothing: a handler as earlier releases of websockets wanted it."""


def test_handlers_take_the_connection_alone():
    for wrong, awaited in ((with_path, True), (coroutine, True), (plain, False)):
        with pytest.raises(TypeError, match=r"one argument, the connection: .* has the parameters"):
            check_handler(wrong, awaited=awaited)
    for fits in (lambda conn: None, lambda *_: None, dict):  # of some the call alone can tell
        check_handler(fits, awaited=True)


def test_ways_to_the_next_websocket():
    for fits, awaited in ((None, True), (coroutine, True), (plain, False)):
        check_reopening(fits, Backoff(), awaited=awaited)
        check_reopening(fits, None, awaited=awaited)
    with pytest.raises(TypeError, match=r"reopen= must be a coroutine function .* opens another"):
        check_reopening(plain, None, awaited=True)
    with pytest.raises(TypeError, match=r"reconnect= must be a reliable_ws\.Backoff"):
        check_reopening(None, 5, awaited=True)


@pytest.mark.parametrize(
    ("role", "given", "words"),
    [
        (None, {}, "which side is this"),
        ("server", {}, "which side is this"),
        ("acceptor", {"reopen": plain}, "reopen= is for the initiator"),
        ("initiator", {"sessions": "x"}, "sessions= is for the acceptor"),
    ],
)
def test_roles_that_do_not_fit(role, given, words):
    with pytest.raises(ValueError, match=words):
        role_for(object(), role, **{"reopen": None, "sessions": None} | given)


def test_roles():
    assert role_for(object(), "initiator", reopen=plain, sessions=None) == "initiator"
    assert role_for(object(), "acceptor", reopen=None, sessions="x") == "acceptor"


# ------------------------------------------------------------------ options as one object

NONE_GIVEN = {"methods": None, "config": None, "on_event": None, "payload_codec": None}


def test_options_have_defaults():
    options = SessionOptions.of(awaited=True, **NONE_GIVEN)
    assert options == SessionOptions()
    assert options.resumable
    assert options.backoff == Backoff()


def test_options_are_checked_when_they_are_made():
    methods = Methods()
    methods.add(coroutine)
    given = NONE_GIVEN | {"methods": methods, "config": Config(idle_timeout=7)}
    options = SessionOptions.of(awaited=True, backoff=Backoff(initial=3), **given)
    assert options.methods is methods
    assert options.config.idle_timeout == 7
    assert options.backoff.initial == 3
    with pytest.raises(TypeError, match="coroutine functions need an event loop"):
        SessionOptions.of(awaited=False, **given)
    with pytest.raises(TypeError, match="config= must be"):
        SessionOptions.of(awaited=True, **NONE_GIVEN | {"config": 1})
