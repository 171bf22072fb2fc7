"""Time: a clock that runs and jumps, or deadlines that may pass at any moment."""

from __future__ import annotations

from .parts import Action, Broken, Party
from .sides import Sides
from .storing import Disk


class Clock(Sides):
    """What time does."""

    def offer_time(self, side: str, party: Party, found: list[Action]) -> None:
        """Deadlines that may pass at any moment."""
        session = party.session
        if session.ended:
            return
        link = session.link
        if link is not None and session.attached:
            if link.acks.by is not None:
                found.append(("ack", side))
            if link.calls.by is not None:
                found.append(("call_ack", side))
            found.append(("beat", side))
        if not session.attached:
            found.append(("expire", side))
            if side == "a" and self.is_gone():
                found.append(("perish",))
        if session.closing:
            found.append(("giveup", side))

    def do_advance(self, seconds: float = 0.03) -> None:
        self.now += seconds

    def do_elapse(self) -> None:
        """So much time passes that no caller is patient any more (explorer)."""
        self.now += 2.0

    def do_tick(self, side: str) -> None:
        party = self.party(side)
        lived = not party.session.ended
        self.heard(party, party.session.tick(self.now))
        self.stir(party)
        if lived:
            self._gave_up(party)
        if party.session.deadline <= self.now:
            raise Broken("a deadline that has passed does not move")
        durable = party.session.durable
        if not lived and durable is not None and durable.closed:  # its store was too slow
            self.seen["an end is not waited for"] += 1
            self.do_crash(side)  # until the next process comes, peers are told to come again

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

    def do_call_ack(self, side: str) -> None:
        party = self.party(side)
        link = party.session.link
        link.calls.tick(link.calls.by)
        self.stir(party)

    def do_beat(self, side: str) -> None:
        party = self.party(side)
        party.session.link.acks.now = True
        self.stir(party)

    def do_expire(self, side: str) -> None:
        party = self.party(side)
        self.heard(party, party.session.tick(party.session.timers.contact_at + 1e6))
        self._gave_up(party)
        if not party.session.ended:
            raise Broken("the session outlives its time to live")

    def do_perish(self) -> None:
        """The acceptor's time runs out, now that the initiator is gone for good."""
        self.do_expire("a")

    def do_giveup(self, side: str) -> None:
        party = self.party(side)
        self.heard(party, party.session.tick(party.session.timers.progress_at + 20.0))
        self._gave_up(party)
        if not party.session.ended:
            raise Broken("close() outlives its progress timeout")

    def do_forget(self) -> None:
        self.registry._forget(1e15)
        if self.options.durable[1]:
            self.disks["a"] = Disk()
        self.excuse("forgotten")
        self.seen["tombstone forgotten"] += 1
