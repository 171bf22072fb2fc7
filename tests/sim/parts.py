"""What a simulated world is made of: its options, both parties, the wires, and the truth."""

from __future__ import annotations

from collections import deque
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reliable_ws.driver.close_plan import ClosePlan
from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import Messages, Part
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.payload import MsgpackCodec
from reliable_ws.protocol.registry import Arrival
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.session import Session

KEY = bytes(range(32))
ID = b"0123456789abcdef"
CODEC = MsgpackCodec()

Action = tuple[Any, ...]
"""A name, and what it is done to."""


class Broken(AssertionError):
    """A guarantee does not hold."""


@dataclass(frozen=True)
class Options:
    """What a world is like before anything happens."""

    initiator: Config = field(default_factory=Config)
    acceptor: Config = field(default_factory=Config)
    durable: tuple[bool, bool] = (False, False)
    "Whether a store lets the initiator, the acceptor survive a crash."
    messages: int = 30
    "Most messages that either application sends."
    smallest: int = 0
    "Bytes of the smallest message."
    sizes: tuple[int, ...] = (0, 3900, 9000)
    "Bytes by class: small, about a frame, in parts."
    transport_limit: int | None = None
    "Frames above this kill the WebSocket with 1009."
    max_frames: tuple[int | None, ...] = (None,)
    "What the transport of the n-th WebSocket takes."
    frame_limit: int | None = None
    "What the sessions take for the largest frame from the beginning (below Config's minimum)."
    timed: bool = True
    "Whether the clock runs; else a deadline may pass at any moment (explorer)."
    eager: bool = False
    "Whether everything that is to be sent is put in flight at once (explorer)."
    preload: int = 0
    "Messages that either application sends before anything else happens."
    deeds: frozenset[str] | None = None
    "What the applications and the world may do; None: everything."
    left: tuple[tuple[str, int], ...] = ()
    "How often an action may happen (explorer)."
    submits: bool = False
    "Whether a store is given at once what changed (explorer)."
    calls: int = 0
    "Most requests that either application makes."
    askers: str = "ia"
    "Who makes any."
    requests: tuple[tuple[int, float | None, int], ...] = ((2, None, 0),)
    "Their kinds: bytes, patience in seconds, credit of a stream."
    answers: tuple[int, ...] = (2,)
    "Bytes of an answer, or of an item."
    items: int = 2
    "Most items of a stream."
    goal: str = "end"
    "Where a walk ends: when the sessions do, or when all that was asked is answered (explorer)."
    leaves: bool = False
    "Whether a close may wait for the handlers of requests."
    steps: int = 50
    weights: tuple[tuple[str, float], ...] = ()
    finale: str = "read"


class Asked(NamedTuple):
    """One request, as its caller and its handler know it."""

    payload: str
    by: float | None
    credit: int
    granted: int
    "Bytes of items that the caller takes in all."
    allowed: int
    "What the handler has heard of that."
    arrived: bool = False
    ran: bool = False
    cancelled: bool = False
    "Whether the handler has heard that nobody waits."
    given: Any = None
    "What the handler answered."
    sent: int = 0
    "Items, and their weight."
    sent_weight: int = 0
    waits: bool = False
    "Whether the stream waits for credit or room."
    items: int = 0
    "Items that came, and their weight."
    got_weight: int = 0
    got: str = ""
    "How it ended, for its caller."
    never: bool = False
    "Whether its caller was told that it was not taken."


class Record:
    """What one application sent in one session, and what the other one did with it: the truth."""

    __slots__ = ("applied", "asked", "confirmed", "handed", "payloads", "prefix")

    def __init__(self) -> None:
        self.payloads: list[Any] = []
        self.handed: set[int] = set()
        self.confirmed: set[int] = set()
        self.applied: frozenset[int] = frozenset()
        "Confirmed together with data of the application."
        self.prefix = 0
        "Everything up to here is confirmed."
        self.asked: dict[int, Asked] = {}

    def clone(self) -> Record:
        new = Record.__new__(Record)
        new.payloads = self.payloads.copy()
        new.handed = self.handed.copy()
        new.confirmed = self.confirmed.copy()
        new.prefix = self.prefix
        new.applied = self.applied
        new.asked = self.asked.copy()
        return new

    def forget_others(self, kept: set[int]) -> None:
        """Only these confirmations survive the death of the process that gave them."""
        self.confirmed &= kept
        self.prefix = 0
        self.confirm(0)

    def confirm(self, number: int) -> None:
        self.confirmed.add(number)
        while self.prefix + 1 in self.confirmed:
            self.prefix += 1


