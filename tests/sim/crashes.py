"""Processes that die, and come back with what their store kept."""

from __future__ import annotations

from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.snapshot import restore

from .calling import Calling
from .parts import Broken, Party


class Crashes(Calling):
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
        old = self.registry
        self.registry = SessionRegistry(old._incarnation + 1000, self.options.acceptor)
        if self.options.durable[1]:
            self.registry._tombstones = dict(self.tombs_on_disk)
        elif old._tombstones or len(old):
            self.excuse("crash")

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
        party.finished = party.refusing = party.disk["finish"] is not None
        party.closed = False
        party.plan = None
        self.revive_calls(party)
        party.lives += 1
        self.seen[f"{party.role} restored"] += 1
        if partner is not None and party is self.a:
            self.registry._sessions[session.id] = session
            self.registry._principals[session.id] = "somebody"
            self.registry._by_principal.setdefault("somebody", {})[session.id] = session
            self.records[session.incarnation] = record
