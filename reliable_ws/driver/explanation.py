"""Why a session does not go on: what waits, for whom, and since when.

One set of rules, for ``conn.explain()``, for ``repr(conn)``, for the command ``top`` and for the
live page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from reliable_ws.protocol.session import Session

from .stalls import Stalls, is_window_full

__all__ = ["Explanation", "Facts", "Reason", "WaitsFor", "explain"]

WaitsFor = Literal["nobody", "network", "peer", "peer's application", "application", "store"]
"""Who has to do something, so that it goes on."""

SHOWN_AGES = 3
"""Requests and handlers that are named one by one: those that wait longest."""

LATE_FACTOR = 1.5
"""A peer that has been silent for so many times the interval of its heartbeat is worth a word."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that waits."""

    kind: str
    """What it is: ``ended``, ``connecting``, ``detached``, ``silent``, ``closing``,
    ``outbox-full``, ``store``, ``window-full``, ``network``, ``on-its-way``, ``not-taken-there``,
    ``not-taken-here``, ``not-confirmed-here``, ``request``, ``handler``, ``postponed``."""
    waits_for: WaitsFor
    "Who has to do something."
    words: str
    "The same for people, in one line."
    seconds: float | None = None
    "For how long, at least. ``None``: it is not known yet."
    count: int | None = None
    "How many messages, calls or callers it is about."


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a session does not go on. ``str()`` gives one line."""

    reasons: tuple[Reason, ...]
    "Everything that waits; the most important first. Empty: nothing waits."

    def __str__(self) -> str:
        """All reasons in one line."""
        return "; ".join(reason.words for reason in self.reasons) or "nothing waits"

    @property
    def waits_for(self) -> WaitsFor:
        """Who has to do something first. ``nobody``: nothing waits."""
        return self.reasons[0].waits_for if self.reasons else "nobody"

    @property
    def seconds(self) -> float:
        """For how long something has waited, at least."""
        return max((reason.seconds or 0.0 for reason in self.reasons), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        reasons = [asdict(reason) for reason in self.reasons]
        return {"line": str(self), "waits_for": self.waits_for, "reasons": reasons}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules need of a driver, at one moment."""

    session: Session
    now: float
    stalls: Stalls | None
    is_writing: bool
    "Whether the transport had no room, and a write waits."
    senders: int
    "How many callers of ``send()`` wait for room."
    asked: dict[int, str]
    "Our open requests: their numbers and methods."
    running: dict[int, str]
    "The requests whose handlers run: their numbers and methods."
    postponed: int
    "How many requests of the peer wait to be begun."
    next_attempt: float | None
    "When the next WebSocket is opened; ``None``: by the peer, or by the application."


def explain(facts: Facts) -> Explanation:
    """Return what waits, and for whom."""
    return Explanation(tuple(_reasons(facts)))


def _reasons(facts: Facts) -> Iterator[Reason]:
    session = facts.session
    if session.ended is not None:
        yield Reason("ended", "nobody", f"the session has ended: {session.ended}")
        return
    if not session.attached:
        yield _detached(facts)
    elif (silent := _silence(facts)) is not None:
        yield silent
    yield from _outgoing(facts)
    yield from _incoming(facts)
    yield from _calls(facts)
    if session.closing:
        yield Reason("closing", "peer", "close() waits until both sides agree on the end")


def _detached(facts: Facts) -> Reason:
    """No WebSocket carries the session: since when, why, and what comes next."""
    session, now = facts.session, facts.now
    if session.incarnation:
        seconds = max(0.0, now - session.detached_at)
        words = f"no WebSocket carries the session for {_time(seconds)}"
    elif session.obstacle is None:
        return Reason("connecting", "peer", "the peer has not greeted yet")
    else:  # connect(offline=True)
        seconds = max(0.0, now - session.timers.contact_at)
        words = "the peer was not reached yet"
    if session.obstacle is not None:
        words += f"; the last attempt failed: {session.obstacle[0]}"
    if facts.next_attempt is not None:
        pause = facts.next_attempt - now
        words += f"; the next attempt is {f'in {_time(pause)}' if pause > 0 else 'under way'}"
    elif session.role == "acceptor":
        words += "; the client has not come back"
    words += f"; it is given up in {_time(max(0.0, session.deadline - now))}"
    waits_for: WaitsFor = "peer" if session.role == "acceptor" else "network"
    return Reason("detached", waits_for, words, seconds)


def _silence(facts: Facts) -> Reason | None:
    """The peer says nothing, not even heartbeats."""
    session = facts.session
    if session.link is None:
        return None
    seconds = facts.now - session.link.heard_at
    expected = session.outbox.peer.idle_ms / 1000 / 3
    if seconds < LATE_FACTOR * expected:
        return None
    given_up = max(0.0, session.config.idle_timeout - seconds)
    words = f"the peer is silent for {_time(seconds)}"
    words += f"; its WebSocket is given up in {_time(given_up)}"
    return Reason("silent", "peer", words, seconds)


