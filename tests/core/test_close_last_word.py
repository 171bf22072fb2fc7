"""The last word of a close: Done, the tombstone, and resumes meanwhile."""

from __future__ import annotations

import itertools

import pytest

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.events import Detached, Ended
from reliable_ws.protocol.frames import Ack, Code, Counters, Done, Finish, Refuse, Stop
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.state import Receiving
from tests.support.pair import Pair

from .closing import do, either, ended, opened, other, outcomes, take
from .helpers import CONFIRMED, NOT_TAKEN, NOW, UNKNOWN, acceptor, counters, initiator, run_of
from .two_sides import connected, said


def test_done_is_said_in_the_same_step():
    """CLOSE-7, CLOSE-9, CLOSE-19: the acceptor lingers, the initiator closes."""
    lone = acceptor()
    lone.hears(run_of(1, "a"), Finish(2, 1000, ""), Stop(counters(stopped=True)))
    lone.session.inbox.take()
    (end,) = lone.session.poll(NOW)
    assert isinstance(end, Ended)
    assert lone.says() == [Done(counters(2, handed=1))]
    assert lone.link.close_action == (1000, "", True)


def test_the_initiator_goes_on_until_it_hears_done():
    """CLOSE-8, CLOSE-9"""
    lone = initiator()
    lone.session.close(NOW)
    lone.says()
    lone.hears(Ack(1, 1))
    assert (lone.session.done, lone.session.ended) == (True, None)
    assert lone.session.lost(lone.link, 1000, "", NOW) == [Detached(1000, "")]
    lone.link = lone.session.dial(NOW)
    lone.says()
    *_, end = lone.hears(Refuse(4410, "this session has ended", 0, counters(1, handed=0)))
    assert end.ending == (End.FINISHED, 1000, "")
    assert lone.link.close_action.code == 1000


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
    """TOMB-4, CLOSE-8: the initiator's report is all confirmed."""
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
    """TOMB-4"""
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
    """TOMB-5: unknown never means that it went well; but the done one was sure before."""
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
    pair.registry._tombstones.clear()
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
    """CLOSE-18, HELLO-7, END-2: Done needs an open link; the counters say the same."""
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


def test_the_initiator_comes_back_until_it_hears_done():
    """CLOSE-8, TOMB-4: it knows every outcome already, the acceptor does not."""
    pair = connected()
    pair.client.close(pair.now)
    pair.server.close(pair.now)
    pair.pull()
    pair.deliver_down()
    assert pair.client.done
    assert pair.client.ended is None
    pair.cut()
    assert pair.client.ended is None
    pair.connect()
    assert pair.client.ended is not None
    assert pair.server.ended is not None
    assert pair.client.ended.kind is End.FINISHED
    assert pair.server.ended.kind is End.FINISHED


def test_the_side_that_hears_the_last_word_closes_first():
    """CLOSE-9, CLOSE-19."""
    pair = connected()
    pair.client.close(pair.now)
    pair.run()
    assert pair.wire.dialer.close_action is not None
    assert pair.wire.dialer.close_action[::2] == (Code.FINISHED, False)
    assert pair.wire.listener.close_action is not None
    assert pair.wire.listener.close_action.linger


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1012, None])
def test_an_acceptor_keeps_the_session_whatever_code_a_page_closes_with(code):
    """CLOSE-26, LINK-3, CODE-1: 1000 means no more than the others."""
    lone = acceptor()
    lone.sends("a")
    lone.hears(Finish(1, 1001, "the code is here"))
    assert lone.session.lost(lone.link, code, "", NOW) == [Detached(code, "")]
    assert (lone.session.ended, lone.outcomes()) == (None, [Outcome.PENDING])


def test_a_refuse_ends_the_session_whatever_code_follows():
    """CLOSE-26, END-2: the page could say no 1011, and the Refuse has said it."""
    lone = acceptor()
    lone.sends("a")
    *_, end = lone.hears(Refuse(1011, "failed", 0, counters(1, 0, stopped=True)))
    assert lone.session.lost(lone.link, 1000, "", NOW) == []
    assert end.ending == (End.REFUSED, 1011, "failed")
    assert lone.outcomes() == [NOT_TAKEN]


def test_a_hello_that_makes_the_acceptor_done_is_refused_with_counters():
    """CLOSE-18, CLOSE-19: the link was not open, so it is no Done; the last word is waited for."""
    pair = connected()
    pair.server.close(pair.now)
    pair.pull()
    pair.deliver_down()
    assert pair.client.inbox.state is Receiving.FINISHED
    pair.cut()
    pair.dial()
    pair.pull()
    pair.deliver_up()
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.FINISHED
    assert pair.wire.listener.close_action == (Code.ENDED, "", True)
    final = Counters(0, 0, 0, stopped=True)
    assert said(pair, "server") == [Refuse(Code.ENDED, "", 0, final)]
