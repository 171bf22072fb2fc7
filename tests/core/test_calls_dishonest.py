"""Every guard of calls against a dishonest peer, each with its own frames; and what it may hold.

Honest peers cannot reach these. Each test names the outcome.
"""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Ended, Requested
from reliable_ws.protocol.frames import (
    CallAck,
    Cancel,
    Code,
    Credit,
    Entry,
    Fault,
    Finish,
    Frame,
    Item,
    Piece,
    Refuse,
    Reply,
    Stop,
    Void,
)
from reliable_ws.protocol.report import End
from tests.support.calls import session_calls

from .calling import a_request, ask, calling, entries_of
from .helpers import NO_CALLS_YET, Lone, calls_of, counters, either_side, limits, raw, run_of
from .test_calls_resume import again

TIGHT = Config(max_message=10_000, max_requests=3)


def blamed(lone: Lone, events: list, code: int, words: str) -> None:
    """The peer is told, and blamed: an outcome with a code."""
    ended = [event for event in events if isinstance(event, Ended)]
    assert [end.ending.kind for end in ended] == [End.VIOLATION], ended
    assert (ended[0].ending.code, words in ended[0].ending.reason) == (code, True), ended
    (refuse,) = lone.says()
    assert isinstance(refuse, Refuse)
    assert refuse.code == code
    assert session_calls(lone.session).held <= 10_006


def sent(side, *entries: Entry) -> Lone:
    """A side with one plain request open and one stream, which has heard these."""
    lone = calling(side, TIGHT)
    ask(lone)
    ask(lone, credit=10)
    lone.says()
    if entries:
        lone.hears(calls_of(1, *entries))
    assert lone.session.ended is None
    return lone


def packed(payload) -> bytes:
    data: bytes = msgpack.packb(payload)
    return data


GUARDS: dict[str, tuple[list[Entry], Frame, int, str]] = {
    "a gap": ([], calls_of(2, Void()), 4422, "call 2 after 0"),
    "a repeat": ([Void()], calls_of(1, Void()), 4422, "call 1 after 1"),
    "a run that begins too early": ([Void()], calls_of(1, Void(), Void()), 4422, "call 1 after 1"),
    "a huge gap": ([], calls_of(2**53 - 1, Void()), 4422, "call"),
    "an ack of what was never sent": ([], CallAck(3), 4422, "an ack of what was never sent"),
    "a reply to what was never asked": ([], calls_of(1, Reply(3, "")), 4422, "never asked"),
    "a fault of what was never asked": (
        [],
        calls_of(1, Fault(2**53 - 1, "", "", b"")),
        4422,
        "never asked",
    ),
    "an item of what was never asked": ([], calls_of(1, Item(3, "")), 4422, "never asked"),
    "too many open requests": (
        [a_request()] * 3,
        calls_of(4, a_request()),
        4422,
        "more open requests than announced",
    ),
    "too many in one run": ([], calls_of(1, *[a_request()] * 4), 4422, "more open requests"),
    "cancelled ones count": (
        [a_request(), a_request(), a_request(), Cancel(1), Cancel(2)],
        calls_of(6, a_request()),
        4422,
        "more open requests",
    ),
    "an item of a plain request": (
        [],
        calls_of(1, Item(1, "")),
        4422,
        "more items than the credit",
    ),
    "items above the credit": (
        [Item(2, "x" * 4)],
        calls_of(2, Item(2, "")),
        4422,
        "more items than the credit",
    ),
    "pieces before an entry that has its payload": (
        [Piece(b"x")],
        calls_of(2, Reply(1, "whole")),
        4422,
        "pieces that belong to nothing",
    ),
    "pieces before an entry without payload": (
        [Piece(b"x")],
        calls_of(2, Cancel(1)),
        4422,
        "pieces that belong to nothing",
    ),
    "pieces before a credit": (
        [Piece(b"x")],
        calls_of(2, Credit(1, 1)),
        4422,
        "pieces that belong to nothing",
    ),
    "nothing where pieces are needed": ([], calls_of(1, Reply(1, None)), 4400, "make no payload"),
    "pieces that are cut short": (
        [Piece(packed("x" * 99)[:-1])],
        calls_of(2, Reply(1, None)),
        4400,
        "make no payload",
    ),
    "pieces with something behind": (
        [Piece(packed("xy") + b"x")],
        calls_of(2, Reply(1, None)),
        4400,
        "make no payload",
    ),
    "pieces of an integer": ([Piece(b"\x05")], calls_of(2, Reply(1, None)), 4400, "no payload"),
    "pieces of nil": ([Piece(b"\xc0")], calls_of(2, Item(2, None)), 4400, "no payload"),
    "pieces of an array": ([Piece(b"\x91\x05")], calls_of(2, Reply(1, None)), 4400, "no payload"),
    "pieces of an array without end": (
        [Piece(b"\xdd\xff\xff\xff\xff")],
        calls_of(2, Reply(1, None)),
        4400,
        "no payload",
    ),
    "pieces of a map": ([Piece(b"\x80\x81")], calls_of(2, a_request(None)), 4400, "no payload"),
    "pieces of a foreign extension": (
        [Piece(packed(msgpack.ExtType(2, b"x")))],
        calls_of(2, Reply(1, None)),
        4400,
        "no payload",
    ),
    "pieces of a timestamp": (
        [Piece(packed(msgpack.Timestamp(1, 2)))],
        calls_of(2, Fault(1, "", "", None)),
        4400,
        "no payload",
    ),
    "pieces of text that is not UTF-8": (
        [Piece(b"\xa1\xff")],
        calls_of(2, Reply(1, None)),
        4400,
        "no payload",
    ),
    "pieces above the limit": (
        [Piece(b"x" * 5000)] * 2,
        calls_of(3, Piece(b"x" * 7)),
        4422,
        "a call above the announced limit",
    ),
    "one piece above the limit": (
        [],
        calls_of(1, Piece(b"x" * 10_007)),
        4422,
        "a call above the announced limit",
    ),
}


