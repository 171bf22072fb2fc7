"""What of one session is kept by a store, and what is not yet (protocol.md, "Stores").

Theory of operation. A store is slow, and works in the background. So the session goes on, and what
is not kept is not *said*: each ledger has a position up to which it is kept, and a link looks at
these positions only (``Outbox.stored``, ``Inbox.stored_confirmed``, ``CallQueue.stored``,
``IncomingCalls.stored``). A greeting, a Stop and a last frame say more than a position. They are
held until everything is kept that was so when they were held.

:meth:`Durable.take_change` returns what changed since the last change that was kept. There is one
change at a time: while the store works on it, the next one grows. It has at most
:data:`BYTES_AT_ONCE` of messages: the peer takes them while the store keeps the next ones.
:meth:`Durable.kept` moves the positions. :meth:`Durable.unkept` takes back what had no room.

What a store gives back after a crash is made into a session by :mod:`.stored_session`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from .calls.incoming import IncomingCalls
from .calls.outgoing import OutgoingCalls
from .calls.queue import CallQueue
from .config import Config
from .deadline import NEVER
from .events import Cancelled, Event, Granted, Requested
from .frames import BEYOND, Payload
from .inbox import Inbox
from .link import Link
from .outbox import Outbox
from .stored import Change, Run

__all__ = [
    "Durable",
    "Identity",
    "Ledgers",
    "Mark",
    "gather_facts",
    "pack_facts",
    "pack_payload",
    "pack_run",
    "unpack_facts",
    "unpack_payload",
    "unpack_run",
]

LAZY = 1.0
"""Seconds after which it is kept that the peer has confirmed messages. To lose that costs nothing
but a few acks; so it waits for another change (STORE-5)."""

RETRY_AFTER = 1.0
"""Seconds between two attempts to keep something on a disk that is full."""

BYTES_AT_ONCE = 1024 * 1024
"""Weight of messages that one change has at most, or one message. While the store keeps the next
ones, the peer takes these; with less, the commits themselves would cost more."""

FOR_HANDLERS = (Requested, Cancelled, Granted)
"""Events that begin or change work for the peer: they wait until its request is kept (CALL-12)."""


class Identity(NamedTuple):
    """What the session itself knows, besides its ledgers."""

    role: str
    id: bytes
    key: bytes
    incarnation: int
    attempt: int
    contact: float
    "When the peer was heard last, in seconds since 1970."
    attached: bool
    "Whether a link is open: then the peer is in contact for as long as the process lives."
    closing: bool
    "Whether ``close()`` was called."
    ended: tuple[str, int, str] | None
    "Kind, code and reason of the end."


class Ledgers(NamedTuple):
    """What a session consists of."""

    outbox: Outbox
    inbox: Inbox
    queue: CallQueue
    incoming: IncomingCalls
    outgoing: OutgoingCalls


class Mark(NamedTuple):
    """What was so when a change was taken: another one is made when any of it differs."""

    version: int
    "Of what has no position."
    incarnation: int
    attached: bool
    sent: int
    "Highest number of ours that was accepted, Finish included."
    settled: bool
    "Whether the peer's final counters are known."
    confirmed: int
    "Highest number of the peer's that is confirmed with everything before it."
    out_of_order: int
    stopped: bool
    calls: int
    "Highest number of our entries of calls."
    taken_back: int
    received: int
    "Highest number of the peer's entries."
    ended: bool


NOTHING = Mark(0, 0, False, 0, False, 0, 0, False, 0, BEYOND, 0, False)  # noqa: FBT003
"""Before the first change. No session has version 0."""


class Durable:
    """Keeps one session in a store: says what changed, and learns what is kept."""

    __slots__ = (
        "_call_events",
        "_change",
        "_entries",
        "_held",
        "_incoming",
        "_kept_mark",
        "_ledgers",
        "_mark",
        "_version",
        "about",
        "applied",
        "applying",
        "closed",
        "give_up_at",
        "inbox",
        "is_full",
        "keys",
        "lazy_by",
        "outbox",
        "queue",
        "retry_by",
        "sends",
    )

    def __init__(self, ledgers: Ledgers, about: dict[str, Any]) -> None:
        """Begin with what the ledgers have: a new session, or one that a store had kept."""
        self._ledgers = ledgers
        self.outbox, self.inbox, self.queue, self._incoming, _outgoing = ledgers
        self.about = about
        "What the driver wants kept beside: plain values that msgpack packs."
        # Messages and entries of a new session are not kept, nor is what a crash has added.
        self.outbox.stored = self.outbox.transmitted
        self.inbox.stored_confirmed = self.inbox.confirmed
        self.inbox.is_stop_kept = self.inbox.stopped
        self.queue.stored = self._entries = self.queue.transmitted  # what the store has
        self.queue.taken_back = BEYOND
        self._incoming.stored = self._incoming.received
        self.keys: dict[str, int] = {}
        "Keys of messages that are not kept yet, with the number of each."
        self.sends: list[tuple[int, int]] = []
        "Rows of kept sends that have a number now, with that number, and are not kept as messages."
        self.applying = 0
        "How many kept sends the store works on."
        self.applied: set[int] = set()
        "Confirmed deliveries that the store has by themselves, above ``inbox.stored_confirmed``."
        self.is_full = False
        "Whether the store had no room for the last change: nothing is accepted until it has."
        self.closed = False
        "Whether the store is not given anything more."
        self.give_up_at: float = NEVER
        "When a session that has ended waits no longer for its end to be kept."
        self.lazy_by: float = NEVER
        "When what the peer has confirmed is kept at the latest."
        self.retry_by: float = NEVER
        "When a change that had no room is tried again."
        self._change: Change | None = None  # that the store works on
        self._mark = NOTHING  # what was so when it was taken
        self._kept_mark = NOTHING
        self._version = 1  # of what has no position: it is kept when `_kept_mark` has it
        self._held: Link | None = None
        self._call_events: list[tuple[int, Event]] = []  # the number that must be kept first

    # ------------------------------------------------------------------ what waits for the store

    def hold(self, link: Link) -> None:
        """Let this link say nothing until everything that is so now is kept (STORE-1, STORE-4)."""
        self._version += 1
        if not self.closed:
            if self._held is not None and self._held is not link:
                self._held.held = False
            link.held = True
            self._held = link

    def defer(self, events: list[Event]) -> list[Event]:
        """Keep back what would begin work for the peer; return the other events (CALL-12)."""
        number = self._incoming.received
        at_once = [event for event in events if type(event) not in FOR_HANDLERS]
        self._call_events += [(number, event) for event in events if type(event) in FOR_HANDLERS]
        return at_once

    def confirmed_there(self, now: float) -> None:
        """Note that the peer has confirmed messages: it is kept with the next change, or later."""
        if self.lazy_by == NEVER:
            self.lazy_by = now + LAZY

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick`."""
        return NEVER if self.closed else min(self.lazy_by, self.retry_by, self.give_up_at)

    def tick(self, now: float) -> None:
        """Have a change made that nothing else has made necessary, when it is time."""
        if now >= self.lazy_by:
            self.lazy_by = NEVER
            self._version += 1
        if now >= self.retry_by:
            self.retry_by = NEVER
            self._version += 1  # there may be nothing to keep any more: see whether there is room

    # ------------------------------------------------------------------ what changed

    def look(self, incarnation: int, *, attached: bool, ended: bool) -> Mark:
        """Return what is so now; the arguments are what the session itself knows of it."""
        outbox, inbox = self.outbox, self.inbox
        return Mark(
            self._version,
            incarnation,
            attached,
            outbox.last,
            outbox.final is not None,
            inbox.confirmed,
            inbox.out_of_order,
            inbox.stopped,
            self.queue.last,
            self.queue.taken_back,
            self._incoming.received,
            ended,
        )

    @property
    def is_ready(self) -> bool:
        """Whether a change may be taken: the store works on none, and has room, as far as known."""
        return self._change is None and not self.closed and self.retry_by == NEVER

    def has_news(self, mark: Mark) -> bool:
        """Whether a change is to be made of what is so now."""
        finish = self.outbox.finish
        if self.applying and finish is not None and finish.number > self.outbox.stored:
            return False  # a message that the store is just keeping goes before it (STORE-6)
        return mark != self._kept_mark

    def take_change(self, mark: Mark, identity: Identity, wall: float, config: Config) -> Change:
        """Return what is to be kept now. Call it while :attr:`is_ready`, and if there is news.

        Tell what became of it by :meth:`kept` or :meth:`unkept`. ``wall``: the time in seconds
        since 1970. ``config`` says what to remember, and for how long.
        """
        finish = self.outbox.finish
        outbox, queue = self.outbox, self.queue
        has_ended = identity.ended is not None
        messages = entries = None
        if outbox.messages > outbox.stored:
            messages = self._next_run(whole=has_ended or finish is not None)
            if messages.last < outbox.messages:
                mark = mark._replace(sent=messages.last)
        if queue.last > self._entries and (items := queue.entries(self._entries + 1)):
            entries = pack_run(self._entries + 1, items)
        confirmed = min(outbox.confirmed, outbox.messages)
        change = Change(
            identity.id,
            pack_facts(identity, self._ledgers, self.about),
            messages,
            confirmed,
            entries,
            queue.acked,
            tuple([key for key in self.keys.items() if key[1] <= mark.sent]) if self.keys else (),
            tuple([row for row, number in self.sends if number <= mark.sent]) if self.sends else (),
            self.inbox.confirmed,
            wall + config.stored_ttl if has_ended else None,
            config.max_tombstones if has_ended else None,
            max(0, confirmed - config.stored_keys),
        )
        if queue.taken_back != BEYOND:
            queue.taken_back = BEYOND  # the facts say which requests are open
            mark = mark._replace(taken_back=BEYOND)
        self._change, self._mark = change, mark
        self.lazy_by = NEVER
        return change

    def _next_run(self, *, whole: bool) -> Run:
        """Return messages that are not kept, from the first one on. ``whole``: all of them.

        So must it be where the facts speak of the last one: a Finish, or the end.
        """
        outbox, first = self.outbox, self.outbox.stored + 1
        upto = outbox.total if whole else outbox.end_of(first - 1) + BYTES_AT_ONCE
        payloads = outbox.run(first, outbox.messages, upto)
        return pack_run(first, payloads or [outbox.payload(first)])

    # ------------------------------------------------------------------ what became of it

    def is_kept(self, mark: Mark) -> bool:
        """Whether everything is kept that is so now."""
        return self.closed or (self._change is None and mark == self._kept_mark)

    def kept(self) -> list[Event]:
        """The change that was taken is kept: what was so then may be said. Return what follows."""
        mark, self._kept_mark = self._mark, self._mark
        self._change = None
        sent, received = mark.sent, mark.received
        self.outbox.stored = sent
        inbox = self.inbox
        inbox.stored_confirmed = max(inbox.stored_confirmed, mark.confirmed)
        inbox.is_stop_kept = inbox.is_stop_kept or mark.stopped
        self._entries = mark.calls
        self.queue.stored = min(mark.calls, self.queue.taken_back)
        self._incoming.stored = received
        # Mostly there are none.
        if self.keys:
            self.keys = {key: number for key, number in self.keys.items() if number > sent}
        if self.sends:
            self.sends = [send for send in self.sends if send[1] > sent]
        if self.applied:
            self.applied = {number for number in self.applied if number > inbox.stored_confirmed}
        if self.is_full:
            self.is_full = False
            self.outbox.hold_for_store(full=False)
        if mark.ended:  # the end is kept: nobody goes on
            self.outbox.kept = 0
            self.give_up_at = NEVER
        if mark.version == self._version and self._held is not None:
            self._held.held = False
            self._held = None
        waiting = self._call_events
        if not waiting:
            return []
        self._call_events = [(number, event) for number, event in waiting if number > received]
        return [event for number, event in waiting if number <= received]

    def unkept(self, now: float) -> int:
        """There was no room for the change. Return how many messages are taken back.

        These are all that are not kept, but for kept sends. The rest is tried again later. Until
        then nothing is accepted.
        """
        self._change = None
        self.is_full = True
        self.outbox.hold_for_store(full=True)
        self.retry_by = now + RETRY_AFTER
        upto = max([self.outbox.stored, *(number for _row, number in self.sends)])
        self.keys = {key: number for key, number in self.keys.items() if number <= upto}
        return self.outbox.withdraw(upto)

    def has_applied(self, number: int) -> bool:
        """Note that the store has the confirmation of one delivery; whether that may be told."""
        inbox = self.inbox
        self.applied.add(number)
        before = inbox.stored_confirmed
        while inbox.stored_confirmed + 1 in self.applied:
            inbox.stored_confirmed += 1
            self.applied.discard(inbox.stored_confirmed)
        return inbox.stored_confirmed > before

    def end(self) -> None:
        """Note that the session has ended: until that is kept, another process could go on."""
        self.outbox.kept = min(self.outbox.stored, self.outbox.messages)

    def close(self) -> None:
        """Give the store nothing more: another process goes on, or the store has failed."""
        outbox = self.outbox
        outbox.kept = min(outbox.stored, outbox.messages)
        doubtful = self._change is not None and self._change.messages is not None
        outbox.doubtful = self._change.messages.last if doubtful else outbox.kept  # type: ignore[union-attr]
        self.closed = True
        if self._held is not None:
            self._held.drop_last_frame()
            self._held.held = False
            self._held = None


