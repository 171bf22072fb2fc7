"""Stores: what is submitted, kept, and told to the session, each a step of its own.

So a process can die before a change is submitted, before it is kept, before its session has heard
of that, and before anything of it is sent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.durable import pack_payload, unpack_payload, unpack_run
from reliable_ws.protocol.frames import (
    Ack,
    CallAck,
    Calls,
    Counters,
    Done,
    Finish,
    Hello,
    Messages,
    Part,
    Refuse,
    Stop,
    Void,
    Want,
    Welcome,
)
from reliable_ws.protocol.payload import seal, seal_weight
from reliable_ws.protocol.state import Sending
from reliable_ws.protocol.stored import Change, KeptSend, Stored
from reliable_ws.protocol.stored_session import StoredSession
from tests.support.stores import WALL, changed

from .calling import Calling
from .parts import CODEC, Action, Broken, Party


class Put(NamedTuple):
    """A message that is kept together with data of the application."""

    data: bytes
    number: int
    "Which one of this application it is; it has no number of the session yet."


class Applied(NamedTuple):
    """A delivery that is confirmed together with data of the application."""

    delivery: int


class Disk(NamedTuple):
    """One side's store."""

    row: Stored | None = None
    "What is kept."
    work: tuple[Change | Put | Applied, ...] = ()
    "What was submitted and is not kept: first in, first kept."
    done: tuple[tuple[Change | Put | Applied, Any], ...] = ()
    "What is kept, or had no room, and the session has not heard so: with the row of a Put."
    puts: int = 0


FULL = "full"


