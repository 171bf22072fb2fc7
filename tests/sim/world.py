"""Two applications, a session at either end, and a network that does what it likes.

The core is the real one; everything around it is simulated: any number of wires that are cut,
half open or late, processes that crash, a clock that jumps. One seed is one schedule. What
the applications really did is written down (:class:`Record`), and after every step both
sides' claims are compared with it (guarantees G1 to G5); in the end the network heals, the
applications read, and every message must have an outcome that is true (G3, G4, G6).

    python -m tests.sim.world SEED        replay one seed and print what happened
    python -m tests.sim.world SEED -s     the same, with as few actions as still fail

The explorer (explore.py) walks through all schedules of a small world instead.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import ConfirmTooLate, ConnectionClosed, OutboxFull
from reliable_ws.protocol.events import Detached, Ended, Event, Opened, Settled
from reliable_ws.protocol.frames import Code, Messages, Part, Refuse
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.payload import MsgpackCodec, seal
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.sessions import Arrival, Sessions
from reliable_ws.protocol.snapshot import restore, snapshot
from reliable_ws.protocol.state import Phase, Receiving, Sending

KEY = bytes(range(32))
ID = b"0123456789abcdef"
CODEC = MsgpackCodec()
LONG_REASON = "why " * 30
SOON = 5.0
"""Seconds in which two living, reading sides on a good network must come to the end."""

Action = tuple[Any, ...]
"""A name, and what it is done to."""


COMMITS = {
    "outbox": ("sent", "messages", "finish", "settled"),
    "inbox": ("confirmed", "peer_finish", "stopped"),
    "attempt": ("attempt",),
}
"""Parts of a snapshot, by what is to be committed in time."""


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
    commits: frozenset[str] = frozenset(("outbox", "inbox", "attempt", "tombstone"))
    "What a durable side commits in time; less is a seeded bug."
    steps: int = 50
    weights: tuple[tuple[str, float], ...] = ()
    finale: str = "read"


class Record:
    """What one application sent in one session, and what the other one did with it: the truth."""

    __slots__ = ("confirmed", "handed", "payloads", "prefix")

    def __init__(self) -> None:
        self.payloads: list[Any] = []
        self.handed: set[int] = set()
        self.confirmed: set[int] = set()
        self.prefix = 0
        "Everything up to here is confirmed."

    def clone(self) -> Record:
        new = Record.__new__(Record)
        new.payloads = self.payloads.copy()
        new.handed = self.handed.copy()
        new.confirmed = self.confirmed.copy()
        new.prefix = self.prefix
        return new

    def confirm(self, number: int) -> None:
        self.confirmed.add(number)
        while self.prefix + 1 in self.confirmed:
            self.prefix += 1


class Party:
    """One side: its session, its application, its disk."""

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
        self.finished = False
        self.closed = False
        self.polite = True
        "Whether this side never stopped early: no close() before the end of reading, no abort."
        self.known: dict[int, Outcome] = {}
        "Outcomes that the application has been told."
        self.denied: frozenset[int] = frozenset()
        "Numbers that were once reported as not taken."
        self.disk: dict[str, Any] | None = None
        self.latest: dict[str, Any] | None = None
        self.disk_sent = 0
        self.over_on_disk = False
        self.lives = 1

    def clone(self, session: Session) -> Party:
        new = Party.__new__(Party)
        new.__dict__.update(self.__dict__)
        new.session = session
        new.record = self.record.clone()
        new.known = self.known.copy()
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
        "up",
    )

    def __init__(self, serial: int, dialer: Link, arrival: Arrival) -> None:
        self.serial = serial
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


class Story(NamedTuple):
    """Everything needed to replay: how the world is, and what was done to it."""

    options: Options
    actions: list[Action]


class World:
    """Both sides, the wires, the clock. ``actions()`` says what can happen, ``do()`` does it."""

    def __init__(self, options: Options, seen: Counter[str] | None = None) -> None:
        self.options = options
        self.now = 0.0 if not options.timed else 1000.0
        self.seen: Counter[str] = Counter() if seen is None else seen
        self.i = Party(
            "initiator",
            Session("initiator", ID, KEY, self.now, options.initiator),
            durable=options.durable[0],
        )
        if options.frame_limit:
            self.i.session.frame_limit = options.frame_limit
        self.a: Party | None = None
        self.past: list[Party] = []
        "Acceptor's processes that died."
        self.records: dict[int, Record] = {}
        "What each incarnation at the acceptor has sent."
        self.book = Sessions(41, options.acceptor)
        self.tombs_on_disk: dict[bytes, Any] = {}
        self.wires: list[Wire] = []
        self.serial = 0
        self.blind: frozenset[str] = frozenset()
        "Reasons for which an outcome may remain unknown."
        self.left = dict(options.left)
        for _ in range(options.preload):
            self.do_send("i")
        self.say: Any = None
        "Called with a line for each thing that happens, when somebody wants to read it."

    # ------------------------------------------------------------------ small helpers

    def party(self, side: str) -> Party | None:
        return self.i if side == "i" else self.a

    def other(self, party: Party) -> Party | None:
        return self.a if party is self.i else self.i

    def excuse(self, why: str) -> None:
        self.blind |= {why}

    def partner_record(self, party: Party) -> Record:
        """What the party's session receives."""
        if party is not self.i:
            return self.i.record
        record = self.records.get(party.session.incarnation)
        if record is None:
            raise Broken("the initiator received messages of a session that never was")
        return record

    def stir(self, party: Party) -> None:
        """Let the driver look what its links want to send."""
        session = party.session
        if party is self.i:
            for wire in self.wires:
                if wire.dialer.session is session:
                    wire.i_stirred = True
        else:
            for wire in self.wires:
                if wire.arrival.session is session:
                    wire.a_stirred = True

    # ------------------------------------------------------------------ what can happen

    def actions(self) -> list[Action]:
        """Everything that can happen now."""
        found: list[Action] = []
        options = self.options
        deeds, left = options.deeds, self.left
        for side, party in (("i", self.i), ("a", self.a)):
            if party is not None and party.alive:
                self._application(side, party, found)
                if options.timed:
                    if party.session.deadline <= self.now:
                        found.append(("tick", side))
                else:
                    self._abstract_time(side, party, found)
        initiator = self.i
        if initiator.alive and not initiator.session.ended:
            if initiator.session.link is None:
                found.append(("dial",))
            else:
                found.append(("redial",))
        for wire in self.wires:
            self._network(wire, found)
        found += (("crash", "i"), ("crash", "a"), ("restart", "i"), ("drain",))
        if self.book._tombstones and not self._stale_hello():
            found.append(("forget",))
        if options.timed:
            found.append(("advance",))
        return [
            action
            for action in found
            if (deeds is None or action[0] in deeds) and left.get(action[0], 1) > 0
        ]

    def _stale_hello(self) -> bool:
        """Whether a Hello of an older link may still come.

        It cannot outlive a tombstone: a WebSocket without Hello is refused long before (LIVE-1).
        """
        current = self.i.session.link
        return any(
            wire.a_open and wire.arrival.link is None and wire.dialer is not current
            for wire in self.wires
        )

    def _application(self, side: str, party: Party, found: list[Action]) -> None:
        session = party.session
        if not session.ended:
            if len(party.record.payloads) < self.options.messages and not party.finished:
                found += [("send", side, size) for size in range(len(self.options.sizes))]
                found.append(("burst", side))
            if not party.finished:
                found.append(("finish", side))
            if not party.closed:
                found.append(("close", side))
            found.append(("abort", side))
            if session.outbox.messages > session.wanted:
                found.append(("want", side))
        waiting = len(session.inbox)
        if waiting:
            found += (("take", side), ("hand", side))
            if waiting > 8:
                found.append(("scatter", side))
        if party.open:
            found += [("confirm", side, number) for number in party.open[:3]]

    def _abstract_time(self, side: str, party: Party, found: list[Action]) -> None:
        """Deadlines that may pass at any moment."""
        session = party.session
        if session.ended:
            return
        link = session.link
        if link is not None and session.attached:
            if link.acks.by is not None:
                found.append(("ack", side))
            found.append(("beat", side))
        if not session.attached:
            found.append(("expire", side))
            if side == "a" and self._gone():
                found.append(("perish",))
        if session.closing:
            found.append(("giveup", side))

    def _network(self, wire: Wire, found: list[Action]) -> None:
        serial = wire.serial
        if wire.i_open:
            if wire.i_stirred:
                found += (("pull", serial, "i"), ("pull1", serial, "i"))
            if wire.down:
                found.append(("arrive", serial, "i"))
            told = not wire.a_open and (wire.broken or not wire.down)
            found.append(("learn", serial, "i") if told else ("cut", serial, "i"))
        if wire.a_open:
            if wire.a_stirred:
                found += (("pull", serial, "a"), ("pull1", serial, "a"))
            if wire.up:
                found.append(("arrive", serial, "a"))
            told = not wire.i_open and (wire.broken or not wire.up)
            found.append(("learn", serial, "a") if told else ("cut", serial, "a"))
            if self.options.timed and wire.arrival.deadline <= self.now:
                found.append(("late", serial))

    # ------------------------------------------------------------------ doing it

    def do(self, action: Action) -> None:
        """Do one action, then check everything."""
        name = action[0]
        if name in self.left:
            self.left[name] -= 1
        getattr(self, "do_" + name)(*action[1:])
        if self.options.eager:
            self.pull_all()
        self.check()

    def pull_all(self) -> None:
        for wire in list(self.wires):
            if wire.i_open and wire.i_stirred:
                self.do_pull(wire.serial, "i")
            if wire.a_open and wire.a_stirred:
                self.do_pull(wire.serial, "a")

    def wire(self, serial: int) -> Wire:
        for wire in self.wires:
            if wire.serial == serial:
                return wire
        raise LookupError(serial)

    # the applications

    def do_send(self, side: str, size: int = 0) -> None:
        party = self.party(side)
        record, session = party.record, party.session
        number = len(record.payloads) + 1
        name = f"{side}{number}.{party.lives}".encode()
        length = self.options.sizes[size]
        if not self.options.timed:
            message: Any = name[:2].ljust(length, b".")
        elif length:
            message = name.ljust(length + number % 256, b".")
            if number % 5 == 1:
                message = message.decode()
        else:
            message = (name, name.decode(), [side, number, party.lives], name * 3)[number % 4]
            if number % 11 == 0:
                message = b""
        payload, _weight = seal(message, CODEC)
        try:
            got = session.send(message)
        except OutboxFull:
            self.seen["outbox full"] += 1
            return
        except ConnectionClosed:
            self.seen["send after the end"] += 1
            if session.sending is Sending.OPEN:
                raise Broken("send() refused by an open session") from None
            return
        if got != number:
            raise Broken(f"message {number} got number {got}")
        record.payloads.append(payload)
        if session.sending is Sending.STOPPED:
            self.seen["sent after the peer's Stop"] += 1
            if session.outcome(number) is not Outcome.NOT_TAKEN:
                raise Broken("accepted behind the peer's Stop and not settled")
        self.stir(party)

    def do_burst(self, side: str) -> None:
        for _ in range(12):
            self.do_send(side, 0)

    def do_want(self, side: str) -> None:
        party = self.party(side)
        party.session.want(party.session.outbox.messages)
        self.seen["want"] += 1
        self.stir(party)

    def do_take(self, side: str) -> None:
        party = self.party(side)
        inbox = party.session.inbox
        number = inbox.handed + 1
        payload = inbox.take()
        self._handed_over(party, number, payload)
        self.partner_record(party).confirm(number)
        self._if_due(party)

    def do_hand(self, side: str) -> None:
        party = self.party(side)
        expected = party.session.inbox.handed + 1
        number, payload = party.session.inbox.deliver()
        if number != expected:
            raise Broken(f"delivery {number} where {expected} is next")
        self._handed_over(party, number, payload)
        party.open += (number,)

    def do_confirm(self, side: str, number: int) -> None:
        party = self.party(side)
        party.open = tuple(other for other in party.open if other != number)
        try:
            party.session.inbox.confirm(number)
        except ConfirmTooLate:
            if not party.session.inbox.stopped:
                raise Broken("confirmed too late, and intake is open") from None
            self.seen["confirmed too late"] += 1
            return
        self.partner_record(party).confirm(number)
        self._if_due(party)

    def do_scatter(self, side: str) -> None:
        """Hand over everything and confirm every second one, last first: ranges."""
        party = self.party(side)
        for _ in range(len(party.session.inbox)):
            self.do_hand(side)
        for number in party.open[::-2]:
            self.do_confirm(side, number)

    def _handed_over(self, party: Party, number: int, payload: Any) -> None:
        record = self.partner_record(party)
        if self.say:
            self.say(f"    {party.role}'s application takes {number}")
        if number > len(record.payloads) or record.payloads[number - 1] != payload:
            raise Broken(f"G1: the {party.role} took as number {number} what is not that message")
        if number in record.handed:
            if number > party.session.inbox.redelivered_upto:
                raise Broken(f"G2: the {party.role} took message {number} twice")
            self.seen["redelivered, flagged"] += 1
        record.handed.add(number)
        sender = self.other(party)
        if sender is not None and sender.record is record:
            told = sender.known.get(number) or sender.session.outcome(number)
            if told is Outcome.NOT_TAKEN or number in sender.denied:
                raise Broken(f"G3: message {number} was reported not taken, and was taken then")

    def _if_due(self, party: Party) -> None:
        if party.session.inbox.due:
            self.heard(party, party.session.settle(self.now))

    def do_finish(self, side: str) -> None:
        party = self.party(side)
        party.finished = True
        self.seen["finish"] += 1
        reason = LONG_REASON if self.options.timed and len(party.record.payloads) % 2 else ""
        self.heard(party, party.session.finish(self.now, Code.FINISHED, reason))

    def do_close(self, side: str) -> None:
        party = self.party(side)
        session = party.session
        if session.receiving is not Receiving.FINISHED:
            self.seen["close before the peer's end"] += 1
            if not (session.inbox.finish and session.inbox.confirmed + 1 == session.inbox.received):
                party.polite = False
        if session.inbox._early:
            self.seen["close with ranges"] += 1
        party.finished = party.closed = True
        self.seen["close"] += 1
        reason = LONG_REASON if self.options.timed and len(party.record.payloads) % 2 else ""
        self.heard(party, session.close(self.now, Code.FINISHED, reason))

    def do_abort(self, side: str) -> None:
        party = self.party(side)
        party.polite = False
        self.excuse("abort")
        self.seen["abort"] += 1
        self.heard(party, party.session.abort(self.now))

    # time

    def do_advance(self, seconds: float = 0.03) -> None:
        self.now += seconds

    def do_tick(self, side: str) -> None:
        party = self.party(side)
        self.heard(party, party.session.tick(self.now))
        self.stir(party)
        self._gave_up(party)
        if party.session.deadline <= self.now:
            raise Broken("a deadline that has passed does not move")

    def _gave_up(self, party: Party) -> None:
        if party.session.ended:
            self.excuse("expired")

    def do_late(self, serial: int) -> None:
        wire = self.wire(serial)
        wire.arrival.tick(self.now)
        wire.a_stirred = True
        self.seen["no Hello in time"] += 1

    def do_ack(self, side: str) -> None:
        party = self.party(side)
        self.heard(party, party.session.tick(party.session.link.acks.by))
        self.stir(party)

    def do_beat(self, side: str) -> None:
        party = self.party(side)
        party.session.link.acks.now = True
        self.stir(party)

    def do_expire(self, side: str) -> None:
        party = self.party(side)
        self.heard(party, party.session.tick(party.session.contact_at + 1e6))
        self._gave_up(party)
        if not party.session.ended:
            raise Broken("the session outlives its time to live")

    def do_perish(self) -> None:
        """The acceptor's time runs out, now that the initiator is gone for good."""
        self.do_expire("a")

    def do_giveup(self, side: str) -> None:
        party = self.party(side)
        self.heard(party, party.session.tick(party.session._progress_at + 20.0))
        self._gave_up(party)
        if not party.session.ended:
            raise Broken("close() outlives its progress timeout")

    def do_forget(self) -> None:
        self.book._forget(1e15)
        self.tombs_on_disk = {}
        self.excuse("forgotten")
        self.seen["tombstone forgotten"] += 1

    def do_drain(self) -> None:
        """Toggle whether the acceptor takes new sessions."""
        self.book.draining = not self.book.draining

    # the network

    def do_dial(self) -> None:
        options = self.options
        limits = options.max_frames
        limit = limits[self.serial % len(limits)]
        link = self.i.session.dial(self.now, limit)
        arrival = self.book.arrive(self.now, "somebody", limit)
        self.serial += 1
        self.wires.append(Wire(self.serial, link, arrival))
        if self.serial > 1:
            self.seen["redialled"] += 1
        self.stir(self.i)

    def do_redial(self) -> None:
        """Open another WebSocket while one is open: the application may have its reasons."""
        self.seen["redialled over an open link"] += 1
        self.do_dial()

    def do_pull(self, serial: int, side: str, most: int = 10_000) -> None:
        """Let one end's driver send what it can; ``most`` WebSocket messages."""
        wire = self.wire(serial)
        end = wire.end(side)
        party = self.party(side)
        session = end.session
        if party is not None and party.session is session and party.durable:
            self.commit(party)
        limit = self.options.transport_limit
        for _ in range(most):
            restless = not isinstance(end, Link) or end.restless
            data = end.transmit(self.now)
            if data is None:
                break
            if not restless:
                raise Broken(f"{side} had something to say and did not know: {told(data)}")
            if self.say:
                self.say(f"    {side} sends on {serial}: {told(data)}")
            if limit is not None and len(data) > limit:
                self.seen["1009"] += 1
                wire.broken = True
                self._dies(wire, side, Code.TOO_BIG)
                return
            (wire.up if side == "i" else wire.down).append(data)
        else:
            return
        if side == "i":
            wire.i_stirred = False
        else:
            wire.a_stirred = False
        if end.leaving is not None:
            self._hang_up(wire, side)

    def do_pull1(self, serial: int, side: str) -> None:
        self.do_pull(serial, side, 1)

    def _hang_up(self, wire: Wire, side: str) -> None:
        """Close the WebSocket from one end; what is in flight from here still arrives."""
        code = wire.end(side).leaving.code
        if side == "i":
            wire.i_open = False
            wire.i_code = code
            wire.down.clear()
        else:
            wire.a_open = False
            wire.a_code = code
            wire.up.clear()
        self._sweep(wire)

    def _sweep(self, wire: Wire) -> None:
        """Forget a wire that cannot matter any more."""
        if not wire.i_open and not wire.a_open:
            self.wires.remove(wire)

    def do_arrive(self, serial: int, side: str) -> None:
        wire = self.wire(serial)
        if side == "i":
            data, link = wire.down.popleft(), wire.dialer
            self._note(data, link, side, serial)
            party = self.i
            dialing = link.phase is Phase.DIALING
            events = link.receive(data, self.now)
            wire.i_stirred = True
            if link.phase is Phase.OVER and link.leaving is not None and dialing:
                frame = decode(data, 1 << 30)[0]
                if isinstance(frame, Refuse):
                    self._refused(frame)
            self.heard(party, events)
            return
        data, arrival = wire.up.popleft(), wire.arrival
        wire.a_stirred = True
        if arrival.link is not None:
            self._note(data, arrival.link, side, serial)
            events = arrival.link.receive(data, self.now)
            if self.a is not None and arrival.session is self.a.session:
                self.heard(self.a, events)
            return
        if self.say:
            self.say(f"    a hears on {serial}: {told(data)}")
        events = arrival.receive(data, self.now)
        if arrival.link is not None and arrival.fresh:
            self._accepted(arrival)
        if arrival.leaving is not None and arrival.leaving.code == Code.SUPERSEDED:
            self.seen["stale Hello refused"] += 1
        if self.a is not None and arrival.session is self.a.session:
            self.heard(self.a, events)

    def _accepted(self, arrival: Arrival) -> None:
        """The book made a new session, for a new application."""
        if self.a is not None and self.a.alive:
            if not self.a.session.ended:
                raise Broken("a second session under the same id")
            self.past.append(self.a)
        session = arrival.session
        if self.options.frame_limit:
            session.frame_limit = self.options.frame_limit
        self.a = Party("acceptor", session, durable=self.options.durable[1])
        self.records[session.incarnation] = self.a.record
        for _ in range(self.options.preload):
            self.do_send("a")
        if self.past:
            self.seen["new session after a lost Welcome"] += 1

    def _refused(self, frame: Refuse) -> None:
        if frame.counters is not None:
            self.seen["tombstone answered"] += 1
        elif frame.code == Code.UNKNOWN:
            self.seen["unknown session"] += 1
            if not {"forgotten", "crash"} & self.blind:
                raise Broken("a session is unknown that nobody forgot")
        elif frame.code == Code.BUSY:
            self.seen["busy"] += 1

    def _note(self, data: bytes, link: Link, side: str, serial: int) -> None:
        if self.say:
            self.say(f"    {side} hears on {serial}: {told(data)}")
        if link.phase is Phase.OVER and link.leaving is not None:
            self.seen["frames on an inert link"] += 1

    def do_cut(self, serial: int, side: str) -> None:
        """One end learns that the WebSocket is gone; what it had sent may still arrive."""
        self.seen["cut"] += 1
        if len(self.wires) > 1:
            self.seen["cut with several WebSockets"] += 1
        wire = self.wire(serial)
        wire.broken = True
        self._dies(wire, side, None)

    def do_learn(self, serial: int, side: str) -> None:
        """The other end learns it too, sooner or later; what was still in flight is lost."""
        wire = self.wire(serial)
        link = wire.end(side)
        if side == "a" and isinstance(link, Link) and link.phase is Phase.OVER:
            self.seen["late death of an old link"] += 1
        if side == "i":
            code = None if wire.down else wire.a_code
        else:
            code = None if wire.up else wire.i_code
        self._dies(wire, side, code)

    def _dies(self, wire: Wire, side: str, code: int | None) -> None:
        line = wire.down if side == "i" else wire.up
        for data in line:
            for frame in decode(data, 1 << 30):
                self.seen["lost " + type(frame).__name__] += 1
        line.clear()
        end = wire.end(side)
        party = self.i if side == "i" else self.a
        if side == "i":
            wire.i_open = False
        else:
            wire.a_open = False
        if isinstance(end, Link):
            current = end.session.link
            inert = end.leaving is not None
            events = end.lost(code, "", self.now)
            if inert and (events or end.session.link is not current):
                raise Broken("the death of an old WebSocket did something")
            if party is not None and party.alive and end.session is party.session:
                self.heard(party, events)
        self._sweep(wire)

    # crashes

    def do_crash(self, side: str) -> None:
        """The process dies; with a store it comes back at once."""
        party = self.party(side)
        for wire in list(self.wires):
            wire.broken = True
            if side == "i":
                wire.i_open = False
                wire.down.clear()
            else:
                wire.a_open = False
                wire.up.clear()
            self._sweep(wire)
        if side == "a":
            self._restart_book()
        if party is None or not party.alive:
            return
        self.seen[f"crash of the {party.role}"] += 1
        if party.durable and party.disk is not None and not party.over_on_disk:
            self.excuse("restart")
            self._revive(party)
        elif not party.session.ended:
            self.excuse("crash")
            party.alive = False
            if party is self.a:
                self.past.append(party)
                self.a = None

    def do_restart(self, side: str) -> None:
        """Crash where there is a store, only."""
        if self.i.durable and self.i.disk is not None:
            self.do_crash(side)

    def _restart_book(self) -> None:
        old = self.book
        self.book = Sessions(old._incarnation + 1000, self.options.acceptor)
        if self.options.durable[1]:
            self.book._tombstones = dict(self.tombs_on_disk)
        elif old._tombstones or len(old):
            self.excuse("crash")

    def commit(self, party: Party) -> None:
        """Write what must survive: before anything leaves that the peer could build on."""
        session = party.session
        if session.ended:
            return
        values, before = snapshot(session), party.latest or snapshot(session)
        party.latest = values
        party.disk = disk = dict(values)
        for name, keys in COMMITS.items():
            if name not in self.options.commits:  # this part is late by one commit
                disk.update((key, before[key]) for key in keys)
        finish = disk["finish"]
        whole = disk["sent"] + len(disk["messages"])
        party.disk_sent = whole if finish is None else finish[0] - 1

    def _revive(self, party: Party) -> None:
        session = restore(party.disk, self.now, party.session.config)
        record = party.record
        lost = party.disk_sent + 1
        partner = self.other(party)
        if any(number >= lost for number in record.handed):
            raise Broken("a message was taken that its sender's disk never saw")
        del record.payloads[party.disk_sent :]
        party.known = {}  # what was not committed may be told anew, and less exactly
        party.denied = frozenset(number for number in party.denied if number < lost)
        party.session = session
        party.open = ()
        party.finished = party.disk["finish"] is not None
        party.closed = False
        party.lives += 1
        self.seen[f"{party.role} restored"] += 1
        if partner is not None and party is self.a:
            self.book._sessions[session.id] = session
            self.book._principals[session.id] = "somebody"
            self.book._per_principal["somebody"] += 1
            self.records[session.incarnation] = record

    # ------------------------------------------------------------------ what comes back

    def heard(self, party: Party, events: list[Event]) -> None:
        """Dispatch what a step returned, as a driver does."""
        self.stir(party)
        for event in events:
            if self.say:
                self.say(f"    {party.role}: {event}")
            if isinstance(event, Settled):
                if party.durable:  # what is told to the application must not be unlearnt
                    self.commit(party)
                self._told(party)
            elif isinstance(event, Ended):
                self._ended(party)
            elif isinstance(event, Detached):
                if event.code == Code.SILENT:
                    self.seen["silent link dropped"] += 1
            elif isinstance(event, Opened):
                if event.replayed:
                    self.seen["resumed with a replay"] += 1
                if party.session.link is not None and party.session.link.cursor.offset:
                    self.seen["resumed inside a message"] += 1

    def _told(self, party: Party) -> None:
        """Every outcome is known from now on, and never changes."""
        session = party.session
        for number in range(1, session.outbox.messages + 1):
            outcome = session.outcome(number)
            if outcome is Outcome.PENDING:
                raise Broken(f"message {number} of the {party.role} has no outcome")
            if party.known.setdefault(number, outcome) is not outcome:
                raise Broken(f"the {party.role} changed its mind about message {number}")
            self._true(party, number, outcome)

    def _true(self, party: Party, number: int, outcome: Outcome) -> None:
        """G3: what is reported is so."""
        record = party.record
        if outcome is Outcome.CONFIRMED:
            if number not in record.confirmed:
                raise Broken(f"G3: message {number} of the {party.role} is said to be confirmed")
        elif outcome is Outcome.NOT_TAKEN:
            self.seen["not taken"] += 1
            party.denied |= {number}
            if number in record.handed:
                raise Broken(f"G3: message {number} of the {party.role} is said to be not taken")
        else:
            self.seen["unknown outcome"] += 1
            if not self.blind and (number not in record.handed or number in record.confirmed):
                raise Broken(f"message {number} of the {party.role} is unknown for no reason")

    def _ended(self, party: Party) -> None:
        session = party.session
        ending = session.ended
        self.seen[f"{party.role} {ending.kind.value}"] += 1
        if ending.kind in (End.VIOLATION, End.SUPERSEDED, End.LOST):
            raise Broken(f"an honest pair ended: {party.role} {ending}")
        if ending.kind is End.EXPIRED:
            self.excuse("expired")
            party.polite = False
        if not session.inbox.stopped and session.receiving is not Receiving.FINISHED:
            raise Broken(f"the {party.role} ended and may still take messages")
        if party is self.a:
            self.book.bury(session, self.now)
            if "tombstone" in self.options.commits:
                self.tombs_on_disk = dict(self.book._tombstones)
        party.over_on_disk = True
        self._told(party)

    # ------------------------------------------------------------------ invariants

    def check(self) -> None:
        """What holds after every step."""
        self._check(self.i)
        if self.a is not None:
            self._check(self.a)
        for wire in self.wires:
            for link in (wire.dialer, wire.arrival.link):
                if (
                    link is not None
                    and (link.phase is Phase.INITIATED or link.phase is Phase.ACCEPTED)
                    and link.session.link is not link
                    and self._living(link.session)
                ):
                    raise Broken("a link lives that its session does not know")

    def _living(self, session: Session) -> bool:
        """Whether the process of this session lives."""
        return any(
            party is not None and party.alive and party.session is session
            for party in (self.i, self.a)
        )

    def _check(self, party: Party) -> None:
        session, record = party.session, party.record
        outbox, inbox, config = session.outbox, session.inbox, session.config
        messages = outbox.messages
        if not outbox.confirmed <= outbox.acked <= outbox.transmitted <= outbox.last:
            raise Broken(f"the {party.role}'s outbox is out of order")
        if party.alive and min(outbox.confirmed, messages) > record.prefix:
            raise Broken(
                f"G3: the {party.role} takes {outbox.confirmed} for confirmed, {record.prefix} are"
            )
        if inbox.confirmed > inbox.received or inbox.handed > inbox.received:
            raise Broken(f"the {party.role}'s inbox is out of order")
        finish = inbox.finish
        if finish is None:
            in_flight = inbox.received - inbox.confirmed
        else:
            in_flight = finish.number - 1 - inbox.confirmed
            if inbox.confirmed == finish.number and inbox.handed < finish.number - 1:
                raise Broken("Finish was confirmed before the messages before it")
        if in_flight > config.window_messages and not inbox.stopped:
            raise Broken("G5: more messages held than the window")
        if len(outbox) > outbox.max_messages:
            raise Broken("G5: more messages accepted than the limit")
        if outbox.held > outbox.max_bytes and len(outbox) > 1:
            raise Broken("G5: more bytes accepted than the limit")
        if len(outbox) and not session.muted:
            link = session.link
            if (
                link is not None
                and link.cursor.number > outbox.confirmed + session.peer.window_messages
            ):
                self.seen["window full"] += 1

    # ------------------------------------------------------------------ the end

    def probe(self) -> None:
        """Nobody wants to send anything that nobody was woken for."""
        for wire in self.wires:
            for side, is_open, stirred in (
                ("i", wire.i_open, wire.i_stirred),
                ("a", wire.a_open, wire.a_stirred),
            ):
                end = wire.end(side)
                if is_open and not stirred and isinstance(end, Link):
                    by = end.acks.by
                    data = end.transmit(self.now)
                    if data is not None:
                        raise Broken(f"{side} had something to say and was not woken: {told(data)}")
                    if by != end.acks.by:
                        raise Broken(f"{side} owed an ack and was not woken")
                    inbox, acks = end.session.inbox, end.acks
                    news = (inbox.received, inbox.confirmed) != (acks.received, acks.confirmed)
                    live = end.phase in (Phase.INITIATED, Phase.ACCEPTED) and end.greeted
                    if live and news and by is None:
                        raise Broken(f"{side} owes an ack and has set no time for it")

    def over(self) -> bool:
        """Whether every session that lives has ended."""
        return all(
            party is None or not party.alive or party.session.ended is not None
            for party in (self.i, self.a)
        )

    def finish(self) -> None:
        """Let it end, in one of several ways, and judge."""
        finale = self.options.finale
        self.book.draining = False
        if finale == "gone":
            self.vanish()
        else:
            self.heal(finale)
        self.judge()

    def heal(self, finale: str) -> None:
        """A good network and applications that read: the end must come soon."""
        began = self.now
        for _ in range(10_000):
            if self.over():
                return
            if self._round(finale):
                continue
            self.probe()
            due = self._deadline()
            if due - began > SOON and not self._gone():
                parties = [party.session for party in (self.i, self.a) if party is not None]
                raise Broken(f"no end comes on a good network: {parties}")
            self.now = max(self.now, due)
            self._tick_all()
        raise Broken("they talk for ever")

    def _gone(self) -> bool:
        """Whether one side left without a word that must reach the other: then its time runs."""
        if not self.i.alive or (self.a is not None and not self.a.alive):
            return True
        return self.i.session.ended is not None and (
            bool({"abort", "expired"} & self.blind) or self.i.session.ended.kind is End.REFUSED
        )

    def _deadline(self) -> float:
        due = [
            party.session.deadline
            for party in (self.i, self.a)
            if party is not None and party.alive
        ]
        return min(due)

    def _tick_all(self) -> None:
        for side in "ia":
            party = self.party(side)
            if party is not None and party.alive and party.session.deadline <= self.now:
                self.do_tick(side)
                self.check()

    def _round(self, finale: str) -> bool:
        """Do everything once that a good network and good applications do."""
        busy = False
        for side in "ia":
            party = self.party(side)
            if party is None or not party.alive:
                continue
            while len(party.session.inbox):
                self.do(("take", side))
                busy = True
            for number in party.open:
                self.do(("confirm", side, number))
                busy = True
            if party.session.ended:
                continue
            if not party.finished and finale in ("read", "close " + side):
                self.do(("finish" if finale == "read" else "close", side))
                busy = True
            other = self.other(party)
            ready = other is not None and (other.finished or not other.alive)
            if not party.closed and self._at_end(party) and (ready or party is self.i):
                self.do(("close", side))
                busy = True
        if self.i.alive and not self.i.session.ended and self.i.session.link is None:
            self.do(("dial",))
            busy = True
        for wire in list(self.wires):
            busy |= self._carry(wire)
        return busy

    def _at_end(self, party: Party) -> bool:
        """Whether the application's recv() raises: it has seen the end in message order."""
        session = party.session
        return not len(session.inbox) and (
            session.receiving in (Receiving.FINISHED, Receiving.STOPPED)
            or (session.sending is Sending.STOPPED and party.finished)
        )

    def _carry(self, wire: Wire) -> bool:
        busy = False
        for side in "ia":
            stirred = wire.i_stirred if side == "i" else wire.a_stirred
            if wire in self.wires and stirred and (wire.i_open if side == "i" else wire.a_open):
                self.do_pull(wire.serial, side)
                busy = True
        for side in "ia":
            line = wire.down if side == "i" else wire.up
            while wire in self.wires and line and (wire.i_open if side == "i" else wire.a_open):
                self.do(("arrive", wire.serial, side))
                busy = True
        if wire in self.wires and wire.i_open is not wire.a_open:
            self.do(("learn", wire.serial, "a" if wire.a_open else "i"))
            busy = True
        return busy

    def vanish(self) -> None:
        """They never meet again: every wait ends all the same (G6)."""
        for wire in list(self.wires):
            for side in "ia":
                if wire in self.wires and (wire.i_open if side == "i" else wire.a_open):
                    self._dies(wire, side, None)
        longest = max(self.options.initiator.session_ttl, self.options.acceptor.session_ttl)
        limit = self.now + longest + 30.0
        while not self.over():
            self.now = max(self.now, self._deadline())
            if self.now > limit:
                raise Broken("a wait outlives its session's time to live")
            self._tick_all()
            for side in "ia":
                party = self.party(side)
                while party is not None and party.alive and len(party.session.inbox):
                    self.do(("take", side))
        self.seen["never met again"] += 1

    def judge(self) -> None:
        """Every message has an outcome, and it is true."""
        for party in (self.i, self.a, *self.past):
            if party is None or not party.alive:
                continue
            session = party.session
            if session.ended is None:
                raise Broken(f"the {party.role}'s session has no end")
            report = session.report()
            sent = len(party.record.payloads)
            if report.sent != sent or report.confirmed + len(report.undelivered) != sent:
                raise Broken(f"the {party.role} sent {sent} and reports {report}")
            if not report.final:
                raise Broken(f"the {party.role}'s report is not final: {report}")
            outcomes = {entry.number: entry.outcome for entry in report.undelivered}
            for number in range(1, sent + 1):
                outcome = outcomes.get(number, Outcome.CONFIRMED)
                if party.known.get(number) is not outcome:
                    raise Broken(f"the {party.role}'s report changed for message {number}")
                self._true(party, number, outcome)
            if not report.undelivered and len(party.record.handed) < sent:
                raise Broken("G4: close() returned and not everything was taken")
            if len(session.inbox):
                raise Broken("messages can be taken from a session that has ended")
        self._agree()

    def _agree(self) -> None:
        """Without an excuse, both ends end as agreed; read to the end, with nothing lost."""
        i, a = self.i, self.a
        if self.blind or a is None or not (i.alive and a.alive):
            return
        for party in (i, a):
            if party.session.ended.kind not in (End.FINISHED, End.REFUSED):
                raise Broken(f"the {party.role} ended {party.session.ended} for no reason")
            if party.session.ended.kind is End.REFUSED and not party.session.done:
                raise Broken(f"the {party.role} was refused before it was done")
        if i.polite and a.polite:
            self.seen["everything taken, both ways"] += 1
            for party in (i, a):
                if party.session.report().undelivered:
                    raise Broken("both read to the end, and not everything is confirmed")


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


