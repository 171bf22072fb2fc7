"""Calls of two honest sides, under anything that applications, wires and clocks may do.

After every step: each request runs at most once, with what was asked; what was said never to
have been taken never runs; each answer is the one that was given, and comes once; the items of
a stream come in order, none twice, none left out; nobody is blamed; what is held is bounded.
In the end the network heals: each request is answered, or it is known whether it was taken.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from reliable_ws.protocol.calls.flow import Streams
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import (
    Cancelled,
    Ended,
    Faulted,
    Granted,
    Itemized,
    Replied,
    Requested,
)
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving, Sending
from tests.support.calls import SessionCalls, session_calls
from tests.support.examples import examples
from tests.support.pair import Pair

from .machine import Machine, seldom, sides, wires

NARROW = Config(
    window_messages=3,
    window_bytes=9000,
    max_frame=4096,
    max_message=20_000,
    max_requests=3,
    idle_timeout=9,
    session_ttl=60,
)
WIDE = Config(idle_timeout=9, session_ttl=60)
WHO = ["client", "server"]
OPEN = (Sending.OPEN, Receiving.OPEN)

sizes = st.sampled_from([0, 40, 3700, 3800, 9000])
indices = st.integers(0, 5)


class Asked:
    """One request, as its asker's application and its runner's know it."""

    def __init__(self, payload: str, credit: int) -> None:
        self.payload = payload
        self.credit = self.granted = credit
        self.ran = False
        self.given: Any = None
        "What the runner answered."
        self.got: Any = None
        "What the asker was told."
        self.dropped = False
        "Whether its asker waits no more."
        self.never = False
        "Whether it was said that it was not taken."
        self.sent: list[str] = []
        self.items: list[str] = []


def weight(item: str) -> int:
    return len(item) + 6


class RpcClient:
    """What one side's application asked."""

    def __init__(self) -> None:
        self.asked: dict[int, Asked] = {}
        self.texts = 0

    def text(self, size: int) -> str:
        self.texts += 1
        return f"{self.texts} ".ljust(size, "x")


