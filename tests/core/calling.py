"""Calls of one side whose peer is played by hand, and of two honest ones."""

from __future__ import annotations

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import (
    Cancelled,
    Eased,
    Faulted,
    Granted,
    Itemized,
    Replied,
    Requested,
)
from reliable_ws.protocol.frames import CallPosition, Calls, Frame, Hello, Request
from tests.support.calls import session_calls
from tests.support.pair import Pair

from .helpers import NO_CALLS_YET, Exactly, Lone, hello, welcome

CALLS = (Requested, Replied, Faulted, Itemized, Cancelled, Granted, Eased)


def calling(side, config=None, **changes) -> Lone:
    """One side whose peer, played by hand, takes calls."""
    return side(config, calls=NO_CALLS_YET, **changes)


def opened(config: Config | None = None, server_config: Config | None = None) -> Pair:
    pair = Pair(config, server_config)
    pair.connect()
    return pair


def heard(events: list) -> list:
    """Take what calls say out of a list of events."""
    found = Exactly(event for event in events if isinstance(event, CALLS))
    events.clear()
    return found


def ask(lone: Lone, method: str = "do", payload="", by=None, credit: int = 0) -> int:
    assert session_calls(lone.session).has_room
    return session_calls(lone.session).request(method, payload, by, credit)


def entries_of(frames: list[Frame]) -> list:
    return Exactly(entry for frame in frames if isinstance(frame, Calls) for entry in frame.entries)


def a_request(payload="", timeout=None, credit=0) -> Request:
    return Request("do", timeout, credit, payload)


def again(lone: Lone, calls: CallPosition | None, **changes) -> list:
    """Greet anew, with this position of calls."""
    if lone.registry is None:
        lone.link = lone.session.dial(lone.now)
        (greeting,) = lone.says()
        assert isinstance(greeting, Hello)
        assert greeting.calls == session_calls(lone.session).position()
        return lone.hears(welcome(resumed=True, calls=calls, **changes))
    arrival = lone.registry.arrive(lone.now)
    greeting = hello(attempt=lone.session.attempt + 1, calls=calls, **changes)
    events = arrival.receive(encode([greeting]), lone.now)
    if arrival.link is not None:
        lone.link = arrival.link
        arrival.link.transmit(lone.now)
    return events