# ----------------------------------------------------------------------------- schedules

WEIGHTS = {
    "send": 1.5,
    "burst": 0.15,
    "want": 0.3,
    "take": 3.0,
    "hand": 1.0,
    "confirm": 1.0,
    "scatter": 0.5,
    "finish": 0.12,
    "close": 0.12,
    "abort": 0.015,
    "advance": 0.7,
    "tick": 4.0,
    "late": 2.0,
    "dial": 4.0,
    "redial": 0.03,
    "pull": 8.0,
    "pull1": 2.0,
    "arrive": 7.0,
    "cut": 0.25,
    "learn": 1.0,
    "crash": 0.012,
    "restart": 0.0,
    "forget": 0.1,
    "drain": 0.02,
}
"""How likely each action is, compared with the others that can happen."""

STEPS = (0.001, 0.01, 0.026, 0.05, 0.3, 2.0)
LEAPS = (7.0, 11.0, 20.5, 60.0, 121.0, 130.0, 260.0, 310.0)

PROFILES: tuple[dict[str, float], ...] = (
    {},
    {"cut": 1.0, "learn": 0.5},
    {"finish": 0.6, "close": 0.6, "cut": 0.5},
    {"take": 0.3, "hand": 3.0, "confirm": 0.5, "close": 0.4},
    {"send": 6.0, "burst": 1.0, "take": 0.8},
    {"advance": 3.0, "forget": 0.5, "close": 0.3},
    {"crash": 0.25, "cut": 0.4},
    {"arrive": 2.0, "cut": 0.8, "learn": 0.15, "dial": 8.0},
    {"drain": 0.3, "redial": 0.3, "abort": 0.1},
)