class Storing(Calling):
    """What stores do, and what must be in them."""

    def wall(self) -> float:
        """The time in seconds since 1970."""
        return WALL + self.now

    def side(self, party: Party) -> str:
        return "i" if party is self.i else "a"

    # ------------------------------------------------------------------ what may happen

    def offer_store(self, side: str, party: Party, found: list[Action]) -> None:
        """What a store, and an application that knows of it, may do now."""
        disk, session = self.disks[side], party.session
        durable = session.durable
        if durable is None:
            return
        if disk.work:
            found.append(("commit", side))
            if isinstance(disk.work[0], Change):
                found.append(("full", side))
        if disk.done:
            found.append(("told", side))
        if self.may_submit(party):
            found.append(("submit", side))
        if not self.options.timed and min(durable.lazy_by, durable.retry_by) != NEVER:
            found.append(("lazy", side))
        if session.ended or disk.row is None or durable.closed:
            return
        found.append(("pass_on", side))
        puts = sum(isinstance(work, Put) for work in disk.work)
        if (
            session.outbox.state is Sending.OPEN
            and not durable.is_full
            and len(session.outbox) + puts < session.outbox.max_messages
            and len(party.record.payloads) + puts < self.options.messages
        ):
            found.append(("put", side))
        if not session.inbox.stopped:
            found += [("apply", side, number) for number in party.open[:2]]

    def may_submit(self, party: Party) -> bool:
        durable = party.session.durable
        return (
            durable is not None
            and durable._change is None
            and durable.retry_by == NEVER
            and not party.session.is_kept
        )

    def work_stores(self) -> bool:
        """Let both stores do what they have to do; whether there was anything."""
        busy = False
        for side in "ia":
            party = self.party(side)
            if party is None or not party.alive or not party.durable:
                continue
            durable = party.session.durable
            while True:
                if durable.retry_by != NEVER and not durable.closed:
                    self.do_lazy(side)  # there is room again
                disk = self.disks[side]
                name = "told" if disk.done else "commit" if disk.work else ""
                if not name and self.may_submit(party):
                    self.do_submit(side)
                    if self.disks[side].work:
                        busy = True
                        continue
                if not name:
                    break
                getattr(self, "do_" + name)(side)
                busy = True
        return busy

    # ------------------------------------------------------------------ steps of a change

    def do_submit(self, side: str) -> None:
        party, disk = self.party(side), self.disks[side]
        change = party.session.take_change(self.now, self.wall())
        if change is not None:
            self.seen["a change"] += 1
            self.disks[side] = disk._replace(work=(*disk.work, change))

    def do_commit(self, side: str) -> None:
        party, disk = self.party(side), self.disks[side]
        work, row, puts, result = disk.work[0], disk.row, disk.puts, None
        if isinstance(work, Change):
            row = changed(row, work)
        elif isinstance(work, Put):
            puts += 1
            row = row._replace(sends=(*row.sends, KeptSend(puts, work.data, None)))
            result = puts
        else:
            row = row._replace(applied=(*row.applied, work.delivery))
            record = self.partner_record(party)
            if work.delivery in record.applied:
                raise Broken(f"G2: the {party.role} applied message {work.delivery} twice")
            record.applied |= {work.delivery}
            record.confirm(work.delivery)
        done = (*disk.done, (work, result))
        self.disks[side] = Disk(row, disk.work[1:], done, puts)

    def do_full(self, side: str) -> None:
        """There is no room for a change."""
        disk = self.disks[side]
        done = (*disk.done, (disk.work[0], FULL))
        self.disks[side] = disk._replace(work=disk.work[1:], done=done)

    def do_told(self, side: str) -> None:
        """The session hears what has become of something."""
        party, disk = self.party(side), self.disks[side]
        session, record = party.session, party.record
        work, result = disk.done[0]
        self.disks[side] = disk._replace(done=disk.done[1:])
        events: list[Any] = []
        if isinstance(work, Change) and result == FULL:
            events = session.unkept(self.now)
            self.seen["no room in the store"] += 1
            self._withdrawn(party, disk.row)
        elif isinstance(work, Change):
            events = session.kept(self.now)
        elif isinstance(work, Put):
            session.durable.applying -= 1
            payload = unpack_payload(work.data)
            number = session.accept_kept(result, payload, seal_weight(payload), None)
            record.payloads.append(payload)
            if number != len(record.payloads):
                raise Broken(f"kept send {number} is message {len(record.payloads)}")
        else:
            events = session.confirm_applied(work.delivery, self.now)
        self.heard(party, events)
        self._tell_end(party)

    def _withdrawn(self, party: Party, row: Stored | None) -> None:
        session, payloads = party.session, party.record.payloads
        upto = session.outbox.messages
        kept = 0 if row is None else kept_of(row).last
        if upto > max([kept, *(number for _row, number in session.durable.sends)]):
            raise Broken("there is no room for a message, and it is not taken back")
        if upto < len(payloads):
            self.seen["taken back by the store"] += 1
            if session.outbox.transmitted > session.outbox.last:
                raise Broken("what was transmitted is taken back")
            if any(number > upto for number in party.record.handed):
                raise Broken("a message was taken, and is taken back")
            del payloads[upto:]

    def _tell_end(self, party: Party) -> None:
        """The application is told how its session ended, once that is kept."""
        session = party.session
        if session.ended and not party.over and session.is_kept:
            party.over = True
            self._told(party)

    def do_lazy(self, side: str) -> None:
        """What waits for its time has waited (explorer)."""
        party = self.party(side)
        durable = party.session.durable
        durable.tick(min(durable.lazy_by, durable.retry_by))
        self.stir(party)

    # ------------------------------------------------------------------ with the application's data

    def do_put(self, side: str) -> None:
        party, disk = self.party(side), self.disks[side]
        number = len(party.record.payloads) + sum(isinstance(one, Put) for one in disk.work) + 1
        payload, _weight = seal(f"{side}{number}.{party.lives}k".encode(), CODEC)
        party.session.durable.applying += 1
        party.puts = True
        work = (*disk.work, Put(pack_payload(payload), number))
        self.disks[side] = disk._replace(work=work)
        self.seen["a kept send"] += 1

    def do_apply(self, side: str, number: int) -> None:
        party, disk = self.party(side), self.disks[side]
        party.open = tuple(other for other in party.open if other != number)
        self.disks[side] = disk._replace(work=(*disk.work, Applied(number)))
        self.seen["an applied delivery"] += 1

    # ------------------------------------------------------------------ what is said is kept

    def must_have_asked(self, party: Party, number: int) -> None:
        row = self.disks[self.side(party)].row
        if row is None or number > kept_of(row).facts["calls"]["received"]:
            raise Broken(f"request {number} begins before the {party.role}'s store has it")

    def check_kept(self, party: Party, data: bytes) -> None:
        """Whatever is said on a wire is in the store."""
        row = self.disks[self.side(party)].row
        if row is None and "forgotten" in self.blind:
            return
        kept = None if row is None else kept_of(row)
        for frame in decode(data, 1 << 30):
            if isinstance(frame, Refuse) and frame.counters is None:
                continue  # of an older link, or busy: it says nothing of the session
            if kept is None or not kept.has(frame, party):
                raise Broken(f"STORE: the {party.role} says what its store does not have: {frame}")


