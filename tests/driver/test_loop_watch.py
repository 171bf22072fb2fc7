"""An event loop that was blocked is told once, whatever the number of its timers."""

from __future__ import annotations

from reliable_ws.driver.loop_watch import BLOCKED, LoopWatch


def test_a_timer_that_comes_late_is_told_once_for_each_block():
    watch = LoopWatch()
    assert watch.look(10.0, 10.0 + BLOCKED / 2, 1010.0) == ""
    assert (watch.total, watch.last, watch.last_at) == (0.0, 0.0, 0.0)
    assert "did not run for 5.0 s" in watch.look(20.0, 25.0, 1025.0)
    assert watch.look(21.0, 25.0, 1025.0) == ""  # another session of the same loop
    assert watch.look(24.9, 25.1, 1025.1) == ""
    assert (watch.total, watch.last, watch.last_at) == (5.0, 5.0, 1025.0)
    assert "did not run for 3.5 s" in watch.look(30.0, 33.5, 1033.5)
    assert (watch.total, watch.last, watch.last_at) == (8.5, 3.5, 1033.5)
