"""The choreography of the end: finish, stop, done; lost words; limits."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import ConnectionClosed, ConnectionClosedOK
from reliable_ws.protocol.events import Confirmed, Ended, PeerFinished, Settled
from reliable_ws.protocol.frames import OVERHEAD, Finish, Messages, Part, Stop
from reliable_ws.protocol.report import End
from reliable_ws.protocol.state import Receiving, Sending

from .closing import BOTH, PENDING, do, either, ended, opened, other, outcomes, take
from .helpers import CONFIRMED, NOT_TAKEN, NOW, UNKNOWN, counters, either_side, initiator, run_of
from .two_sides import connected, said

# ------------------------------------------------------------------ nothing is owed


def test_a_session_is_at_rest_when_neither_side_owes_the_other_anything():
    pair = opened()
    sides = (pair.client, pair.server)
    assert all(session.at_rest for session in sides)
    pair.client.send("x")
    pair.run()
    assert not any(session.at_rest for session in sides)
    number, _ = pair.server.deliver()
    pair.run()
    assert not any(session.at_rest for session in sides)
    pair.server.confirm(number)
    pair.client.want(number)
    pair.run()
    assert all(session.at_rest for session in sides)


def test_a_session_is_not_at_rest_while_a_request_is_open():
    pair = opened()
    sides = (pair.client, pair.server)
    request = pair.client.request("do", "", OVERHEAD)
    pair.run()
    assert not any(session.at_rest for session in sides)
    pair.server.reply(request, "", OVERHEAD)
    assert not pair.server.at_rest  # the answer has not arrived
    pair.run()
    pair.advance(1)  # the ack of an answer may wait
    pair.run()
    assert all(session.at_rest for session in sides)


# ------------------------------------------------------------------ as agreed


@either
def test_close_ends_both_sides_when_everything_is_taken(who):
    """CLOSE-2, CLOSE-7: with the code and reason of who finished."""
    pair = opened()
    do(pair, who, "close", 1001, "good night")
    pair.run()
    assert ended(pair, code=1001)
    assert PeerFinished(1001, "good night") in getattr(pair, other(who) + "_events")
    assert pair.client.report().final
    assert pair.server.report().final


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]])
def test_close_from_both_sides_at_once(order):
    """CLOSE-2"""
    pair = opened()
    for who in order:
        getattr(pair, who).send("crossing")
        do(pair, who, "close")
    pair.run()
    assert ended(pair)
    assert outcomes(pair.client) == outcomes(pair.server) == [NOT_TAKEN]


@either
def test_the_peer_takes_everything_up_to_our_finish(who):
    """CLOSE-1, G4: close is done when the last message is taken."""
    pair = opened()
    session = getattr(pair, who)
    for number in range(3):
        session.send(number)
    do(pair, who, "close")
    pair.run()
    assert session.ended is None
    assert outcomes(session) == [PENDING] * 3
    assert len(take(pair, other(who))) == 3
    pair.run()
    assert outcomes(session) == [CONFIRMED] * 3
    assert ended(pair)  # the peer's half was stopped by ours; nothing is open any more


@pytest.mark.parametrize("first", BOTH)
def test_half_close_in_either_order(first):
    """CLOSE-1, CLOSE-6: finish() goes on reading until the peer finishes."""
    pair = opened()
    second = other(first)
    getattr(pair, first).send("last")
    do(pair, first, "finish")
    pair.run()
    assert take(pair, second) == ["last"]
    pair.run()
    assert getattr(pair, first).outbox.state is Sending.FINISHED
    getattr(pair, second).send("answer")
    pair.run()
    assert take(pair, first) == ["answer"]
    do(pair, second, "finish")
    pair.run()
    assert ended(pair)
    assert (pair.client.report().confirmed, pair.server.report().confirmed) == (1, 1)


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]])
def test_finish_from_both_sides_at_once(order):
    """CLOSE-6"""
    pair = opened()
    for who in order:
        getattr(pair, who).send("crossing")
        do(pair, who, "finish")
    pair.run()
    assert (pair.client.ended, pair.server.ended) == (None, None)
    for who in order:
        assert take(pair, who) == ["crossing"]
    pair.run()
    assert ended(pair)


@either
def test_close_again_and_again_has_no_effect(who):
    """CLOSE-2"""
    pair = opened()
    do(pair, who, "close", 1000, "first")
    do(pair, who, "close", 1011, "second")
    do(pair, who, "finish", 1011, "third")
    assert getattr(pair, who).outbox.finish == Finish(1, 1000, "first")
    pair.run()
    assert ended(pair)
    before = list(getattr(pair, who + "_events"))
    do(pair, who, "close")
    do(pair, who, "finish")
    do(pair, who, "abort")
    assert getattr(pair, who + "_events") == before


@either_side
@pytest.mark.parametrize("verb", ["close", "finish", "abort"])
def test_send_after_the_end_is_refused(side, verb):
    lone = side()
    getattr(lone.session, verb)(NOW)
    with pytest.raises(ConnectionClosed):
        lone.session.send("late")
    assert lone.session.outbox.messages == 0


@either_side
def test_a_wrong_code_is_the_callers_mistake_and_changes_nothing(side):
    lone = side()
    for verb in (lone.session.close, lone.session.finish, lone.session.abort):
        with pytest.raises(ValueError, match="99"):
            verb(NOW, 99)
    assert lone.session.send("still open") == 1
    assert (lone.session.closing, lone.session.ended) == (False, None)


@pytest.mark.parametrize(("code", "reason"), [("1000", ""), (None, ""), (1000, b"bye"), (1000, 5)])
@either_side
def test_what_is_no_code_or_reason_changes_nothing(side, code, reason):
    lone = side()
    for verb in (lone.session.close, lone.session.finish, lone.session.abort):
        with pytest.raises(TypeError, match="a code must be an int and a reason a str"):
            verb(NOW, code, reason)
    assert lone.session.send("still open") == 1
    assert (lone.session.closing, lone.session.ended) == (False, None)


@either
def test_any_reason_can_be_said(who):
    """Section 3 of protocol.md: 123 bytes of text; the rest is left out."""
    for verb in ("close", "abort"):
        pair = opened()
        do(pair, who, verb, 4000, "ä" * 100 + "\ud800")
        pair.run()
        assert pair.server.ended is None or pair.server.ended.kind is not End.VIOLATION
        assert pair.client.ended is None or pair.client.ended.kind is not End.VIOLATION
    assert getattr(pair, other(who)).ended.reason == "ä" * 61


# ------------------------------------------------------------------ stop


@either
def test_what_is_unread_at_close_is_not_taken(who):
    """CLOSE-3, CLOSE-4"""
    pair = opened()
    sender = getattr(pair, other(who))
    for letter in "abc":
        sender.send(letter)
    pair.run()
    assert getattr(pair, who).inbox.take() == "a"
    do(pair, who, "close")
    pair.run()
    assert outcomes(sender) == [CONFIRMED, NOT_TAKEN, NOT_TAKEN]
    assert Settled() in getattr(pair, other(who) + "_events")
    assert [entry.message for entry in sender.report().undelivered] == ["b", "c"]


@either
def test_what_arrives_behind_a_stop_is_not_taken(who):
    """CLOSE-11"""
    pair = opened()
    sender = getattr(pair, other(who))
    sender.send("crossing")
    pair.pull()
    do(pair, who, "close")
    sender.send("later")
    pair.run()
    assert outcomes(sender) == [NOT_TAKEN, NOT_TAKEN]


@either
def test_deliveries_decide_between_unknown_confirmed_and_not_taken(who):
    """CLOSE-4, COUNT-3: each number on its own."""
    pair = opened()
    sender, receiver = getattr(pair, other(who)), getattr(pair, who)
    for number in range(8):
        sender.send(number)
    pair.run()
    for _ in range(6):
        receiver.inbox.deliver()
    for number in (1, 3, 4, 6):
        receiver.inbox.confirm(number)
    do(pair, who, "close")
    pair.run()
    expected = [CONFIRMED, UNKNOWN, CONFIRMED, CONFIRMED, UNKNOWN, CONFIRMED, NOT_TAKEN, NOT_TAKEN]
    assert outcomes(sender) == expected
    report = sender.report()
    assert (report.sent, report.confirmed, report.final) == (8, 4, True)
    assert [entry.number for entry in report.undelivered] == [2, 5, 7, 8]
    assert [sender.report_of(n + 1).count(outcome) for n, outcome in enumerate(expected)] == [1] * 8
    assert sender.report(upto=3).confirmed == 2


@either
def test_the_peers_finish_is_taken_by_close_if_it_is_next(who):
    """CLOSE-2: then nothing was lost, and there is nothing to stop."""
    pair = opened()
    do(pair, other(who), "finish")
    pair.run()
    do(pair, who, "close")
    pair.run()
    assert getattr(pair, who).inbox.state is Receiving.FINISHED
    assert ended(pair)


@either
def test_who_is_told_stop_sends_nothing_sequenced_any_more(who):
    """CLOSE-5: not even Finish."""
    pair = opened()
    do(pair, who, "close")
    pair.run()
    told = getattr(pair, other(who))
    assert told.outbox.blocked
    do(pair, other(who), "close")
    assert told.outbox.finish is None


@either
def test_the_end_is_seen_in_message_order(who):
    """CLOSE-14: send() is settled from the start while messages wait, and raises behind them."""
    pair = opened()
    closer, reader = getattr(pair, who), getattr(pair, other(who))
    closer.send("a")
    closer.send("b")
    do(pair, who, "close")
    assert not reader.exhausted
    pair.run()
    assert reader.exhausted  # but for what has arrived
    assert reader.inbox.take() == "a"
    number = reader.send("never taken")
    assert reader.outcome(number) is NOT_TAKEN
    assert reader.inbox.take() == "b"
    pair.client_events += pair.client.poll(pair.now)
    pair._server_said(pair.server.poll(pair.now))
    with pytest.raises(ConnectionClosedOK):
        reader.send("too late")
    pair.run()
    assert ended(pair)


def test_what_is_settled_from_the_start_is_bounded():
    """G5"""
    lone = initiator(Config(outbox_messages=2))
    lone.hears(Stop(counters(stopped=True)))
    lone.session.send("a")
    lone.session.send([1])
    with pytest.raises(ConnectionClosed):
        lone.session.send("c")
    assert lone.says() == []


@either_side
def test_stop_goes_before_what_is_still_to_be_sent(side):
    """CLOSE-3: own sending goes on."""
    lone = side()
    lone.hears(run_of(1, "untaken"))
    lone.session.send("a")
    lone.session.close(NOW, 1001, "bye")
    stop = Stop(counters(1, 0, stopped=True))
    assert lone.says() == [stop, run_of(1, "a"), Finish(2, 1001, "bye")]
    assert lone.says() == []


@either_side
def test_nothing_is_acked_behind_our_stop(side):
    """CLOSE-11"""
    lone = side()
    lone.session.close(NOW)
    lone.says()
    lone.hears(run_of(1, "a"))
    lone.session.tick(NOW + 1)
    assert lone.says() == []


@either_side
def test_no_event_is_lost_in_close(side):
    lone = side()
    lone.sends("a")
    lone.session._acked(1, 1, NOW)
    assert Confirmed(1) in lone.session.close(NOW)


def test_the_end_is_not_lost_in_close():
    """CLOSE-2: everything is taken, and close() comes before anybody looked."""
    pair = opened()
    pair.client.send("a")
    do(pair, "client", "close")
    pair.run()
    assert pair.server.inbox.take() == "a"
    assert [type(event) for event in pair.server.close(pair.now)] == [Ended]


def test_nothing_sequenced_goes_behind_the_peers_stop():
    """CLOSE-5."""
    pair = connected(Config(window_messages=2, outbox_messages=10))
    for word in ("a", "b", "c"):
        pair.client.send(word)
    pair.server.send("keep the client from being done")
    pair.run()
    pair.server.close(pair.now)
    pair.pull()
    while pair.wire.down:
        pair.deliver_down()
    pair.client.finish(pair.now)
    kinds = {type(frame) for frame in said(pair)}
    assert not kinds & {Messages, Part, Finish}
