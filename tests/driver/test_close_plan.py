"""When a close goes on without the handlers of requests."""

from __future__ import annotations

import pytest

from reliable_ws import Config
from reliable_ws.driver.close_plan import ClosePlan, CloseStep, time_to_close

CONFIG = Config(close_timeout=100, close_progress_timeout=10)


def plan(timeout=None, *, grace=1.0, now=0.0):
    plan = ClosePlan(1000, "bye", grace=grace)
    plan.limit(now, CONFIG, timeout)
    return plan


@pytest.mark.parametrize(
    ("timeout", "whole", "rest"),
    [(None, 100, 10), (1000, 100, 10), (20, 20, 5), (8, 8, 2), (0, 0, 0)],
)
def test_handlers_leave_some_of_the_time_for_the_rest(timeout, whole, rest):
    assert time_to_close(CONFIG, timeout) == (whole, rest)


def test_it_closes_as_soon_as_no_handler_runs():
    assert plan().step(0, busy=False) is CloseStep.CLOSE
    waiting = plan()
    assert waiting.step(5, busy=True) is CloseStep.WAIT
    assert waiting.step(6, busy=False) is CloseStep.CLOSE
    assert waiting.left(6) is None
    assert plan(20).left(6) == 14


def test_handlers_that_are_late_are_cancelled_and_have_some_time_to_end():
    late = plan(20)
    assert late.deadline == 15
    assert late.step(14.9, busy=True) is CloseStep.WAIT
    assert late.step(15, busy=True) is CloseStep.CANCEL
    assert late.deadline == 16
    assert late.step(15, busy=True) is CloseStep.WAIT
    assert late.step(16, busy=True) is CloseStep.CLOSE
    assert late.left(16) == 4


def test_one_that_is_cancelled_and_ends_is_not_waited_for():
    late = plan(20)
    assert late.step(15, busy=True) is CloseStep.CANCEL
    assert late.step(15.1, busy=False) is CloseStep.CLOSE


def test_what_cannot_be_cancelled_is_given_up_at_once():
    late = plan(20, grace=0)
    assert late.step(15, busy=True) is CloseStep.CLOSE


def test_the_time_to_end_leaves_some_to_tell_the_callers():
    late = plan(2)
    assert late.step(1.5, busy=True) is CloseStep.CANCEL
    assert late.deadline == 1.75
    assert late.step(1.75, busy=True) is CloseStep.CLOSE
    assert late.left(1.75) > 0


def test_the_shortest_limit_counts():
    joined = plan(80)
    joined.limit(1, CONFIG, 4)
    assert joined.deadline == 4
    joined.limit(2, CONFIG, None)  # it leaves more of its time for the rest, but has more
    assert joined.deadline == 4
    assert joined.left(5) == 0
    assert joined.left(6) == 0


def test_a_limit_that_comes_while_cancelled_handlers_end_changes_nothing_for_them():
    late = plan(20)
    assert late.step(15, busy=True) is CloseStep.CANCEL
    late.limit(15, CONFIG, 2)
    assert late.deadline == 16
    assert late.left(16) == 1
