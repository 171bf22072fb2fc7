"""Every guard against a dishonest peer, each with its own frames: honest peers cannot reach them.

Each test names the outcome. Nothing is raised, and the report stays true (FRAME-5).
"""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Detached, Ended, Event
from reliable_ws.protocol.frames import (
    Ack,
    Code,
    Done,
    Finish,
    Messages,
    Part,
    Refuse,
    Request,
    Stop,
    Want,
    Welcome,
)
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.sessions import Arrival, Sessions
from tests.support.pair import ID, KEY

from .helpers import (
    CONFIRMED,
    INCARNATION,
    NO_CALLS_YET,
    NOT_TAKEN,
    NOW,
    SMALL,
    UNKNOWN,
    Lone,
    acceptor,
    blamed,
    calls_of,
    counters,
    either_side,
    hello,
    initiator,
    limits,
    position,
    raw,
    run_of,
    welcome,
)

# ------------------------------------------------------------------ numbers


@either_side
def test_a_gap(side):
    """NUM-2"""
    lone = side()
    blamed(lone, lone.hears(run_of(2, "b")), 4422, "a gap in the numbers: 2 after 0")
    assert len(lone.session.inbox) == 0


@either_side
def test_a_gap_by_a_huge_number_costs_nothing(side):
    """NUM-2"""
    lone = side()
    blamed(lone, lone.hears(run_of(2**53 - 1, "b")), 4422, "a gap")


@either_side
@pytest.mark.parametrize(
    "again", [run_of(1, "a"), run_of(1, "a", "b"), Part(1, 0, 1, 0, b"a"), Finish(1, 1000, "")]
)
def test_a_repeat(side, again):
    """NUM-2: dead code between honest peers, hence tested by hand."""
    lone = side()
    lone.hears(run_of(1, "a"))
    lone.takes(1)
    blamed(lone, lone.hears(again), 4422, "a repeat of the numbers: 1 after 1")
    assert lone.session.inbox.counters() == counters(1, stopped=True)


@either_side
@pytest.mark.parametrize(
    "late", [run_of(2, "b"), Part(2, 0, 1, 0, b"a"), Finish(2, 1000, ""), Finish(1, 1000, "")]
)
def test_a_number_behind_finish(side, late):
    """NUM-2, CLOSE-1"""
    lone = side()
    lone.hears(Finish(1, 1000, ""))
    blamed(lone, lone.hears(late), 4422, "a number behind Finish")


@either_side
def test_finish_at_the_wrong_number(side):
    """NUM-2"""
    lone = side()
    blamed(lone, lone.hears(Finish(2, 1000, "")), 4422, "a gap")


@either_side
def test_frames_before_the_wrong_one_have_had_their_effect(side):
    """FRAME-5"""
    lone = side()
    lone.sends("a", "b")
    blamed(lone, lone.hears(Ack(1, 1), run_of(5, "x"), Ack(2, 2)), 4422, "a gap")
    assert lone.outcomes() == [CONFIRMED, UNKNOWN]


@either_side
def test_no_frame_of_a_malformed_envelope_has_an_effect(side):
    """FRAME-5"""
    lone = side()
    lone.sends("a", "b")
    blamed(lone, lone.hears_raw(raw([65, 1, 1], [77, 0, ["x"]])), 4400)
    assert lone.outcomes() == [UNKNOWN, UNKNOWN]


# ------------------------------------------------------------------ acks


@either_side
@pytest.mark.parametrize("ack", [Ack(3, 0), Ack(3, 3), Ack(2**53 - 1, 2**53 - 1)])
def test_an_ack_of_what_was_never_sent(side, ack):
    """ACK-7: it releases nothing."""
    lone = side()
    lone.sends("a", "b")
    lone.session.send("accepted, not transmitted")
    blamed(lone, lone.hears(ack), 4422, "never sent")
    assert lone.outcomes() == [UNKNOWN, UNKNOWN, NOT_TAKEN]


@either_side
def test_an_ack_before_anything_was_sent(side):
    """ACK-7"""
    lone = side()
    blamed(lone, lone.hears(Ack(1, 0)), 4422, "never sent")


def test_an_ack_of_what_was_not_sent_on_this_link():
    """ACK-7: the greeting said that it has not arrived, and it has not been sent again."""
    lone = initiator()
    lone.sends("a", "b")
    lone.link.lost(None, "", NOW)
    lone.dials()
    blamed(lone, lone.hears(Ack(2, 2)), 4422, "never sent")
    assert lone.outcomes() == [UNKNOWN, UNKNOWN]


