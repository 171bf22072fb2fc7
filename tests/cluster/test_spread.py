"""When peers come again that a node has asked to."""

from __future__ import annotations

import itertools
import random

import pytest

from reliable_ws.cluster.spread import FIRST_RETRY, Spread


def test_peers_that_are_told_at_once_come_evenly() -> None:
    spread = Spread(10.0, 5)
    told = [spread.retry(100.0) for _ in range(5)]
    assert told == pytest.approx([FIRST_RETRY + number * 2.0 for number in range(5)])


@pytest.mark.parametrize("longest", [0.01, 0.5, 3.0])
def test_no_two_moments_are_closer_than_even_however_long_it_takes_to_tell(longest: float) -> None:
    chance = random.Random(0)
    spread = Spread(10.0, 50)
    now, moments = 100.0, []
    for _ in range(60):  # ten more than it was made for: they came meanwhile
        retry = spread.retry(now)
        assert retry >= FIRST_RETRY - 1e-9
        moments.append(now + retry)
        now += chance.uniform(0.0, longest)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert min(gaps) >= 0.2 - 1e-9


def test_no_time_to_spread_over_is_no_wait() -> None:
    spread = Spread(0.0, 3)
    assert [spread.retry(100.0) for _ in range(3)] == pytest.approx([FIRST_RETRY] * 3)
