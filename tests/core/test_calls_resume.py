"""Calls over more than one link: each request runs once, each answer arrives, deadlines go on."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Replied, Requested
from reliable_ws.protocol.frames import CallPosition, Cancel, Void
from tests.support.calls import session_calls
from tests.support.pair import Pair

from .calling import a_request, again, ask, calling, heard, opened
from .helpers import NO_CALLS_YET, calls_of, either_side, limits

both_ways = pytest.mark.parametrize("asker", ["client", "server"])


def other(who: str) -> str:
    return "server" if who == "client" else "client"


class Desk:
    """A pair in which one side asks; the other's application answers when it is told to."""

    def __init__(self, asker: str, config: Config | None = None) -> None:
        self.pair = Pair(config)
        self.pair.connect()
        self.ask_events = getattr(self.pair, f"{asker}_events")
        self.run_events = getattr(self.pair, f"{other(asker)}_events")
        self.asking = session_calls(getattr(self.pair, asker))
        self.running = session_calls(getattr(self.pair, other(asker)))

    def ran(self) -> list[str]:
        return [event.payload for event in heard(self.run_events) if isinstance(event, Requested)]

    def answers(self) -> list:
        return heard(self.ask_events)

    def pull_and_lose(self) -> None:
        """What both sides say now is lost, and the wire with it."""
        assert self.pair.pull()
        self.pair.cut()


@both_ways
def test_a_lost_request_is_sent_again_and_runs_once(asker):
    """CALL-22"""
    desk = Desk(asker)
    desk.asking.request("do", "a", None, 0)
    desk.pull_and_lose()
    assert desk.asking.was_taken(1) is None
    desk.asking.request("do", "b", None, 0)
    desk.pair.connect()
    assert desk.ran() == ["a", "b"]
    desk.pair.advance(1)
    assert desk.asking.was_taken(1) is True
    desk.pair.cut()
    desk.pair.connect()
    assert desk.ran() == []


@both_ways
def test_a_lost_reply_comes_after_the_resume(asker):
    """CALL-22: the request is not run again."""
    desk = Desk(asker)
    number = desk.asking.request("do", "a", None, 0)
    desk.pair.run()
    desk.running.reply(number, "A")
    desk.pull_and_lose()
    assert desk.answers() == []
    desk.pair.connect()
    assert desk.answers() == [Replied(number, "A")]
    assert desk.ran() == ["a"]


@both_ways
def test_a_lost_ack_makes_nothing_come_twice(asker):
    """CALL-4: the greeting says what arrived, and it is forgotten."""
    desk = Desk(asker)
    number = desk.asking.request("do", "a", None, 0)
    desk.pair.run()
    desk.running.reply(number, "A")
    desk.pair.pull()
    desk.pair.deliver_up()
    desk.pair.deliver_down()
    assert desk.answers() == [Replied(number, "A")]
    desk.pair.cut()
    assert desk.running.held > 0
    desk.pair.connect()
    assert desk.running.held == 0
    assert desk.ran() == ["a"]
    assert desk.answers() == []


@both_ways
def test_an_answer_given_while_detached_goes_later(asker):
    desk = Desk(asker)
    numbers = [desk.asking.request("do", n, None, 0) for n in "abc"]
    desk.pair.run()
    desk.pair.cut()
    for number in reversed(numbers):
        desk.running.reply(number, str(number))
    desk.pair.advance(1)
    desk.pair.connect()
    assert desk.answers() == [Replied(n, str(n)) for n in reversed(numbers)]


@both_ways
def test_a_large_call_goes_on_where_it_was(asker):
    """CALL-5: pieces have numbers, so what arrived of it stays."""
    desk = Desk(asker, Config(max_frame=4096))
    number = desk.asking.request("do", "x" * 20_000, None, 0)
    wire = desk.pair.wire
    for _ in range(3):
        end, line = (wire.dialer, wire.up) if asker == "client" else (wire.listener, wire.down)
        data = end.transmit(desk.pair.now)
        assert data is not None
        line.append(data)
    for _ in range(2):
        assert desk.pair.deliver_up() or desk.pair.deliver_down()
    assert desk.running.received == 2
    desk.pair.cut()
    desk.pair.connect()
    assert desk.ran() == ["x" * 20_000]
    assert desk.running.received == number


@both_ways
def test_a_stream_goes_on(asker):
    """CALL-7: no item twice, none left out; the credit is what it was."""
    desk = Desk(asker)
    number = desk.asking.request("count", "", None, 20)
    desk.pair.run()
    desk.running.item(number, "first")
    desk.pair.run()
    desk.running.item(number, "second")
    desk.pull_and_lose()
    desk.pair.connect()
    desk.asking.grant(number, 40)
    desk.running.item(number, "third")
    desk.pair.run()
    assert [event.payload for event in desk.answers()] == ["first", "second", "third"]


@both_ways
def test_the_deadline_of_a_lost_request_goes_on(asker):
    """CALL-9: what is left travels, and not what was left at first."""
    desk = Desk(asker)
    desk.asking.request("do", "a", desk.pair.now + 5, 0)
    desk.pull_and_lose()
    desk.pair.advance(2)
    desk.pair.connect()
    (event,) = [e for e in desk.run_events if isinstance(e, Requested)]
    assert event.by == pytest.approx(desk.pair.now + 3)


