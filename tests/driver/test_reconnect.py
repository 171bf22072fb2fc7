"""When the next WebSocket is opened, and what an end of one means."""

from __future__ import annotations

import pytest

from reliable_ws import (
    Backoff,
    Config,
    ConnectionClosed,
    NotReliablePeer,
    ServerBusy,
    SessionLost,
)
from reliable_ws.driver.failures import FailedAttempt, FailureKind
from reliable_ws.driver.reconnect import (
    Reconnect,
    ending_before_welcome,
    ending_refused,
    ending_unusable,
    greeting_error,
    is_ended_by_peer,
    loss_error,
    resume_error,
)
from reliable_ws.protocol.frames import Code, Finish, Part
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Phase
from reliable_ws.transport import TransportClosed

KEY = bytes(32)
HALF = 262_144
"""Bytes of the largest part."""
BACKOFF = Backoff(initial=1, factor=2, longest=8, stable=10)


def session(now=0.0, **options):
    return Session("initiator", bytes(16), KEY, now, Config(**options), None)


def test_pauses_grow_with_every_attempt_that_fails():
    dialing = Reconnect(session(), BACKOFF)
    dialing.opened(0)
    pauses = []
    dialing.lost(1, 1.0, None)
    for _ in range(5):
        pauses.append(dialing.pause(1))
        dialing.failed(1, 1.0)
    assert pauses == [1, 2, 4, 8, 8]


def carry(dialing, session, begin, end, *, welcome=True):
    """A WebSocket carries the session for this time, and is lost; return the longest pause."""
    dialing.opened(begin)
    if welcome:
        session.resumes += 1
    dialing.lost(end, 1.0, None)
    return dialing.pause(end)


def test_a_websocket_that_does_not_last_counts_as_a_failure():
    live = session()
    dialing = Reconnect(live, BACKOFF)
    assert [carry(dialing, live, now, now + 0.5) for now in (0, 1, 2)] == [1, 2, 4]
    assert carry(dialing, live, 10, 20) == 1  # it was stable


def test_failures_are_not_forgotten_when_a_websocket_opens_and_does_not_last():
    live = session()
    dialing = Reconnect(live, BACKOFF)
    assert carry(dialing, live, 0, 1) == 1
    dialing.failed(1, 1.0)
    assert carry(dialing, live, 2, 3) == 4


def test_a_websocket_that_was_not_welcomed_is_a_failure_however_long_it_lasted():
    live = session()
    dialing = Reconnect(live, BACKOFF)
    pauses = [carry(dialing, live, now, now + 10, welcome=False) for now in (0, 10, 20)]
    assert pauses == [1, 2, 4]


def advance(ledger, name):
    setattr(ledger, name, getattr(ledger, name) + 1)


def part_arrives(live, offset):
    live.inbox.arrived_part(Part(1, offset, 2 * HALF, 0, bytes(HALF)))


