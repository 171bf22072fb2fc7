"""Every guard against a dishonest peer, each with its own frames: honest peers cannot reach them.

Each test names the outcome. Nothing is raised, and the report stays true (FRAME-5).
"""

from __future__ import annotations

import pytest

from reliable_ws.protocol.frames import Ack, Done, Finish, Part, Refuse, Stop, Want

from .helpers import (
    CONFIRMED,
    NOT_TAKEN,
    NOW,
    SMALL,
    UNKNOWN,
    acceptor,
    blamed,
    counters,
    either_side,
    initiator,
    raw,
    run_of,
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
    """FRAME-9, FRAME-14"""
    lone = side()
    lone.sends("a", "b")
    blamed(lone, lone.hears(Ack(1, 1), run_of(5, "x"), Ack(2, 2)), 4422, "a gap")
    assert lone.outcomes() == [CONFIRMED, UNKNOWN]


@either_side
def test_no_frame_of_a_malformed_envelope_has_an_effect(side):
    """FRAME-14"""
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
    lone.session.lost(lone.link, None, "", NOW)
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
    """CLOSE-12: the first final counters stand."""
    lone = side()
    lone.sends("a", "b", "c")
    lone.hears(Stop(counters(3, 1, 2, stopped=True)))
    assert lone.outcomes() == [CONFIRMED, UNKNOWN, NOT_TAKEN]
    lone.hears(Ack(3, 3))
    assert lone.outcomes() == [CONFIRMED, UNKNOWN, NOT_TAKEN]


@either_side
def test_want_beyond_the_window(side):
    """ACK-10: above received, plus the window, plus one for Finish."""
    lone = side(SMALL)
    lone.hears(run_of(1, "a"))
    assert lone.hears(Want(6)) == []
    blamed(lone, lone.hears(Want(7)), 4422, "Want beyond the window")


# ------------------------------------------------------------------ final counters


@either_side
@pytest.mark.parametrize("has", [counters(3, 0, 0, stopped=True), counters(3, 3, 3, stopped=True)])
def test_stop_with_counters_of_what_was_never_sent(side, has):
    """CLOSE-13, ACK-7: it settles nothing."""
    lone = side()
    lone.sends("a", "b")
    blamed(lone, lone.hears(Stop(has)), 4422, "never sent")
    assert lone.outcomes() == [UNKNOWN, UNKNOWN]


@either_side
def test_stop_below_an_earlier_ack(side):
    """CLOSE-13: what was confirmed stays confirmed."""
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
    """CLOSE-12: the first final counters stand."""
    lone = side()
    lone.sends("a", "b", "c")
    lone.hears(Stop(counters(3, 1, 2, stopped=True)))
    before = lone.outcomes()
    assert lone.hears(Stop(counters(3, 3, 3, stopped=True))) == []
    assert lone.outcomes() == before
    assert before == [CONFIRMED, UNKNOWN, NOT_TAKEN]


def test_done_too_early():
    """CLOSE-17: before the initiator has stopped or taken Finish."""
    lone = initiator()
    lone.sends("a")
    blamed(lone, lone.hears(Done(counters(1))), 4422, "Done before both directions ended")
    assert lone.outcomes() == [CONFIRMED]


def test_done_before_the_peers_finish_is_taken():
    """CLOSE-17"""
    lone = initiator()
    lone.hears(run_of(1, "x"), Finish(2, 1000, ""))
    lone.session.finish(NOW)
    lone.says()
    blamed(lone, lone.hears(Done(counters(1, handed=0))), 4422, "Done before")


def test_done_with_counters_of_what_was_never_sent():
    """CLOSE-13"""
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
    """CLOSE-13, ACK-7"""
    lone = side()
    lone.sends("a")
    blamed(lone, lone.hears(Refuse(4410, "", 0, counters(2))), 4422, "never sent")
    assert lone.outcomes() == [UNKNOWN]


@either_side
def test_refuse_with_counters_below_an_earlier_ack(side):
    """CLOSE-13"""
    lone = side()
    lone.sends("a")
    lone.hears(Ack(1, 1))
    blamed(lone, lone.hears(Refuse(4410, "", 0, counters(0))), 4422, "below an earlier ack")
    assert lone.outcomes() == [CONFIRMED]
