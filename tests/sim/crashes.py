"""Processes that die, and come back with what their store kept."""

from __future__ import annotations

from reliable_ws.protocol.durable import unpack_payload
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.stored_session import StoredSession

from .parts import Broken, Party
from .storing import Storing, kept_of


class Crashes(Storing):
    """The process of one side dies."""

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
        disk = self.disks[side]
        self.disks[side] = disk._replace(work=(), done=())  # what was not kept is lost
        if side == "a":
            self._restart_book()
        if party is None or not party.alive:
            return
        self.seen[f"crash of the {party.role}"] += 1
        kept = StoredSession(disk.row) if party.durable and disk.row is not None else None
        if kept is not None and kept.ending is not None:
            self._read_report(party, kept)
        elif kept is not None:
            self.excuse("restart")
            self._revive(party, kept)
        elif not party.over:  # if there is a store: nobody has heard of this session
            if not (party.durable and party is self.a):
                self.excuse("crash")
            party.alive = False
            if party is self.a:
                self.past.append(party)
                self.a = None

    def do_restart(self, side: str) -> None:
        """Crash where there is a store, only."""
        if self.i.durable and self.disks["i"].row is not None:
            self.do_crash(side)

    def do_pass_on(self, side: str) -> None:
        """The process ends, and leaves its sessions to the next one."""
        party = self.party(side)
        self.seen["passed on"] += 1
        self.excuse("restart")
        self.heard(party, party.session.leave(self.now, "the process ends"))
        self.do_crash(side)

    def _restart_book(self) -> None:
        old = self.registry
        self.registry = self.new_registry(old._incarnation + 1000)
        if not self.options.durable[1]:
            if old._tombstones or len(old):
                self.excuse("crash")
            return
        row = self.disks["a"].row
        kept = None if row is None else StoredSession(row)
        if kept is not None and kept.ending is not None:
            until = self.now + 2 * self.options.acceptor.session_ttl
            self.registry.restore_tombstone(kept.id, kept.tombstone("somebody", until))

    def _read_report(self, party: Party, kept: StoredSession) -> None:
        """It had ended: what is told of it later is what was told then."""
        if not party.over:  # it died before it was told
            party.over = True
            self._told(party)
        party.alive = False
        self.excuse("restart")
        row = self.disks[self.side(party)].row
        last, report = kept_of(row).last, kept.report()
        left = party.session.durable.closed
        if report.sent != last + len(row.sends):
            raise Broken(f"the {party.role}'s store does not report everything: {report}")
        for number, outcome in party.known.items():
            if outcome is Outcome.KEPT or (left and outcome is Outcome.UNKNOWN):
                continue  # it was not final, or the store was too slow to say
            if kept.outcome(number if number <= last else 0) is not outcome:
                raise Broken(f"the {party.role}'s store changed its mind about {number}: {report}")

    def must_be_kept(self, party: Party, number: int) -> None:
        row = self.disks[self.side(party)].row
        if row is None or not kept_of(row).confirmed_there < number <= kept_of(row).last:
            raise Broken(f"message {number} of the {party.role} is said to be kept, and is not")

    def _revive(self, party: Party, kept: StoredSession) -> None:
        side = self.side(party)
        row = self.disks[side].row
        wall = self.wall()
        session = kept.revive(self.now, wall, wall, party.session.config)
        if kept.attached and session.timers.contact_at != self.now:
            raise Broken(f"the {party.role} was in contact until it died, and does not know")
        record, had = party.record, kept_of(row)
        lost = had.last + 1
        if any(number >= lost for number in record.handed):
            raise Broken("a message was taken that its sender's disk never saw")
        del record.payloads[had.last :]
        for number, payload in had.messages.items():
            if record.payloads[number - 1] != payload:
                raise Broken(f"the {party.role}'s disk has another message {number}")
        record.payloads += [unpack_payload(send.data) for send in row.sends]
        if session.outbox.messages != len(record.payloads):
            raise Broken(f"the {party.role} comes back with another number of messages")
        if session.incarnation in self.records or party is self.a:
            theirs = self.partner_record(party) if party is self.i else self.i.record
            confirmed = set(range(1, had.confirmed + 1)) | had.apart
            theirs.forget_others(confirmed)
        party.known = {}  # what was not committed may be told anew, and less exactly
        party.denied = frozenset(number for number in party.denied if number < lost)
        party.session = session
        party.open = ()
        party.over = False
        party.finished = party.refusing = had.facts["finish"] is not None
        party.closed = False
        party.plan = None
        self.revive_calls(party, had.facts["calls"])
        party.lives += 1
        self.seen[f"{party.role} restored"] += 1
        if party is self.a:
            self.registry.restore(session, "somebody")
            self.records[session.incarnation] = record