@both_ways
def test_a_lost_request_that_has_expired_is_never_run(asker):
    """CALL-9: and its place is free at once; nobody says that it was taken."""
    desk = Desk(asker)
    number = desk.asking.request("do", "a", desk.pair.now + 5, 0)
    desk.pull_and_lose()
    desk.pair.advance(5)
    assert desk.asking.was_taken(number) is None
    desk.pair.connect()
    assert desk.ran() == []
    assert desk.asking.open == {}
    assert desk.asking.was_taken(number) is False
    desk.pair.advance(1)
    assert desk.asking.held == 0
    assert desk.asking.was_taken(number) is False
    assert desk.asking.cancel(number) is True


@both_ways
def test_nothing_is_kept_of_a_lost_request_that_has_expired_and_was_cancelled(asker):
    desk = Desk(asker)
    number = desk.asking.request("do", "a", desk.pair.now + 5, 0)
    desk.pull_and_lose()
    desk.pair.advance(5)
    desk.asking.cancel(number)
    desk.pair.connect()
    assert desk.ran() == []
    assert desk.asking.open == {}
    assert not desk.asking._never


@both_ways
def test_a_request_that_arrived_before_its_deadline_stays(asker):
    """CALL-9: it is not judged again by who sent it."""
    desk = Desk(asker)
    number = desk.asking.request("do", "a", desk.pair.now + 5, 0)
    desk.pair.run()
    desk.pair.cut()
    desk.pair.advance(10)
    desk.pair.connect()
    assert desk.ran() == ["a"]
    desk.running.fault(number, "timeout", "")
    desk.pair.run()
    (event,) = desk.answers()
    assert event.code == "timeout"


@both_ways
def test_a_lost_request_that_was_cancelled_is_never_run(asker):
    """CALL-31: it may have arrived, so it cannot be taken back; the greeting shows that it can."""
    desk = Desk(asker)
    number = desk.asking.request("do", "x" * 9000, None, 0)
    desk.pull_and_lose()
    assert desk.asking.cancel(number) is False
    desk.pair.connect()
    assert desk.ran() == []
    assert desk.asking.open == {}
    desk.pair.advance(1)
    assert desk.asking.held == 0


@either_side
def test_what_was_sent_stays_sent_while_it_is_said_again(side):
    """CALL-4: the next greeting says no less, and nothing of it can be taken back."""
    lone = calling(side, Config(max_frame=4096), limits=limits(max_frame=4096))
    for _ in range(3):
        ask(lone, payload="x" * 3000)
    lone.says()
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, NO_CALLS_YET)
    assert lone.link.transmit(lone.now) is not None
    assert session_calls(lone.session).position() == CallPosition(0, 3, 1)
    assert lone.session.cancel(3) is False


@either_side
def test_what_is_said_again(side):
    """CALL-22: everything above what the peer has received, from the same numbers."""
    lone = calling(side)
    for payload in "abcd":
        ask(lone, payload=payload)
    lone.says()
    lone.session.cancel(3)
    lone.says()
    lone.session.lost(lone.link, None, "", lone.now)
    again(lone, CallPosition(1, 0, 1))
    assert lone.says() == [
        calls_of(2, a_request("b"), Void(), a_request("d"), Cancel(3)),
    ]


@both_ways
def test_positions_of_calls_say_where_each_side_stands(asker):
    """CALL-4"""
    desk = Desk(asker)
    desk.asking.request("do", "a", None, 0)
    desk.asking.request("do", "b", None, 0)
    desk.pair.run()
    desk.running.reply(1, "A")
    desk.pair.run()
    desk.running.reply(2, "B")
    desk.asking.request("do", "not sent", None, 0)
    assert desk.asking.position() == CallPosition(1, 2, 3)
    assert desk.running.position() == CallPosition(2, 1, 1)


class Chatter:
    """One side that asks as much as it may, and answers what it is asked."""

    def __init__(self, pair: Pair, who: str) -> None:
        self.calls = session_calls(getattr(pair, who))
        self.events = getattr(pair, f"{who}_events")
        self.asked = 0
        self.ran: list[int] = []
        self.answered: list[int] = []

    def ask(self) -> None:
        if self.calls.has_room and self.asked < 100:
            self.asked += 1
            self.calls.request("do", f"{self.asked} ".ljust(self.asked * 97 % 9000, "x"), None, 0)

    def hear(self) -> None:
        for event in heard(self.events):
            number = int(event.payload.split()[0])
            if isinstance(event, Requested):
                self.ran.append(number)
                self.calls.reply(event.id, event.payload)
            else:
                self.answered.append(number)


def test_many_links_and_not_one_call_lost():
    """CALL-1, CALL-22: cut again and again, wherever both are just then."""
    pair = opened(Config(max_requests=4, max_frame=4096))
    sides = [Chatter(pair, "client"), Chatter(pair, "server")]
    for turn in range(300):
        for side in sides:
            side.ask()
            side.hear()
        pair.pull()
        for _ in range(turn % 5):
            pair.deliver_up()
        for _ in range(turn % 3):
            pair.deliver_down()
        if turn % 7 == 0:
            pair.cut()
            pair.dial()
    for _ in range(100):
        pair.run()
        for side in sides:
            side.hear()
    for side, peer in (sides, reversed(sides)):
        everything = list(range(1, side.asked + 1))
        assert side.asked > 20
        assert peer.ran == everything
        assert sorted(side.answered) == everything
        assert side.calls.open == {}
    assert pair.server.ended is None


# ------------------------------------------------------------------ positions that cannot be
