"""Guards against a dishonest peer: windows, sizes, parts (see test_dishonest.py)."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Ended
from reliable_ws.protocol.frames import Finish, Part, Request
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY

from .helpers import NO_CALLS_YET, NOW, SMALL, Lone, blamed, calls_of, either_side, run_of


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
    """WINDOW-7"""
    lone = side(Config(window_bytes=3000))
    lone.hears(run_of(1, b"x" * 3000))
    lone.hears(run_of(2, b"x" * 3000))
    blamed(lone, lone.hears(run_of(3, b"x" * 500)), 4422, "more bytes than the window")


@either_side
def test_more_bytes_than_twice_the_window_among_calls(side):
    """WINDOW-8: calls do not count, and hide nothing, whatever stands first."""
    lone = side(Config(window_bytes=3000), calls=NO_CALLS_YET)
    for number in (1, 2, 3, 4):
        call = calls_of(number, Request("m", None, 0, b"c" * 3000))
        lone.hears(call, run_of(number, b"x" * 1494))
    assert lone.session.inbox.held == 6000
    call = calls_of(5, Request("m", None, 0, b""))
    blamed(lone, lone.hears(run_of(5, b"x" * 500), call), 4422, "more bytes than the window")


@either_side
def test_more_bytes_than_twice_the_window_in_parts(side):
    """WINDOW-8: it is told by the first of them."""
    lone = side(Config(window_bytes=3000))
    lone.hears(run_of(1, b"x" * 3000))
    part = Part(2, 0, 50_000_000, 0, b"x")
    blamed(lone, lone.hears(part), 4422, "more bytes than the window")
    assert lone.session.held == 0


@either_side
def test_a_lone_message_may_be_larger_than_the_window(side):
    """WINDOW-7, WINDOW-3: never one that came alone."""
    lone = side(Config(window_bytes=3000))
    assert lone.hears(run_of(1, b"x" * 10_000))
    assert lone.takes(1)
    assert lone.hears(Part(2, 0, 20_000, 0, b"x" * 10_000)) == []
    assert lone.hears(Part(2, 10_000, 20_000, 0, b"x" * 10_000))


@either_side
def test_an_envelope_above_the_announced_limit(side):
    """FRAME-10, FRAME-7"""
    lone = side(SMALL)
    blamed(lone, lone.hears(run_of(1, b"x" * 8192)), 4422, "a frame above the announced limit")


@either_side
def test_the_announced_limit_is_that_of_the_transport(side):
    """FRAME-10, LIMIT-1"""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW, max_frame=5000))
    (greeting,) = lone.says()
    assert greeting.limits.max_frame == 5000
    blamed_early = lone.hears_raw(bytes(5001))
    assert [type(event) for event in blamed_early] == [Ended]


@either_side
@pytest.mark.parametrize("offset", [1, 3, 5])
def test_a_part_out_of_place(side, offset):
    """PART-1"""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(Part(1, offset, 9, 0, b"x")), 4422, "a part out of place")


@either_side
def test_a_part_that_begins_in_the_middle(side):
    """PART-1"""
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
    """PART-8"""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(Part(2, 0, 9, 0, b"x")), 4422, "a gap")


@either_side
def test_a_message_inside_another(side):
    """PART-8: begun in parts, finished in parts."""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(run_of(1, "whole")), 4422, "a message inside another")


@either_side
def test_finish_inside_a_message(side):
    """PART-8"""
    lone = side()
    lone.hears(Part(1, 0, 9, 0, b"01"))
    blamed(lone, lone.hears(Finish(1, 1000, "")), 4422, "Finish inside a message")


@either_side
def test_a_message_above_our_limit(side):
    """PART-13"""
    lone = side(SMALL)
    part = Part(1, 0, 30_001, 0, b"x")
    blamed(lone, lone.hears(part), 4422, "a message above the announced limit")
    assert lone.session.inbox.partial == 0


@either_side
def test_parts_that_make_no_text(side):
    """PART-10: malformed as a whole; a cut inside a character is none."""
    lone = side()
    lone.hears(Part(1, 0, 2, 1, b"\xc3"))
    lone.hears(Part(1, 1, 2, 1, b"\xa4"))
    assert lone.takes(1) == ["ä"]
    lone.hears(Part(2, 0, 2, 1, b"\xc3"))
    blamed(lone, lone.hears(Part(2, 1, 2, 1, b"\xff")), 4400, "UTF-8")
