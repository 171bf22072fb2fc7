"""The choreography of the end: finish, stop, done; lost words; limits."""

from __future__ import annotations

import itertools

import pytest

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import ConnectionClosed, ConnectionClosedOK
from reliable_ws.protocol.events import Confirmed, Detached, Ended, PeerFinished, Settled
from reliable_ws.protocol.frames import Ack, Done, Finish, Refuse, Stop
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving, Sending
from tests.support.pair import ID, KEY, Pair

from .helpers import (
    CONFIRMED,
    NOT_TAKEN,
    NOW,
    UNKNOWN,
    acceptor,
    counters,
    either_side,
    initiator,
    position,
    run_of,
)

PENDING = Outcome.PENDING
BOTH = ("client", "server")
either = pytest.mark.parametrize("who", BOTH)


def opened(config: Config | None = None) -> Pair:
    pair = Pair(config)
    pair.connect()
    return pair


def do(pair: Pair, who: str, verb: str, *args, **options) -> None:
    """Let one application do something, and note what happened."""
    session = getattr(pair, who)
    events = getattr(session, verb)(pair.now, *args, **options)
    if who == "client":
        pair.client_events += events
    else:
        pair._server_said(events)


def take(pair: Pair, who: str) -> list:
    return pair.client_take() if who == "client" else pair.server_take()


def other(who: str) -> str:
    return "server" if who == "client" else "client"


def outcomes(session: Session) -> list[Outcome]:
    return [session.outcome(number + 1) for number in range(session.outbox.messages)]


def ended(pair: Pair, kind: End = End.FINISHED, code: int = 1000) -> bool:
    ends = [pair.client.ended, pair.server.ended]
    return all(end is not None and (end.kind, end.code) == (kind, code) for end in ends)


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
    assert getattr(pair, first).sending is Sending.FINISHED
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
    """CLOSE-3"""
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
    assert getattr(pair, who).receiving is Receiving.FINISHED
    assert ended(pair)


@either
def test_who_is_told_stop_sends_nothing_sequenced_any_more(who):
    """CLOSE-5: not even Finish."""
    pair = opened()
    do(pair, who, "close")
    pair.run()
    told = getattr(pair, other(who))
    assert told.outbox.muted
    do(pair, other(who), "close")
    assert told.outbox.finish is None


@either
def test_the_end_is_seen_in_message_order(who):
    """CLOSE-5: send() is settled from the start while messages wait, and raises behind them."""
    pair = opened()
    closer, reader = getattr(pair, who), getattr(pair, other(who))
    closer.send("a")
    closer.send("b")
    do(pair, who, "close")
    pair.run()
    assert reader.inbox.take() == "a"
    number = reader.send("never taken")
    assert reader.outcome(number) is NOT_TAKEN
    assert reader.inbox.take() == "b"
    pair.client_events += pair.client.settle(pair.now)
    pair._server_said(pair.server.settle(pair.now))
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
    """CLOSE-3"""
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
    lone.session.acked(Ack(1, 1), NOW)
    assert Confirmed(1) in lone.session.close(NOW)


def test_the_end_is_not_lost_in_close():
    """CLOSE-2: everything is taken, and close() comes before anybody looked."""
    pair = opened()
    pair.client.send("a")
    do(pair, "client", "close")
    pair.run()
    assert pair.server.inbox.take() == "a"
    assert [type(event) for event in pair.server.close(pair.now)] == [Ended]


# ------------------------------------------------------------------ the last word


def test_done_is_said_in_the_same_step():
    """CLOSE-7, CLOSE-9: the acceptor lingers, the initiator closes."""
    lone = acceptor()
    lone.hears(run_of(1, "a"), Finish(2, 1000, ""), Stop(counters(stopped=True)))
    lone.session.inbox.take()
    (end,) = lone.session.settle(NOW)
    assert isinstance(end, Ended)
    assert lone.says() == [Done(counters(2, handed=1))]
    assert lone.link.leaving == (1000, "", True)


def test_the_initiator_goes_on_until_it_hears_done():
    """CLOSE-8, CLOSE-9"""
    lone = initiator()
    lone.session.close(NOW)
    lone.says()
    lone.hears(Ack(1, 1))
    assert (lone.session.done, lone.session.ended) == (True, None)
    assert lone.link.lost(1000, "", NOW) == [Detached(1000, "")]
    lone.link = lone.session.dial(NOW)
    lone.says()
    *_, end = lone.hears(Refuse(4410, "this session has ended", 0, counters(1, handed=0)))
    assert end.ending == (End.FINISHED, 1000, "")
    assert lone.link.leaving.code == 1000


def closing() -> Pair:
    """Both have closed, everything is taken; the acceptor's Done is about to go."""
    pair = opened()
    pair.client.send("a")
    pair.run()
    pair.server_take()
    do(pair, "client", "close")
    pair.pull()
    pair.deliver_up()
    do(pair, "server", "close")
    return pair


