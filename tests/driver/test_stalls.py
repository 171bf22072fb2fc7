"""A reader that has stopped while its window is full: told once, and no slow reader is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from reliable_ws.driver.stalls import READER_STOPPED_AFTER, Stalls
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.outbox import Outbox
from reliable_ws.protocol.payload import DEFAULT_CODEC

EVERY = 5.0
"""Seconds between two looks."""


class Reading:
    """An inbox that is looked at now and then."""

    def __init__(self, config: Config) -> None:
        self.inbox = Inbox(config)
        self.stalls = Stalls()
        self.session = SimpleNamespace(inbox=self.inbox, outbox=Outbox(config, DEFAULT_CODEC))
        self.now = 1000.0

    def arrive(self, count):
        payloads = [b"x" * 100] * count
        self.inbox.arrived(self.inbox.received + 1, payloads, count * 100)

    def warnings(self, seconds, take_every=None):
        """Go on for so long, and take a message now and then; return how often it was told."""
        told, begin = 0, self.now
        taken = 0
        while self.now < begin + seconds:
            self.now += EVERY
            if take_every and self.now >= begin + (taken + 1) * take_every:
                self.inbox.take()
                self.arrive(1)
                taken += 1
            self.stalls.look(self.session, self.now)
            told += self.stalls.has_reader_stopped(self.session, self.now)
        return told


@pytest.mark.parametrize("config", [Config(window_messages=5), Config(window_bytes=500)])
def test_a_reader_that_has_stopped_is_told_once_until_it_has_taken_what_waited(config):
    reading = Reading(config)
    reading.arrive(4)
    assert not reading.warnings(READER_STOPPED_AFTER)  # since the first look
    assert reading.warnings(EVERY) == 1
    assert not reading.warnings(10 * READER_STOPPED_AFTER)
    for _ in range(3):
        reading.inbox.take()
        reading.arrive(1)
    assert not reading.warnings(3 * READER_STOPPED_AFTER)  # one of those still waits
    reading.inbox.take()
    reading.arrive(1)
    assert reading.warnings(3 * READER_STOPPED_AFTER) == 1


def test_a_reader_that_takes_slowly_is_not_told():
    reading = Reading(Config(window_messages=100))
    reading.arrive(99)
    assert not reading.warnings(3600, take_every=READER_STOPPED_AFTER - EVERY)
    # If it is still slower, it is told once for all that wait.
    assert reading.warnings(3600, take_every=2 * READER_STOPPED_AFTER) == 1


def test_a_window_with_room_is_not_told():
    reading = Reading(Config(window_messages=100))
    reading.arrive(74)
    assert not reading.warnings(3600)
    reading.arrive(20)  # the time before it was full does not count
    assert not reading.warnings(READER_STOPPED_AFTER)
    assert reading.warnings(EVERY) == 1


def test_deliveries_that_are_taken_and_not_confirmed_are_told_by_another_warning():
    reading = Reading(Config(window_messages=5))
    reading.arrive(4)
    for _ in range(4):
        reading.inbox.deliver()
    assert not reading.warnings(3600)
