"""G1 to G7 of two honest sides, under anything that applications, wires and clocks may do.

After every step: what an application took is what the other sent, in order, none twice, none
left out; no report says "not taken" of a message that was handed over, or "confirmed" of one
that was not taken; an outcome, once final, stays; what is held is bounded; nobody is blamed.
In the end the network heals: every message has its outcome.
"""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import ConfirmTooLate, ConnectionClosed, OutboxFull
from reliable_ws.protocol.events import Ended
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from tests.support.pair import Pair

from .helpers import CONFIRMED, NOT_TAKEN
from .machine import Machine, seldom, sides, wires

WINDOW, BYTES, LARGEST = 6, 9000, 20_000
OUTBOX = 10
NARROW = Config(
    window_messages=WINDOW,
    window_bytes=BYTES,
    outbox_messages=OUTBOX,
    outbox_bytes=2 * BYTES,
    max_frame=4096,
    max_message=LARGEST,
    idle_timeout=9,
)
WIDE = Config(idle_timeout=9)

sizes = st.sampled_from([0, 1, 40, 1500, 4000, 9000, 15_000])


class Application:
    """What one side's application sent, took and confirmed."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.handed = 0
        self.open: list[int] = []
        self.confirmed: set[int] = set()
        self.final: dict[int, Outcome] = {}
        "Of what this side sent: outcomes that can not change any more."


class Conversation(Machine):
    """A pair of sessions; the rules are everything that may happen to it."""

    @initialize(config=st.sampled_from([NARROW, WIDE]), early=st.booleans())
    def begin(self, config: Config, early: bool) -> None:
        self.pair = Pair(config)
        self.apps = {"client": Application(), "server": Application()}
        if not early:
            self.pair.connect()
            self.send("client", 1, str)
            self.send("server", 1, bytes)

    # -------------------------------------------------------------- helpers

    def session(self, who: str) -> Session | None:
        return self.pair.client if who == "client" else self.pair._server

    def settle(self, who: str) -> None:
        session = self.session(who)
        assert session is not None
        self.heard(who, session.poll(self.pair.now))

    def was_handed(self, who: str, payload: Any) -> int:
        """G1, G2: exactly the next message of the other side."""
        app, other = self.apps[who], self.apps[self.peer(who)]
        value = msgpack.unpackb(payload.data) if isinstance(payload, msgpack.ExtType) else payload
        assert app.handed < len(other.sent), "handed over, and never sent"
        assert value == other.sent[app.handed]
        app.handed += 1
        assert other.final.get(app.handed) is not NOT_TAKEN, "handed over after 'not taken'"
        return app.handed

    # -------------------------------------------------------------- applications

    @rule(who=sides, size=sizes, kind=st.sampled_from([str, bytes, list]))
    def send(self, who: str, size: int, kind: type) -> None:
        session, app = self.session(who), self.apps[who]
        if session is None:
            return
        text = f"{who} {len(app.sent) + 1} ".ljust(size, "x")
        message = {str: text, bytes: text.encode(), list: [text]}[kind]
        before = session.outbox.last
        try:
            number = session.send(message)
        except OutboxFull:
            assert len(session.outbox) > 0
            assert session.outbox.last == before
        except ConnectionClosed:
            assert session.outbox.last == before
        else:
            app.sent.append(message)
            assert number == len(app.sent)

    @rule(who=sides, count=st.integers(1, 4))
    def take(self, who: str, count: int) -> None:
        session = self.session(who)
        if session is None:
            return
        for _ in range(min(count, len(session.inbox))):
            number = self.was_handed(who, session.inbox.take())
            self.apps[who].confirmed.add(number)
        self.settle(who)

    @rule(who=sides, count=st.integers(1, 3))
    def take_deliveries(self, who: str, count: int) -> None:
        session = self.session(who)
        if session is None:
            return
        for _ in range(min(count, len(session.inbox))):
            number, payload = session.inbox.deliver()
            assert self.was_handed(who, payload) == number
            self.apps[who].open.append(number)

    @rule(who=sides, data=st.data())
    def confirm(self, who: str, data: st.DataObject) -> None:
        session, app = self.session(who), self.apps[who]
        if session is None or not app.open:
            return
        number = data.draw(st.sampled_from(app.open))
        try:
            assert session.inbox.confirm(number)
        except ConfirmTooLate:
            assert session.inbox.stopped
        else:
            app.confirmed.add(number)
        app.open.remove(number)
        self.settle(who)

    @rule(who=sides)
    def want(self, who: str) -> None:
        session = self.session(who)
        if session is not None and session.outbox.last:
            session.want(session.outbox.last)

    @rule(who=sides, verb=st.sampled_from(["close", "finish"]), really=seldom)
    def finish_or_close(self, who: str, verb: str, really: bool) -> None:
        session = self.session(who)
        if session is not None and really:
            self.heard(who, getattr(session, verb)(self.pair.now))

    @rule(who=sides, really=seldom, surely=seldom)
    def abort(self, who: str, really: bool, surely: bool) -> None:
        session = self.session(who)
        if session is not None and really and surely:
            self.heard(who, session.abort(self.pair.now))

    # -------------------------------------------------------------- wires and clocks

    @rule(index=wires)
    def pull(self, index: int) -> None:
        wire = self.wire(index)
        if wire is None:
            return
        for end, line in ((wire.dialer, wire.up), (wire.listener, wire.down)):
            for _ in range(100):
                has_output = not isinstance(end, Link) or end.has_output
                data = end.transmit(self.pair.now)
                if data is None:
                    break
                assert has_output, "it had something to say and did not know"
                if wire.alive:
                    line.append(data)
            else:
                raise AssertionError("a link never falls silent")

    @rule(index=wires, up=st.integers(0, 4), down=st.integers(0, 4))
    def deliver(self, index: int, up: int, down: int) -> None:
        wire = self.wire(index)
        if wire is None:
            return
        for _ in range(up):
            self.pair.deliver_up(wire)
        for _ in range(down):
            self.pair.deliver_down(wire)

    @rule()
    def run_on(self) -> None:
        self.pair.run()

    @rule()
    def come_back(self) -> None:
        """What an initiator does when it has lost its WebSocket."""
        if self.pair.client.ended is None and not self.pair.client.attached:
            self.pair.dial()
        self.pair.run()

    @rule(index=wires, ends=st.sampled_from(["both", "client", "server", "neither"]))
    def cut(self, index: int, ends: str) -> None:
        """Half open links, too; or a wire that swallows everything, and neither end knows."""
        wire = self.wire(index)
        if wire is None:
            return
        if ends in ("both", "client"):
            self.pair.cut_client(wire)
        if ends in ("both", "server"):
            self.pair.cut_server(wire)
        wire.alive = False

    @rule(seconds=st.sampled_from([0.01, 0.03, 1, 4, 10]))
    def advance(self, seconds: float) -> None:
        self.pair.advance(seconds)

    @rule(seconds=st.sampled_from([2, 30, 100]), really=seldom)
    def oversleep(self, seconds: float, really: bool) -> None:
        if really:
            self.pair.now += seconds
            self.pair.tick()

    # -------------------------------------------------------------- what holds

    @invariant()
    def outcomes_are_true_and_stay(self) -> None:
        """G3"""
        for who, app in getattr(self, "apps", {}).items():
            session, other = self.session(who), self.apps[self.peer(who)]
            if session is None:
                continue
            assert session.outbox.messages == len(app.sent)
            for number in range(1, len(app.sent) + 1):
                outcome = session.outcome(number)
                if outcome is CONFIRMED:
                    assert number in other.confirmed
                if outcome is NOT_TAKEN:
                    assert number > other.handed
                assert app.final.get(number, outcome) is outcome
                if outcome is not Outcome.PENDING:
                    app.final[number] = outcome

    @invariant()
    def everything_is_bounded(self) -> None:
        """G5"""
        for who in getattr(self, "apps", {}):
            session = self.session(who)
            if session is None or session.config is not NARROW:
                continue
            inbox, outbox = session.inbox, session.outbox
            assert len(outbox) <= OUTBOX
            assert outbox.held <= 2 * max(BYTES, LARGEST)
            assert len(inbox) <= WINDOW
            assert inbox.held <= 2 * max(BYTES, LARGEST)
            assert inbox.partial <= LARGEST

    @invariant()
    def nobody_is_blamed(self) -> None:
        for who in getattr(self, "apps", {}):
            session = self.session(who)
            if session is None or session.ended is None:
                continue
            assert session.ended.kind not in (End.VIOLATION, End.SUPERSEDED, End.LOST)
            events = self.pair.client_events if who == "client" else self.pair.server_events
            assert sum(isinstance(event, Ended) for event in events) == 1

    # -------------------------------------------------------------- the end

    def teardown(self) -> None:
        """G3, G4, G6: the network heals, the applications read and close."""
        if not hasattr(self, "pair"):
            return
        pair = self.pair
        began = pair.now
        for round_ in range(60):
            if pair.client.ended is None and not pair.client.attached:
                pair.dial()
            pair.run()
            self.read_on()
            if round_ == 1:
                self.close_both()
            pair.run()
            if all(s is None or s.ended is not None for s in map(self.session, self.apps)):
                break
            pair.advance(5)
        assert pair.now - began < 200
        for who, app in self.apps.items():
            session = self.session(who)
            if session is None:
                continue
            assert session.ended is not None
            self.outcomes_are_true_and_stay()
            report = session.report()
            assert report.final
            assert report.confirmed + len(report.undelivered) == len(app.sent) == report.sent
        self.agreed()

    def read_on(self) -> None:
        for who in self.apps:
            session = self.session(who)
            if session is not None:
                for _ in range(len(session.inbox)):
                    number = self.was_handed(who, session.inbox.take())
                    self.apps[who].confirmed.add(number)
                for number in self.apps[who].open:
                    if not session.inbox.stopped and session.inbox.confirm(number):
                        self.apps[who].confirmed.add(number)
                self.apps[who].open.clear()
                self.settle(who)

    def close_both(self) -> None:
        for who in self.apps:
            session = self.session(who)
            if session is not None:
                self.heard(who, session.close(self.pair.now))

    def agreed(self) -> None:
        """G3: if both ended as agreed, each knows exactly what the other did."""
        ends = [self.session(who) for who in self.apps]
        if any(s is None or s.ended is None or s.ended.kind is not End.FINISHED for s in ends):
            return
        for who, app in self.apps.items():
            session, other = self.session(who), self.apps[self.peer(who)]
            assert session is not None
            for number in range(1, len(app.sent) + 1):
                outcome = session.outcome(number)
                assert (outcome is CONFIRMED) == (number in other.confirmed)
                assert (outcome is NOT_TAKEN) == (number > other.handed)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=200, stateful_step_count=80)
