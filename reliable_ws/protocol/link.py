"""One WebSocket's share of a session: the greeting, a cursor, acks told, deadlines, its end.

A link is dropped, never reset: the next WebSocket gets a new one. A link that is over is inert,
so the late death of an old WebSocket can hurt nobody (LINK-4).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgpack

from .codec import decode, encode
from .config import Config
from .errors import Violation
from .events import Event
from .frames import (
    KIND_BYTES,
    KIND_TEXT,
    KIND_VALUE,
    Ack,
    Code,
    Counters,
    Done,
    Finish,
    Frame,
    Limits,
    Messages,
    Part,
    Payload,
    Refuse,
    Stop,
    Want,
    Welcome,
)
from .inbox import NEVER, Inbox
from .outbox import Outbox
from .state import LINK, Phase

__all__ = ["Conversation", "Leaving", "Link"]

HEADROOM = 96
"""Bytes of a WebSocket message that are kept for everything but one message's content."""

LARGEST_PART = 256 * 1024
"""A part is never larger, so that acks and heartbeats pass between parts (PART-1)."""

OVERSLEPT = 1.0
"""Seconds by which a tick may be late before the lateness is taken for our own (LIVE-4)."""


class Leaving(NamedTuple):
    """How to close the WebSocket under a link that is over."""

    code: int
    reason: str
    linger: bool
    "Whether the peer shall close first, and only a bounded time later we (CLOSE-9)."


class Conversation(Protocol):
    """What a link needs of the session that owns it."""

    config: Config
    inbox: Inbox
    outbox: Outbox
    peer: Limits
    frame_limit: int
    wanted: int

    @property
    def muted(self) -> bool: ...
    def greeting(self, link: Link) -> Frame: ...
    def welcomed(self, link: Link, welcome: Welcome, now: float) -> None: ...
    def refused(self, link: Link, refuse: Refuse, now: float) -> None: ...
    def messages_arrived(self, count: int, now: float) -> None: ...
    def finish_arrived(self, finish: Finish, now: float) -> None: ...
    def acked(self, ack: Ack, now: float) -> None: ...
    def peer_stopped(self, counters: Counters, now: float) -> None: ...
    def peer_done(self, link: Link, counters: Counters, now: float) -> None: ...
    def violated(self, link: Link, fault: Violation, now: float) -> None: ...
    def link_over(
        self, link: Link, code: int | None, reason: str, now: float, retry: float | None = None
    ) -> None: ...
    def progressed(self, now: float) -> None: ...
    def settle(self, now: float) -> list[Event]: ...


