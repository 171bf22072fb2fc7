"""One WebSocket's share of a session: the greeting, a cursor, acks told, deadlines, its end.

A link is dropped, never reset: the next WebSocket gets a new one. A link that is over is inert,
so the late death of an old WebSocket can hurt nobody (LINK-4).
"""

from __future__ import annotations

from typing import Any

from .acks import Acks
from .calls.cursor import CallCursor
from .calls.outgoing import BEHIND_FINISH
from .codec import decode, encode
from .config import LEAST_IDLE_MS, OVERSLEPT
from .cursor import Cursor
from .errors import Violation
from .events import Event
from .frames import (
    Ack,
    CallAck,
    CallPosition,
    Calls,
    Code,
    Counters,
    Done,
    Finish,
    Frame,
    Messages,
    Part,
    Refuse,
    Stop,
    Want,
    Welcome,
    new_unchecked,
)
from .inbox import NEVER
from .owner import CloseAction, Owner
from .payload import seal_weight
from .state import LINK, Phase

__all__ = ["Link"]


class Link:
    """Feed it what arrives (:meth:`receive`), pull what to send (:meth:`transmit`)."""

    def __init__(
        self, session: Owner[Link], phase: Phase, now: float, max_frame: int | None = None
    ) -> None:
        config = session.config
        self.session = session
        self.enter(phase)
        self.max_frame = min(config.max_frame, max_frame or config.max_frame)
        "Largest WebSocket message that the transport under us takes."
        self.close_action: CloseAction | None = None
        "Set once the link is over: how to close the WebSocket."
        self.cursor = Cursor(session.outbox, config)
        self.acks = Acks(session.inbox, config)
        self.calls = CallCursor(session.calls, config)
        self.heard_at = now if phase is Phase.ACCEPTED else -NEVER
        self._inbox = session.inbox
        self._outbox = session.outbox
        self.greeted = False
        self._last_frame: Frame | None = None
        self._stop_told = False
        self._asked = 0  # our highest Want on this link
        self._size = 0  # bytes of the WebSocket message being read, until accounted; -1: weigh them
        self._idle_timeout = config.idle_timeout
        self._open_by = now + config.open_timeout
        self._speak_every = config.idle_timeout / 3
        self._speak_by: float = NEVER

    def __repr__(self) -> str:
        """Where it stands, for logs."""
        return f"<Link {self.phase.value} cursor={self.cursor.number}>"

    # ------------------------------------------------------------------ the network

    def receive(self, data: bytes | str, now: float) -> list[Event]:
        """Take in one WebSocket message; return what happened. Never raises."""
        if self.phase is Phase.OVER:
            return []
        self.heard_at = now
        try:
            frames = decode(data, self.max_frame)
            self._size = -1 if len(frames) > 1 and Calls in map(type, frames) else len(data)
            for frame in frames:  # in their order (FRAME-9)
                kind = type(frame)
                if kind not in self._accepts:
                    if self.close_action is not None:
                        break  # behind a Refuse or a Done (LINK-5)
                    raise Violation(Code.VIOLATION, f"{kind.__name__} when {self.phase.value}")
                _ACCEPT[kind](self, frame, now)
        except Violation as fault:
            self.session.violated(self, fault, now)
        return self.session.settle(now)

    def enter(self, phase: Phase) -> None:
        """Move to a phase, and accept what may come in it."""
        self.phase = phase
        self._accepts = LINK[phase]

    def _messages(self, frame: Messages, _now: float) -> None:
        if not self._inbox.stopped:  # behind our Stop, everything is discarded (CLOSE-11)
            size = self._size
            if size < 0:  # the bytes of calls are not the window's (WINDOW-8)
                size = sum(map(seal_weight, frame.payloads))
            else:
                self._size = 0
            self._inbox.arrived(frame.first, frame.payloads, size)
            self.session.messages_arrived(len(frame.payloads))

    def _part(self, frame: Part, _now: float) -> None:
        if not self._inbox.stopped and self._inbox.arrived_part(frame):
            self.session.messages_arrived(1)

    def _finish(self, frame: Finish, _now: float) -> None:
        if not self._inbox.stopped:
            self._inbox.arrived_finish(frame)
            self.session.finish_arrived(frame)

    def _ack(self, frame: Ack, now: float) -> None:
        if frame.received >= self.cursor.number:  # ACK-7
            raise Violation(Code.VIOLATION, "an ack of what was never sent")
        self.session.acked(frame, now)

    def _calls(self, frame: Calls, now: float) -> None:
        calls = self.session.calls
        if not calls.limit:  # CALL-41
            raise Violation(Code.VIOLATION, "a call of a side that has none")
        if self._inbox.finish is not None and not BEHIND_FINISH.issuperset(
            map(type, frame.entries)
        ):
            raise Violation(Code.VIOLATION, "a call behind Finish")
        if not self._inbox.stopped:  # CALL-36
            events = calls.arrived(frame.first, frame.entries, now, self.calls.number - 1)
            self.session.calls_arrived(events)
            self.calls.note(now)

    def _call_ack(self, frame: CallAck, now: float) -> None:
        if frame.received >= self.calls.number:  # CALL-19
            raise Violation(Code.VIOLATION, "an ack of what was never sent")
        if self.session.calls.ack(frame.received):
            self.session.progressed(now)

    def _want(self, frame: Want, _now: float) -> None:
        if frame.number > self._inbox.received + self.session.config.window_messages + 1:
            raise Violation(Code.VIOLATION, "Want beyond the window")  # ACK-10
        self.acks.wanted = max(self.acks.wanted, frame.number)

    def _stop(self, frame: Stop, now: float) -> None:
        self._check(frame.counters)
        self.session.peer_stopped(frame.counters, now)

    def _done(self, frame: Done, now: float) -> None:
        self._check(frame.counters)
        self.session.peer_done(self, frame.counters, now)

    def _welcome(self, frame: Welcome, now: float) -> None:
        self.session.welcomed(self, frame, now)

    def _refuse(self, frame: Refuse, now: float) -> None:
        if frame.counters is not None and self.phase is not Phase.DIALING:
            self._check(frame.counters)
        self.session.refused(self, frame, now)

    def _check(self, counters: Counters) -> None:
        if counters.received >= self.cursor.number:  # ACK-7
            raise Violation(Code.VIOLATION, "counters of what was never sent")

    def opened(
        self, peer_received: int, peer_partial: int, calls: CallPosition | None, now: float
    ) -> None:
        """Start at what the peer has received (RESUME-4, CALL-22)."""
        if calls is not None:
            self.calls.number = calls.received + 1
            self.calls.told = self.session.calls.received
        self.cursor.number = peer_received + 1
        self.cursor.offset = peer_partial
        self.heard_at = now
        self._speak_every = max(self.session.peer.idle_ms, LEAST_IDLE_MS) / 3000  # LIVE-2
        self._speak_by = now + self._speak_every

    def lost(self, code: int | None, reason: str, now: float) -> list[Event]:
        """Say that the WebSocket under this link is gone."""
        if self.phase is not Phase.OVER:
            self.leave(code or Code.GOING_AWAY, reason)
            self.session.link_lost(self, code, reason, now)
        return self.session.settle(now)

    def leave(
        self, code: int, reason: str = "", last_frame: Frame | None = None, *, linger: bool = False
    ) -> None:
        """Become inert; ``last_frame`` is the last thing that :meth:`transmit` gives."""
        if self.close_action is None:
            self.enter(Phase.OVER)
            self.close_action = CloseAction(code, reason, linger)
            self._last_frame = last_frame

    # ------------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick`."""
        if self.phase is Phase.OVER:
            return NEVER
        if self.phase is Phase.DIALING:
            return self._open_by
        by = min(self.heard_at + self._idle_timeout, self._speak_by)
        return min(by, self.ack_by)

    @property
    def ack_by(self) -> float:
        """When an ack goes that could not ride, or ``NEVER``."""
        by = NEVER if self.acks.by is None else self.acks.by
        return by if self.calls.by is None else min(by, self.calls.by)

    def tick(self, now: float) -> None:
        """Do what is due; every deadline that has passed moves."""
        if self.phase is Phase.OVER:
            return
        if self.phase is Phase.DIALING:
            if now >= self._open_by:  # LIVE-5
                self._silent(now)
            return
        self.acks.tick(now)
        self.calls.tick(now)
        if now >= self._speak_by:  # LIVE-6
            self.acks.now = True
            self._speak_by = now + self._speak_every
        late = now - (self.heard_at + self._idle_timeout)  # rounded as in `deadline`
        if late > OVERSLEPT:  # it was us who were not there (LIVE-4)
            self.heard_at = now - self._idle_timeout * 2 / 3
        elif late >= 0:  # LIVE-3
            self._silent(now)

    def _silent(self, now: float) -> None:
        words = "nothing heard in time"
        self.leave(Code.SILENT, words)
        self.session.link_over(self, Code.SILENT, words, now)

    # ------------------------------------------------------------------ what to send

    @property
    def at_end(self) -> bool:
        """Whether everything that was accepted has been transmitted."""
        return self.cursor.number > self._outbox.last and self.calls.at_end

    @property
    def has_output(self) -> bool:
        """Whether :meth:`transmit` may have something; if not, it need not be called."""
        if self.phase is Phase.OVER or not self.greeted:
            return True
        return (
            not (self.at_end or self._outbox.blocked)
            or self.calls.now
            or self.acks.due
            or self.session.wanted > max(self._asked, self._outbox.confirmed)
            or (self._inbox.stopped and not self._stop_told)
        )

    def transmit(self, now: float) -> bytes | None:
        """Return the next WebSocket message to send, or ``None`` if there is none for now.

        What it returns counts as transmitted. Call it again until it gives ``None``, whenever
        something happened and the transport has room.
        """
        if self.phase is Phase.OVER:
            last_frame, self._last_frame = self._last_frame, None
            return None if last_frame is None else encode([last_frame])
        if not self.greeted:
            self.greeted = True
            return encode([self.session.greeting(self)])
        if self.phase is Phase.DIALING:  # nothing before Welcome (HELLO-7)
            return None
        frames: list[Frame] = []
        if not self._inbox.stopped or self._stop_told or self._add_stop(frames):
            self._add_content(frames, now)
        call_ack = self.calls.take() if frames or self.calls.now else None
        if call_ack is not None:  # before a Stop it is the last one (CALL-37)
            frames.insert(0, call_ack)
        ack = self.acks.take(riding=bool(frames))
        if ack is not None:
            frames.insert(0, ack)
        elif not frames:
            self.acks.note(now)
            return None
        self._speak_by = now + self._speak_every
        return encode(frames)

    def _add_stop(self, frames: list[Frame]) -> bool:
        """Add Stop; whether anything may follow it, and all fit one frame (FRAME-7)."""
        counters = self._inbox.counters()
        self.tell(counters)
        frames.append(Stop(counters))
        return not counters.ranges

    def _add_content(self, frames: list[Frame], now: float) -> None:
        """Add the next run of calls, unless it is the turn of messages, and then of messages."""
        session, cursor, outbox, used = self.session, self.cursor, self._outbox, 0
        if not (self.calls.at_end or cursor.starved or outbox.blocked):
            frame, used = self.calls.cut(session.frame_size.size, now)
            frames.append(frame)
        if cursor.number <= outbox.last or session.wanted > self._asked or outbox.finish:
            self._add_sequenced(frames, now, used)

    def _add_sequenced(self, frames: list[Frame], now: float, used: int) -> None:
        """Add the next run, part or Finish, and the Want for a number among them."""
        session, cursor, outbox = self.session, self.cursor, self._outbox
        last: Frame | None = None
        finish = outbox.finish
        # an answer that is owed goes first: nothing comes behind Finish (CALL-10)
        held = finish is not None and not (self.calls.at_end and not session.calls.served)
        upto = outbox.messages if held else outbox.last
        if cursor.number <= upto and not outbox.blocked:
            last = cursor.cut(session.peer, session.frame_size.size, used)
            if type(last) is Part:
                session.progressed(now)
        wanted = session.wanted
        if self._asked < wanted < cursor.number and wanted > outbox.confirmed:
            self._asked = wanted
            frames.append(new_unchecked(Want, (wanted,)))  # once on each link (ACK-9)
        if last is not None:
            frames.append(last)
            if finish is not None and cursor.number == finish.number and not held:
                frames.append(finish)  # the last word rides with the last message
                cursor.skip_finish()
        if finish is not None and cursor.number > finish.number:
            session.calls.finished = True

    def tell(self, counters: Counters) -> None:
        """Note that the peer is being told these, in a greeting or a Stop."""
        self.acks.tell(counters)
        self._stop_told = counters.stopped


_ACCEPT: dict[type[Frame], Any] = {
    Ack: Link._ack,
    CallAck: Link._call_ack,
    Calls: Link._calls,
    Done: Link._done,
    Finish: Link._finish,
    Messages: Link._messages,
    Part: Link._part,
    Refuse: Link._refuse,
    Stop: Link._stop,
    Want: Link._want,
    Welcome: Link._welcome,
}
