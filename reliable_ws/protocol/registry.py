"""The acceptor's registry: sessions that live, and tombstones of those that ended.

Theory of operation. A WebSocket whose Hello has not come is an :class:`Arrival`. The registry
answers the Hello (:meth:`SessionRegistry.answer`) in one of four ways:

- The session lives, and the Hello has its key, its principal and a higher attempt: a new link.
- The session has ended, and a tombstone is left: Refuse, with the final counters. So an initiator
  that lost its WebSocket at the end still learns what became of its messages.
- The session is not known, and the Hello says that it is new: make one, within the limits.
- Anything else: Refuse. The answer to a wrong key is the answer to an unknown session.

A session moves from ``_sessions`` to ``_tombstones`` in :meth:`SessionRegistry.retire`. An id is
never in both. Everything is bounded: sessions, and those of one principal, where a detached one
makes room for a new one (:meth:`SessionRegistry._make_room`); bytes of all sessions, and of those
of one principal, where the one that holds most ends (:meth:`SessionRegistry.evict`); tombstones by
number and by age.
"""

from __future__ import annotations

import bisect
import hashlib
import heapq
import hmac
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from .codec import decode, encode
from .config import DEFAULT_CONFIG, MIN_FRAME, Config
from .deadline import NEVER
from .errors import Violation
from .events import Event
from .frames import VERSION, Code, Counters, Frame, Hello, Refuse
from .handshake import codecs_differ, told_codec
from .link import CloseAction, Link
from .payload import DEFAULT_CODEC, PayloadCodec
from .report import End, Ending
from .session import Session

__all__ = ["Arrival", "SessionRegistry", "Tombstone", "hash_key"]

NOTE_INTERVAL = 60.0
"""Seconds between two log lines about Hellos that are refused with the same code."""

WHY_UNKNOWN = (
    "this server was restarted, the session was away for too long, or another worker or server has "
    "it (docs/proxies.md)"
)

NO_KEY = bytes(32)
"""A key hash that no key has; compared with, where there is none, to take the same time."""

SPARE_LOOK_INTERVAL = 1e-5
"""Seconds per session between two looks through all of them for those that may make room. A look
takes less than a twentieth of that. Meanwhile a new one is told to come again (REFUSE-3)."""

MAX_GREETING = MIN_FRAME
"""Bytes; no greeting has more, and nothing larger is read of a peer that has not greeted."""

LONGEST_TTL = 3600.0
"""Seconds; a peer that announces a longer retry time is not remembered for longer (TOMB-3)."""


def hash_key(key: bytes) -> bytes:
    """Return what an acceptor keeps of a session's key (HELLO-16)."""
    return hashlib.sha256(key).digest()


class Tombstone(NamedTuple):
    """What is remembered of a session that has ended (TOMB-1)."""

    key: bytes
    incarnation: int
    attempt: int
    counters: Counters
    principal: Hashable
    until: float
    session: Session | None = None
    "With a store: the session, whose end may not be kept yet."

    @property
    def is_kept(self) -> bool:
        """Whether the peer may be told of it (STORE-4).

        It is told nothing of a session that another process goes on with (STORE-9).
        """
        session = self.session
        return session is None or (session.is_kept and not session.is_left)