@either_side
def test_an_ack_backwards_is_ignored(side):
    """ACK-6: each value on its own."""
    lone = side()
    lone.sends("a", "b", "c")
    lone.hears(Ack(2, 2))
    assert lone.hears(Ack(1, 1)) == []
    assert lone.hears(Ack(0, 0)) == []
    assert lone.session.outbox.confirmed == 2
    lone.hears(Ack(3, 1))
    assert (lone.session.outbox.acked, lone.session.outbox.confirmed) == (3, 2)


@either_side
def test_an_ack_behind_final_counters_changes_no_outcome(side):
    """CLOSE-4: the first final counters stand."""
    lone = side()
    lone.sends("a", "b", "c")
    lone.hears(Stop(counters(3, 1, 2, stopped=True)))
    assert lone.outcomes() == [CONFIRMED, UNKNOWN, NOT_TAKEN]
    lone.hears(Ack(3, 3))
    assert lone.outcomes() == [CONFIRMED, UNKNOWN, NOT_TAKEN]


@either_side
def test_want_beyond_the_window(side):
    """ACK-7: above received, plus the window, plus one for Finish."""
    lone = side(SMALL)
    lone.hears(run_of(1, "a"))
    assert lone.hears(Want(6)) == []
    blamed(lone, lone.hears(Want(7)), 4422, "Want beyond the window")


# ------------------------------------------------------------------ windows, sizes, parts


@either_side
def test_more_messages_than_the_window(side):
    """WINDOW-4"""
    lone = side(SMALL)
    lone.hears(run_of(1, "a", "b", "c"))
    lone.takes(1)
    lone.hears(run_of(4, "d", "e"))
    blamed(lone, lone.hears(run_of(6, "f")), 4422, "more messages than the window")
    assert lone.session.inbox.counters().received == 5


@either_side
def test_more_messages_than_the_window_at_once(side):
    """WINDOW-4"""
    lone = side(SMALL)
    blamed(lone, lone.hears(run_of(1, *"abcde")), 4422, "more messages than the window")


@either_side
def test_a_part_beyond_the_window(side):
    """WINDOW-4"""
    lone = side(SMALL)
    lone.hears(run_of(1, *"abcd"))
    blamed(lone, lone.hears(Part(5, 0, 2, 0, b"x")), 4422, "more messages than the window")


@either_side
def test_deliveries_that_are_not_confirmed_count_in_the_window(side):
    """WINDOW-4"""
    lone = side(SMALL)
    lone.hears(run_of(1, *"abcd"))
    for _ in range(4):
        lone.session.inbox.deliver()
    blamed(lone, lone.hears(run_of(5, "e")), 4422, "more messages than the window")


@either_side
def test_more_bytes_than_twice_the_window(side):
    """WINDOW-4"""
    lone = side(Config(window_bytes=3000))
    lone.hears(run_of(1, b"x" * 3000))
    lone.hears(run_of(2, b"x" * 3000))
    blamed(lone, lone.hears(run_of(3, b"x" * 500)), 4422, "more bytes than the window")


@either_side
def test_more_bytes_than_twice_the_window_among_calls(side):
    """WINDOW-4: calls do not count, and hide nothing, whatever stands first."""
    lone = side(Config(window_bytes=3000), calls=NO_CALLS_YET)
    for number in (1, 2, 3, 4):
        call = calls_of(number, Request("m", None, 0, b"c" * 3000))
        lone.hears(call, run_of(number, b"x" * 1494))
    assert lone.session.inbox.held == 6000
    call = calls_of(5, Request("m", None, 0, b""))
    blamed(lone, lone.hears(run_of(5, b"x" * 500), call), 4422, "more bytes than the window")


@either_side
def test_more_bytes_than_twice_the_window_in_parts(side):
    """WINDOW-4: it is told by the first of them."""
    lone = side(Config(window_bytes=3000))
    lone.hears(run_of(1, b"x" * 3000))
    part = Part(2, 0, 50_000_000, 0, b"x")
    blamed(lone, lone.hears(part), 4422, "more bytes than the window")
    assert lone.session.held == 0