def options_of(rng: random.Random) -> Options:
    """Draw a world."""
    few = rng.random() < 0.3
    durable = (rng.random() < 0.2, rng.random() < 0.2)
    weights = dict(WEIGHTS)
    weights.update(rng.choice(PROFILES))
    if any(durable):
        weights["crash"] = max(weights["crash"], 0.2)
    tight = rng.random() < 0.1
    parts = tight or rng.random() < 0.4
    configs = [
        Config(
            window_messages=rng.choice((1, 2, 3, 8, 64) if few else (4, 32, 1024)),
            window_bytes=rng.choice((1, 20, 100, 5000) if few else (5000, 20_000, 1 << 20)),
            outbox_messages=rng.choice((None, None, 2, 100)),
            outbox_bytes=rng.choice((None, None, 50, 30_000)),
            max_frame=16_384 if tight else rng.choice((4096, 4096, 16_384)),
            batch_messages=rng.choice((1, 3, 512)),
            session_ttl=rng.choice((120.0, 120.0, 30.0)),
        )
        for _ in range(2)
    ]
    small = (0,)
    near = rng.randrange(3950, 4010)
    return Options(
        initiator=configs[0],
        acceptor=configs[1],
        durable=durable,
        messages=rng.choice((3, 10, 40, 150)),
        sizes=rng.choice(((0, near), (0, 1300, near, 9000), (0, 0, 9000))) if parts else small,
        transport_limit=5000 if tight else None,
        max_frames=rng.choice(((None,), (None,), (None, 4096), (8192, None))),
        steps=rng.choice((15, 40, 40, 60, 90)),
        weights=tuple(weights.items()),
        finale=rng.choice(("read", "read", "read", "close i", "close a", "gone")),
    )


