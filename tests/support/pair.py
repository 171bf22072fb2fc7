"""Two sessions, a wire with scissors, and a clock turned by hand. No await, no mocks.

pair = Pair()
pair.connect()
pair.client.send("hello")
pair.run()
assert pair.server_take() == ["hello"]
"""

from __future__ import annotations

from collections import deque
from typing import Any

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.session import Session

KEY = bytes(range(32))
ID = b"0123456789abcdef"


class Wire:
    """One WebSocket: a link at either end, and what is in flight between them."""

    def __init__(self, dialer: Link, arrival: Arrival, session: Session) -> None:
        self.session = session  # whose link it is
        self.dialer = dialer
        self.arrival = arrival
        self.up: deque[bytes] = deque()  # initiator -> acceptor
        self.down: deque[bytes] = deque()
        self.alive = True

    @property
    def listener(self) -> Link | Arrival:
        """What the acceptor drives: its arrival until the Hello is answered, then the link."""
        return self.arrival.link or self.arrival


class Pair:
    """An initiator, an acceptor's registry, and the wires between them."""

    def __init__(self, config: Config | None = None, server_config: Config | None = None) -> None:
        self.now = 1000.0
        self.config = config or Config()
        self.client = Session("initiator", ID, KEY, self.now, self.config)
        self.registry = SessionRegistry(41, server_config or self.config)
        self.wires: list[Wire] = []
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        self._server: Session | None = None

    @property
    def server(self) -> Session:
        """The acceptor's session, also when it has ended."""
        assert self._server is not None, "no Hello was answered yet"
        return self._server

    @property
    def wire(self) -> Wire:
        """The newest wire."""
        return self.wires[-1]

    # ------------------------------------------------------------------ wires

    def dial(self) -> Wire:
        """Open a WebSocket; nothing has been said on it yet."""
        wire = Wire(self.client.dial(self.now), self.registry.arrive(self.now), self.client)
        self.wires.append(wire)
        return wire

    def connect(self) -> Wire:
        """Open a WebSocket and let everything settle."""
        wire = self.dial()
        self.run()
        return wire

    def cut(self, wire: Wire | None = None) -> None:
        """Cut the wire: what is in flight is lost, and both ends know at once."""
        wire = wire or self.wire
        self.cut_client(wire)
        self.cut_server(wire)

    def cut_client(self, wire: Wire | None = None) -> None:
        """Only the initiator learns that the WebSocket is gone; the other end stays half open."""
        wire = wire or self.wire
        wire.alive = False
        wire.up.clear()
        wire.down.clear()
        self.client_events += wire.session.lost(wire.dialer, None, "", self.now)

    def cut_server(self, wire: Wire | None = None) -> None:
        """Only the acceptor learns it."""
        wire = wire or self.wire
        wire.alive = False
        wire.up.clear()
        wire.down.clear()
        if wire.arrival.link is not None and wire.arrival.session is not None:
            self._server_said(wire.arrival.session.lost(wire.arrival.link, None, "", self.now))

    # ------------------------------------------------------------------ steps

    def pull(self, wire: Wire | None = None) -> bool:
        """Put everything that either end wants to send in flight; whether there was any."""
        wire = wire or self.wire
        some = False
        for end, line in ((wire.dialer, wire.up), (wire.listener, wire.down)):
            while (data := end.transmit(self.now)) is not None:
                some = True
                if wire.alive:
                    line.append(data)
        return some

    def deliver_up(self, wire: Wire | None = None) -> bool:
        """Deliver one message to the acceptor."""
        wire = wire or self.wire
        if not wire.up:
            return False
        data, arrival = wire.up.popleft(), wire.arrival
        if arrival.link is None or arrival.session is None:
            self._server_said(arrival.receive(data, self.now))
        else:
            self._server_said(arrival.session.receive(arrival.link, data, self.now))
        if wire.arrival.session is not None:
            self._server = wire.arrival.session
        return True

    def deliver_down(self, wire: Wire | None = None) -> bool:
        """Deliver one message to the initiator."""
        wire = wire or self.wire
        if not wire.down:
            return False
        self.client_events += wire.session.receive(wire.dialer, wire.down.popleft(), self.now)
        return True

    def run(self, limit: int = 10_000) -> None:
        """Exchange messages on every living wire until both ends are silent."""
        for _ in range(limit):
            busy = False
            for wire in self.wires:
                busy |= self.pull(wire) | self.deliver_up(wire) | self.deliver_down(wire)
            if not busy:
                return
        raise AssertionError("the pair never falls silent")

    def advance(self, seconds: float) -> None:
        """Let time pass, ticking and exchanging at every deadline on the way."""
        end = self.now + seconds
        while (due := min(self.deadline, end)) < end:
            self.now = max(self.now, due)
            self.tick()
            self.run()
        self.now = end
        self.tick()
        self.run()

    @property
    def deadline(self) -> float:
        """The next moment at which anything wants to be asked."""
        by = [self.client.deadline, *(wire.arrival.deadline for wire in self.wires)]
        if self._server is not None:
            by.append(self._server.deadline)
        return min(by)

    def tick(self) -> None:
        """Tick everything once."""
        self.client_events += self.client.tick(self.now)
        for wire in self.wires:
            wire.arrival.tick(self.now)
        if self._server is not None:
            self._server_said(self._server.tick(self.now))

    def _server_said(self, events: list[Event]) -> None:
        self.server_events += events
        if self._server is not None and self._server.ended is not None:
            self.registry.retire(self._server, self.now)

    # ------------------------------------------------------------------ applications

    def client_take(self) -> list[Any]:
        """Take everything at the initiator."""
        taken = take_all(self.client)
        self.client_events += self.client.poll(self.now)
        return taken

    def server_take(self) -> list[Any]:
        """Take everything at the acceptor."""
        taken = take_all(self.server)
        self._server_said(self.server.poll(self.now))
        return taken


def take_all(session: Session) -> list[Any]:
    """Take every message that waits in a session's inbox."""
    taken = []
    while len(session.inbox):
        taken.append(session.take())
    return taken