class Link:
    """Feed it what arrives (:meth:`receive`), pull what to send (:meth:`transmit`)."""

    def __init__(
        self, session: Conversation, phase: Phase, now: float, max_frame: int | None = None
    ) -> None:
        self.session = session
        self.phase = phase
        self.max_frame = min(session.config.max_frame, max_frame or session.config.max_frame)
        "Largest WebSocket message that the transport under us takes."
        self.leaving: Leaving | None = None
        "Set once the link is over: how to close the WebSocket."
        self.cursor = 1
        "Number of the next message to transmit on this link."
        self.offset = 0
        "Bytes of message ``cursor`` that went in parts."
        self.heard_at = now
        self._greeted = False
        self._farewell: Frame | None = None
        self._stop_told = False
        self._told = (0, 0)  # received, confirmed: the last ack on this link
        self._wanted = 0  # the peer waits for the confirmation of this number
        self._asked = 0  # our own highest Want on this link
        self._large: tuple[bytes, int] | None = None  # the message being cut, and its kind
        self._size = 0  # bytes of the WebSocket message being read, until accounted
        self._ack_now = False
        self._ack_by: float | None = None
        self._open_by = now + session.config.open_timeout
        self._idle_by = now + session.config.idle_timeout
        self._speak_by = NEVER

    def __repr__(self) -> str:
        """Where it stands, for logs."""
        return f"<Link {self.phase.value} cursor={self.cursor}>"

    # ------------------------------------------------------------------ the network

    def receive(self, data: bytes | str, now: float) -> list[Event]:
        """Take in one WebSocket message; return what happened. Never raises."""
        if self.phase is Phase.OVER:
            return []
        self.heard_at = now
        self._idle_by = now + self.session.config.idle_timeout
        self._size = len(data)
        try:
            for frame in decode(data, self.max_frame):
                after = LINK[self.phase].get(type(frame))
                if after is None:
                    if self.phase is Phase.OVER:
                        break  # behind a Refuse or a Done (LINK-5)
                    raise Violation(
                        Code.VIOLATION, f"{type(frame).__name__} when {self.phase.value}"
                    )
                self._accept(frame, now)
                if self.phase is not Phase.OVER:
                    self.phase = after
        except Violation as fault:
            self.session.violated(self, fault, now)
        return self.session.settle(now)

    def _accept(self, frame: Frame, now: float) -> None:
        session = self.session
        match frame:
            case Messages(first, payloads):
                if not session.inbox.stopped:
                    session.inbox.arrived(first, payloads, self._take_size())
                    session.messages_arrived(len(payloads), now)
            case Ack():
                if frame.received >= self.cursor:
                    raise Violation(Code.VIOLATION, "an ack of what was never sent")
                session.acked(frame, now)
            case Want(number):
                if number > session.inbox.received + session.config.window_messages:
                    raise Violation(Code.VIOLATION, "Want beyond the window")
                self._wanted = max(self._wanted, number)
            case Part():
                if not session.inbox.stopped:
                    whole = session.inbox.arrived_part(frame)
                    session.messages_arrived(1 if whole else 0, now)
            case Finish():
                if not session.inbox.stopped:
                    session.inbox.arrived_finish(frame)
                    session.finish_arrived(frame, now)
            case Stop(counters):
                self._settled_by(counters)
                session.peer_stopped(counters, now)
            case Done(counters):
                self._settled_by(counters)
                session.peer_done(self, counters, now)
            case Welcome():
                session.welcomed(self, frame, now)
            case Refuse(counters=counters):
                if counters is not None and self.phase is not Phase.DIALING:
                    self._settled_by(counters)
                session.refused(self, frame, now)

    def _settled_by(self, counters: Counters) -> None:
        if counters.received >= self.cursor:
            raise Violation(Code.VIOLATION, "counters of what was never sent")

    def _take_size(self) -> int:
        size, self._size = self._size, 0
        return size

    def opened(self, peer_received: int, peer_partial: int, now: float) -> None:
        """Start at what the peer has received (RESUME-4)."""
        self.cursor = peer_received + 1
        self.offset = peer_partial
        self._idle_by = now + self.session.config.idle_timeout
        self._spoke(now)

    def lost(self, code: int | None, reason: str, now: float) -> list[Event]:
        """Say that the WebSocket under this link is gone."""
        if self.phase is not Phase.OVER:
            self.leave(code or Code.GOING_AWAY, reason)
            self.session.link_over(self, code, reason, now)
        return self.session.settle(now)

    def leave(
        self, code: int, reason: str = "", farewell: Frame | None = None, *, linger: bool = False
    ) -> None:
        """Become inert; ``farewell`` is the last thing that :meth:`transmit` gives."""
        if self.leaving is None:
            self.phase = Phase.OVER
            self.leaving = Leaving(code, reason, linger)
            self._farewell = farewell

    # ------------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick`."""
        if self.phase is Phase.OVER:
            return NEVER
        if self.phase is Phase.DIALING:
            return self._open_by
        return min(self._idle_by, self._speak_by, self._ack_by or NEVER)

    def tick(self, now: float) -> None:
        """Do what is due; every deadline that has passed moves."""
        if self.phase is Phase.OVER:
            return
        if self.phase is Phase.DIALING:
            if now >= self._open_by:
                self._silent(now)
            return
        if now >= self._speak_by:  # LIVE-2
            self._ack_now = True
            self._spoke(now)
        if self._ack_by is not None and now >= self._ack_by:
            self._ack_now = True
            self._ack_by = None
        if now >= self._idle_by:
            if now - self._idle_by > OVERSLEPT:  # it was us who were not there (LIVE-4)
                self._idle_by = now + self.session.config.idle_timeout / 3
            else:
                self._silent(now)

    def _silent(self, now: float) -> None:
        self.leave(Code.SILENT, "nothing heard in time")
        self.session.link_over(self, Code.SILENT, "nothing heard in time", now)

    def _spoke(self, now: float) -> None:
        self._speak_by = now + self.session.peer.idle_ms / 3000

    # ------------------------------------------------------------------ what to send

    def transmit(self, now: float) -> bytes | None:
        """Return the next WebSocket message to send, or ``None`` if there is none for now.

        What it returns counts as transmitted. Call it again until it gives ``None``, whenever
        something happened and the transport has room.
        """
        if self.phase is Phase.OVER:
            farewell, self._farewell = self._farewell, None
            return None if farewell is None else encode([farewell])
        if not self._greeted:
            self._greeted = True
            greeting = self.session.greeting(self)
            return encode([greeting])
        if self.phase is Phase.DIALING:
            return None
        frames = self._sequenced()
        inbox = self.session.inbox
        if inbox.stopped and not self._stop_told:
            counters = inbox.counters()
            self.tell(counters)
            frames.insert(0, Stop(counters))
        wanted = self.session.wanted
        if wanted > self._asked and wanted > self.session.outbox.confirmed and wanted < self.cursor:
            self._asked = wanted
            frames.insert(0, Want(wanted))
        self._add_ack(frames, now)
        if not frames:
            return None
        self._spoke(now)
        if type(frames[-1]) is Part:
            self.session.progressed(now)
        return encode(frames)

    def tell(self, counters: Counters) -> None:
        """Note that the peer is being told these, in a greeting or a Stop."""
        self._told = (counters.received, counters.confirmed)
        self._stop_told = counters.stopped

    def _add_ack(self, frames: list[Frame], now: float) -> None:
        """Put an Ack first if one is due, or if it can ride (ACK-2, ACK-3, ACK-4)."""
        inbox = self.session.inbox
        news = (inbox.received, inbox.confirmed)
        at = self._due_at()
        if self._ack_now or (news != self._told and (frames or inbox.confirmed >= at)):
            frames.insert(0, Ack(*news))
            self._told = news
            self._ack_now = False
            self._ack_by = None
            at = self._due_at()
        elif news != self._told and self._ack_by is None:
            self._ack_by = now + self.session.config.ack_delay
        inbox.watch(inbox.confirmed + 1 if self._ack_by is None else at)

    def _due_at(self) -> int:
        """Number whose confirmation must be told at once."""
        inbox, told = self.session.inbox, self._told[1]
        if inbox.stopped:
            return NEVER
        at = told + max(1, self.session.config.window_messages // 4)
        if told < self._wanted < at:
            at = self._wanted
        marks = inbox.byte_marks
        while marks and marks[0] <= told:
            marks.popleft()
        if marks and marks[0] < at:
            at = marks[0]
        finish = inbox.finish
        if finish is not None and told < finish.number < at:
            at = finish.number
        return at

    def _sequenced(self) -> list[Frame]:
        """The next run, part or Finish that the window lets go (WINDOW-1)."""
        outbox = self.session.outbox
        if self.cursor > outbox.last or self.session.muted:
            return []
        frames: list[Frame] = []
        finish = outbox.finish
        if self.cursor <= outbox.messages:
            frame = self._cut()
            if frame is None:
                return frames
            frames.append(frame)
        if finish is not None and self.cursor == finish.number:
            frames.append(finish)
            self.cursor += 1
        outbox.transmitted = max(outbox.transmitted, self.cursor - 1)
        return frames

    def _cut(self) -> Messages | Part | None:
        session, outbox, cursor = self.session, self.session.outbox, self.cursor
        config, peer = session.config, session.peer
        room = outbox.confirmed + peer.window_messages - cursor + 1
        if room <= 0:
            return None
        before = outbox.end_of(cursor - 1)
        weight_room = outbox.released + peer.window_bytes - before
        most = session.frame_limit - HEADROOM
        if not self.offset:
            count = min(room, config.batch_messages, max(1, peer.window_messages // 4))
            weight = min(weight_room, config.batch_bytes, most)
            payloads = outbox.run(cursor, count, weight)
            if payloads:
                self.cursor += len(payloads)
                return Messages(cursor, payloads)
            weight = outbox.end_of(cursor) - before
            if weight > weight_room and cursor > outbox.confirmed + 1:
                return None  # a message above the window goes alone (WINDOW-3)
            if weight <= most:
                self.cursor += 1
                return Messages(cursor, [outbox.payload(cursor)])
        return self._slice(outbox.payload(cursor), min(most, LARGEST_PART))

    def _slice(self, payload: Payload, length: int) -> Part:
        """Cut the next part of message ``cursor`` (PART-1)."""
        number, offset = self.cursor, self.offset
        if self._large is None:
            self._large = _content(payload)
        content, kind = self._large
        data = content[offset : offset + length]
        self.offset += len(data)
        if self.offset >= len(content):
            self.cursor += 1
            self.offset = 0
            self._large = None
        return Part(number, offset, len(content), kind, data)


def _content(payload: Payload) -> tuple[bytes, int]:
    if isinstance(payload, str):
        return payload.encode(), KIND_TEXT
    if isinstance(payload, msgpack.ExtType):
        return payload.data, KIND_VALUE
    return payload, KIND_BYTES