class Calling(Machine):
    """A pair of sessions; the rules are everything that may happen to their calls."""

    @initialize(config=st.sampled_from([NARROW, WIDE]))
    def begin(self, config: Config) -> None:
        self.pair = Pair(config)
        self.apps = {"client": RpcClient(), "server": RpcClient()}
        self.pair.connect()

    # -------------------------------------------------------------- helpers

    def session(self, who: str) -> Session:
        return getattr(self.pair, who)

    def calls(self, who: str) -> SessionCalls:
        return session_calls(self.session(who))

    def listen(self) -> None:
        """Let both applications hear what happened, and check it."""
        for who in WHO:
            happened = getattr(self.pair, f"{who}_events")
            events = happened.copy()
            happened.clear()
            mine, theirs = self.apps[who].asked, self.apps[self.peer(who)].asked
            for event in events:
                match event:
                    case Requested(number, method, payload, _by, credit):
                        asked = theirs[number]
                        assert (method, payload, credit) == ("do", asked.payload, asked.credit)
                        assert not asked.ran, "run twice"
                        assert not asked.never, "run, though it was said that it was not taken"
                        asked.ran = True
                    case Replied(number, payload) | Faulted(number, _, _, payload):
                        asked = mine[number]
                        assert asked.got is None, "answered twice"
                        assert not asked.dropped
                        assert asked.given == (type(event), payload)
                        assert asked.items == asked.sent
                        asked.got = payload
                    case Itemized(number, payload):
                        asked = mine[number]
                        assert asked.got is None
                        asked.items.append(payload)
                        assert asked.sent[: len(asked.items)] == asked.items
                    case Granted(number, total):
                        assert self.is_owed(theirs[number])
                        assert total > theirs[number].granted
                        theirs[number].granted = total
                    case Cancelled(number):
                        assert self.is_owed(theirs[number])
                    case Ended(ending):
                        assert ending.kind is not End.VIOLATION, ending

    def refresh(self, who: str) -> None:
        """What a ledger says of requests must be true."""
        calls = self.calls(who)
        for number, asked in self.apps[who].asked.items():
            taken = calls.was_taken(number)
            if asked.never:
                assert not asked.ran
            elif asked.dropped:
                pass  # nobody asks
            elif taken is False:
                assert not asked.ran, "said to be not taken, and it was run"
                if number <= calls.queue.transmitted:
                    asked.never = True
            elif taken is True:
                assert asked.ran, "said to be taken, and it was not run"

    def owed(self, who: str) -> list[int]:
        return [n for n, asked in self.apps[self.peer(who)].asked.items() if self.is_owed(asked)]

    @staticmethod
    def is_owed(asked: Asked) -> bool:
        return asked.ran and asked.given is None

    # -------------------------------------------------------------- applications

    @rule(who=sides, size=sizes, patience=st.sampled_from([None, None, 0.5, 3.0]), stream=seldom)
    def ask(self, who: str, size: int, patience: float | None, stream: bool) -> None:
        session, calls, app = self.session(who), self.calls(who), self.apps[who]
        if not calls.has_room or (session.outbox.state, session.inbox.state) != OPEN:
            return
        payload, credit = app.text(size), 200 if stream else 0
        by = None if patience is None else self.pair.now + patience
        number = calls.request("do", payload, by, credit)
        assert number not in app.asked
        app.asked[number] = Asked(payload, credit)

    @rule(who=sides, index=indices, size=sizes, well=st.booleans())
    def answer(self, who: str, index: int, size: int, well: bool) -> None:
        owed = self.owed(who)
        if owed:
            self.give(who, owed[index % len(owed)], size, well)

    def give(self, who: str, number: int, size: int, well: bool) -> None:
        asked = self.apps[self.peer(who)].asked[number]
        text = self.apps[who].text(size)
        if well:
            self.calls(who).reply(number, text)
        else:
            self.calls(who).fault(number, "failed", "a reason", text)
        asked.given = (Replied if well else Faulted, text)

    @rule(who=sides, index=indices, size=st.sampled_from([10, 150, 5000]))
    def item(self, who: str, index: int, size: int) -> None:
        theirs = self.apps[self.peer(who)].asked
        streams = [n for n in self.owed(who) if theirs[n].credit]
        if not streams or self.calls(who).crowded:
            return
        number = streams[index % len(streams)]
        asked = theirs[number]
        if sum(map(weight, asked.sent)) < asked.granted:
            text = self.apps[who].text(size)
            self.calls(who).item(number, text)
            asked.sent.append(text)

    @rule(who=sides, index=indices)
    def grant(self, who: str, index: int) -> None:
        mine = self.apps[who].asked
        streams = [n for n, asked in mine.items() if asked.credit and asked.got is None]
        if streams:
            number = streams[index % len(streams)]
            self.calls(who).grant(number, sum(map(weight, mine[number].items)) + 300)

    @rule(who=sides, index=indices)
    def cancel(self, who: str, index: int) -> None:
        mine = self.apps[who].asked
        waiting = [n for n, a in mine.items() if a.got is None and not a.dropped]
        if waiting:
            number = waiting[index % len(waiting)]
            asked = mine[number]
            asked.dropped = True
            if self.calls(who).cancel(number):
                asked.never = True
                assert not asked.ran

    @rule(who=sides, size=sizes)
    def send(self, who: str, size: int) -> None:
        session = self.session(who)
        if session.outbox.state is Sending.OPEN and session.outbox.has_room(size + 6):
            session.send("m" * size)

    @rule(who=sides)
    def take(self, who: str) -> None:
        (self.pair.client_take if who == "client" else self.pair.server_take)()

    @rule(who=sides, verb=st.sampled_from(["close", "finish"]), really=seldom, surely=seldom)
    def finish_or_close(self, who: str, verb: str, really: bool, surely: bool) -> None:
        if really and surely:
            session = self.session(who)
            self.heard(who, getattr(session, verb)(self.pair.now))

    @rule(who=sides, really=seldom, surely=seldom, truly=seldom)
    def abort(self, who: str, really: bool, surely: bool, truly: bool) -> None:
        if really and surely and truly:
            self.heard(who, self.session(who).abort(self.pair.now))

    # -------------------------------------------------------------- wires and clocks

    @rule(index=wires)
    def pull(self, index: int) -> None:
        wire = self.wire(index)
        if wire is not None:
            self.pair.pull(wire)

    @rule(index=wires, count=st.integers(1, 5), up=st.booleans())
    def deliver(self, index: int, count: int, up: bool) -> None:
        wire = self.wire(index)
        if wire is not None:
            for _ in range(count):
                (self.pair.deliver_up if up else self.pair.deliver_down)(wire)

    @rule(limit=st.integers(1, 9))
    def run(self, limit: int) -> None:
        for _ in range(limit):
            for wire in self.pair.wires:
                self.pair.pull(wire)
                self.pair.deliver_up(wire)
                self.pair.deliver_down(wire)

    @rule(index=wires, whose=st.sampled_from(["client", "server", "both"]))
    def cut(self, index: int, whose: str) -> None:
        wire = self.wire(index)
        if wire is not None:
            if whose != "server":
                self.pair.cut_client(wire)
            if whose != "client":
                self.pair.cut_server(wire)

    @rule(seconds=st.sampled_from([0.01, 0.03, 0.6, 3.5]))
    def wait(self, seconds: float) -> None:
        self.pair.now += seconds
        self.pair.tick()

    # -------------------------------------------------------------- what holds

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "pair"):
            return
        self.listen()
        for who in WHO:
            self.refresh(who)
            calls = self.calls(who)
            assert len(calls.open) <= max(calls.limit, 0)
            assert len(calls.served) + len(calls.answers) <= self.pair.config.max_requests
            streams = calls._streams or Streams()
            assert set(streams.owed) <= set(streams._granted) <= set(calls.open)
            assert calls.queue.weight == sum(kept[1] for kept in calls.queue._kept.values())
            assert len(calls.queue._kept) in (0, calls.queue.last - calls.queue.acked)

    def teardown(self) -> None:
        """Heal, answer what is owed, and see that everybody knows everything."""
        if not hasattr(self, "pair"):
            return
        pair = self.pair
        for _ in range(6):
            if pair.client.ended is None and not self.is_carried():
                pair.cut()
                pair.dial()
            pair.run()
            self.listen()
            for who in WHO:
                for number in self.owed(who):
                    self.give(who, number, 10, True)
            pair.run()
            pair.client_take(), pair.server_take()
            pair.run()
            pair.advance(0.1)
            self.all_is_well()
        self.all_is_known()

    def is_carried(self) -> bool:
        """Whether the newest wire carries the session: a pair cuts no wire that an end gave up."""
        pair = self.pair
        return pair.wire.alive and pair.client.attached and pair.server.attached

    def all_is_known(self) -> None:
        alive = self.pair.client.ended is None and self.pair.server.ended is None
        for who in WHO:
            calls, session = self.calls(who), self.session(who)
            calm = alive and session.outbox.finish is None and session.outbox.final is None
            finished = session.inbox.finish is not None
            for number, asked in self.apps[who].asked.items():
                waited = not asked.dropped and asked.got is None
                if calm and not finished and waited and not asked.never:
                    raise AssertionError(f"{who}'s request {number} has no answer")
            if calm and not finished:
                assert calls.open == {}, "every request that went was answered"
                assert calls.held == 0


Calling.TestCase.settings = examples(200, stateful_step_count=50)
TestCalling = Calling.TestCase


def test_the_network_also_heals_where_only_the_server_has_given_up_the_link():
    """The client has heard the server all the time, and the server nothing of the client."""
    machine = Calling()
    machine.begin(NARROW)
    for _ in range(4):
        machine.wait(3.5)
        machine.pull(0)
        machine.deliver(0, 5, up=False)
    machine.ask("client", 40, None, stream=False)
    pair = machine.pair
    assert (pair.client.attached, pair.server.attached, pair.wire.alive) == (True, False, True)
    machine.teardown()