@either_side
def test_a_lone_message_may_be_larger_than_the_window(side):
    """WINDOW-4, WINDOW-3: never one that came alone."""
    lone = side(Config(window_bytes=3000))
    assert lone.hears(run_of(1, b"x" * 10_000))
    assert lone.takes(1)
    assert lone.hears(Part(2, 0, 20_000, 0, b"x" * 10_000)) == []
    assert lone.hears(Part(2, 10_000, 20_000, 0, b"x" * 10_000))


@either_side
def test_an_envelope_above_the_announced_limit(side):
    """FRAME-2, FRAME-7"""
    lone = side(SMALL)
    blamed(lone, lone.hears(run_of(1, b"x" * 8192)), 4422, "a frame above the announced limit")


@either_side
def test_the_announced_limit_is_that_of_the_transport(side):
    """FRAME-2, LIMIT-1"""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW, max_frame=5000))
    (greeting,) = lone.says()
    assert greeting.limits.max_frame == 5000
    blamed_early = lone.hears_raw(bytes(5001))
    assert [type(event) for event in blamed_early] == [Ended]


@either_side
@pytest.mark.parametrize("offset", [1, 3, 5])
def test_a_part_out_of_place(side, offset):
    """PART-3"""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(Part(1, offset, 9, 0, b"x")), 4422, "a part out of place")


@either_side
def test_a_part_that_begins_in_the_middle(side):
    """PART-3"""
    lone = side()
    blamed(lone, lone.hears(Part(1, 2, 9, 0, b"x")), 4422, "a part out of place")


@either_side
@pytest.mark.parametrize("second", [Part(1, 2, 8, 0, b"x"), Part(1, 2, 9, 1, b"x")])
def test_parts_of_differing_total_or_kind(side, second):
    """PART-2"""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(second), 4422, "parts of different messages")


@either_side
def test_a_part_of_the_next_message_before_the_last_is_whole(side):
    """PART-1"""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(Part(2, 0, 9, 0, b"x")), 4422, "a gap")


@either_side
def test_a_message_inside_another(side):
    """PART-1: begun in parts, finished in parts."""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(run_of(1, "whole")), 4422, "a message inside another")


@either_side
def test_finish_inside_a_message(side):
    """PART-1"""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(Finish(1, 1000, "")), 4422, "Finish inside a message")


@either_side
def test_a_message_above_our_limit(side):
    """PART-5"""
    lone = side(SMALL)
    part = Part(1, 0, 30_001, 0, b"x")
    blamed(lone, lone.hears(part), 4422, "a message above the announced limit")
    assert lone.session.inbox.partial == 0


@either_side
def test_parts_that_make_no_text(side):
    """PART-3: malformed as a whole; a cut inside a character is none."""
    lone = side()
    lone.hears(Part(1, 0, 2, 1, b"\xc3"))
    lone.hears(Part(1, 1, 2, 1, b"\xa4"))
    assert lone.takes(1) == ["ä"]
    lone.hears(Part(2, 0, 2, 1, b"\xc3"))
    blamed(lone, lone.hears(Part(2, 1, 2, 1, b"\xff")), 4400, "UTF-8")


# ------------------------------------------------------------------ final counters


@either_side
@pytest.mark.parametrize("has", [counters(3, 0, 0, stopped=True), counters(3, 3, 3, stopped=True)])
def test_stop_with_counters_of_what_was_never_sent(side, has):
    """CLOSE-4, ACK-7: it settles nothing."""
    lone = side()
    lone.sends("a", "b")
    blamed(lone, lone.hears(Stop(has)), 4422, "never sent")
    assert lone.outcomes() == [UNKNOWN, UNKNOWN]


@either_side
def test_stop_below_an_earlier_ack(side):
    """CLOSE-4: what was confirmed stays confirmed."""
    lone = side()
    lone.sends("a", "b")
    lone.hears(Ack(2, 2))
    blamed(lone, lone.hears(Stop(counters(2, 1, stopped=True))), 4422, "below an earlier ack")
    assert lone.outcomes() == [CONFIRMED, CONFIRMED]


@either_side
def test_stop_that_is_not_frozen(side):
    """CLOSE-3"""
    lone = side()
    blamed(lone, lone.hears_raw(raw([83, [0, 0, 0, False, []]])), 4400, "frozen")


@either_side
def test_a_second_stop_changes_no_outcome(side):
    """CLOSE-4: the first final counters stand."""
    lone = side()
    lone.sends("a", "b", "c")
    lone.hears(Stop(counters(3, 1, 2, stopped=True)))
    before = lone.outcomes()
    assert lone.hears(Stop(counters(3, 3, 3, stopped=True))) == []
    assert lone.outcomes() == before
    assert before == [CONFIRMED, UNKNOWN, NOT_TAKEN]


