"""Calls while a session is closed, and what is known of them when it has ended."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Replied, Requested
from reliable_ws.protocol.frames import Done, Refuse
from reliable_ws.protocol.report import End
from tests.support.calls import session_calls
from tests.support.pair import Pair

from .calling import a_request, ask, calling, heard, opened
from .helpers import calls_of, counters, either_side, initiator

# ------------------------------------------------------------------ close takes its time


def test_close_goes_on_while_calls_are_received():
    """CLOSE-21: acks of calls are progress."""
    pair = opened(Config(max_frame=4096, close_progress_timeout=5))
    for _ in range(4):
        pair.server.send("untaken")
        pair.run()
    for _ in range(8):
        session_calls(pair.server).request("do", "x", None, 0)
    pair.run()
    for event in heard(pair.client_events):
        session_calls(pair.client).reply(event.id, "y" * 3000)
    pair.client.close(pair.now)
    for _ in range(8):
        wire = pair.wire
        if (data := wire.dialer.transmit(pair.now)) is not None:
            wire.up.append(data)
        pair.deliver_up()
        pair.now += 3
        pair.tick()
        while (data := wire.listener.transmit(pair.now)) is not None:
            wire.down.append(data)
        while pair.deliver_down():
            pass
        assert pair.client.ended is None or pair.client.ended.kind is End.FINISHED
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED


def test_close_gives_up_on_answers_that_are_owed_too_long():
    """CLOSE-10"""
    pair = opened(Config(close_progress_timeout=5))
    session_calls(pair.client).request("do", "", None, 0)
    pair.run()
    pair.server.close(pair.now)
    pair.advance(4)
    assert pair.server.ended is None
    pair.advance(2)
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.EXPIRED


# ------------------------------------------------------------------ the end


def end_by_abort(pair: Pair) -> None:
    pair.client.abort(pair.now)


def end_by_silence(pair: Pair) -> None:
    pair.cut()
    pair.now += pair.config.session_ttl
    pair.tick()


@pytest.mark.parametrize("end", [end_by_abort, end_by_silence])
def test_what_is_known_of_requests_when_a_session_ends(end):
    """CALL-39: acked: taken; not sent: not taken; between: nobody can say."""
    pair = opened()
    calls = session_calls(pair.client)
    acked = calls.request("do", "", None, 0)
    pair.run()
    pair.advance(1)
    flying = calls.request("do", "", None, 5)
    pair.pull()
    unsent = calls.request("do", "x" * 9000, None, 0)
    end(pair)
    assert pair.client.ended is not None
    taken = [calls.was_taken(number) for number in (acked, flying, unsent)]
    assert taken == [True, None, False]
    assert calls.cancel(unsent) is True
    assert calls.cancel(flying) is False
    calls.grant(flying, 1000)
    assert not calls.has_room
    assert calls.held == 0


@either_side
def test_answers_after_the_end_are_dropped(side):
    lone = calling(side)
    lone.hears(calls_of(1, a_request(), a_request()))
    session_calls(lone.session).reply(1, "x")
    lone.session.abort(lone.now)
    session_calls(lone.session).reply(2, "x")
    assert [type(frame) for frame in lone.says()] == [Refuse]
    assert session_calls(lone.session).held == 0


def test_done_when_every_answer_is_in():
    """CALL-38, CLOSE-6: the end in agreement has no open request."""
    pair = opened()
    asked = session_calls(pair.client).request("do", "", None, 0)
    pair.client.finish(pair.now)
    pair.run()
    pair.server.finish(pair.now)
    pair.run()
    assert pair.client.ended is None
    assert pair.server.ended is None
    session_calls(pair.server).reply(asked, "yes")
    pair.run()
    assert heard(pair.client_events) == [Replied(asked, "yes")]
    assert pair.client.ended is not None
    assert pair.server.ended is not None
    assert pair.client.ended.kind is pair.server.ended.kind is End.FINISHED
    assert session_calls(pair.client).was_taken(asked) is True


@pytest.mark.parametrize("closer", ["client", "server"])
def test_closing_from_either_side_with_requests_open_both_ways(closer):
    pair = opened()
    theirs = "server" if closer == "client" else "client"
    mine, other = getattr(pair, closer), getattr(pair, theirs)
    first = session_calls(mine).request("do", "", None, 0)
    second = session_calls(other).request("do", "", None, 0)
    pair.run()
    heard(pair.client_events), heard(pair.server_events)
    mine.close(pair.now)
    pair.run()
    session_calls(mine).reply(second, "before the end")
    pair.run()
    events = getattr(pair, f"{theirs}_events")
    assert Replied(second, "before the end") in events
    session_calls(other).reply(first, "for nobody")
    other.close(pair.now)
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED
    assert [e for e in getattr(pair, f"{closer}_events") if isinstance(e, Replied)] == []
    assert not any(isinstance(event, Requested) for event in events)


def test_done_says_nothing_of_calls():
    """CALL-39"""
    lone = calling(initiator)
    number = ask(lone)
    lone.says()
    lone.session.close(lone.now)
    lone.says()
    lone.hears(Done(counters(1)))
    assert lone.session.ended is not None
    assert session_calls(lone.session).was_taken(number) is None
