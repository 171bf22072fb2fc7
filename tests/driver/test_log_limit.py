"""How many log lines one session may cause."""

from __future__ import annotations

from reliable_ws.driver.log_limit import BURST, LogLimit


def test_a_burst_then_one_a_second():
    limit = LogLimit()
    assert [limit.admits(10.0) for _ in range(BURST + 2)] == [True] * BURST + [False] * 2
    assert not limit.admits(10.5)
    assert limit.admits(11.0)
    assert limit.more() == " (and 3 more that were not logged)"
    assert limit.more() == ""
    assert not limit.admits(11.9)
    assert limit.admits(12.0)


def test_it_admits_no_larger_burst_after_a_long_silence():
    limit = LogLimit()
    for now in (0.0, 10_000.0):
        assert sum(limit.admits(now) for _ in range(100)) == BURST
