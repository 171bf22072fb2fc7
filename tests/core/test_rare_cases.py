"""What protocol.md says of cases so rare that another implementation would have to guess."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.calls.queue import LAST_REQUEST
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import MIN_FRAME, Config
from reliable_ws.protocol.errors import NumbersExhausted, Violation
from reliable_ws.protocol.events import Detached, Ended, Replied, Requested, Settled
from reliable_ws.protocol.frames import (
    MAX_NUMBER,
    Ack,
    CallAck,
    Cancel,
    Code,
    Counters,
    Done,
    Fault,
    Finish,
    Item,
    Part,
    Refuse,
    Reply,
    Stop,
    Void,
)
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored_session import restore
from tests.support.calls import session_calls
from tests.support.pair import ID, KEY
from tests.support.snapshots import snapshot

from .calling import a_request, again, ask, calling, entries_of
from .helpers import (
    LARGE,
    NO_CALLS_YET,
    NOW,
    Exactly,
    Lone,
    acceptor,
    blamed,
    calls_of,
    counters,
    either_side,
    hello,
    initiator,
    limits,
    position,
    raw,
    run_of,
)

STOPPED = Stop(counters(stopped=True))


# -------------------------------------------------------------------------- envelopes


def test_the_longest_greeting_is_short():
    """FRAME-11"""
    ranges = tuple((2**40 + 2 * n, 2**40 + 2 * n) for n in range(64))
    most = Counters(MAX_NUMBER, 2**39, MAX_NUMBER, True, ranges)
    calls = NO_CALLS_YET._replace(received=MAX_NUMBER, sent=MAX_NUMBER, first=MAX_NUMBER)
    greeting = hello(
        MAX_NUMBER,
        incarnation=MAX_NUMBER,
        position=position(most, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER),
        limits=limits(**dict.fromkeys(limits()._fields, MAX_NUMBER)),
        calls=calls,
    )
    assert len(encode([greeting])) < MIN_FRAME


def test_arrays_are_taken_16_deep():
    """FRAME-12, FRAME-13: the envelope and the frame are the first two."""
    nested: object = 1.5
    for _ in range(14):
        nested = [nested]
    assert decode(raw([0x01, nested], [65, 0, 0]), LARGE) == [Ack(0, 0)]


@either_side
def test_a_part_that_exceeds_its_total(side):
    """PART-9"""
    lone = side()
    lone.hears(Part(1, 0, 4, 0, b"123"))
    blamed(lone, lone.hears(Part(1, 3, 4, 0, b"45")), 4400, "part")


def test_the_highest_version_below_the_lowest():
    """HELLO-10: malformed, also where ours is one of the two."""
    with pytest.raises(Violation, match="version"):
        decode(encode([hello(min_version=2, max_version=1)]), LARGE)


@either_side
def test_a_content_that_comes_whole_is_bounded_by_its_envelope_alone(side):
    """PART-13"""
    lone = side(Config(max_message=1000))
    assert lone.hears(run_of(1, b"x" * 1001))
    assert lone.takes(1) == [b"x" * 1001]


# -------------------------------------------------------------------------- the last number


@either_side
def test_a_session_at_its_last_number(side):
    """NUM-3: a message more is refused, Finish is not."""
    lone = side()
    box = lone.session.outbox
    box.restore(MAX_NUMBER - 2, [])
    assert lone.session.send("the last") == MAX_NUMBER - 1
    with pytest.raises(NumbersExhausted):
        lone.session.send("more")
    assert lone.session.ended is None
    lone.session.finish(NOW)
    assert box.finish == Finish(MAX_NUMBER, 1000, "")


@either_side
def test_calls_at_their_last_number(side):
    """CALL-43: a request more is refused, and answers still have numbers."""
    lone = calling(side)
    queue = lone.session.call_queue
    queue.last = queue.acked = queue.transmitted = LAST_REQUEST - 1
    lone.link.calls.number = LAST_REQUEST
    assert ask(lone) == LAST_REQUEST
    with pytest.raises(NumbersExhausted):
        ask(lone)
    lone.hears(calls_of(1, a_request()))
    session_calls(lone.session).reply(1, "answer")
    assert entries_of(lone.says()) == Exactly([a_request(), Reply(1, "answer")])


# -------------------------------------------------------------------------- counters and ends


@either_side
def test_finish_is_never_handed_over(side):
    """COUNT-4"""
    lone = side()
    lone.hears(run_of(1, "a", "b"), Finish(3, 1000, ""))
    lone.takes(2)
    assert lone.session.inbox.counters() == counters(3, handed=2)


@pytest.mark.parametrize(("sent", "handed"), [(None, MAX_NUMBER), (5, 5)])
def test_what_may_have_been_handed_over_before_a_crash(sent, handed):
    """COUNT-5, RESUME-7: the peer's ``sent``, or anything before it is known."""
    lone = initiator()
    lone.hears(run_of(1, "a"))
    lone.takes(1)
    lone.session = restore(snapshot(lone.session), NOW)
    if sent is not None:
        lone.dials(position=position(sent=sent))
    lone.session.close(NOW)
    assert lone.session.inbox.counters() == counters(1, handed=handed, stopped=True)


