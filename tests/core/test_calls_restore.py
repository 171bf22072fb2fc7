"""Calls of a side that crashes and comes back with what its store kept: nobody is blamed."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.events import Cancelled, Faulted, Itemized, Replied, Requested
from reliable_ws.protocol.frames import Stop
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored_session import restore
from tests.support.calls import session_calls
from tests.support.pair import Pair
from tests.support.snapshots import snapshot

from .calling import ask, calling, heard, opened
from .helpers import NOW, counters, either_side

either = pytest.mark.parametrize("who", ["client", "server"])
RESTARTED = "the process was restarted"


def other(who: str) -> str:
    return "server" if who == "client" else "client"


def kept_by(session: Session) -> dict:
    return msgpack.unpackb(msgpack.packb(snapshot(session)))


def comes_back(pair: Pair, who: str, kept: dict | None = None) -> Session:
    """The process dies and is restored, from what it keeps now or kept before."""
    old = getattr(pair, who)
    session = restore(kept or kept_by(old), pair.now, pair.config)
    pair.cut()
    if who == "client":
        pair.client = session
    else:
        pair.registry._sessions[old.id] = session
        pair._server = session
    return session


def events_of(pair: Pair, who: str) -> list:
    return heard(getattr(pair, f"{who}_events"))


def settled(pair: Pair) -> bool:
    """Whether the pair lives, and neither side keeps anything of a call."""
    pair.advance(1)
    sides = (pair.client, pair.server)
    return not any(
        side.ended
        or session_calls(side).open
        or session_calls(side).served
        or session_calls(side).held
        for side in sides
    )


@either
def test_what_was_received_and_acked_stays_so(who):
    """CALL-12: else the peer would take it for lost state."""
    pair = opened()
    calls, peer = session_calls(getattr(pair, who)), session_calls(getattr(pair, other(who)))
    peer.request("do", "theirs", None, 0)
    calls.request("do", "ours", None, 0)
    pair.run()
    calls.reply(1, "yes")
    peer.reply(1, "yes")
    assert settled(pair)
    session = comes_back(pair, who)
    pair.connect()
    assert settled(pair)
    assert session_calls(session).request("do", "more", None, 0) == 3
    events_of(pair, other(who))
    pair.run()
    (event,) = events_of(pair, other(who))
    assert (event.id, event.payload) == (3, "more")


@either
def test_a_request_that_ran_is_answered_and_not_run_again(who):
    """CALL-40: its handler died."""
    pair = opened()
    number = session_calls(getattr(pair, other(who))).request("do", "", None, 0)
    pair.run()
    (event,) = events_of(pair, who)
    assert type(event) is Requested
    comes_back(pair, who)
    pair.connect()
    assert events_of(pair, who) == []
    assert events_of(pair, other(who)) == [Faulted(number, "cancelled", RESTARTED, b"")]
    assert settled(pair)


@either
def test_a_request_that_was_not_written_down_comes_again(who):
    """CALL-12: it has not been handed over."""
    pair = opened()
    session, peer = getattr(pair, who), getattr(pair, other(who))
    kept = kept_by(session)
    session_calls(peer).request("do", "", None, 0)
    pair.run()
    session = comes_back(pair, who, kept)
    pair.connect()
    events_of(pair, who)
    session_calls(session).reply(1, "yes")
    pair.run()
    assert events_of(pair, other(who)) == [Replied(1, "yes")]
    assert settled(pair)


@either
def test_an_answer_that_was_written_down_arrives(who):
    pair = opened()
    session, peer = getattr(pair, who), getattr(pair, other(who))
    session_calls(peer).request("do", "", None, 0)
    pair.run()
    session_calls(session).reply(1, "x" * 9000)
    session = comes_back(pair, who)
    assert list(session_calls(session).answers) == [4]
    pair.connect()
    assert events_of(pair, other(who)) == [Replied(1, "x" * 9000)]
    assert settled(pair)


@either
@pytest.mark.parametrize("arrived", [False, True])
def test_callers_died_and_the_peer_is_told(who, arrived):
    """CALL-40: what it has is cancelled, what it has not is taken back."""
    pair = opened()
    session = getattr(pair, who)
    session_calls(session).request("do", "", None, 0)
    if arrived:
        pair.run()
    comes_back(pair, who)
    pair.connect()
    told = [type(event) for event in events_of(pair, other(who))]
    assert told == ([Requested, Cancelled] if arrived else [])
    if arrived:
        session_calls(getattr(pair, other(who))).reply(1, "late")
    assert settled(pair)
    assert [e for e in events_of(pair, who) if type(e) is Replied] == []


@either
def test_a_cancel_is_said_once(who):
    """CALL-30"""
    pair = opened()
    session = getattr(pair, who)
    session_calls(session).request("do", "", None, 0)
    pair.run()
    session.cancel(1)
    pair.advance(1)
    assert comes_back(pair, who).call_queue.last == 2


@either
def test_items_that_were_granted_are_no_violation(who):
    """CALL-28: nobody reads them any more."""
    pair = opened()
    peer = getattr(pair, other(who))
    session_calls(getattr(pair, who)).request("do", "", None, 30)
    pair.run()
    comes_back(pair, who)
    for item in "abc":
        session_calls(peer).item(1, item)
    pair.connect()
    session_calls(peer).reply(1, "")
    assert settled(pair)
    assert not [e for e in events_of(pair, who) if type(e) is Itemized]


@either
def test_pieces_go_on_where_they_were(who):
    """CALL-5"""
    pair = opened()
    peer = getattr(pair, other(who))
    session_calls(peer).request("do", "x" * 9000, None, 0)
    peer.call_queue.transmitted = 2
    session = getattr(pair, who)
    first_two = [kept[0] for kept in peer.call_queue._kept.values()][:2]
    session_calls(session).arrived(1, first_two, pair.now, 0)
    session = comes_back(pair, who)
    assert (session_calls(session).received, session_calls(session).held) == (2, 7600)
    pair.connect()
    (event,) = events_of(pair, who)
    assert event.payload == "x" * 9000


@either_side
@pytest.mark.parametrize("owes", [False, True])
def test_nothing_comes_behind_a_finish_that_may_have_gone(side, owes):
    """CALL-10: it goes behind what was owed, and only then."""
    lone = calling(side)
    session_calls(lone.session).limit = 1
    if owes:
        session_calls(lone.session).incoming.served = {1: (0, 0)}
        session_calls(lone.session).received = 1
    lone.session.finish(NOW)
    calls = session_calls(restore(kept_by(lone.session), NOW))
    assert calls.finished is not owes
    assert calls.queue.last == owes


@either_side
def test_what_the_peer_stopped_stays_stopped(side):
    """CALL-37"""
    lone = calling(side)
    ask(lone)
    lone.says()
    lone.hears(Stop(counters(stopped=True)))
    calls = session_calls(restore(kept_by(lone.session), NOW))
    assert calls.peer_stopped
    assert (calls.open, calls.held, calls.position().sent) == ({}, 0, 1)


@either
def test_the_end_is_as_agreed(who):
    pair = opened()
    session_calls(getattr(pair, other(who))).request("do", "", None, 0)
    pair.run()
    getattr(pair, who).finish(pair.now)
    pair.run()
    comes_back(pair, who)
    pair.connect()
    pair.client.finish(pair.now)
    pair.server.finish(pair.now)
    pair.advance(1)
    assert {pair.client.ended.kind, pair.server.ended.kind} == {End.FINISHED}