MOVES = {
    "an ack": lambda live: advance(live.outbox, "acked"),
    "a confirmation": lambda live: advance(live.outbox, "confirmed"),
    "a message": lambda live: advance(live.inbox, "received"),
    "an ack of a call": lambda live: advance(live.call_queue, "acked"),
    "a call": lambda live: advance(live.incoming_calls, "received"),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_websocket_that_carries_something_new_is_good_however_soon_it_is_lost(move):
    live = session()
    dialing = Reconnect(live, BACKOFF)
    for now in range(5):
        dialing.opened(now)
        live.resumes += 1
        move(live)
        dialing.lost(now + 0.5, 1.0, None)
        assert dialing.pause(now + 0.5) == 1


def test_each_part_of_a_message_is_something_new_and_so_is_its_end():
    live = session()
    dialing = Reconnect(live, BACKOFF)
    for now in range(2):
        dialing.opened(now)
        live.resumes += 1
        part_arrives(live, offset=now * HALF)
        dialing.lost(now + 0.5, 1.0, None)
        assert dialing.pause(now + 0.5) == 1
    assert live.inbox.received == 1


def test_what_is_lost_again_and_again_without_anything_new_waits_longer():
    """A message that kills the peer each time is acked once, and confirmed never."""
    live = session()
    dialing = Reconnect(live, BACKOFF)
    live.outbox.acked = 1
    pauses = [carry(dialing, live, now, now + 0.5) for now in range(5)]
    assert pauses == [1, 2, 4, 8, 8]


# ------------------------------------------------------------------ how long the session has left

PATIENT = Backoff(initial=30, longest=30)


def pauses_until_the_end(dialing, now, end):
    """The longest pauses, attempt after attempt, until the session's time is up."""
    pauses = []
    while now < end:
        pauses.append(dialing.pause(now))
        now += pauses[-1]
        dialing.failed(now, 1.0)
    return pauses


def test_no_pause_takes_more_than_a_part_of_what_is_left():
    dialing = Reconnect(session(session_ttl=20), PATIENT)
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    pauses = pauses_until_the_end(dialing, 0, 20)
    assert pauses[:3] == [5, 3.75, pytest.approx(2.8125)]
    assert min(pauses) == pytest.approx(0.2)
    assert len(pauses) < 20


def test_what_is_bounded_is_the_limit_and_chance_spreads_below_it():
    dialing = Reconnect(session(session_ttl=20), PATIENT)
    dialing.opened(0)
    dialing.lost(0, 0.5, None)
    assert dialing.pause(0) == 2.5


def test_the_time_of_the_peer_counts_if_it_is_shorter_and_not_over():
    """It ends the session first, but remembers how it ended."""
    live = session(session_ttl=120)
    live.outbox.heed(live.config.limits(None)._replace(ttl_ms=20_000))
    dialing = Reconnect(live, PATIENT)
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    assert dialing.pause(0) == 5
    dialing.failed(20, 1.0)
    assert dialing.pause(20) == 25


def test_a_time_that_has_passed_leaves_the_shortest_pause():
    """Who overslept is not at its end yet, and must not take the peer's time for its own."""
    live = session(session_ttl=20)
    live.outbox.heed(live.config.limits(None)._replace(ttl_ms=120_000))
    dialing = Reconnect(live, PATIENT)
    dialing.opened(0)
    dialing.lost(21, 1.0, None)
    assert dialing.pause(21) == pytest.approx(0.2)


def test_what_the_peer_asks_for_is_heeded_while_the_session_lives():
    dialing = Reconnect(session(session_ttl=20), BACKOFF)
    dialing.opened(0)
    dialing.lost(0, 0.0, 7)
    assert dialing.pause(0) == 7
    dialing.lost(0, 0.0, 8)
    assert dialing.pause(0) == 8  # Backoff.longest


@pytest.mark.parametrize(("now", "most"), [(0, 8), (14, 3)])
def test_who_is_asked_to_wait_for_too_long_comes_at_a_random_moment(now, most):
    """Others were asked to come at other moments: together they would be too many.

    What is too long: above Backoff.longest, or above half of the time that the session has left.
    """
    chances = [number / 10 for number in range(10)]
    pauses = []
    for chance in chances:
        dialing = Reconnect(session(session_ttl=20), Backoff(initial=0, longest=8, stable=10))
        dialing.opened(0)
        dialing.lost(now, chance, 1000)
        pauses.append(dialing.pause(now))
    assert pauses == pytest.approx([most / 2 * (1 + chance) for chance in chances])


# ------------------------------------------------------------------ a close


def test_chance_makes_a_pause_shorter_and_the_peer_longer():
    dialing = Reconnect(session(), BACKOFF)
    dialing.opened(0)
    dialing.lost(0, 0.25, None)
    assert dialing.pause(0) == 0.25
    dialing.opened(0)
    dialing.lost(0, 0.5, 3)
    assert dialing.pause(0) == 4
    assert dialing.pause(1) == 3
    assert dialing.pause(5) == 0


def test_a_close_cuts_a_long_pause_short():
    closing = session(close_progress_timeout=8, close_timeout=100)
    dialing = Reconnect(closing, Backoff(initial=30, longest=30))
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    assert dialing.pause(0) == 30
    closing.send("x")
    closing.close(1)
    assert dialing.pause(1) == 2  # a quarter of what is left
    assert dialing.pause(2) == 1
    assert dialing.pause(3) == 0


def test_a_close_that_is_nearly_over_leaves_the_shortest_pause():
    closing = session()
    dialing = Reconnect(closing, Backoff(initial=30, longest=30))
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    closing.close(0, timeout=0.1)
    assert dialing.pause(0) == pytest.approx(0.2)


def test_a_session_that_has_ended_opens_no_other():
    over = session()
    dialing = Reconnect(over, BACKOFF)
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    over.abort(0)
    assert dialing.pause(0) is None


def test_an_attempt_that_failed_may_say_when_to_come_again():
    dialing = Reconnect(session(), BACKOFF)
    dialing.opened(0)
    dialing.lost(0, 0.0, None)
    dialing.failed(0, 0.0, 5)
    assert dialing.pause(0) == 5
    dialing.failed(0, 0.0, 500)
    assert dialing.pause(0) == BACKOFF.longest / 2


def test_an_attempt_may_begin_at_once():
    dialing = Reconnect(session(), Backoff(initial=30, longest=30))
    dialing.opened(0)
    dialing.lost(0, 1.0, None)
    dialing.hasten()
    assert dialing.pause(0) == 0  # once
    dialing.failed(0, 1.0)
    assert dialing.pause(0) == 30
    dialing.hasten()  # while an attempt is under way: the next one follows at once
    dialing.failed(1, 1.0)
    assert dialing.pause(1) == 0


def test_what_carries_the_session_is_not_hastened():
    attached = session()
    dialing = Reconnect(attached, Backoff(initial=30, longest=30))
    dialing.opened(0)
    link = attached.dial(0.0)
    link.phase, link.heard_at = Phase.INITIATED, 1000.0
    dialing.hasten()
    attached.lost(link, None, "", 1.0)
    dialing.lost(1, 1.0, None)
    assert dialing.pause(1) > 29


def test_how_a_session_ends_whose_attempts_are_refused():
    attempt = FailedAttempt(OSError(), FailureKind.REFUSED, "HTTP 403", of_this_kind=5)
    assert ending_refused(attempt) == Ending(
        End.LOST, 1006, "no WebSocket can be opened: HTTP 403 (5 times)"
    )


# ------------------------------------------------------------------ what an end means


def test_before_a_welcome_there_is_one_attempt():
    assert ending_before_welcome(session(), None, "") == Ending(
        End.LOST, 1006, "the network was lost before the peer had greeted"
    )
    assert ending_before_welcome(session(), None, "cut").reason == "cut"
    assert ending_before_welcome(session(), Code.BUSY, "full").kind is End.REFUSED
    assert ending_before_welcome(session(), 1011, "") is None
    welcomed = session()
    welcomed.incarnation = 1
    assert ending_before_welcome(welcomed, None, "") is None


def test_what_the_first_greeting_failed_of():
    welcomed = session()
    welcomed.incarnation = 1
    assert greeting_error(welcomed, None, None) is None

    silent = greeting_error(session(), loss_error(Code.SILENT, "nothing heard in time"), None)
    assert isinstance(silent, NotReliablePeer)
    assert "no Welcome: nothing heard" in str(silent)

    cut = session()
    cut.end(0.0, Ending(End.LOST, 1006, "cut"))
    assert isinstance(greeting_error(cut, loss_error(None, "cut"), None), SessionLost)

    old = session()
    old.end(0.0, Ending(End.REFUSED, Code.VERSION, "version 2"))
    assert isinstance(greeting_error(old, None, None), NotReliablePeer)

    busy = session()
    busy.end(0.0, Ending(End.REFUSED, Code.BUSY, "full"))
    failure = greeting_error(busy, None, 1.5)
    assert isinstance(failure, ServerBusy)
    assert (failure.code, failure.retry_after) == (Code.BUSY, 1.5)
    assert "later, after 1.5 s" in str(failure)
    assert "later (" in str(greeting_error(busy, None, None))


def test_how_a_websocket_was_lost():
    assert isinstance(loss_error(Code.SILENT, "x"), TimeoutError)
    assert isinstance(loss_error(1006, "x"), TransportClosed)


@pytest.mark.parametrize(
    ("kind", "by_peer"),
    [(kind, kind not in (End.FINISHED, End.ABORTED)) for kind in End],
)
def test_who_ended_a_session(kind, by_peer):
    over = session()
    over.end(0.0, Ending(kind, 4000, ""))
    assert is_ended_by_peer(over) is by_peer


@pytest.mark.parametrize("first", ["we", "the peer"])
def test_who_finished_first_ended_it(first):
    over = session()
    if first == "the peer":
        over.inbox.arrived_finish(Finish(1, 1000, ""))
    over.close(0.0)
    over.end(0.0, Ending(End.FINISHED, 1000, ""))
    assert is_ended_by_peer(over) is (first == "the peer")


def test_what_resuming_failed_of():
    detached = session()
    assert isinstance(resume_error(detached), NotReliablePeer)
    detached.abort(0)
    assert isinstance(resume_error(detached), ConnectionClosed)


def test_a_websocket_that_is_not_to_be_had_says_why():
    ending = ending_unusable(ValueError("it is wrapped already"))
    assert ending.kind is End.LOST
    assert "it is wrapped already" in ending.reason