@either_side
def test_final_counters_that_name_more_than_went_settle_no_more(side):
    """COUNT-5, ACK-7"""
    lone = side()
    lone.sends("a", "b")
    assert Settled() in lone.hears(Stop(Counters(1, 1, MAX_NUMBER, True)))
    assert lone.outcomes() == [Outcome.CONFIRMED, Outcome.UNKNOWN]
    lone.session.send("never sent")
    assert lone.outcomes()[2] is Outcome.NOT_TAKEN


def test_a_first_hello_is_refused_with_counters_that_cannot_be_true():
    """CLOSE-13, HELLO-8: nothing was ever sent to whoever says so."""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    assert isinstance(lone.hears(Refuse(4410, "", 0, counters(2)))[-1], Ended)
    assert (session.ended.kind, session.ended.code) == (End.VIOLATION, 4422)
    assert lone.says() == []


def test_a_later_hello_is_refused_with_counters_that_cannot_be_true():
    """CLOSE-13, HELLO-13: it is no answer of the peer that we know."""
    lone = initiator()
    lone.sends("a")
    lone.hears(Ack(1, 1))
    lone.session.lost(lone.link, None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    events = lone.hears(Refuse(4410, "", 0, counters(0)))
    assert events == [Detached(4422, "final counters below an earlier ack")]
    assert (lone.session.ended, lone.says()) == (None, [])


def test_what_stands_behind_the_frame_that_made_the_acceptor_done():
    """CLOSE-15: it is looked at."""
    envelope = [STOPPED, Finish(1, 1000, "bye")]
    good = acceptor()
    assert isinstance(good.hears(*envelope, Ack(0, 0))[-1], Ended)
    assert good.session.ended == (End.FINISHED, 1000, "bye")
    for bad in ([run_of(2, "more")], [Ack(7, 0)], [Stop(counters(5, stopped=True))]):
        together, apart = acceptor(), acceptor()
        together.hears(*envelope, *bad)
        apart.hears(envelope[1])
        apart.hears(envelope[0], *bad)
        for lone in (together, apart):
            assert lone.session.ended == (End.FINISHED, 1000, "bye")
            assert isinstance(lone.says()[-1], Done)


@either_side
def test_who_refuses_an_open_link_closes_with_the_same_code(side):
    """CLOSE-20: and waits for nobody."""
    lone = side()
    lone.session.abort(NOW, reason="fire")
    (refuse,) = lone.says()
    assert isinstance(refuse, Refuse)
    assert lone.link.close_action == (refuse.code, "fire", False)


def test_an_initiator_that_is_done_does_not_wait_for_done_without_end():
    """CLOSE-22, CLOSE-10"""
    lone = initiator()
    lone.session.close(NOW)
    lone.says()
    lone.hears(Ack(1, 1))
    assert lone.session.done
    for seconds in (9, 18, 27, 29):
        assert lone.session.tick(NOW + seconds) == []
        lone.now = NOW + seconds
        lone.hears(Ack(1, 1))
    assert lone.session.ended is None
    lone.session.tick(NOW + 30)
    assert lone.session.ended == (End.FINISHED, 1000, ""), "it was done before"
    (refuse,) = lone.says()
    assert (refuse.code, refuse.counters.stopped) == (Code.ENDED, True)


def test_partial_beside_stopped_means_nothing():
    """PART-12"""
    lone = initiator()
    lone.session.send(b"x" * 2_000_000)
    lone.says()
    lone.session.lost(lone.link, None, "", NOW)
    has = counters(0, stopped=True)
    lone.dials(position=position(has, partial=1000))
    assert lone.session.ended is None
    assert lone.outcomes() == [Outcome.NOT_TAKEN]
    assert not any(isinstance(frame, Part) for frame in lone.says())


# -------------------------------------------------------------------------- calls


@either_side
def test_a_large_entry_is_taken(side):
    """CALL-23: it may be as large as an envelope, whatever ``max_message`` is."""
    lone = calling(side, Config(max_message=5000))
    (event,) = lone.hears(calls_of(1, a_request("x" * 6000)))
    assert isinstance(event, Requested)
    assert event.payload == "x" * 6000


@either_side
def test_calls_are_bounded_one_by_one(side):
    """CALL-27, CALL-6: all together may be larger than the window for messages."""
    lone = calling(side, Config(window_bytes=1000, max_requests=4))
    for number in range(1, 5):
        assert lone.hears(calls_of(number, a_request("x" * 3000)))
    blamed(lone, lone.hears(calls_of(5, a_request())), 4422, "more open requests")


@either_side
def test_an_answer_to_a_number_that_was_no_request(side):
    """CALL-32, CALL-18: it acks what it names, and that is all."""
    lone = calling(side)
    ask(lone, credit=100)
    lone.says()
    lone.session.cancel(1)
    assert entries_of(lone.says()) == [Cancel(1)]
    late = [Item(2, "x"), Fault(2, "no", "", b""), Reply(2, "x")]
    assert lone.hears(calls_of(1, *late)) == []
    assert lone.session.call_queue.acked == 2
    assert lone.session.ended is None


@either_side
def test_the_cancel_of_a_request_that_became_a_void(side):
    """CALL-31, CALL-32: it keeps its number; to the peer it means nothing."""
    lone = calling(side)
    ask(lone)
    lone.says()
    lone.session.cancel(1)
    lone.says()
    lone.session.lost(lone.link, None, "", NOW)
    again(lone, NO_CALLS_YET)
    assert entries_of(lone.says()) == [Void(), Cancel(1)]

    peer = calling(side)
    assert peer.hears(calls_of(1, Void(), Cancel(1))) == []
    assert peer.session.ended is None


@either_side
def test_a_second_answer_changes_nothing(side):
    """CALL-32, CALL-16"""
    lone = calling(side)
    ask(lone)
    lone.says()
    assert lone.hears(calls_of(1, Reply(1, "a"), Reply(1, "b"))) == Exactly([Replied(1, "a")])
    assert lone.says() == []
    lone.session.tick(NOW + 1)
    assert CallAck(2) in lone.says()


def test_msgpack_of_any_kind_may_be_in_a_frame_that_is_skipped():
    """FRAME-13: but nothing beyond FRAME-2, and no text that is not UTF-8."""
    odd = [1.5, msgpack.ExtType(9, b""), None, -(2**60), True, b"\xff"]
    assert decode(raw([0x3F, *odd], [78, 1]), LARGE) != []
    for wrong in ([{1: 1}], [[0] * 4097]):
        with pytest.raises(Violation, match="within limits"):
            decode(raw([0x3F, *wrong], [78, 1]), LARGE)
    with pytest.raises(Violation, match="within limits"):
        decode(b"\x91\x92\x3f\xa1\xff", LARGE)
