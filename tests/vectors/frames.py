"""Frames, and parts of them, that many vectors hold."""

from __future__ import annotations

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import CallPosition, Counters, Hello, Position, Welcome
from tests.support.pair import ID, KEY

ZERO = Counters(0, 0, 0, False)
START = Position(ZERO, 0, 1, 0)
LIMITS = Config().limits(None)
CALLS = CallPosition(0, 0, 1)
HELLO = Hello(1, 1, ID, KEY, 1, 0, START, LIMITS, CALLS)
WELCOME = Welcome(1, False, 42, START, LIMITS, CALLS)
FINAL = Counters(8, 8, 7, False)