def gather_facts(identity: Identity, ledgers: Ledgers) -> dict[str, Any]:
    """Return what must survive a crash, but for messages and entries of calls (RESUME-7, CALL-12).

    Of the peer's direction only what the application has confirmed: the rest comes again,
    unless we have stopped. Plain values: numbers, texts, bytes, tuples of them.
    """
    outbox, inbox, queue, incoming, outgoing = ledgers
    final, finish = outbox.final, inbox.finish
    if finish is not None and inbox.confirmed < finish.number:
        finish = None  # it comes again
    return {
        "role": identity.role,
        "id": identity.id,
        "key": identity.key,
        "incarnation": identity.incarnation,
        "attempt": identity.attempt,
        "peer": tuple(outbox.peer),
        "sent": outbox.confirmed,
        "finish": None if outbox.finish is None else tuple(outbox.finish),
        "settled": None if final is None else tuple(final),
        "confirmed": inbox.confirmed,
        "peer_finish": None if finish is None else tuple(finish),
        "stopped": tuple(inbox.counters()) if inbox.stopped else None,
        "calls": incoming.snapshot(finishing=outbox.finish is not None)
        | outgoing.snapshot()
        | queue.snapshot(),
    }


def pack_facts(identity: Identity, ledgers: Ledgers, about: dict[str, Any]) -> bytes:
    """Return the small facts of a session as a store keeps them."""
    outbox, inbox = ledgers.outbox, ledgers.inbox
    counters = inbox.counters()
    facts = gather_facts(identity, ledgers) | {
        "contact": identity.contact,
        "attached": identity.attached,
        "closing": identity.closing,
        "ended": identity.ended,
        "transmitted": outbox.transmitted,
        "ahead": () if inbox.stopped else counters.ranges,
        "counters": tuple(counters),
        "about": about,
    }
    packed: bytes = msgpack.packb(facts)
    return packed


def pack_run(first: int, items: list[Any]) -> Run:
    """Return messages or entries as a store keeps them."""
    return Run(first, len(items), msgpack.packb(items))


def unpack_run(run: Run) -> list[Any]:
    """Return the messages or entries of a run."""
    items: list[Any] = msgpack.unpackb(run.data, **UNPACK)
    return items


def pack_payload(payload: Payload) -> bytes:
    """Return a message as a store keeps it by itself (:class:`~.stored.KeptSend`)."""
    packed: bytes = msgpack.packb(payload)
    return packed


def unpack_payload(data: bytes) -> Payload:
    """Return a message that :func:`pack_payload` has packed."""
    payload: Payload = msgpack.unpackb(data, **UNPACK)
    return payload


def unpack_facts(facts: bytes) -> dict[str, Any]:
    """Return what :meth:`Durable.take_change` has packed."""
    values: dict[str, Any] = msgpack.unpackb(facts, **UNPACK)
    return values


UNPACK: dict[str, Any] = {
    "use_list": False,
    "strict_map_key": False,
}
