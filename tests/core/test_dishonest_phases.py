"""Guards against a dishonest peer: frames out of phase, and bytes that are none."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.events import Detached, Ended
from reliable_ws.protocol.frames import (
    Ack,
    Done,
    Finish,
    Messages,
    Part,
    Partial,
    Refuse,
    Stop,
    Want,
)
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY

from .helpers import (
    NOW,
    UNKNOWN,
    Lone,
    blamed,
    counters,
    either_side,
    hello,
    initiator,
    raw,
    run_of,
    welcome,
)


@pytest.mark.parametrize(
    "frame",
    [
        run_of(1, "a"),
        Part(1, 0, 1, 0, b"a"),
        Finish(1, 1000, ""),
        Ack(0, 0),
        Want(1),
        Partial(1, 1),
        Stop(counters(stopped=True)),
        Done(counters()),
        hello(),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_anything_but_welcome_or_refuse_before_welcome(frame):
    """HELLO-7, HELLO-8, LINK-2: it is not a peer of ours."""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    (ended,) = lone.hears(frame)
    assert isinstance(ended, Ended)
    assert (ended.ending.kind, ended.ending.code) == (End.VIOLATION, 4422)
    assert lone.says() == []  # nothing may be said to it


@pytest.mark.parametrize("data", [b"", b"\xc1", "hello", b"HTTP/1.1 400 Bad Request\r\n"])
def test_a_stranger_that_answers_the_first_hello(data):
    """HELLO-8, FRAME-1"""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    (ended,) = lone.hears_raw(data)
    assert isinstance(ended, Ended)
    assert (ended.ending.kind, ended.ending.code) == (End.VIOLATION, 4400)


@pytest.mark.parametrize("data", [b"", "hello", encode([run_of(1, "a")])])
def test_a_stranger_that_answers_a_later_hello_is_left(data):
    """HELLO-13: whoever it is, it is not the peer that we know; the session goes on."""
    lone = initiator()
    lone.sends("a")
    lone.session.lost(lone.link, None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    (detached,) = lone.hears_raw(data)
    assert isinstance(detached, Detached)
    assert lone.session.link is None
    assert lone.says() == []
    lone.dials()
    assert lone.says() == [run_of(1, "a")]


@either_side
@pytest.mark.parametrize("frame", [hello(attempt=2), welcome()])
def test_a_greeting_on_an_open_link(side, frame):
    """HELLO-1, LINK-2: Hello twice, Welcome twice, or from the wrong side."""
    lone = side()
    blamed(lone, lone.hears(frame), 4422, f"{type(frame).__name__} when")


@either_side
def test_what_comes_behind_a_refuse_is_not_looked_at(side):
    """LINK-5"""
    lone = side()
    events = lone.hears(Refuse(4499, "", 0, None), run_of(7, "gap"), hello())
    assert [event.ending.kind for event in events] == [End.REFUSED]


def test_what_comes_behind_a_done_is_not_looked_at():
    """LINK-5"""
    lone = initiator()
    lone.session.close(NOW)
    lone.says()
    events = lone.hears(Done(counters(1, handed=0)), run_of(7, "gap"))
    assert [event.ending.kind for event in events if isinstance(event, Ended)] == [End.FINISHED]


@either_side
@pytest.mark.parametrize(
    "data",
    {
        "text": "[]",
        "an empty array": b"\x90",
        "truncated": encode([run_of(1, "abc")])[:-1],
        "nested deep": b"\x91" * 3000,
        "2^32 - 1 frames declared": b"\xdd\xff\xff\xff\xff",
        "2^32 - 1 bytes declared": b"\x91\x93\x4d\x01\x91\xc6\xff\xff\xff\xff",
        "an unknown critical frame": raw([0x5A, 1]),
        "a bool for an int": raw([65, True, False]),
        "a huge int": raw([65, 2**63, 0]),
        "a negative int": raw([65, -1, -1]),
        "invalid UTF-8": b"\x91\x93\x4d\x01\x91\xa1\xff",
        "an unknown extension": b"\x91\x93\x4d\x01\x91\xd4\x02\x00",
        "a timestamp": b"\x91\x93\x4d\x01\x91\xd6\xff\x00\x00\x00\x00",
    }.items(),
    ids=lambda item: item[0],
)
def test_bytes_that_are_no_frames(side, data):
    """FRAME-5, FRAME-8: blamed on the peer; the reason has none of its bytes."""
    lone = side()
    lone.sends("a")
    blamed(lone, lone.hears_raw(data[1]), 4400)
    assert lone.outcomes() == [UNKNOWN]


@either_side
def test_an_unknown_frame_that_is_not_critical_changes_nothing(side):
    """FRAME-3"""
    lone = side()
    assert lone.hears_raw(raw([0x2A, "future", [1, [2]]])) == []
    assert lone.session.ended is None


@either_side
def test_what_a_stopped_side_hears_is_dropped_without_a_look(side):
    """CLOSE-11: numbers out of order are no violation any more; frames are still checked."""
    lone = side()
    lone.session.close(NOW)
    lone.says()
    frames = [Messages(9, ["x"]), Part(7, 3, 9, 0, b"x"), Finish(3, 1000, "")]
    assert lone.hears(*frames) == []
    assert lone.says() == []
    assert lone.session.inbox.counters() == counters(stopped=True)
    assert [type(event) for event in lone.hears_raw(raw([77, 0, ["x"]]))] == [Ended]
