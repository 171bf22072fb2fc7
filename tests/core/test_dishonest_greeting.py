"""Guards against a dishonest peer: what it says in Hello and in Welcome."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Ended, Event
from reliable_ws.protocol.frames import Ack, Code, Part, Refuse, Welcome
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from tests.support.pair import ID, KEY

from .helpers import (
    CONFIRMED,
    INCARNATION,
    NO_CALLS_YET,
    NOW,
    UNKNOWN,
    Lone,
    acceptor,
    blamed,
    counters,
    either_side,
    hello,
    initiator,
    limits,
    position,
    raw,
    run_of,
    welcome,
)

STATE_LOST = [
    (position(counters(0), sent=3, first=3), "state lost: confirmed has fallen"),
    (position(counters(3, 1), sent=3, first=3), "counters of what was never sent"),
    (position(counters(1), sent=5, first=5), "state lost: messages are not available"),
    (position(counters(1), sent=2, first=3), "state lost: sent has fallen"),
]
"""Positions that cannot be, of a peer that had sent 3 and received 2, and confirmed 1 of them."""

# ------------------------------------------------------------------ Welcome


def dialing(**attributes: object) -> Lone:
    """An initiator that was welcomed before, took 2 of 3, had 1 of 2 confirmed, and dials."""
    lone = initiator()
    lone.sends("a", "b")
    lone.hears(Ack(2, 1), run_of(1, "x", "y", "z"))
    lone.takes(2)
    lone.session.lost(lone.link, None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    return lone


def test_a_good_welcome_after_that():
    """So that each bad one is bad for its own reason."""
    good = position(counters(1), sent=3, first=3)
    assert dialing().hears(welcome(resumed=True, position=good))


@pytest.mark.parametrize(("wrong", "words"), STATE_LOST)
def test_state_lost_at_the_acceptor(wrong, words):
    """RESUME-3: the session ends, nothing is sent again."""
    lone = dialing()
    blamed(lone, lone.hears(welcome(resumed=True, position=wrong)), 4422, words)
    assert lone.outcomes() == [CONFIRMED, UNKNOWN]


def test_a_welcome_of_another_incarnation():
    """HELLO-15"""
    lone = dialing()
    good = position(counters(1), sent=3, first=3)
    answer = welcome(resumed=True, position=good, incarnation=INCARNATION + 1)
    blamed(lone, lone.hears(answer), 4422, "another incarnation")


def test_a_welcome_in_a_version_that_was_not_offered():
    """END-5"""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    blamed(lone, lone.hears(welcome(version=2)), 4426, "version 2")


@pytest.mark.parametrize("partial", [3, 4, 2**53 - 1])
def test_a_partial_that_is_not_below_the_length_of_the_message(partial):
    """PART-11"""
    lone = initiator()
    lone.sends("abc")
    lone.session.lost(lone.link, None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    answer = welcome(resumed=True, position=position(partial=partial))
    blamed(lone, lone.hears(answer), 4422, "more of a message than was sent")


def test_a_partial_of_no_message():
    """PART-11: nor of Finish."""
    lone = initiator()
    lone.session.finish(NOW)
    lone.says()
    lone.session.lost(lone.link, None, "", NOW)
    lone.link = lone.session.dial(NOW)
    lone.says()
    answer = welcome(resumed=True, position=position(partial=1))
    blamed(lone, lone.hears(answer), 4422, "more of a message than was sent")


@pytest.mark.parametrize("max_frame", [1, 97, 4095])
def test_a_greeting_that_leaves_no_room_for_content(max_frame):
    """LIMIT-1: it would have us send empty parts for ever."""
    session = Session("initiator", ID, KEY, NOW)
    lone = Lone(session, session.dial(NOW))
    lone.says()
    events = lone.hears(welcome(limits=limits(max_frame=max_frame)))
    assert [event.ending.code for event in events if isinstance(event, Ended)] == [4400]


@either_side
def test_the_smallest_limits_work(side):
    """LIMIT-1, LIVE-7: one message at a time, however large, and a heartbeat not without pause."""
    least = limits(
        window_messages=1, window_bytes=1, max_frame=4096, max_requests=1, idle_ms=1, ttl_ms=1
    )
    lone = side(limits=least)
    (first, *_rest) = lone.sends("a", b"x" * 10_000)
    assert first == run_of(1, "a")
    lone.hears(Ack(1, 1))
    parts = lone.says()
    assert all(isinstance(frame, Part) for frame in parts)
    assert b"".join(part.data for part in parts) == b"x" * 10_000
    assert lone.link.deadline - NOW > 0.01


# ------------------------------------------------------------------ Hello


def arrive(
    registry: SessionRegistry, data: bytes | str, **options: object
) -> tuple[Arrival, list[Event]]:
    arrival = registry.arrive(NOW, **options)  # type: ignore[arg-type]
    return arrival, arrival.receive(data, NOW)


def refusal(arrival: Arrival) -> Refuse:
    """The one thing that an arrival says; it is over then."""
    assert arrival.link is None
    assert arrival.close_action is not None
    assert arrival.close_action.linger
    data = arrival.transmit(NOW)
    assert data is not None
    assert arrival.transmit(NOW) is None
    assert arrival.receive(encode([hello(attempt=99)]), NOW) == []
    (refuse,) = decode(data, 2**20)
    assert isinstance(refuse, Refuse)
    assert refuse.code == arrival.close_action.code
    return refuse


@pytest.mark.parametrize(
    "data",
    [
        "text",
        b"",
        b"\x90",
        b"GET / HTTP/1.1\r\n",
        encode([Ack(0, 0)]),
        encode([run_of(1, "a")]),
        encode([welcome()]),
        encode([hello(), Ack(0, 0)]),
        encode([hello(), hello(attempt=2)]),
        encode([hello()])[:-1],
        raw([0x2A]),
    ],
)
def test_anything_but_one_hello_as_the_first_message(data):
    """HELLO-1, HELLO-7: malformed, and no session comes of it."""
    registry = SessionRegistry(1)
    arrival, events = arrive(registry, data)
    assert (refusal(arrival).code, events, len(registry)) == (Code.MALFORMED, [], 0)


def test_a_hello_above_the_limit():
    """FRAME-10"""
    arrival, _events = arrive(SessionRegistry(1, Config(max_frame=4096)), bytes(4097))
    assert refusal(arrival).code == Code.VIOLATION


@pytest.mark.parametrize(("low", "high"), [(2, 3), (2, 2**53 - 1)])
def test_no_version_in_common(low, high):
    """HELLO-11"""
    registry = SessionRegistry(1)
    arrival, _events = arrive(registry, encode([hello(min_version=low, max_version=high)]))
    assert (refusal(arrival).code, len(registry)) == (Code.VERSION, 0)


def test_a_version_range_that_has_ours_in_it():
    """HELLO-11"""
    arrival, _events = arrive(SessionRegistry(1), encode([hello(max_version=9)]))
    assert arrival.link is not None
    (answer,) = decode(arrival.link.transmit(NOW) or b"", 2**20)
    assert isinstance(answer, Welcome)
    assert answer.version == 1


INTRUDERS = {
    "another key": {"key": bytes(32)},
    "another incarnation": {"incarnation": INCARNATION + 1},
    "another principal": {},
    "another session with an incarnation": {"session": bytes(16), "incarnation": INCARNATION},
}


@pytest.mark.parametrize("name", INTRUDERS)
def test_who_is_not_the_holder_learns_nothing_and_touches_nothing(name):
    """HELLO-3, HELLO-5, HELLO-12, HELLO-14: one answer for unknown, wrong key and not yours."""
    lone = acceptor()
    assert lone.registry is not None
    principal = "somebody else" if name == "another principal" else None
    data = encode([hello(attempt=2, **INTRUDERS[name])])
    arrival, events = arrive(lone.registry, data, principal=principal)
    assert refusal(arrival) == Refuse(Code.UNKNOWN, "no such session here", 0, None)
    assert (events, arrival.session, len(lone.registry)) == ([], None, 1)
    assert (lone.session.link, lone.session.attempt) == (lone.link, 1)
    assert lone.hears(run_of(1, "still here"))


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_stale_attempt(attempt):
    """RESUME-1: it leaves the session and its link alone."""
    lone = acceptor(attempt=3)
    assert lone.registry is not None
    arrival, events = arrive(lone.registry, encode([hello(attempt=attempt)]))
    assert (refusal(arrival).code, events) == (Code.SUPERSEDED, [])
    assert lone.session.link is lone.link


def holding() -> Lone:
    """An acceptor that took 2 of 3, and had 1 of 2 confirmed; its WebSocket is gone."""
    lone = acceptor()
    lone.sends("a", "b")
    lone.hears(Ack(2, 1), run_of(1, "x", "y", "z"))
    lone.takes(2)
    lone.session.lost(lone.link, None, "", NOW)
    return lone


def test_a_good_hello_after_that():
    """So that each bad one is bad for its own reason."""
    lone = holding()
    assert lone.registry is not None
    good = position(counters(1), sent=3, first=3)
    arrival, _events = arrive(lone.registry, encode([hello(attempt=2, position=good)]))
    assert arrival.link is lone.session.link is not None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        *STATE_LOST,
        (position(counters(1), sent=3, first=3, partial=1), "more of a message than was sent"),
    ],
)
def test_state_lost_at_the_initiator(wrong, words):
    """RESUME-3, RESUME-13, PART-11: decided before Welcome; refused with counters, if true."""
    lone = holding()
    assert lone.registry is not None
    arrival, events = arrive(lone.registry, encode([hello(attempt=2, position=wrong)]))
    refuse = refusal(arrival)
    assert (refuse.code, words in refuse.reason) == (Code.VIOLATION, True)
    true = wrong.first <= 3
    assert refuse.counters == (counters(3, 2, stopped=True) if true else None)
    again, _events = arrive(lone.registry, encode([hello(attempt=3, position=wrong)]))
    assert refusal(again) == Refuse(4410, "this session has ended", 0, refuse.counters)  # TOMB-4
    (ended,) = (event for event in events if isinstance(event, Ended))
    assert ended.ending.kind is End.VIOLATION
    assert lone.outcomes() == [CONFIRMED, UNKNOWN]


@pytest.mark.parametrize(("wrong", "words"), STATE_LOST)
def test_a_copy_of_the_state_is_refused_alone_while_the_holder_has_a_link(wrong, words):
    """RESUME-14: the true holder goes on, and its next Hello is not too low for that."""
    lone = acceptor()
    assert lone.registry is not None
    lone.sends("a", "b")
    lone.hears(Ack(2, 1), run_of(1, "x", "y", "z"))
    lone.takes(2)
    lone.says()
    arrival, events = arrive(lone.registry, encode([hello(attempt=2, position=wrong)]))
    refuse = refusal(arrival)
    assert (refuse.code, refuse.counters, events) == (Code.SUPERSEDED, None, [])
    assert words in refuse.reason
    assert "two programs use one session" in arrival.note
    assert (lone.session.link, lone.session.attempt, arrival.session) == (lone.link, 1, None)
    assert lone.hears(run_of(4, "still here"))
    good = position(counters(1), sent=4, first=3)
    taken_over, _events = arrive(lone.registry, encode([hello(attempt=2, position=good)]))
    assert taken_over.link is lone.session.link is not None


def test_a_copy_that_knows_no_calls_is_refused_alone():
    """RESUME-14, CALL-21"""
    lone = acceptor(calls=NO_CALLS_YET)
    assert lone.registry is not None
    arrival, events = arrive(lone.registry, encode([hello(attempt=2)]))
    assert (refusal(arrival).code, events) == (Code.SUPERSEDED, [])
    assert lone.session.link is lone.link


def test_a_new_hello_that_claims_to_have_received():
    """RESUME-11"""
    registry = SessionRegistry(1)
    arrival, events = arrive(registry, encode([hello(position=position(counters(1)))]))
    assert refusal(arrival).code == Code.VIOLATION
    assert [event.ending.kind for event in events if isinstance(event, Ended)] == [End.VIOLATION]


def test_a_new_hello_that_cannot_send_its_first_message():
    """RESUME-11"""
    arrival, _events = arrive(
        SessionRegistry(1), encode([hello(position=position(sent=5, first=6))])
    )
    assert refusal(arrival).code == Code.VIOLATION


def test_a_second_welcome_cannot_move_the_cursor():
    """HELLO-6"""
    lone = initiator()
    lone.sends("a")
    blamed(lone, lone.hears(welcome(resumed=True)), 4422, "Welcome when")
    assert lone.outcomes() == [UNKNOWN]