class Arrival:
    """One WebSocket at the acceptor, until its Hello has been answered."""

    def __init__(
        self, registry: SessionRegistry, now: float, principal: Hashable, max_frame: int | None
    ) -> None:
        self.registry = registry
        self.principal = principal
        self.max_frame = min(registry.config.max_frame, max_frame or registry.config.max_frame)
        self.link: Link | None = None
        "Set when the Hello was good: from then on, drive this instead of the arrival."
        self.session: Session | None = None
        "Whose link it is."
        self.placed: bytes | None = None
        "In a cluster: the session that was registered for this Hello, unless it was there before."
        self.relayed = False
        "Whether another process has answered, and the WebSocket was passed on to it."
        self.fresh = False
        "Whether this Hello made the session."
        self.note = ""
        "What the log should say of this arrival. The peer is never told."
        self.close_action: CloseAction | None = None
        self._last_frame: Frame | None = None
        self._by = now + registry.config.open_timeout

    def receive(self, data: bytes | str, now: float) -> list[Event]:
        """Take in the first message; return the session's events. Never raises."""
        if self.link is not None or self.close_action is not None:
            return []
        try:
            frames = decode(data, min(self.max_frame, MAX_GREETING))  # FRAME-17
            if len(frames) != 1 or not isinstance(frames[0], Hello):  # HELLO-1
                raise Violation(Code.MALFORMED, "the first message is Hello, alone")
            return self.registry.answer(self, frames[0], now)
        except Violation as fault:
            self.refuse(fault.code, fault.reason)
            return []

    def peek(self, data: bytes | str) -> Hello | None:
        """Return the Hello of the first message, and change nothing; ``None``: it holds none."""
        try:
            frames = decode(data, min(self.max_frame, MAX_GREETING))
        except Violation:
            return None
        frame = frames[0]
        return frame if len(frames) == 1 and isinstance(frame, Hello) else None

    @staticmethod
    def key_hash(hello: Hello) -> bytes:
        """Return what is kept of the key of a session that does not live yet (HELLO-16)."""
        return hash_key(hello.key)

    @property
    def refusal(self) -> str:
        """Why there is no session, in words."""
        why = f": {self.close_action.reason}" if self.close_action is not None else ""
        return f"the peer did not greet with a good Hello{why}"

    def refuse(self, code: int, reason: str, counters: Counters | None = None) -> None:
        """Answer with a Refuse; busy means: come again (REFUSE-3)."""
        refused = self.registry.refused
        refused[code] = refused.get(code, 0) + 1
        retry_ms = 1000 if code >= Code.AWAY else 0
        self._last_frame = Refuse(code, reason, retry_ms, counters)
        self.close_action = CloseAction(code, reason, linger=True)

    def transmit(self, _now: float) -> bytes | None:
        """Return the Refuse, once."""
        last_frame, self._last_frame = self._last_frame, None
        return None if last_frame is None else encode([last_frame])

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick`."""
        return NEVER if self.close_action is not None or self.link is not None else self._by

    def tick(self, now: float) -> None:
        """Refuse a WebSocket that stays silent (LIVE-1)."""
        if now >= self.deadline:
            self.refuse(Code.NO_HELLO, "no Hello in time")


class SessionRegistry:
    """Every session of one acceptor, by id."""

    def __init__(
        self, incarnation: int, config: Config | None = None, codec: PayloadCodec | None = None
    ) -> None:
        """``incarnation``: where to begin to count them, drawn at random by the driver."""
        self.config = config or DEFAULT_CONFIG
        self.codec = codec or DEFAULT_CODEC
        self._told_codec = told_codec(self.codec)
        self.draining = False
        "Whether new sessions are refused; resumes are still answered."
        self.evicted: list[tuple[Session, list[Event]]] = []
        "Sessions that were ended here since :meth:`take_evicted`, each with what happened."
        self.leaving = False
        "Whether the next process takes over: whoever comes is told to come again (STORE-9)."
        self._left: set[bytes] = set()  # sessions that are left to it
        self.shared = False
        """Whether a cluster knows where sessions are that were left: then nothing is remembered of
        them here, and they may come back."""
        self.about: Callable[[Hashable], dict[str, Any]] | None = None
        """With a store: returns what is kept beside a new session of a principal. It raises
        :class:`~.errors.Violation` to refuse one that cannot be kept."""
        self._incarnation = incarnation
        self.refused: dict[int, int] = {}
        "How many WebSockets were refused, by code."
        self._note_from: dict[int, float] = {}  # by code, when the next refusal is worth a line
        self._sessions: dict[bytes, Session] = {}
        self._principals: dict[bytes, Hashable] = {}  # of sessions that have one
        # The same sessions; a principal without any has no entry.
        self._by_principal: dict[Hashable, dict[bytes, Session]] = {}
        self._spare: list[tuple[Worth, bytes]] = []  # may make room; the next one is the last
        self._looked_at = -NEVER  # when they were looked for
        self._tombstones: dict[bytes, Tombstone] = {}  # oldest first

    def __len__(self) -> int:
        """Sessions that live."""
        return len(self._sessions)

    def holds(self, session_id: bytes) -> bool:
        """Whether a Hello for this session is answered from what is known here (TOMB-4)."""
        return session_id in self._sessions or session_id in self._tombstones

    @property
    def held(self) -> int:
        """Bytes of messages that all sessions hold together."""
        return sum(session.held for session in self._sessions.values())

    def arrive(
        self, now: float, principal: Hashable = None, max_frame: int | None = None
    ) -> Arrival:
        """Begin with a WebSocket. The application says that its peer is ``principal`` (HELLO-5)."""
        return Arrival(self, now, principal, max_frame)

    def answer(self, arrival: Arrival, hello: Hello, now: float) -> list[Event]:
        """Answer a Hello: resume, create, or refuse.

        Raises:
            Violation: The Hello is refused, and nothing was changed (HELLO-12).
        """
        if not hello.min_version <= VERSION <= hello.max_version:  # HELLO-11
            raise Violation(Code.VERSION, f"this side speaks version {VERSION}")
        if hello.codec != self._told_codec:  # HELLO-18
            fault = codecs_differ(hello.codec, self._told_codec)
            self._note(arrival, hello, fault, now, "both sides need the same payload_codec=")
            raise fault
        session = self._sessions.get(hello.session)
        if session is not None and session.ended is not None:
            self.retire(session, now)
            session = None
        if self.leaving or hello.session in self._left:
            raise Violation(Code.BUSY, "the next process goes on with it")
        tombstone = self._tombstones.get(hello.session)
        known = session or tombstone
        if known is None and hello.incarnation:
            fault = Violation(Code.UNKNOWN, "the session is not known here")
            self._note(arrival, hello, fault, now, WHY_UNKNOWN)
        if not self._is_holder(known, hello, arrival):
            raise Violation(Code.UNKNOWN, "no such session here")
        if known is not None and hello.attempt <= known.attempt:  # RESUME-1, RESUME-9
            raise Violation(Code.SUPERSEDED, "a later attempt was seen")
        if tombstone is not None and not tombstone.is_kept:
            raise Violation(Code.BUSY, "this session is being stored")
        if tombstone is not None:  # TOMB-4
            self._tombstones[hello.session] = tombstone._replace(attempt=hello.attempt)
            final = _final_counters(tombstone.counters, hello)
            arrival.refuse(Code.ENDED, "this session has ended", final)
            return []
        if session is not None and session.attached:
            self._check_takeover(arrival, session, hello, now)
        arrival.fresh = session is None
        if session is None:  # only a new one can be one too many (REFUSE-6)
            session = self._create(hello, arrival.principal, now)
        return self._attach(arrival, session, hello, now)

    def _is_holder(self, known: Session | Tombstone | None, hello: Hello, arrival: Arrival) -> bool:
        """Whether this Hello may touch what is known under its id (HELLO-3, HELLO-5, HELLO-14).

        The same work and the same answer for "unknown", "wrong key" and "not yours".
        """
        right = hmac.compare_digest(known.key if known else NO_KEY, hash_key(hello.key))
        if known is None:  # a session is made only for a Hello that knows none (HELLO-9)
            return hello.incarnation == 0  # else it asks too late (TOMB-5)
        owner = (
            known.principal if isinstance(known, Tombstone) else self._principals.get(hello.session)
        )
        right = right and hello.incarnation in (0, known.incarnation)
        if right and owner != arrival.principal:
            arrival.note = (
                f"session {hello.session.hex()[:8]}: a resume was refused, because the session is "
                f"of the principal {owner!r:.100}, and the WebSocket of {arrival.principal!r:.100}"
            )
            return False
        return right

    def _check_takeover(self, arrival: Arrival, session: Session, hello: Hello, now: float) -> None:
        """Refuse a Hello from an old copy of the state of who has an open link (RESUME-14)."""
        try:
            session.check(hello)
        except Violation as fault:
            words = f"an old copy, and another WebSocket carries the session: {fault.reason}"
            rival = Violation(Code.SUPERSEDED, words)
            self._note(arrival, hello, rival, now, "two programs use one session")
            raise rival from None

    def _note(
        self, arrival: Arrival, hello: Hello, fault: Violation, now: float, advice: str
    ) -> None:
        """Have it logged why a Hello is refused, once in a while for each code.

        Anybody may send one, so there is a bound to what that writes.
        """
        if now >= self._note_from.get(fault.code, -NEVER):
            self._note_from[fault.code] = now + NOTE_INTERVAL
            of = "" if arrival.principal is None else f" of {arrival.principal!r:.100}"
            arrival.note = (
                f"session {hello.session.hex()[:8]}{of}: refused ({fault.code}), {fault.reason}: "
                f"{advice}"
            )

    def _create(self, hello: Hello, principal: Hashable, now: float) -> Session:
        """Make a session, within the bounds of this acceptor (LIMIT-3)."""
        config = self.config
        if self.draining:
            raise Violation(Code.BUSY, "going away")
        if principal is not None:
            theirs = self._by_principal.get(principal, {})
            if len(theirs) >= config.max_per_principal and not self._make_room(theirs, now):
                raise Violation(Code.BUSY, "too many sessions of one principal")
        if len(self._sessions) >= config.max_sessions and not self._make_room_for_any(now):
            raise Violation(Code.BUSY, "too many sessions")
        self._incarnation += 1
        session = Session(
            "acceptor",
            hello.session,
            hash_key(hello.key),
            now,
            config,
            self.codec,
            incarnation=self._incarnation,
        )
        if self.about is not None:
            session.keep_in_store(self.about(principal))
        self._add(session, principal)
        return session

    def _add(self, session: Session, principal: Hashable) -> None:
        self._sessions[session.id] = session
        if principal is not None:
            self._principals[session.id] = principal
        self._by_principal.setdefault(principal, {})[session.id] = session

    def _attach(self, arrival: Arrival, session: Session, hello: Hello, now: float) -> list[Event]:
        arrival.session = session
        try:
            arrival.link = session.answer(hello, now, arrival.max_frame, resumed=not arrival.fresh)
        except Violation as fault:  # its true holder has lost the state (RESUME-11)
            events = session.end(now, Ending(End.VIOLATION, fault.code, fault.reason))
            final = _final_counters(session.inbox.counters(), hello)
            arrival.refuse(fault.code, fault.reason, final)
            return events
        return session.poll(now)

    def ended(self, session_id: bytes) -> Session | None:
        """Return a session that had a store and has ended, while its tombstone is remembered."""
        tombstone = self._tombstones.get(session_id)
        return None if tombstone is None else tombstone.session

    def retire(self, session: Session, now: float) -> None:
        """Replace a session that has ended by its tombstone (TOMB-1). Again: no effect."""
        if self._sessions.get(session.id) is not session:
            return
        del self._sessions[session.id]
        principal = self._principals.pop(session.id, None)
        theirs = self._by_principal[principal]
        del theirs[session.id]
        if not theirs:
            del self._by_principal[principal]
        if session.ended is not None and session.ended.kind is End.KEPT:
            if not self.shared:
                self._left.add(session.id)  # it has not ended: the store has it
            return
        ttl = max(self.config.session_ttl, min(session.outbox.peer.ttl_ms / 1000, LONGEST_TTL))
        self._tombstones[session.id] = Tombstone(
            session.key,
            session.incarnation,
            session.attempt,
            session.inbox.counters(),
            principal,
            now + 2 * ttl,
            None if session.durable is None else session,
        )
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop tombstones that are too old or too many (TOMB-2)."""
        tombstones = self._tombstones
        while tombstones:
            session_id = next(iter(tombstones))  # the oldest
            full = len(tombstones) > self.config.max_tombstones
            if tombstones[session_id].until > now and not full:
                break
            del tombstones[session_id]

    # ------------------------------------------------------------------ a store

    def restore(self, session: Session, principal: Hashable) -> None:
        """Take in a session that a store had kept. It waits for its peer."""
        self._add(session, principal)
        self._incarnation = max(self._incarnation, session.incarnation)

    def restore_tombstone(self, session_id: bytes, tombstone: Tombstone) -> None:
        """Take in what a store had kept of a session that has ended."""
        self._tombstones[session_id] = tombstone
        self._incarnation = max(self._incarnation, tombstone.incarnation)

    # ------------------------------------------------------------------ making room

    def _make_room(self, sessions: dict[bytes, Session], now: float) -> bool:
        """End the detached one of these that is missed least (LIMIT-6); whether there was one."""
        spare = _spare(sessions.values())
        if not spare:
            return False
        self._end(self._sessions[min(spare)[1]], now, "made room for a newer session")
        return True

    def _make_room_for_any(self, now: float) -> bool:
        """End the detached session that is missed least (LIMIT-6); whether there was one.

        Looking through all sessions takes milliseconds, so one look is for several times: not for
        many, as those that come meanwhile may be missed less.
        """
        while True:
            while self._spare:
                worth, session_id = self._spare.pop()
                session = self._sessions.get(session_id)
                if session is not None and not session.attached and _worth(session) == worth:
                    self._end(session, now, "made room for a newer session")
                    return True
            if now < self._looked_at + SPARE_LOOK_INTERVAL * len(self._sessions):
                return False
            self._looked_at = now
            spare = sorted(_spare(self._sessions.values()))
            self._spare = spare[len(spare) // 64 :: -1]

    def _end(self, session: Session, now: float, words: str) -> None:
        """End a session, and have the driver told (:meth:`take_evicted`)."""
        events = session.end(now, Ending(End.EXPIRED, Code.ENDED, words))
        self.evicted.append((session, events))
        self.retire(session, now)

    def take_evicted(self) -> list[tuple[Session, list[Event]]]:
        """Return the sessions that were ended here since the last call, with what happened.

        Dispatch the events. To be called after an :meth:`answer` that leaves any.
        """
        evicted, self.evicted = self.evicted, []
        return evicted

    def evict(self, now: float) -> list[tuple[Session, list[Event]]]:
        """End what holds too much (LIMIT-4), and return it as :meth:`take_evicted` does."""
        self._forget(now)
        share = self.config.max_bytes_per_principal
        total = self.held
        if total > min(share, self.config.max_bytes):
            excess = total - self.config.max_bytes
            holders = self._holders()
            while holders and (excess > 0 or holders[0].total > share):
                holder = heapq.heappop(holders)
                held = holder.held.pop()
                freed = self._free(held.session, now)
                excess -= freed
                holder.total -= freed
                if held.session.ended is None:  # what it held of a message in parts was enough
                    bisect.insort(holder.held, Held(held.session))
                if holder.held:
                    heapq.heappush(holders, holder)
        return self.take_evicted()

    def _holders(self) -> list[Holder]:
        """Return a heap of principals: first the one that holds most.

        A session without a principal stands for itself.
        """
        holders = []
        for principal, theirs in self._by_principal.items():
            held = sorted(map(Held, theirs.values()))
            if principal is None:
                holders += [Holder([one]) for one in held]
            else:
                holders.append(Holder(held))
        heapq.heapify(holders)
        return holders

    def _free(self, session: Session, now: float) -> int:
        """Take bytes from a session, as harmlessly as can be; return how many."""
        partial = 0 if session.attached else session.drop_partial()
        if partial:
            return partial
        held = session.held
        self._end(session, now, "it held too much memory")
        return held


class Held:
    """What one session holds. The last one in order is the first to end."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.size = session.held
        "In bytes."
        self._order = (self.size, not session.attached, -session.timers.contact_at)

    def __lt__(self, other: Held) -> bool:
        """By size; of two that hold the same, the one that was silent for longest ends first."""
        return self._order < other._order


class Holder:
    """What the sessions of one principal hold together. The first one in order gives first."""

    def __init__(self, held: list[Held]) -> None:
        self.held = held
        "In order."
        self.total = sum(one.size for one in held)
        "In bytes."

    def __lt__(self, other: Holder) -> bool:
        """By size; of two that hold the same, by the session that would end."""
        if self.total != other.total:
            return self.total > other.total
        return other.held[-1] < self.held[-1]


Worth = tuple[bool, float]
"""How much a detached session is missed: whether anything was ever said in it, its last contact."""


def _worth(session: Session) -> Worth:
    used = session.outbox.last or session.inbox.received or session.call_queue.last
    return bool(used or session.incoming_calls.received), session.timers.contact_at


def _final_counters(counters: Counters, hello: Hello) -> Counters | None:
    """Return the counters for a Refuse; ``None``: the initiator knows better (RESUME-13)."""
    return None if counters.confirmed < hello.position.first - 1 else counters


def _spare(sessions: Iterable[Session]) -> list[tuple[Worth, bytes]]:
    """Return those that may make room for another one."""
    return [(_worth(session), session.id) for session in sessions if not session.attached]
