"""What a session holds in memory: counted, and bounded, whatever the peer does with it."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.calls.queue import REQUESTS_WINDOW
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Faulted, Requested
from reliable_ws.protocol.frames import (
    EXT_VALUE,
    CallAck,
    Cancel,
    Fault,
    Item,
    Part,
    Reply,
    Void,
)
from reliable_ws.protocol.inbox import MESSAGE_WEIGHT
from reliable_ws.protocol.unused import UNUSED, UNUSED_LIST
from tests.support.calls import session_calls

from .calling import a_request, ask, calling, entries_of, heard
from .helpers import calls_of, either_side, limits, run_of

KIB = 1024
SMALL = Config(window_bytes=KIB, outbox_bytes=KIB)
SMALL_LIMITS = limits(window_bytes=KIB)
OVERLOADED = "overloaded"


def value(data: bytes) -> msgpack.ExtType:
    return msgpack.ExtType(EXT_VALUE, data)


# -- requests of ours


@either_side
def test_open_requests_are_bounded_in_bytes(side):
    """CALL-44: one goes in any case, and the last one may exceed the bound."""
    lone = calling(side, limits=SMALL_LIMITS)
    calls = session_calls(lone.session)
    asked = [ask(lone, payload=b"x" * 6 * KIB) for _ in range(3)]
    assert not calls.has_room
    lone.says()
    lone.hears(CallAck(3))
    assert not calls.has_room, "they are open until they are answered"
    lone.hears(calls_of(1, Reply(asked[0], "")))
    assert calls.has_room
    ask(lone, payload=b"x" * 6 * KIB)
    assert not calls.has_room


@either_side
def test_what_is_taken_back_makes_room(side):
    """CALL-44"""
    lone = calling(side, limits=SMALL_LIMITS)
    calls = session_calls(lone.session)
    asked = ask(lone, payload=b"x" * 20 * KIB)
    assert not calls.has_room
    assert lone.session.cancel(asked)
    assert calls.has_room
    assert calls.outgoing.weight == 0


# -- requests of the peer


@either_side
@pytest.mark.parametrize("payload", [b"x" * KIB, "x" * KIB, value(b"x" * KIB)])
def test_requests_that_take_too_much_memory_are_not_run(side, payload):
    """CALL-44: their callers are told, and the session goes on."""
    lone = calling(side, SMALL)
    most = REQUESTS_WINDOW
    lone.hears(calls_of(1, *[a_request(payload) for _ in range(most + 2)]))
    requested = [event.id for event in heard(lone.events) if isinstance(event, Requested)]
    assert most - 1 <= len(requested) <= most
    refused = [entry for entry in entries_of(lone.says()) if isinstance(entry, Fault)]
    assert {entry.code for entry in refused} == {OVERLOADED}
    assert len(refused) == most + 2 - len(requested)
    for number in requested:
        lone.session.reply(number, b"", 6)
    incoming = session_calls(lone.session).incoming
    assert (incoming.weight, incoming.memory) == (0, 0)
    lone.says()
    lone.hears(CallAck(most + 2), calls_of(most + 3, a_request(payload)))
    assert len(heard(lone.events)) >= 1


@either_side
def test_who_asks_is_told(side):
    """CALL-11, CALL-44"""
    lone = calling(side)
    asked = ask(lone)
    lone.says()
    lone.hears(calls_of(1, Fault(asked, OVERLOADED, "too much", b"")))
    assert heard(lone.events) == [Faulted(asked, OVERLOADED, "too much", b"")]


@either_side
def test_a_request_takes_the_memory_of_its_text(side):
    """LIMIT-4"""
    lone = calling(side)
    lone.hears(calls_of(1, a_request("x" * 1000 + "\N{GRINNING FACE}")))
    assert lone.session.held > 4000
    assert session_calls(lone.session).incoming.weight == 1010


@either_side
def test_a_request_is_held_until_it_is_answered(side):
    """LIMIT-4"""
    lone = calling(side)
    lone.hears(calls_of(1, a_request(b"x" * 3000), a_request(b"y" * 3000)))
    lone.says()
    assert 6000 < lone.session.held < 6500
    lone.session.fault(1, "no", "no")
    lone.session.reply(2, b"", 6)
    lone.says()
    lone.hears(CallAck(2))
    assert lone.session.held == 0


# -- answers of ours


@either_side
def test_answers_that_are_not_received_are_held_and_bounded(side):
    """CALL-45, LIMIT-4"""
    lone = calling(side, SMALL)
    most = 64
    lone.hears(calls_of(1, *[a_request() for _ in range(most + 3)]))
    for number in range(1, most + 4):
        lone.session.reply(number, b"x" * KIB, KIB + 6)
    assert most * KIB < lone.session.held < (most + 16) * KIB
    entries = entries_of(lone.says())
    faults = [entry.request for entry in entries if isinstance(entry, Fault)]
    assert faults == [most, most + 1, most + 2, most + 3][-len(faults) :]
    assert faults
    lone.hears(CallAck(most + 3))
    assert lone.session.held == 0


# -- streams


@either_side
def test_items_that_are_not_taken_are_held(side):
    """LIMIT-4: as far as credit says what was taken."""
    lone = calling(side)
    asked = ask(lone, credit=5000)
    lone.says()
    lone.hears(CallAck(1), calls_of(1, Item(asked, b"x" * 994), Item(asked, b"x" * 994)))
    assert lone.session.held == 2000
    lone.session.grant(asked, 6000)  # 1000 bytes were taken
    lone.says()
    lone.hears(CallAck(2))
    assert lone.session.held == 1000
    lone.session.grant(asked, 9000)
    lone.says()
    lone.hears(CallAck(3))
    assert lone.session.held == 0
    lone.hears(calls_of(3, Reply(asked, "")))
    assert lone.session.held == 0


# -- messages


@either_side
def test_messages_without_bytes_are_held_as_well(side):
    """LIMIT-4"""
    lone = side()
    lone.hears(run_of(1, *[b""] * 1000))
    assert lone.session.held >= 1000 * MESSAGE_WEIGHT
    assert lone.session.inbox.held < 3000, "the window counts bytes"
    lone.takes(1000)
    assert lone.session.held == 0
    for _ in range(1000):
        lone.session.send(b"")
    assert lone.session.held >= 1000 * MESSAGE_WEIGHT


@either_side
@pytest.mark.parametrize("in_parts", [False, True])
def test_text_is_held_as_wide_as_its_widest_character(side, in_parts):
    """LIMIT-4"""
    lone = side()
    text = "x" * 10_000 + "\N{GRINNING FACE}"
    if in_parts:
        data = text.encode()
        lone.hears(Part(1, 0, len(data), 1, data))
    else:
        lone.hears(run_of(1, text))
    assert lone.session.held > 40_000
    assert lone.session.inbox.held < 10_100, "the window counts bytes"
    lone.takes(1)
    assert lone.session.held == 0


@either_side
def test_values_are_held_with_their_data(side):
    """LIMIT-4"""
    lone = side()
    lone.hears(run_of(1, value(b"x" * 10_000)))
    assert 10_000 < lone.session.held < 10_200
    lone.session.close(lone.now)
    lone.says()
    assert lone.session.held < 200


@either_side
def test_entries_without_bytes_are_held_until_they_are_received(side):
    """LIMIT-4"""
    lone = calling(side)
    for _ in range(10):
        lone.hears(calls_of(session_calls(lone.session).received + 1, Void(), Cancel(5)))
    assert lone.session.held == 0
    for _ in range(10):
        ask(lone)
    assert lone.session.held > 1000


def test_nothing_can_be_put_into_what_stands_for_many():
    with pytest.raises(TypeError, match="make one first"):
        UNUSED[1] = 2
    assert UNUSED == {}
    with pytest.raises(TypeError, match="make one first"):
        UNUSED_LIST.append(2)
    assert UNUSED_LIST == []
