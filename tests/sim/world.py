"""Two applications, a session at either end, and a network that does what it likes.

The core is the real one; everything around it is simulated: any number of wires that are cut,
half open or late, processes that crash, a clock that jumps. What the applications really did is
written down (parts.py), and after every step both sides' claims are compared with it
(guarantees.py); in the end the network heals, the applications read, and everything must have
an outcome that is true (finale.py).

Seeded schedules are told by schedules.py; the explorer (explore.py) walks through all schedules
of a small world instead.
"""

from __future__ import annotations

from collections import Counter

from .clock import Clock
from .crashes import Crashes
from .guarantees import check
from .network import Network
from .parts import Action, Options
from .storing import Disk


class World(Network, Clock, Crashes):
    """``actions()`` says what can happen, ``do()`` does it and checks everything."""

    def __init__(self, options: Options, seen: Counter[str] | None = None) -> None:
        super().__init__(options, seen)
        self.disks = {"i": Disk(), "a": Disk()}
        for _ in range(options.preload):
            self.do_send("i")

    def actions(self) -> list[Action]:
        """Everything that can happen now."""
        found: list[Action] = []
        options = self.options
        deeds, left = options.deeds, self.left
        for side, party in (("i", self.i), ("a", self.a)):
            if party is not None and party.alive:
                self.offer_application(side, party, found)
                if party.durable:
                    self.offer_store(side, party, found)
                if options.calls:
                    self.offer_calls(side, party, found)
                if options.timed:
                    if party.session.deadline <= self.now:
                        found.append(("tick", side))
                else:
                    self.offer_time(side, party, found)
        initiator = self.i
        if initiator.alive and self.may_dial():
            if initiator.session.link is None:
                found.append(("dial",))
            else:
                found.append(("redial",))
        for wire in self.wires:
            self.offer_network(wire, found)
        found += (("crash", "i"), ("crash", "a"), ("restart", "i"), ("drain",))
        tombstones = self.registry._tombstones
        sessions = [one.session for one in tombstones.values() if one.session is not None]
        kept = all(session.is_kept for session in sessions)
        # It is remembered for longer than an initiator that knows its outcomes may be away.
        asks = initiator.durable and not initiator.over and (initiator.known or self.wires)
        if tombstones and kept and not asks and not self.stale_hello():
            found.append(("forget",))
        found.append(("advance",) if options.timed else ("elapse",))
        return [
            action
            for action in found
            if (deeds is None or action[0] in deeds) and left.get(action[0], 1) > 0
        ]

    def do(self, action: Action) -> None:
        """Do one action, then check everything."""
        name = action[0]
        if name in self.left:
            self.left[name] -= 1
        getattr(self, "do_" + name)(*action[1:])
        if self.options.eager:
            self.pull_all()
        check(self)

    def pull_all(self) -> None:
        if self.options.submits:
            for side in "ia":
                party = self.party(side)
                if party is not None and party.alive and self.may_submit(party):
                    self.do_submit(side)
        for wire in list(self.wires):
            if wire.i_open and wire.i_stirred:
                self.do_pull(wire.serial, "i")
            if wire.a_open and wire.a_stirred:
                self.do_pull(wire.serial, "a")

    def do_drain(self) -> None:
        """Toggle whether the acceptor takes new sessions."""
        self.registry.draining = not self.registry.draining