def choose(rng: random.Random, world: World, weights: dict[str, float]) -> Action:
    """Draw the next action from those that can happen."""
    found = world.actions()
    total = 0.0
    sums = []
    for action in found:
        total += weights[action[0]]
        sums.append(total)
    mark = rng.random() * total
    for action, upto in zip(found, sums, strict=True):  # noqa: B007
        if mark < upto:
            break
    if action[0] == "advance":
        seconds = rng.choice(LEAPS) if rng.random() < 0.04 else rng.choice(STEPS)
        return ("advance", seconds)
    return action


def tell(
    seed: int, seen: Counter[str] | None = None, **changes: Any
) -> tuple[Story, Broken | None]:
    """Run one seed; return what was done, and what broke."""
    rng = random.Random(seed)
    options = options_of(rng)
    if changes:
        options = Options(**{**options.__dict__, **changes})
    world = World(options, seen)
    weights = dict(options.weights)
    done: list[Action] = []
    try:
        for step in range(options.steps):
            action = choose(rng, world, weights)
            done.append(action)
            world.do(action)
            if step % 16 == 15:
                world.probe()
        world.finish()
    except Broken as broken:
        return Story(options, done), broken
    except Exception as error:  # the core must not raise what is not promised
        broken = Broken(f"{type(error).__name__}: {error}")
        broken.__cause__ = error
        return Story(options, done), broken
    return Story(options, done), None