def test_a_lost_done_is_told_by_the_tombstone():
    """TOMB-1, CLOSE-8: the initiator's report is all confirmed."""
    pair = closing()
    pair.pull()
    pair.cut()
    assert pair.server.ended is not None
    assert pair.client.ended is None
    pair.dial()
    pair.pull()
    pair.deliver_up()
    pair.pull()
    (refuse,) = decode(pair.wire.down[0], 2**20)
    assert (refuse.code, refuse.counters) == (4410, counters(2, handed=1))
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED
    assert str(pair.client.report()) == "1 sent, 1 confirmed; finished (1000)"


def test_the_answer_of_the_tombstone_may_be_lost_as_well():
    """TOMB-1"""
    pair = closing()
    pair.pull()
    for _ in range(3):
        pair.cut()
        pair.dial()
        pair.pull()
        pair.deliver_up()
        pair.pull()
    pair.cut()
    pair.connect()
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED


def test_a_forgotten_tombstone_leaves_the_initiator_with_what_it_knows():
    """TOMB-2: unknown never means that it went well; but the done one was sure before."""
    pair = opened()
    pair.client.send("a")
    pair.pull()
    pair.deliver_up()
    pair.server_take()
    do(pair, "client", "close")
    pair.pull()
    pair.deliver_up()
    pair.cut()
    do(pair, "server", "close")
    pair.book._tombstones.clear()
    pair.connect()
    assert pair.client.ended is not None
    assert (pair.client.ended.kind, pair.client.ended.code) == (End.REFUSED, 4404)
    assert outcomes(pair.client) == [UNKNOWN]


def test_a_lost_last_ack_is_told_by_the_next_hello():
    """CLOSE-8: the acceptor needs it, and the initiator comes again."""
    pair = opened()
    pair.server.send("a")
    pair.run()
    do(pair, "server", "finish")
    pair.run()
    pair.client_take()
    do(pair, "client", "finish")
    pair.pull()
    pair.cut()
    assert pair.server.ended is None
    pair.connect()
    assert ended(pair)
    assert pair.server.report().confirmed == 1


def test_an_acceptor_that_is_done_before_its_welcome_refuses():
    """HELLO-7, END-2: Done needs an open link; the counters say the same."""
    pair = opened()
    do(pair, "client", "finish")
    pair.run()
    pair.cut()
    do(pair, "client", "close")
    pair.connect()
    assert len(pair.wires) == 2
    assert ended(pair)
    assert not any(isinstance(event, Detached) for event in pair.client_events[-1:])


@either
def test_close_while_detached_ends_after_the_resume(who):
    """CLOSE-3, CLOSE-8"""
    pair = opened()
    pair.client.send("a")
    pair.server.send("b")
    pair.pull()
    pair.cut()
    do(pair, who, "close")
    assert getattr(pair, who).ended is None
    pair.connect()
    take(pair, other(who))
    pair.run()
    assert ended(pair)
    assert outcomes(getattr(pair, who)) == [CONFIRMED]
    assert outcomes(getattr(pair, other(who))) == [NOT_TAKEN]


@pytest.mark.parametrize("cut", range(12))
@either
def test_close_during_a_resume_at_any_step(who, cut):
    """CLOSE-8: every message has its outcome in the end, and both agree on it."""
    pair = opened()
    pair.client.send("a")
    pair.server.send("b")
    pair.pull()
    pair.cut()
    pair.dial()
    steps = itertools.cycle((pair.pull, pair.deliver_up, pair.deliver_down))
    for _ in range(cut):
        next(steps)()
    do(pair, who, "close")
    for _ in range(cut % 5):
        next(steps)()
    pair.cut()
    pair.connect()
    taken = take(pair, other(who))
    do(pair, other(who), "close")
    pair.run()
    assert ended(pair)
    assert outcomes(getattr(pair, who)) == [CONFIRMED if taken else NOT_TAKEN]


# ------------------------------------------------------------------ other ends


@either
def test_abort_settles_what_the_peer_had_sent(who):
    """END-1, END-2"""
    pair = opened()
    aborter, peer = getattr(pair, who), getattr(pair, other(who))
    peer.send("taken")
    peer.send("untaken")
    aborter.send("who knows")
    pair.run()
    assert aborter.inbox.take() == "taken"
    aborter.send("never sent")
    do(pair, who, "abort", 4499, "enough")
    pair.run()
    assert outcomes(aborter) == [UNKNOWN, NOT_TAKEN]
    assert outcomes(peer) == [CONFIRMED, NOT_TAKEN]
    assert aborter.ended == (End.ABORTED, 4499, "enough")
    assert peer.ended == (End.REFUSED, 4499, "enough")


