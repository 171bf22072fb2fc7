"""The acceptor's registry: sessions that live, and tombstones of those that ended.

Theory of operation. A WebSocket whose Hello has not come is an :class:`Arrival`. The registry
answers the Hello (:meth:`SessionRegistry.answer`) in one of four ways:

- The session lives, and the Hello has its key, its principal and a higher attempt: a new link.
- The session has ended, and a tombstone is left: Refuse, with the final counters. So an initiator
  that lost its WebSocket at the end still learns what became of its messages.
- The session is not known, and the Hello says that it is new: make one, within the limits.
- Anything else: Refuse. The answer to a wrong key is the answer to an unknown session.

A session moves from ``_sessions`` to ``_tombstones`` in :meth:`SessionRegistry.retire`. An id is
never in both. Everything is bounded: sessions, sessions of one principal, bytes of all sessions
(:meth:`SessionRegistry.evict`), tombstones by number and by age.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple

from .codec import decode, encode
from .config import Config
from .deadline import NEVER
from .errors import Violation
from .events import Event
from .frames import VERSION, Code, Counters, Frame, Hello, Refuse
from .link import CloseAction, Link
from .payload import PayloadCodec
from .report import End, Ending
from .session import Session

__all__ = ["Arrival", "SessionRegistry", "Tombstone", "hash_key"]

NOBODY = bytes(32)
"""A key hash that no key has; compared with, where there is none, to take the same time."""

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
        self.fresh = False
        "Whether this Hello made the session."
        self.close_action: CloseAction | None = None
        self._last_frame: Frame | None = None
        self._by = now + registry.config.open_timeout

    def receive(self, data: bytes | str, now: float) -> list[Event]:
        """Take in the first message; return the session's events. Never raises."""
        if self.link is not None or self.close_action is not None:
            return []
        try:
            frames = decode(data, self.max_frame)
            if len(frames) != 1 or not isinstance(frames[0], Hello):  # HELLO-1
                raise Violation(Code.MALFORMED, "the first message is Hello, alone")
            return self.registry.answer(self, frames[0], now)
        except Violation as fault:
            self.refuse(fault.code, fault.reason)
            return []

    def refuse(self, code: int, reason: str, counters: Counters | None = None) -> None:
        """Answer with a Refuse; busy means: come again (REFUSE-3)."""
        retry_ms = 1000 if code >= Code.NO_HELLO else 0
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
        self.config = config or Config()
        self.codec = codec
        self.draining = False
        "Whether new sessions are refused; resumes are still answered."
        self.full = False
        "Whether new sessions are refused for a while: all together hold too much (LIMIT-4)."
        self._incarnation = incarnation
        self._sessions: dict[bytes, Session] = {}
        self._principals: dict[bytes, Hashable] = {}  # the same keys as _sessions
        self._per_principal: Counter[Hashable] = Counter()  # sessions that live; no zeros
        self._tombstones: dict[bytes, Tombstone] = {}  # oldest first

    def __len__(self) -> int:
        """Sessions that live."""
        return len(self._sessions)

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
        session = self._sessions.get(hello.session)
        if session is not None and session.ended is not None:
            self.retire(session, now)
            session = None
        tombstone = self._tombstones.get(hello.session)
        known = session or tombstone
        if not self._is_holder(known, hello, arrival.principal):
            raise Violation(Code.UNKNOWN, "no such session here")
        if known is not None and hello.attempt <= known.attempt:  # RESUME-1, RESUME-9
            raise Violation(Code.SUPERSEDED, "a later attempt was seen")
        if tombstone is not None:  # TOMB-4
            self._tombstones[hello.session] = tombstone._replace(attempt=hello.attempt)
            arrival.refuse(Code.ENDED, "this session has ended", tombstone.counters)
            return []
        arrival.fresh = session is None
        if session is None:  # only a new one can be one too many (REFUSE-6)
            session = self._create(hello, arrival.principal, now)
        return self._attach(arrival, session, hello, now)

    def _is_holder(
        self, known: Session | Tombstone | None, hello: Hello, principal: Hashable
    ) -> bool:
        """Whether this Hello may touch what is known under its id (HELLO-3, HELLO-5, HELLO-14).

        The same work and the same answer for "unknown", "wrong key" and "not yours".
        """
        right = hmac.compare_digest(known.key if known else NOBODY, hash_key(hello.key))
        if known is None:  # a session is made only for a Hello that knows none (HELLO-9)
            return hello.incarnation == 0  # else it asks too late (TOMB-5)
        owner = known.principal if isinstance(known, Tombstone) else self._principals[hello.session]
        return right and owner == principal and hello.incarnation in (0, known.incarnation)

    def _create(self, hello: Hello, principal: Hashable, now: float) -> Session:
        """Make a session, within the bounds of this acceptor (LIMIT-3)."""
        config = self.config
        if self.draining:
            raise Violation(Code.BUSY, "going away")
        if self.full:
            raise Violation(Code.BUSY, "too much is held for the sessions there are")
        if len(self._sessions) >= config.max_sessions:
            raise Violation(Code.BUSY, "too many sessions")
        if principal is not None and self._per_principal[principal] >= config.max_per_principal:
            raise Violation(Code.BUSY, "too many sessions of one principal")
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
        self._sessions[session.id] = session
        self._principals[session.id] = principal
        self._per_principal[principal] += 1
        return session

    def _attach(self, arrival: Arrival, session: Session, hello: Hello, now: float) -> list[Event]:
        arrival.session = session
        try:
            arrival.link = session.answer(hello, now, arrival.max_frame, resumed=not arrival.fresh)
        except Violation as fault:  # its true holder has lost the state (RESUME-11)
            events = session.end(now, Ending(End.VIOLATION, fault.code, fault.reason))
            arrival.refuse(fault.code, fault.reason, session.inbox.counters())
            return events
        return session.poll(now)

    def retire(self, session: Session, now: float) -> None:
        """Replace a session that has ended by its tombstone (TOMB-1). Again: no effect."""
        if self._sessions.get(session.id) is not session:
            return
        del self._sessions[session.id]
        principal = self._principals.pop(session.id)
        self._per_principal[principal] -= 1
        if not self._per_principal[principal]:
            del self._per_principal[principal]
        ttl = max(self.config.session_ttl, min(session.outbox.peer.ttl_ms / 1000, LONGEST_TTL))
        self._tombstones[session.id] = Tombstone(
            session.key,
            session.incarnation,
            session.attempt,
            session.inbox.counters(),
            principal,
            now + 2 * ttl,
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

    def evict(self, now: float) -> list[tuple[Session, list[Event]]]:
        """End detached sessions, oldest contact first, while all hold too much (LIMIT-4).

        Returns those that it ended, each with what happened: dispatch that, and retire it.
        """
        self._forget(now)
        excess = self.held - self.config.max_bytes
        ended = []
        for session in sorted(
            self._sessions.values(), key=lambda session: session.timers.contact_at
        ):
            if excess <= 0:
                break
            if not session.attached and session.held:
                excess -= session.held
                ending = Ending(End.EXPIRED, Code.ENDED, "memory budget")
                ended.append((session, session.end(now, ending)))
        self.full = excess > 0  # what is left is attached: it drains, or times out
        return ended