def replay(story: Story, say: Any = None) -> tuple[Broken | None, list[Action]]:
    """Do the same again, leaving out what cannot happen (any more)."""
    world = World(story.options)
    world.say = say
    done: list[Action] = []
    try:
        for action in story.actions:
            found = {one[:1] if one[0] == "advance" else one for one in world.actions()}
            if (action[:1] if action[0] == "advance" else action) not in found:
                continue
            done.append(action)
            if say:
                say(f"{len(done):3} [{world.now:.3f}] {' '.join(map(str, action))}")
            world.do(action)
            world.probe()
        if say:
            say(f"    [{world.now:.3f}] finale: {story.options.finale}")
        world.finish()
    except Broken as broken:
        return broken, done
    except Exception as error:
        broken = Broken(f"{type(error).__name__}: {error}")
        broken.__cause__ = error
        return broken, done
    return None, done


def kind_of(broken: Broken | None) -> str:
    """What broke, without the numbers."""
    return "" if broken is None else "".join(c for c in str(broken) if not c.isdigit())


def shrink(story: Story, most: int = 2000) -> Story:
    """Leave out actions as long as the same thing breaks."""
    broken, actions = replay(story)
    if broken is None:
        return story
    kind = kind_of(broken)
    size = max(1, len(actions) // 2)
    runs = 0
    while runs < most:
        at, shorter = 0, False
        while at < len(actions) and runs < most:
            runs += 1
            less = actions[:at] + actions[at + size :]
            found, did = replay(Story(story.options, less))
            if found is not None and kind_of(found) == kind and len(did) < len(actions):
                actions, shorter = did, True
            else:
                at += size
        if not shorter and size == 1:
            break
        size = max(1, size // 2)
    return Story(story.options, actions)


def explain(story: Story, seed: int | None = None) -> str:
    """The trace of a story, to be read."""
    lines: list[str] = []
    options = story.options
    lines.append(f"seed {seed}" if seed is not None else "story")
    for side, config in (("initiator", options.initiator), ("acceptor", options.acceptor)):
        lines.append(
            f"  {side}: window {config.window_messages} messages, {config.window_bytes} bytes, "
            f"frame {config.max_frame}, durable {options.durable[side == 'acceptor']}"
        )
    broken, _ = replay(story, lines.append)
    lines.append(f"=> {broken if broken is not None else 'everything held'}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    seed = int(arguments[0])
    story, broken = tell(seed)
    if broken is not None and "-s" in arguments:
        story = shrink(story)
    print(explain(story, seed))
    if broken is not None and "-v" in arguments and broken.__cause__ is not None:
        raise broken
    return broken is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