@either
def test_abort_of_a_side_that_is_done_finishes(who):
    """CLOSE-6: no ending changes that it ended as agreed."""
    pair = opened()
    do(pair, who, "finish")
    do(pair, other(who), "finish")
    pair.run()
    assert ended(pair)
    lone = initiator()
    lone.session.close(NOW)
    lone.says()
    lone.hears(Ack(1, 1))
    (end,) = lone.session.abort(NOW)
    assert end.ending == (End.FINISHED, 1000, "")
    assert lone.says() == [Refuse(4410, "", 0, counters(stopped=True))]


@either
def test_without_contact_a_session_ends_at_its_ttl(who):
    """END-4, END-3: on each side for itself."""
    pair = opened()
    session = getattr(pair, who)
    session.send("a")
    pair.run()
    session.send("b")
    pair.cut()
    pair.advance(119)
    assert session.ended is None
    pair.advance(2)
    assert session.ended == (End.EXPIRED, 4410, "no contact with the peer")
    assert outcomes(session) == [UNKNOWN, NOT_TAKEN]


def test_an_acceptor_that_expired_still_tells_what_it_took():
    """TOMB-1, END-1: the initiator comes late and hears the truth."""
    pair = Pair(Config(session_ttl=200), Config(session_ttl=50))
    pair.connect()
    pair.client.send("taken")
    pair.client.send("untaken")
    pair.run()
    assert pair.server.inbox.take() == "taken"
    pair.cut()
    pair.advance(60)
    assert pair.server.ended is not None
    pair.connect()
    assert pair.client.ended == (End.REFUSED, 4410, "this session has ended")
    assert outcomes(pair.client) == [CONFIRMED, NOT_TAKEN]


@either
def test_close_gives_up_without_progress(who):
    """CLOSE-10"""
    pair = opened()
    session = getattr(pair, who)
    session.send("never taken")
    pair.run()
    do(pair, who, "close")
    pair.run()
    pair.advance(29)
    assert session.ended is None
    pair.advance(2)
    assert session.ended == (End.EXPIRED, 4410, "no progress while closing")
    assert outcomes(session) == [UNKNOWN]
    assert getattr(pair, other(who)).ended is not None


def test_close_goes_on_while_there_is_progress_until_the_hard_limit():
    """CLOSE-10"""
    pair = opened(Config(close_timeout=100))
    for number in range(200):
        pair.client.send(number)
    pair.run()
    do(pair, "client", "close")
    for _ in range(9):
        pair.advance(10)
        pair.server.inbox.take()
    assert pair.client.ended is None
    pair.advance(11)
    assert pair.client.ended == (End.EXPIRED, 4410, "close() took too long")
    assert outcomes(pair.client).count(CONFIRMED) == 9


def test_close_takes_a_timeout_and_the_shortest_counts():
    """CLOSE-10"""
    lone = initiator()
    lone.session.send("a")
    lone.session.close(NOW, timeout=10)
    lone.session.close(NOW, timeout=15)
    assert lone.session.tick(NOW + 9.9) == []
    assert lone.session.closing
    assert [type(event) for event in lone.session.tick(NOW + 10)] == [Ended]


def test_close_is_bounded_when_the_peer_never_answered():
    """CLOSE-10, G6"""
    session = Session("initiator", ID, KEY, NOW)
    session.send("a")
    session.close(NOW)
    session.dial(NOW)
    now = NOW
    while session.ended is None:
        now = session.deadline
        session.tick(now)
    assert now == NOW + 30
    assert outcomes(session) == [NOT_TAKEN]


def test_parts_that_go_are_progress():
    """CLOSE-10"""
    lone = initiator()
    lone.session.send(b"x" * 2_000_000)
    lone.session.close(NOW)
    for _ in range(7):
        assert lone.link.transmit(lone.now)
        lone.now += 15
        lone.hears(Ack(0, 0))
        lone.session.tick(lone.now)
    assert lone.session.ended is None


def test_the_ending_says_the_peers_last_word():
    lone = acceptor()
    lone.session.finish(NOW, 1001, "ours")
    lone.says()
    lone.hears(Ack(1, 1), Finish(1, 3000, "theirs"))
    assert lone.session.ended == (End.FINISHED, 3000, "theirs")
    assert lone.session.error().code == 3000


def test_without_any_finish_an_end_is_1000():
    """CLOSE-6: the peer has stopped before we said Finish, and so have we."""
    lone = acceptor(position=position(counters(stopped=True)))
    lone.session.close(NOW)
    assert lone.session.outbox.finish is None
    assert lone.session.ended == (End.FINISHED, 1000, "")
    assert lone.session.error().code == 1000


def test_an_error_before_the_end_speaks_of_the_half():
    lone = initiator()
    assert lone.session.error().code == 1000
    lone.session.finish(NOW, 1001, "away")
    assert (lone.session.error().code, lone.session.error().reason) == (1001, "away")
