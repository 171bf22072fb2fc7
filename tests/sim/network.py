"""Wires that are opened, late, half open and cut."""

from __future__ import annotations

from reliable_ws.backoff import Backoff
from reliable_ws.driver.reconnect import Reconnect
from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.events import Eased
from reliable_ws.protocol.frames import Code, Refuse
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.registry import Arrival
from reliable_ws.protocol.state import Phase

from .applications import Applications
from .parts import Action, Broken, Party, Wire, told

BACKOFF = Backoff(initial=30.0, longest=30.0)
"""Pauses that are longer than a close may take."""

SHORT = 0.21
"""Seconds of a pause that no close has to cut."""


class Network(Applications):
    """Any number of WebSockets, of which the newest should count."""

    def offer_network(self, wire: Wire, found: list[Action]) -> None:
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

    def stale_hello(self) -> bool:
        """Whether a Hello of an older link may still come.

        It cannot outlive a tombstone: a WebSocket without Hello is refused long before (LIVE-1).
        """
        current = self.i.session.link
        return any(
            wire.a_open and wire.arrival.link is None and wire.dialer is not current
            for wire in self.wires
        )

    def may_dial(self) -> bool:
        """Whether the initiator opens another WebSocket, and in time for a close that waits.

        The longest pause is looked at: chance only makes it shorter.
        """
        session = self.i.session
        tombstones = self.registry._tombstones.values()
        if not (self.options.timed or all(tombstone.is_kept for tombstone in tombstones)):
            return False  # it is told to come again later, and waits
        reconnect = Reconnect(session, BACKOFF)
        reconnect.opened(self.now)
        reconnect.lost(self.now, 1.0, None)
        pause = reconnect.pause(self.now)
        if pause is None:
            return False
        if session.ended:
            raise Broken("another WebSocket is wanted for a session that has ended")
        if session.closing and pause > SHORT and self.now + pause >= session.deadline:
            raise Broken("a close sleeps through its time")
        return True

    def do_dial(self) -> None:
        options = self.options
        limits = options.max_frames
        limit = limits[self.serial % len(limits)]
        session = self.i.session
        link = session.dial(self.now, limit)
        arrival = self.registry.arrive(self.now, "somebody", limit)
        self.serial += 1
        self.wires.append(Wire(self.serial, session, link, arrival))
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
        session = wire.session_at(side)
        limit = self.options.transport_limit
        for _ in range(most):
            has_output = not isinstance(end, Link) or end.has_output
            data = end.transmit(self.now)
            if data is None:
                break
            if not has_output:
                raise Broken(f"{side} had something to say and did not know: {told(data)}")
            if self.options.calls and party is not None and party.session is session:
                self.check_sent(party, data)
            if party is not None and party.durable:
                self.check_kept(party, data)
            if self.say:
                self.say(f"    {side} sends on {serial}: {told(data)}")
            if limit is not None and len(data) > limit:
                self.seen["1009"] += 1
                wire.broken = True
                self.dies(wire, side, Code.TOO_BIG)
                return
            (wire.up if side == "i" else wire.down).append(data)
        else:
            return
        if side == "i":
            wire.i_stirred = False
        else:
            wire.a_stirred = False
        if end.close_action is not None and not (isinstance(end, Link) and end.held):
            self._hang_up(wire, side)

    def do_pull1(self, serial: int, side: str) -> None:
        self.do_pull(serial, side, 1)

    def _hang_up(self, wire: Wire, side: str) -> None:
        """Close the WebSocket from one end; what is in flight from here still arrives."""
        code = wire.end(side).close_action.code
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
            events = wire.session.receive(link, data, self.now)
            wire.i_stirred = True
            if link.phase is Phase.OVER and link.close_action is not None and dialing:
                frame = decode(data, 1 << 30)[0]
                if isinstance(frame, Refuse):
                    self._refused(frame)
            self.heard(party, events)
            return
        data, arrival = wire.up.popleft(), wire.arrival
        wire.a_stirred = True
        if arrival.link is not None:
            self._note(data, arrival.link, side, serial)
            events = arrival.session.receive(arrival.link, data, self.now)
            if self.a is not None and arrival.session is self.a.session:
                self.heard(self.a, events)
            return
        if self.say:
            self.say(f"    a hears on {serial}: {told(data)}")
        events = arrival.receive(data, self.now)
        if arrival.link is not None and arrival.fresh:
            self._accepted(arrival)
        if arrival.close_action is not None and arrival.close_action.code == Code.SUPERSEDED:
            self.seen["stale Hello refused"] += 1
        if self.a is not None and arrival.session is self.a.session:
            self.heard(self.a, events)

    def _accepted(self, arrival: Arrival) -> None:
        """The registry made a new session, for a new application."""
        if self.a is not None and self.a.alive:
            if not self.a.session.ended:
                raise Broken("a second session under the same id")
            self.past.append(self.a)
        session = arrival.session
        if self.options.frame_limit:
            session.frame_size.limit = self.options.frame_limit
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
        if link.phase is Phase.OVER and link.close_action is not None:
            self.seen["frames on an inert link"] += 1

    def do_cut(self, serial: int, side: str) -> None:
        """One end learns that the WebSocket is gone; what it had sent may still arrive."""
        self.seen["cut"] += 1
        if len(self.wires) > 1:
            self.seen["cut with several WebSockets"] += 1
        wire = self.wire(serial)
        wire.broken = True
        self.dies(wire, side, None)

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
        self.dies(wire, side, code)

    def dies(self, wire: Wire, side: str, code: int | None) -> None:
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
            session = wire.session_at(side)
            current = session.link
            inert = end.close_action is not None
            waited = len(session._events)  # a session that was restored may have news
            events = session.lost(end, code, "", self.now)
            # that calls may go on may be older, too
            news = [event for event in events[waited:] if not isinstance(event, Eased)]
            if inert and (news or session.link is not current):
                raise Broken("the death of an old WebSocket did something")
            if party is not None and party.alive and session is party.session:
                self.heard(party, events)
        self._sweep(wire)