class Party:
    """One side: its session, and its application."""

    def __init__(self, role: str, session: Session, *, durable: bool = False) -> None:
        self.role = role
        self.session = session
        self.record = Record()
        "What we send."
        self.durable = durable
        self.alive = True
        "Whether the process lives (a session that has ended lives on in its report)."
        self.open: tuple[int, ...] = ()
        "Deliveries not confirmed."
        self.waiting: tuple[int, ...] = ()
        "Requests of ours that have not ended."
        self.owed: tuple[int, ...] = ()
        "Requests of the peer that run."
        self.refusing = False
        "Whether new ones are turned away."
        self.finished = False
        self.closed = False
        self.plan: ClosePlan | None = None
        "A close that waits for the handlers of requests: the drivers' own."
        self.polite = True
        "Whether this side never stopped early: no close() before the end of reading, no abort."
        self.known: dict[int, Outcome] = {}
        "Outcomes that the application has been told."
        self.denied: frozenset[int] = frozenset()
        "Numbers that were once reported as not taken."
        self.over = False
        "Whether the application was told how its session ended."
        self.puts = False
        "Whether it had messages kept by themselves: these are accepted whatever the room."
        self.lives = 1

    def clone(self, session: Session) -> Party:
        new = Party.__new__(Party)
        new.__dict__.update(self.__dict__)
        new.session = session
        new.record = self.record.clone()
        new.known = self.known.copy()
        new.plan = copy(self.plan)
        return new


class Wire:
    """One WebSocket: what is in flight, and which ends still know it as open."""

    __slots__ = (
        "a_code",
        "a_open",
        "a_stirred",
        "arrival",
        "broken",
        "dialer",
        "down",
        "i_code",
        "i_open",
        "i_stirred",
        "serial",
        "session",
        "up",
    )

    def __init__(self, serial: int, session: Session, dialer: Link, arrival: Arrival) -> None:
        self.serial = serial
        self.session = session
        "Whose link the initiator's end is."
        self.dialer = dialer
        self.arrival = arrival
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.i_open = True
        self.a_open = True
        self.i_code: int | None = None
        "What the initiator's end closed the WebSocket with, if it did."
        self.a_code: int | None = None
        self.broken = False
        "Whether it was cut, so that what is in flight may be lost."
        self.i_stirred = True
        "Whether something happened since the initiator's end was last pulled dry."
        self.a_stirred = False

    def clone(self) -> Wire:
        new = Wire.__new__(Wire)
        new.serial = self.serial
        new.session = self.session
        new.dialer = self.dialer
        new.arrival = self.arrival
        new.up = self.up.copy()
        new.down = self.down.copy()
        new.i_open = self.i_open
        new.a_open = self.a_open
        new.i_code = self.i_code
        new.a_code = self.a_code
        new.broken = self.broken
        new.i_stirred = self.i_stirred
        new.a_stirred = self.a_stirred
        return new

    def end(self, side: str) -> Link | Arrival:
        return self.dialer if side == "i" else (self.arrival.link or self.arrival)

    def session_at(self, side: str) -> Session | None:
        """Whose link that end is; nobody's, before a good Hello."""
        return self.session if side == "i" else self.arrival.session


class Story(NamedTuple):
    """Everything needed to replay: how the world is, and what was done to it."""

    options: Options
    actions: list[Action]


def told(data: bytes) -> str:
    """What a WebSocket message says, short."""
    words = []
    for frame in decode(data, 1 << 30):
        if isinstance(frame, Messages):
            last = frame.first + len(frame.payloads) - 1
            words.append(f"Messages {frame.first}-{last}")
        elif isinstance(frame, Part):
            words.append(f"Part {frame.number} [{frame.offset}+{len(frame.data)}/{frame.total}]")
        else:
            words.append(str(frame))
    return ", ".join(words)