class KeptFacts:
    """What a store has of a session, to compare with what is said."""

    def __init__(self, row: Stored) -> None:
        self.stored = StoredSession(row)
        self.facts = facts = self.stored.facts
        numbers = set(row.applied)
        stopped = () if facts["stopped"] is None else facts["stopped"][4]
        for first, last in (*facts["ahead"], *stopped):
            numbers |= set(range(first, last + 1))
        self.apart = numbers
        self.confirmed: int = facts["confirmed"]
        while self.confirmed + 1 in numbers and facts["peer_finish"] is None:
            self.confirmed += 1
        self.messages: dict[int, Any] = {}
        for run in row.messages:
            self.messages.update(enumerate(unpack_run(run), run.first))
        finish = facts["finish"]
        settled = facts["sent"] if finish is None else min(facts["sent"], finish[0] - 1)
        self.confirmed_there = settled
        self.last = max([settled, *self.messages])
        "The highest number of a message."
        self.open = {number for number, _waited in facts["calls"]["open"]}
        "Requests that are open."
        self.entries = max([facts["calls"]["acked"], *(run.last for run in row.entries)])

    def has(self, frame: Any, party: Party) -> bool:  # noqa: PLR0911 - a return for each frame
        """Whether the store has what this frame says."""
        facts, session = self.facts, party.session
        if not isinstance(frame, Hello) and facts["incarnation"] != session.incarnation:
            return False
        match frame:
            case Hello() | Welcome():
                if facts["attempt"] != session.attempt:
                    return False
                calls = frame.calls
                if calls is not None and not self._has_calls(calls.received, calls.sent):
                    return False
                where = frame.position
                upto = self.last + (facts["finish"] is not None)
                return where.sent <= upto and self._has(where.counters)
            case Ack(_received, confirmed):
                return confirmed <= self.confirmed
            case CallAck(received):
                return self._has_calls(received, 0)
            case Calls(first, entries):
                voids = {n for n, entry in enumerate(entries, first) if type(entry) is Void}
                return voids.isdisjoint(self.open) and self._has_calls(0, first + len(entries) - 1)
            case Messages(first, payloads):
                return all(
                    number in self.messages and self.messages[number] == payload
                    for number, payload in enumerate(payloads, first)
                )
            case Part() | Want():
                return frame.number <= self.last
            case Finish():
                return facts["finish"] == tuple(frame)
            case Stop(counters):
                return facts["stopped"] == tuple(counters)
            case Done(counters) | Refuse(_, _, _, counters):
                return facts["ended"] is not None and facts["counters"] == tuple(counters)
        return True  # Partial

    def _has(self, counters: Counters) -> bool:
        if counters.stopped:
            return bool(self.facts["stopped"] == tuple(counters))
        ranges = {n for first, last in counters.ranges for n in range(first, last + 1)}
        return counters.confirmed <= self.confirmed and ranges <= self.apart

    def _has_calls(self, received: int, sent: int) -> bool:
        calls = self.facts["calls"]
        return received <= calls["received"] and sent <= max(calls["last"], self.entries)


_LATEST: dict[int, tuple[Stored, KeptFacts]] = {}


def kept_of(row: Stored) -> KeptFacts:
    """Return what a row says; it is read once."""
    found = _LATEST.get(id(row))
    if found is not None and found[0] is row:
        return found[1]
    if len(_LATEST) > 1000:
        _LATEST.clear()
    kept = KeptFacts(row)
    _LATEST[id(row)] = row, kept
    return kept
