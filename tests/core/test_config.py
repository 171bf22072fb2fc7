"""Every limit has a default, and a value out of range is named."""

from __future__ import annotations

import dataclasses
import math

import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import MIN_FRAME, MIN_MESSAGE, Config
from reliable_ws.protocol.frames import Limits

from .helpers import hello

FIELDS = [field.name for field in dataclasses.fields(Config)]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [0, -1, "10", math.nan, math.inf, True, [1]])
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        Config(**{name: value})


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_counted_is_an_int(name):
    """LIMIT-1: a float would be malformed on the wire."""
    if isinstance(getattr(Config(), name), float):
        assert getattr(Config(**{name: 7}), name) == 7
    else:
        with pytest.raises(ValueError, match=name):
            Config(**{name: 10_000.5})


def test_only_the_outbox_limits_may_be_none():
    assert Config(outbox_messages=None, outbox_bytes=None) == Config()
    with pytest.raises(ValueError, match="max_bytes"):
        Config(max_bytes=None)  # type: ignore[arg-type]


def test_frames_are_not_smaller_than_the_smallest():
    """LIMIT-1"""
    assert Config(max_frame=MIN_FRAME).max_frame == MIN_FRAME
    with pytest.raises(ValueError, match="max_frame"):
        Config(max_frame=MIN_FRAME - 1)


def test_messages_are_not_smaller_than_the_smallest():
    """LIMIT-1"""
    assert Config(max_message=MIN_MESSAGE).max_message == MIN_MESSAGE
    with pytest.raises(ValueError, match=f"max_message must be at least {MIN_MESSAGE}"):
        Config(max_message=MIN_MESSAGE - 1)


def test_the_greeting_says_the_limits_in_milliseconds():
    """LIMIT-1"""
    config = Config(idle_timeout=1.5, session_ttl=2, max_requests=3, max_message=1004)
    assert config.limits(None) == Limits(32_768, 4 * 2**20, 2**20, 1004, 3, 1500, 2000)


def test_the_greeting_says_the_smaller_of_our_frames_and_the_transports():
    """LIMIT-1"""
    assert Config(max_frame=9000).limits(8000).max_frame == 8000
    assert Config(max_frame=9000).limits(10_000).max_frame == 9000


def test_the_shortest_times_can_be_said():
    limits = Config(idle_timeout=0.0001, session_ttl=0.0001).limits(None)
    assert decode(encode([hello(limits=limits)]), 2**20)
