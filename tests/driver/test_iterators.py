"""One iterator at a time gets the messages of a connection."""

from __future__ import annotations

import pytest

from reliable_ws.driver.iterators import Iterators


def test_a_second_one_is_refused_while_the_first_one_waits():
    iterators = Iterators()
    first = iterators.begin()
    iterators.waiting = True
    with pytest.raises(RuntimeError, match="iterates over this connection"):
        iterators.begin()
    assert iterators.newest == first


def test_a_second_one_takes_over_from_one_that_does_not_wait():
    iterators = Iterators()
    first = iterators.begin()
    second = iterators.begin()
    assert iterators.newest == second != first
    with pytest.raises(RuntimeError, match="was begun since"):
        iterators.refuse()