def test_done_too_early():
    """CLOSE-7: before the initiator has stopped or taken Finish."""
    lone = initiator()
    lone.sends("a")
    blamed(lone, lone.hears(Done(counters(1))), 4422, "Done before both directions ended")
    assert lone.outcomes() == [CONFIRMED]


def test_done_before_the_peers_finish_is_taken():
    """CLOSE-7"""
    lone = initiator()
    lone.hears(run_of(1, "x"), Finish(2, 1000, ""))
    lone.session.finish(NOW)
    lone.says()
    blamed(lone, lone.hears(Done(counters(1, handed=0))), 4422, "Done before")


def test_done_with_counters_of_what_was_never_sent():
    """CLOSE-4"""
    lone = initiator()
    lone.session.close(NOW)
    lone.says()
    blamed(lone, lone.hears(Done(counters(2))), 4422, "never sent")


def test_done_from_an_initiator():
    """LINK-2: only acceptors say it."""
    lone = acceptor()
    lone.session.close(NOW)
    lone.says()
    blamed(lone, lone.hears(Done(counters(1))), 4422, "Done when accepted")


@either_side
def test_refuse_with_counters_of_what_was_never_sent(side):
    """CLOSE-4, ACK-7"""
    lone = side()
    lone.sends("a")
    blamed(lone, lone.hears(Refuse(4410, "", 0, counters(2))), 4422, "never sent")
    assert lone.outcomes() == [UNKNOWN]


@either_side
def test_refuse_with_counters_below_an_earlier_ack(side):
    """CLOSE-4"""
    lone = side()
    lone.sends("a")
    lone.hears(Ack(1, 1))
    blamed(lone, lone.hears(Refuse(4410, "", 0, counters(0))), 4422, "below an earlier ack")
    assert lone.outcomes() == [CONFIRMED]


# ------------------------------------------------------------------ frames out of phase


