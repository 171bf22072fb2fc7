"""One honest side of a conversation; the test plays its peer, frame by frame, by hand."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Ended, Event
from reliable_ws.protocol.frames import (
    CallPosition,
    Calls,
    Counters,
    Entry,
    Frame,
    Hello,
    Limits,
    Messages,
    Position,
    Range,
    Refuse,
    Welcome,
)
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY

CONFIRMED, NOT_TAKEN, UNKNOWN = Outcome.CONFIRMED, Outcome.NOT_TAKEN, Outcome.UNKNOWN
NOW = 1000.0
INCARNATION = 42
LIMITS = Config().limits(None)
LARGE = 2**30
"A limit of frames that nothing reaches."
NO_CALLS_YET = CallPosition(0, 0, 1)
SMALL = Config(window_messages=4, window_bytes=40_000, max_frame=8192, max_message=30_000)


def counters(
    received: int = 0,
    confirmed: int | None = None,
    handed: int | None = None,
    *,
    stopped: bool = False,
    ranges: tuple[Range, ...] = (),
) -> Counters:
    """What the peer says that it has of ours."""
    confirmed = received if confirmed is None else confirmed
    handed = confirmed if handed is None else handed
    return Counters(received, confirmed, handed, stopped, ranges)


def position(
    has: Counters | None = None, sent: int = 0, first: int = 1, partial: int = 0
) -> Position:
    return Position(has or counters(), sent, first, partial)


def hello(attempt: int = 1, **changes: Any) -> Hello:
    frame = Hello(1, 1, ID, KEY, attempt, 0, position(), LIMITS)
    return frame._replace(**changes)


def welcome(**changes: Any) -> Welcome:
    return Welcome(1, False, INCARNATION, position(), LIMITS)._replace(**changes)


def limits(**changes: int) -> Limits:
    return LIMITS._replace(**changes)


def run_of(first: int, *payloads: Any) -> Messages:
    return Messages(first, list(payloads))


def calls_of(first: int, *entries: Entry) -> Calls:
    return Calls(first, list(entries))


def raw(*frames: Any) -> bytes:
    """One WebSocket message with these arrays in it, right or wrong."""
    data: bytes = msgpack.packb(list(frames))
    return data


class Exactly(list[Any]):
    """A list of frames or events that equals another only if their types are equal, too.

    They are tuples: ``Want(1) == CallAck(1)``.
    """

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and list(map(type, self)) == list(map(type, other))


def frames_of(end: Link | Arrival, now: float) -> list[Frame]:
    """Pull everything that one end wants to send, and read it."""
    frames: list[Frame] = Exactly()
    while (data := end.transmit(now)) is not None:
        frames += decode(data, LARGE)
    return frames


class Lone:
    """One side, its peer played by hand."""

    def __init__(
        self, session: Session, link: Link, registry: SessionRegistry | None = None
    ) -> None:
        self.session = session
        self.link = link
        self.registry = registry
        self.now = NOW
        self.events: list[Event] = []

    def hears(self, *frames: Frame) -> list[Event]:
        """Feed one WebSocket message made of good frames."""
        return self.hears_raw(encode(frames))

    def hears_raw(self, data: bytes | str) -> list[Event]:
        events = Exactly(self.session.receive(self.link, data, self.now))
        self.events += events
        return events

    def says(self) -> list[Frame]:
        return frames_of(self.link, self.now)

    def sends(self, *messages: Any) -> list[Frame]:
        for message in messages:
            self.session.send(message)
        return self.says()

    def takes(self, count: int) -> list[Any]:
        taken = [self.session.take() for _ in range(count)]
        self.events += self.session.poll(self.now)
        return taken

    def dials(self, **changes: Any) -> list[Event]:
        """Open another link at an initiator and welcome it."""
        self.link = self.session.dial(self.now)
        self.says()
        return self.hears(welcome(resumed=True, **changes))

    def outcomes(self) -> list[Outcome]:
        return [self.session.outcome(n + 1) for n in range(self.session.outbox.messages)]


def initiator(config: Config | None = None, **changes: Any) -> Lone:
    """An initiator that was just welcomed."""
    session = Session("initiator", ID, KEY, NOW, config)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    lone.hears(welcome(**changes))
    return lone


def acceptor(config: Config | None = None, **changes: Any) -> Lone:
    """An acceptor that has just answered a Hello."""
    registry = SessionRegistry(INCARNATION - 1, config)
    arrival = registry.arrive(NOW)
    events = arrival.receive(encode([hello(**changes)]), NOW)
    assert arrival.session is not None
    assert arrival.link is not None
    lone = Lone(arrival.session, arrival.link, registry)
    lone.events += events
    lone.says()
    return lone


SIDES = [initiator, acceptor]
either_side = pytest.mark.parametrize("side", SIDES)


def blamed(lone: Lone, events: list[Event], code: int, words: str = "") -> None:
    """The peer is blamed: an outcome with a code, told to it; every message has an outcome."""
    ended = [event for event in events if isinstance(event, Ended)]
    assert [end.ending.kind for end in ended] == [End.VIOLATION]
    assert (ended[0].ending.code, words in ended[0].ending.reason) == (code, True), ended
    assert lone.link.close_action is not None
    assert lone.link.close_action.code == code
    (refuse,) = lone.says()
    assert isinstance(refuse, Refuse)
    assert refuse.code == code
    assert refuse.counters == lone.session.inbox.counters()
    assert lone.session.report().final
    assert lone.session.ended == ended[0].ending
    assert lone.session.receive(lone.link, b"anything", lone.now) == []