@pytest.mark.parametrize("name", GUARDS)
@either_side
def test_a_guard(side, name):
    """CALL-2, CALL-6, CALL-19, CALL-24, CALL-25, CALL-28, CALL-42"""
    before, frame, code, words = GUARDS[name]
    lone = sent(side, *before)
    blamed(lone, lone.hears(frame), code, words)


@either_side
def test_just_below_each_guard(side):
    """So each guard above is met for its own reason."""
    lone = sent(side)
    data = packed("x" * 9990)
    good = [a_request(), Piece(data[:6000]), Piece(data[6000:]), a_request(None), a_request()]
    assert len(lone.hears(calls_of(1, *good))) == 3
    assert len(lone.hears(calls_of(6, Item(2, "x" * 3), Item(2, "x" * 99)))) == 2
    value = msgpack.ExtType(1, b"\xc0")
    assert len(lone.hears(calls_of(8, Piece(packed(value)), Reply(1, None)))) == 1
    assert lone.hears(CallAck(2)) == []
    assert lone.session.ended is None


@either_side
def test_a_call_behind_finish(side):
    """CALL-34"""
    lone = sent(side)
    lone.hears(Finish(1, 1000, ""))
    assert lone.hears(calls_of(1, Cancel(9), Credit(9, 9))) == []
    blamed(lone, lone.hears(calls_of(3, Cancel(9), Void())), 4422, "a call behind Finish")


@either_side
def test_a_call_of_a_side_that_has_none(side):
    """CALL-41"""
    lone = side()
    blamed(lone, lone.hears(calls_of(1, a_request())), 4422, "a call of a side that has none")


@either_side
def test_an_answer_to_what_was_not_sent_on_this_link(side):
    """CALL-19: it said in its greeting that it had not received it."""
    lone = calling(side)
    ask(lone)
    lone.says()
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, NO_CALLS_YET)
    events = lone.hears(calls_of(1, Reply(1, "")))
    assert lone.session.ended is not None
    assert lone.session.ended.code == 4422
    assert any(isinstance(event, Ended) for event in events)


