"""Both sides and what they are told: what every part of a world builds on."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reliable_ws.protocol.events import Detached, Ended, Event, Opened, Settled
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving

from .parts import ID, KEY, Broken, Options, Party, Record, Wire


def about(principal: Any) -> dict[str, Any]:
    """What is kept beside a session."""
    return {"principal": principal}


class Sides:
    """The parties, the registry, the wires, the clock; and what is said to them is checked."""

    def __init__(self, options: Options, seen: Counter[str] | None = None) -> None:
        self.options = options
        self.now = 0.0 if not options.timed else 1000.0
        self.seen: Counter[str] = Counter() if seen is None else seen
        self.i = Party(
            "initiator",
            Session("initiator", ID, KEY, self.now, options.initiator),
            durable=options.durable[0],
        )
        if options.durable[0]:
            self.i.session.keep_in_store({})
        if options.frame_limit:
            self.i.session.frame_size.limit = options.frame_limit
        self.a: Party | None = None
        self.past: list[Party] = []
        "Acceptor's processes that died."
        self.records: dict[int, Record] = {}
        "What each incarnation at the acceptor has sent."
        self.registry = self.new_registry(41)
        self.disks: dict[str, Any] = {}
        "What each side's store has, and what it works on."
        self.wires: list[Wire] = []
        self.serial = 0
        self.blind: frozenset[str] = frozenset()
        "Reasons for which an outcome may remain unknown."
        self.left = dict(options.left)
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

    def is_gone(self) -> bool:
        """Whether one side left without a word that must reach the other: then its time runs."""
        if not self.i.alive or (self.a is not None and not self.a.alive):
            return True
        return self.i.session.ended is not None and (
            bool({"abort", "expired"} & self.blind) or self.i.session.ended.kind is End.REFUSED
        )

    def stir(self, party: Party) -> None:
        """Let the driver look what its links want to send."""
        session = party.session
        if party is self.i:
            for wire in self.wires:
                if wire.session is session:
                    wire.i_stirred = True
        else:
            for wire in self.wires:
                if wire.arrival.session is session:
                    wire.a_stirred = True

    def new_registry(self, incarnation: int) -> SessionRegistry:
        """A new process of the acceptor begins."""
        registry = SessionRegistry(incarnation, self.options.acceptor)
        if self.options.durable[1]:
            registry.about = about
        return registry

    def wire(self, serial: int) -> Wire:
        for wire in self.wires:
            if wire.serial == serial:
                return wire
        raise LookupError(serial)

    # ------------------------------------------------------------------ what comes back

    def heard(self, party: Party, events: list[Event]) -> None:
        """Dispatch what a step returned, as a driver does."""
        self.stir(party)
        for event in events:
            if self.say:
                self.say(f"    {party.role}: {event}")
            if isinstance(event, Settled):
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
            self.judge_outcome(party, number, outcome)

    def judge_outcome(self, party: Party, number: int, outcome: Outcome) -> None:
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
        elif outcome is Outcome.KEPT:
            self.seen["kept for the next process"] += 1
            self.must_be_kept(party, number)
        else:
            self.seen["unknown outcome"] += 1
            late = number in record.applied  # intake ended while the store worked on it
            sure = number not in record.handed or (number in record.confirmed and not late)
            if not self.blind and sure:
                raise Broken(f"message {number} of the {party.role} is unknown for no reason")

    def _ended(self, party: Party) -> None:
        session = party.session
        ending = session.ended
        self.seen[f"{party.role} {ending.kind.value}"] += 1
        if ending.kind in (End.VIOLATION, End.SUPERSEDED, End.LOST):
            raise Broken(f"an honest pair ended: {party.role} {ending}")
        if ending.kind is End.KEPT:
            self.excuse("restart")
        if ending.kind is End.EXPIRED:
            self.excuse("expired")
            party.polite = False
        if not session.inbox.stopped and session.inbox.state is not Receiving.FINISHED:
            raise Broken(f"the {party.role} ended and may still take messages")
        if party is self.a:
            self.registry.retire(session, self.now)
        if session.is_kept:  # else it is told when its store has the end
            party.over = True
            self._told(party)

    def must_be_kept(self, party: Party, number: int) -> None:
        """The next process has this message."""
        raise NotImplementedError