@pytest.mark.parametrize(
    "frame",
    [
        run_of(1, "a"),
        Part(1, 0, 1, 0, b"a"),
        Finish(1, 1000, ""),
        Ack(0, 0),
        Want(1),
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
    """HELLO-8: whoever it is, it is not the peer that we know; the session goes on."""
    lone = initiator()
    lone.sends("a")
    lone.link.lost(None, "", NOW)
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


# ------------------------------------------------------------------ Welcome


def dialing(**attributes: object) -> Lone:
    """An initiator that was welcomed before, took 2 of 3, had 1 of 2 confirmed, and dials."""
    lone = initiator()
    lone.sends("a", "b")
    lone.hears(Ack(2, 1), run_of(1, "x", "y", "z"))
    lone.takes(2)
    lone.link.lost(None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    return lone


def test_a_good_welcome_after_that():
    """So that each bad one is bad for its own reason."""
    good = position(counters(1), sent=3, first=3)
    assert dialing().hears(welcome(resumed=True, position=good))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (position(counters(0), sent=3, first=3), "state lost: confirmed has fallen"),
        (position(counters(3, 1), sent=3, first=3), "counters of what was never sent"),
        (position(counters(1), sent=5, first=5), "state lost: messages are not available"),
        (position(counters(1), sent=2, first=3), "state lost: sent has fallen"),
    ],
)
def test_state_lost_at_the_acceptor(wrong, words):
    """RESUME-3: the session ends, nothing is sent again."""
    lone = dialing()
    blamed(lone, lone.hears(welcome(resumed=True, position=wrong)), 4422, words)
    assert lone.outcomes() == [CONFIRMED, UNKNOWN]


def test_a_welcome_of_another_incarnation():
    """HELLO-9"""
    lone = dialing()
    good = position(counters(1), sent=3, first=3)
    answer = welcome(resumed=True, position=good, incarnation=INCARNATION + 1)
    blamed(lone, lone.hears(answer), 4422, "another incarnation")


def test_a_welcome_in_a_version_that_was_not_offered():
    """HELLO-1"""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    blamed(lone, lone.hears(welcome(version=2)), 4426, "version 2")


@pytest.mark.parametrize("partial", [3, 4, 2**53 - 1])
def test_a_partial_that_is_not_below_the_length_of_the_message(partial):
    """PART-4"""
    lone = initiator()
    lone.sends("abc")
    lone.link.lost(None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    answer = welcome(resumed=True, position=position(partial=partial))
    blamed(lone, lone.hears(answer), 4422, "more of a message than was sent")


def test_a_partial_of_no_message():
    """PART-4: nor of Finish."""
    lone = initiator()
    lone.session.finish(NOW)
    lone.says()
    lone.link.lost(None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    answer = welcome(resumed=True, position=position(partial=1))
    blamed(lone, lone.hears(answer), 4422, "more of a message than was sent")


@pytest.mark.parametrize("max_frame", [1, 97, 4095])
def test_a_greeting_that_leaves_no_room_for_content(max_frame):
    """LIMIT-1: it would have us send empty parts for ever."""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    events = lone.hears(welcome(limits=limits(max_frame=max_frame)))
    assert [event.ending.code for event in events if isinstance(event, Ended)] == [4400]


@either_side
def test_the_smallest_limits_work(side):
    """LIMIT-1: one message at a time, however large, and a heartbeat not without pause."""
    least = limits(
        window_messages=1, window_bytes=1, max_frame=4096, max_requests=1, idle_ms=1, ttl_ms=1
    )
    lone = side(limits=least)
    (first, *_rest) = lone.sends("a", b"x" * 10_000)
    assert first == run_of(1, "a")
    lone.hears(Ack(1, 1))
    parts = lone.says()
    assert all(isinstance(frame, Part) for frame in parts)
    assert b"".join(part.data for part in parts) == b"x" * 10_000
    assert lone.link.deadline - NOW > 0.01


# ------------------------------------------------------------------ Hello


def arrive(book: Sessions, data: bytes | str, **options: object) -> tuple[Arrival, list[Event]]:
    arrival = book.arrive(NOW, **options)  # type: ignore[arg-type]
    return arrival, arrival.receive(data, NOW)


def refusal(arrival: Arrival) -> Refuse:
    """The one thing that an arrival says; it is over then."""
    assert arrival.link is None
    assert arrival.leaving is not None
    assert arrival.leaving.linger
    data = arrival.transmit(NOW)
    assert data is not None
    assert arrival.transmit(NOW) is None
    assert arrival.receive(encode([hello(attempt=99)]), NOW) == []
    (refuse,) = decode(data, 2**20)
    assert isinstance(refuse, Refuse)
    assert refuse.code == arrival.leaving.code
    return refuse


@pytest.mark.parametrize(
    "data",
    [
        "text",
        b"",
        b"\x90",
        b"GET / HTTP/1.1\r\n",
        encode([Ack(0, 0)]),
        encode([run_of(1, "a")]),
        encode([welcome()]),
        encode([hello(), Ack(0, 0)]),
        encode([hello(), hello(attempt=2)]),
        encode([hello()])[:-1],
        raw([0x2A]),
    ],
)
def test_anything_but_one_hello_as_the_first_message(data):
    """HELLO-1, HELLO-7: malformed, and no session comes of it."""
    book = Sessions(1)
    arrival, events = arrive(book, data)
    assert (refusal(arrival).code, events, len(book)) == (Code.MALFORMED, [], 0)


def test_a_hello_above_the_limit():
    """FRAME-2"""
    arrival, _events = arrive(Sessions(1, Config(max_frame=4096)), bytes(4097))
    assert refusal(arrival).code == Code.VIOLATION


@pytest.mark.parametrize(("low", "high"), [(2, 3), (2, 2**53 - 1)])
def test_no_version_in_common(low, high):
    """HELLO-1"""
    book = Sessions(1)
    arrival, _events = arrive(book, encode([hello(min_version=low, max_version=high)]))
    assert (refusal(arrival).code, len(book)) == (Code.VERSION, 0)


def test_a_version_range_that_has_ours_in_it():
    """HELLO-1"""
    arrival, _events = arrive(Sessions(1), encode([hello(max_version=9)]))
    assert arrival.link is not None
    (answer,) = decode(arrival.link.transmit(NOW) or b"", 2**20)
    assert isinstance(answer, Welcome)
    assert answer.version == 1


INTRUDERS = {
    "another key": {"key": bytes(32)},
    "another incarnation": {"incarnation": INCARNATION + 1},
    "another principal": {},
    "another session with an incarnation": {"session": bytes(16), "incarnation": INCARNATION},
}


@pytest.mark.parametrize("name", INTRUDERS)
def test_who_is_not_the_holder_learns_nothing_and_touches_nothing(name):
    """HELLO-5, HELLO-9: one answer for unknown, wrong key and not yours."""
    lone = acceptor()
    assert lone.book is not None
    principal = "somebody else" if name == "another principal" else None
    data = encode([hello(attempt=2, **INTRUDERS[name])])
    arrival, events = arrive(lone.book, data, principal=principal)
    assert refusal(arrival) == Refuse(Code.UNKNOWN, "no such session here", 0, None)
    assert (events, arrival.session, len(lone.book)) == ([], None, 1)
    assert (lone.session.link, lone.session.attempt) == (lone.link, 1)
    assert lone.hears(run_of(1, "still here"))


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_stale_attempt(attempt):
    """RESUME-1: it leaves the session and its link alone."""
    lone = acceptor(attempt=3)
    assert lone.book is not None
    arrival, events = arrive(lone.book, encode([hello(attempt=attempt)]))
    assert (refusal(arrival).code, events) == (Code.SUPERSEDED, [])
    assert lone.session.link is lone.link


def holding() -> Lone:
    """An acceptor that took 2 of 3, and had 1 of 2 confirmed; its WebSocket is gone."""
    lone = acceptor()
    lone.sends("a", "b")
    lone.hears(Ack(2, 1), run_of(1, "x", "y", "z"))
    lone.takes(2)
    lone.link.lost(None, "", NOW)
    return lone


def test_a_good_hello_after_that():
    """So that each bad one is bad for its own reason."""
    lone = holding()
    assert lone.book is not None
    good = position(counters(1), sent=3, first=3)
    arrival, _events = arrive(lone.book, encode([hello(attempt=2, position=good)]))
    assert arrival.link is lone.session.link is not None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (position(counters(0), sent=3, first=3), "state lost: confirmed has fallen"),
        (position(counters(3, 1), sent=3, first=3), "counters of what was never sent"),
        (position(counters(1), sent=5, first=5), "state lost: messages are not available"),
        (position(counters(1), sent=2, first=3), "state lost: sent has fallen"),
        (position(counters(1), sent=3, first=3, partial=1), "more of a message than was sent"),
    ],
)
def test_state_lost_at_the_initiator(wrong, words):
    """RESUME-3, PART-4: decided before Welcome; refused with final counters."""
    lone = holding()
    assert lone.book is not None
    arrival, events = arrive(lone.book, encode([hello(attempt=2, position=wrong)]))
    refuse = refusal(arrival)
    assert (refuse.code, words in refuse.reason) == (Code.VIOLATION, True)
    assert refuse.counters == counters(3, 2, stopped=True)
    (ended,) = (event for event in events if isinstance(event, Ended))
    assert ended.ending.kind is End.VIOLATION
    assert lone.outcomes() == [CONFIRMED, UNKNOWN]


def test_a_new_hello_that_claims_to_have_received():
    """RESUME-3"""
    book = Sessions(1)
    arrival, events = arrive(book, encode([hello(position=position(counters(1)))]))
    assert refusal(arrival).code == Code.VIOLATION
    assert [event.ending.kind for event in events if isinstance(event, Ended)] == [End.VIOLATION]


def test_a_new_hello_that_cannot_send_its_first_message():
    """RESUME-3"""
    arrival, _events = arrive(Sessions(1), encode([hello(position=position(sent=5, first=6))]))
    assert refusal(arrival).code == Code.VIOLATION


@either_side
def test_what_a_stopped_side_hears_is_dropped_without_a_look(side):
    """CLOSE-3: numbers out of order are no violation any more; frames are still checked."""
    lone = side()
    lone.session.close(NOW)
    lone.says()
    frames = [Messages(9, ["x"]), Part(7, 3, 9, 0, b"x"), Finish(3, 1000, "")]
    assert lone.hears(*frames) == []
    assert lone.says() == []
    assert lone.session.inbox.counters() == counters(stopped=True)
    assert [type(event) for event in lone.hears_raw(raw([77, 0, ["x"]]))] == [Ended]


def test_a_second_welcome_cannot_move_the_cursor():
    """HELLO-6"""
    lone = initiator()
    lone.sends("a")
    blamed(lone, lone.hears(welcome(resumed=True)), 4422, "Welcome when")
    assert lone.outcomes() == [UNKNOWN]