def _outgoing(facts: Facts) -> Iterator[Reason]:
    """Our messages, from the application there back to the callers here."""
    session, outbox = facts.session, facts.session.outbox
    if facts.senders:
        room = f"{_count(len(outbox), 'message')}, {outbox.held:,} bytes"
        words = f"the outbox is full ({room}): send() waits ({_count(facts.senders, 'caller')})"
        yield Reason("outbox-full", "peer", words, None, facts.senders)
    last, confirmed = outbox.messages, outbox.confirmed
    if confirmed >= last:
        return
    age = None
    if facts.stalls is not None:
        age = facts.stalls.unconfirmed_for(confirmed, facts.now) or None
    since = "" if age is None else f" for {_time(age)}"
    there = min(outbox.acked, last)
    if there > confirmed:
        count = there - confirmed
        words = f"the peer's application has not taken {_count(count, 'message')}{since}"
        yield Reason("not-taken-there", "peer's application", words, age, count)
        since, age = "", None
    if outbox.transmitted > there and session.attached:
        count = min(outbox.transmitted, last) - there
        words = f"{_count(count, 'message')} on the way to the peer{since}"
        yield Reason("on-its-way", "network", words, age, count)
        since, age = "", None
    count = last - min(outbox.transmitted, last)
    if count and outbox.stored < last:
        words = f"the store has not kept {_count(last - outbox.stored, 'message')}"
        yield Reason("store", "store", words, None, last - outbox.stored)
    elif count and session.attached:
        yield _held_back(facts, count, age, since)


def _held_back(facts: Facts, count: int, age: float | None, since: str) -> Reason:
    """Messages that wait here although a WebSocket carries the session."""
    waiting = f"{_count(count, 'message')} cannot be sent{since}"
    if facts.is_writing:
        words = f"{waiting}: the network takes no more bytes"
        return Reason("network", "network", words, age, count)
    if is_window_full(facts.session):
        words = f"{waiting}: the peer's window is full, its application takes too little"
        return Reason("window-full", "peer's application", words, age, count)
    return Reason(
        "on-its-way", "network", f"{_count(count, 'message')} about to be sent", age, count
    )


def _incoming(facts: Facts) -> Iterator[Reason]:
    """The peer's messages: taken and confirmed here, or not."""
    inbox, now = facts.session.inbox, facts.now
    age = None
    if facts.stalls is not None:
        age = facts.stalls.untaken_for(inbox.confirmed, now) or None
    since = "" if age is None else f" for {_time(age)}"
    unconfirmed = inbox.handed - inbox.confirmed
    if unconfirmed > 0:
        words = f"your application has not confirmed {_count(unconfirmed, 'delivery')}{since}"
        yield Reason("not-confirmed-here", "application", words, age, unconfirmed)
        since, age = "", None
    if inbox.queue:
        count = len(inbox.queue)
        words = f"your application has not taken {_count(count, 'message')}{since}"
        yield Reason("not-taken-here", "application", words, age, count)


def _calls(facts: Facts) -> Iterator[Reason]:
    """Requests that wait for answers, and handlers that run."""
    now, stalls = facts.now, facts.stalls

    def age_of(number: int, *, ours: bool) -> float:
        if stalls is None:
            return 0.0
        return stalls.asked_for(number, now) if ours else stalls.running_for(number, now)

    for calls, kind, ours in ((facts.asked, "request", True), (facts.running, "handler", False)):
        ages = sorted(((age_of(number, ours=ours), number) for number in calls), reverse=True)
        for age, number in ages[:SHOWN_AGES]:
            since = f" for {_time(age)}" if age else ""
            if ours:
                words = f"request {calls[number]!r:.100} waits for its answer{since}"
                yield Reason(kind, "peer's application", words, age or None, 1)
            else:
                words = f"the handler of {calls[number]!r:.100} runs{since}"
                yield Reason(kind, "application", words, age or None, 1)
        if len(ages) > SHOWN_AGES:
            count = len(ages) - SHOWN_AGES
            waits_for: WaitsFor = "peer's application" if ours else "application"
            yield Reason(kind, waits_for, f"and {_count(count, kind)} more", None, count)
    if facts.postponed:
        waiting = f"{_count(facts.postponed, 'request')} of the peer wait"
        words = f"{waiting}: it has not received earlier answers"
        yield Reason("postponed", "peer", words, None, facts.postponed)


PLURALS = {"delivery": "deliveries"}


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun if count == 1 else PLURALS.get(noun, f'{noun}s')}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
