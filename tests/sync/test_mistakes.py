"""Callers' mistakes: refused at the call, with what was expected, and nothing has changed."""

from __future__ import annotations

import functools
import re

import pytest

import reliable_ws
from reliable_ws import Config, Methods, MsgpackCodec, ReliableWSError
from reliable_ws.sync import Sessions, connect, serve, wrap
from tests.support.mistakes import (
    FOR_CONNECT,
    FOR_ENDPOINTS,
    FOR_WRAP,
    OPTIONS,
    UNKNOWN,
    refused,
    unknown,
)

from .conftest import SECONDS, pair, run
from .pipe import EagerPipe, pipe


def handler(conn):
    conn.wait_closed()


async def awaited(conn): ...


def items(conn):
    yield conn


async def awaited_items(conn):
    yield conn


class Awaited:
    async def __call__(self, conn): ...


@functools.wraps(awaited)
def decorated(conn): ...


# -- WebSockets ----------------------------------------------------------------------------------


def test_what_is_reliable_already_is_no_websocket():
    with pair() as (ours, _theirs):
        with pytest.raises(TypeError, match=r"Connection .*reliable already"):
            wrap(ours)
        with pytest.raises(TypeError, match="reliable already"):
            Sessions().handle(ours, handler)


WRAPPED = "the WebSocket is wrapped already: it belongs to a connection"


def test_a_websocket_belongs_to_one_connection():
    with pair(resume_within=60) as (client, server):
        for ours in (client.websocket, server.websocket):
            with pytest.raises(ValueError, match=WRAPPED):
                wrap(ours)
            with pytest.raises(ValueError, match=WRAPPED):
                Sessions().handle(ours, handler)
            with pytest.raises(ValueError, match=WRAPPED):
                client.resume(ours)
        with pytest.raises(ValueError, match=WRAPPED):
            server.resume(client.websocket)
        client.send("the first one goes on")
        assert server.recv(timeout=SECONDS) == "the first one goes on"


def test_a_websocket_is_for_wrap():
    with pytest.raises(TypeError, match=r"uri must be .*wrap\(\).*, not <.*Pipe"):
        connect(pipe()[0])


# -- handlers ------------------------------------------------------------------------------------

TAKERS = [
    lambda handler: serve(handler, "127.0.0.1", 0),
    lambda handler: Sessions().handle(closed(), handler),
]


def closed():
    """Return a WebSocket on which no session comes to be."""
    near, far = pipe()
    near.abort()
    return far


@pytest.mark.parametrize("take", TAKERS)
@pytest.mark.parametrize(
    "wrong", [None, awaited, items, awaited_items, Awaited(), functools.partial(awaited)]
)
def test_a_handler_has_to_be_a_plain_function(take, wrong):
    message = rf"the handler must be a plain function .*, not .*{re.escape(repr(wrong)[:30])}"
    with pytest.raises(TypeError, match=message):
        take(wrong)


def test_a_plain_function_is_a_handler_whatever_it_calls():
    for right in (decorated, functools.partial(handler), list):
        Sessions().handle(closed(), right)


# -- options -------------------------------------------------------------------------------------

SESSIONS = ("sessions", reliable_ws.Sessions(), "a reliable_ws.sync.Sessions")
REOPENING = "a plain function that opens another WebSocket"


@pytest.mark.parametrize(("name", "words"), UNKNOWN)
def test_an_option_that_nothing_takes(name, words):
    with unknown("connect()", name, words):
        connect("ws://127.0.0.1", **{name: 1})
    with unknown("serve()", name, words):
        serve(lambda conn: None, **{name: 1})


ENDPOINTS = (
    lambda **options: connect("ws://127.0.0.1", **options),
    lambda **options: serve(handler, "127.0.0.1", 0, **options),
)


@pytest.mark.parametrize("name", ["open_timeout", "close_timeout", "ping_interval", "ping_timeout"])
@pytest.mark.parametrize("wrong", ["x", -1, True])
def test_times_of_websockets_are_looked_at_at_the_call(name, wrong):
    for endpoint in ENDPOINTS:
        with refused(name, "a number of seconds, or None", wrong):
            endpoint(**{name: wrong})


def test_a_limit_of_websockets_is_looked_at_at_the_call():
    for endpoint in ENDPOINTS:
        with refused("max_size", "a number of bytes, or None", "x"):
            endpoint(max_size="x")
        for small in (10, (None, 4095)):
            with pytest.raises(ValueError, match="max_size= must be at least 4096 bytes, which a"):
                endpoint(max_size=small)


@pytest.mark.parametrize(("name", "wrong", "expected"), FOR_CONNECT)
def test_options_of_connect(name, wrong, expected):
    with refused(name, expected, wrong):
        connect("ws://127.0.0.1", **{name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [*FOR_WRAP, SESSIONS, ("reopen", 5, REOPENING), ("reopen", awaited, REOPENING)],
)
def test_options_of_wrap(name, wrong, expected):
    with refused(name, expected, wrong):
        wrap(pipe()[0], **{name: wrong})


@pytest.mark.parametrize(("name", "wrong", "expected"), [*FOR_ENDPOINTS, SESSIONS])
def test_options_of_serve(name, wrong, expected):
    with refused(name, expected, wrong):
        serve(handler, "127.0.0.1", 0, **{name: wrong})


@pytest.mark.parametrize(("name", "wrong", "expected"), OPTIONS)
def test_options_of_sessions(name, wrong, expected):
    with refused(name, expected, wrong):
        Sessions(**{name: wrong})


@pytest.mark.parametrize(
    "take",
    [
        lambda **options: wrap(closed(), role="acceptor", **options),
        lambda **options: serve(handler, **options),
    ],
)
@pytest.mark.parametrize("option", [{"methods": Methods()}, {"config": Config()}])
def test_options_of_sessions_that_are_shared(take, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}= would have no effect: sessions="):
        take(sessions=Sessions(), **option)
    name = next(iter(option))
    with pytest.raises(TypeError, match=f"^{name}= must be "):  # the wrong kind is said first
        take(sessions=Sessions(), **{name: 5})


# -- seconds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["5", [5]])
def test_a_timeout_is_a_number_of_seconds(wrong):
    """Also where it is not needed: there is room, and a message to be taken."""
    with pair() as (ours, theirs):
        receipt = theirs.send("here")
        for call in (
            functools.partial(ours.send, "x"),
            ours.recv,
            functools.partial(ours.request, "method"),
            functools.partial(ours.stream, "method"),
            ours.flush,
            ours.close,
            ours.start_closing,
            ours.wait_closed,
            receipt.wait,
            Sessions().drain,
        ):
            with pytest.raises(TypeError, match="timeout= must be a number of seconds, not"):
                call(timeout=wrong)
        assert ours.recv(timeout=60) == "here"
        assert (ours.state.value, ours.stats.sent) == ("open", 0)


def test_two_sides_with_two_codecs_are_told_at_once():
    """HELLO-18."""

    class Codec(MsgpackCodec):
        name = "other"

    near, far = pipe(EagerPipe)
    accepted = run(lambda: wrap(far, sessions=Sessions(payload_codec=Codec())))
    words = "payload codecs differ: initiator msgpack, acceptor other"
    with pytest.raises(ReliableWSError, match=words):
        wrap(near)
    with pytest.raises(ReliableWSError, match=words):
        accepted.result(SECONDS)