@either_side
def test_an_ack_of_what_was_not_sent_on_this_link(side):
    """CALL-19"""
    lone = calling(side)
    ask(lone)
    lone.says()
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, NO_CALLS_YET)
    lone.hears(CallAck(1))
    assert lone.session.ended is not None
    assert lone.session.ended.code == 4422


@either_side
def test_no_entry_of_a_malformed_envelope_has_an_effect(side):
    """FRAME-14"""
    lone = sent(side)
    blamed(lone, lone.hears_raw(raw([67, 1, [[82, 1, "x"], [90]]])), 4400, "entry type")
    assert session_calls(lone.session).received == 0


# ------------------------------------------------------------------ what it may make us hold


@either_side
def test_a_peer_that_never_acks_answers_cannot_ask_for_ever(side):
    """CALL-26: a request is open until its answer was acked."""
    lone = calling(side, TIGHT)
    for number in range(1, 4):
        lone.hears(calls_of(number, a_request()))
        session_calls(lone.session).reply(number, "x" * 10_000)
        lone.says()
    assert len(session_calls(lone.session).answers or ()) == 3
    blamed(lone, lone.hears(calls_of(4, a_request())), Code.VIOLATION, "more open requests")


@either_side
def test_a_peer_that_never_acks_requests_but_answers_them(side):
    """CALL-18: an answer is an ack; nothing is kept."""
    lone = calling(side, limits=limits(max_requests=2))
    for number in range(1, 500):
        assert ask(lone, payload="x" * 1000) == number
        if number % 3 == 0:
            lone.session.cancel(number)
        lone.says()
        lone.hears(calls_of(number, Void() if number % 3 == 0 else Reply(number, "")))
    assert len(lone.session.call_queue._kept) <= 1
    assert session_calls(lone.session).held < 1100


@either_side
def test_a_peer_that_takes_nothing_but_asks_on(side):
    """CALL-37: what it cannot take is not kept for it."""
    lone = calling(side, Config(max_requests=5))
    lone.hears(Stop(counters(stopped=True)))
    for number in range(1, 500):
        lone.hears(calls_of(number, a_request("x" * 1000, credit=2**50)))
        session_calls(lone.session).item(number, "x" * 1000)
        session_calls(lone.session).reply(number, "x" * 1000)
        assert session_calls(lone.session).held == 0
    assert entries_of(lone.says()) == []
    assert lone.session.call_queue.last == 0


@either_side
def test_acks_after_the_last_one_mean_nothing(side):
    """CALL-37: what was said to be not taken stays so."""
    lone = calling(side)
    ask(lone), ask(lone)
    lone.says()
    lone.hears(CallAck(1), Stop(counters(stopped=True)))
    assert [session_calls(lone.session).was_taken(number) for number in (1, 2)] == [True, False]
    lone.hears(CallAck(2), calls_of(1, Reply(2, "")))
    assert session_calls(lone.session).was_taken(2) is False
    assert lone.session.ended is None


@either_side
def test_what_is_held_is_bounded_whatever_comes(side):
    """CALL-25, CALL-32"""
    lone = calling(side, TIGHT)
    number = 1
    for _ in range(2):
        lone.hears(calls_of(number, Piece(b"x" * 5000)))
        number += 1
    assert lone.session.held == 10_000
    lone.hears(calls_of(number, Void()))
    assert lone.session.held == 0
    for _ in range(200):
        lone.hears(calls_of(number + 1, Void(), Cancel(5), Credit(9, 9)))
        number += 3
    calls = session_calls(lone.session)
    for kept in (calls.queue._kept, calls.served, calls.open, calls._streams):
        assert not kept


@either_side
def test_frames_of_a_run_before_the_wrong_entry(side):
    """FRAME-14: the session is over, and its application is told so, whatever came before."""
    lone = calling(side, TIGHT)
    events = lone.hears(run_of(1, "a"), calls_of(1, a_request()), calls_of(3, a_request()))
    assert [type(event) for event in events if isinstance(event, Requested | Ended)] == [
        Requested,
        Ended,
    ]
