"""One WebSocket's share of a session: the greeting, positions, what was told, deadlines, its end.

Theory of operation. A link is dropped, never reset: the next WebSocket gets a new link. Messages,
calls and outcomes belong to the session. A link has a *cursor* into our messages, one into our
calls, and what it has told the peer of the other direction (*acks*). So losing a link moves no data
and undoes nothing.

A link moves through the phases of :data:`~.state.LINK`. The session receives for it, because what
arrives concerns the session. The link decides what to send (:meth:`Link.transmit`), and when the
peer has been silent for too long (:meth:`Link.tick`). A link that is over is inert, so the late end
of an old WebSocket has no effect (LINK-4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .acks import Acks
from .calls.cursor import CallCursor
from .codec import encode
from .config import LEAST_IDLE_MS, Config
from .cursor import Cursor
from .deadline import LONG_AGO, NEVER, OVERSLEPT
from .frames import (
    CallPosition,
    Counters,
    Frame,
    Part,
    Stop,
    Want,
    new_unchecked,
)
from .stall import StallTimer
from .state import LINK, Phase
from .timers import Timers

__all__ = ["CloseAction", "Link"]

ANSWER_AFTER = 0.9
"""So much of the time after which we say something at the latest has to be over before an envelope
is answered for the sake of that: a peer that speaks as often as we do is answered once in it."""


class CloseAction(NamedTuple):
    """How to close the WebSocket under a link that is over."""

    code: int
    reason: str
    linger: bool
    "Whether the peer shall close first, and only a bounded time later we (CLOSE-19)."


class Link:
    """What one WebSocket has of a session. Pull what it sends with :meth:`transmit`."""

    __slots__ = (
        "_answer_after",
        "_asked",
        "_greet",
        "_idle_timeout",
        "_last_frame",
        "_open_by",
        "_part_timeout",
        "_parts",
        "_silence_limit",
        "_speak_by",
        "_speak_every",
        "_stop_told",
        "_timers",
        "_was_silent",
        "accepts",
        "acks",
        "answer_from",
        "calls",
        "close_action",
        "cursor",
        "heard_at",
        "held",
        "max_frame",
        "met",
        "phase",
    )

    def __init__(
        self,
        phase: Phase,
        now: float,
        config: Config,
        max_frame: int | None,
        *,
        cursor: Cursor,
        acks: Acks,
        calls: CallCursor,
        timers: Timers,
        silence_limit: float,
        greet: Callable[[Link], Frame],
    ) -> None:
        """``greet`` returns our greeting; it is called when that is sent (HELLO-4).

        ``silence_limit``: the seconds after which the path cuts a silent link (LIVE-8).
        """
        self.enter(phase)
        self.max_frame = min(config.max_frame, max_frame or config.max_frame)
        "Largest WebSocket message that the transport under us takes."
        self.met = phase is Phase.ACCEPTED
        "Whether the peer has greeted on this link."
        self.close_action: CloseAction | None = None
        "How to close the WebSocket. Set exactly when the phase becomes OVER, and only once."
        self.cursor = cursor
        self.acks = acks
        self.calls = calls
        self.held = False
        """Whether nothing may be said yet, because it is not kept what this link would say: our
        part of the greeting, or our last word (STORE-1, STORE-4)."""
        self.heard_at = now if phase is Phase.ACCEPTED else LONG_AGO
        "When the peer was heard last."
        self._greet: Callable[[Link], Frame] | None = greet  # until it was called
        self._timers = timers
        self._last_frame: Frame | None = None
        self._stop_told = False
        self._asked = 0  # our highest Want on this link
        self._idle_timeout = config.idle_timeout
        self._open_by = now + config.open_timeout
        self._silence_limit = silence_limit
        self._was_silent = False  # for as long as we ever are: the path has let us
        self._speak_every = config.idle_timeout / 3
        self._speak_by: float = NEVER
        self._answer_after: float = NEVER
        self.answer_from: float = NEVER
        "From when on an envelope of the peer is an occasion for the heartbeat: :meth:`answer`."
        self._part_timeout = config.part_timeout
        self._parts: StallTimer | None = None
        "By when a message in parts has to move on, while one is waited for."

    def __repr__(self) -> str:
        """Where it stands, for logs."""
        return f"<Link {self.phase.value} cursor={self.cursor.number}>"

    def enter(self, phase: Phase) -> None:
        """Move to a phase, and accept what may come in it (LINK-2)."""
        self.phase = phase
        self.accepts = LINK[phase]

    @property
    def greeted(self) -> bool:
        """Whether our greeting has been sent."""
        return self._greet is None

    # ------------------------------------------------------------------ begin and end

    def opened(
        self,
        peer_received: int,
        peer_partial: int,
        calls: CallPosition | None,
        idle_ms: int,
        now: float,
    ) -> None:
        """Start at what the peer has received (RESUME-4, CALL-22); it is idle for ``idle_ms``."""
        if calls is not None:
            self.calls.begin(calls.received)
        self.cursor.number = peer_received + 1
        self.cursor.offset = peer_partial
        self.heard_at = now
        idle = max(idle_ms, LEAST_IDLE_MS) / 1000
        self._speak_every = min(idle, self._silence_limit) / 3  # LIVE-2, LIVE-8
        self._answer_after = ANSWER_AFTER * self._speak_every
        self._speak_by = now + self._speak_every
        self.answer_from = now + self._answer_after
        if self.acks.inbox.partial:
            self.part_arrived(0, now)
        if self.calls.incoming.pieces is not None:
            self.calls.pieces_moved(now)

    def part_arrived(self, size: int, now: float) -> None:
        """Note a slice of a message that is not whole yet (PART-15)."""
        if self._parts is None:
            self._parts = StallTimer(self._part_timeout)
        self._parts.arrived(size, now)

    def parts_over(self) -> None:
        """Note that no message in parts is waited for."""
        self._parts = None

    def tell(self, counters: Counters) -> None:
        """Note that the peer is being told these, in a greeting or a Stop."""
        self.acks.tell(counters)
        self._stop_told = counters.stopped

    def answer(self) -> None:
        """Say the heartbeat now, as the peer has spoken: timers may be held back (LIVE-9)."""
        self.acks.now = self._was_silent = True
        self.answer_from = NEVER  # until it is said

    def leave(
        self, code: int, reason: str = "", last_frame: Frame | None = None, *, linger: bool = False
    ) -> None:
        """Become inert; ``last_frame`` is the last thing that :meth:`transmit` gives."""
        if self.close_action is None:
            self.enter(Phase.OVER)
            self.close_action = CloseAction(code, reason, linger)
            self._last_frame = last_frame
            self.acks.by = self.calls.by = None  # it tells nothing more

    def drop_last_frame(self) -> None:
        """Say no last word: it is not kept, and never will be."""
        self._last_frame = None

    # ------------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick`."""
        if self.phase is Phase.OVER:
            return NEVER
        if self.phase is Phase.DIALING:
            return self._open_by
        return min(
            self.heard_at + self._idle_timeout,
            self._speak_by,
            self.ack_by,
            NEVER if self._parts is None else self._parts.by,
            NEVER if self.calls.pieces is None else self.calls.pieces.by,
        )

    @property
    def ack_by(self) -> float:
        """When an ack goes that could not ride, or ``NEVER``."""
        by, calls_by = self.acks.by, self.calls.by
        if by is None:
            return NEVER if calls_by is None else calls_by
        return by if calls_by is None else min(by, calls_by)

    def tick(self, now: float) -> bool:
        """Do what is due; whether the peer has been silent for too long. All deadlines move."""
        if self.phase is Phase.OVER:
            return False
        if self.phase is Phase.DIALING:
            return now >= self._open_by  # LIVE-5
        self.acks.tick(now)
        self.calls.tick(now)
        if now >= self._speak_by:  # LIVE-6
            self.acks.now = self._was_silent = True
            self._speak_by = now + self._speak_every
        late = now - (self.heard_at + self._idle_timeout)  # rounded as in `deadline`
        if late > OVERSLEPT:  # we were not running: do not blame the peer (LIVE-4)
            self.heard_at = now - self._idle_timeout * 2 / 3
            return False
        return late >= 0  # LIVE-3

    def is_stalled(self, now: float) -> bool:
        """Whether a message in parts stands still (PART-15). The deadline moves."""
        parts = self._parts
        if parts is None:
            return False
        if now >= parts.by and not self.acks.inbox.partial:  # intake was frozen (PART-12)
            self.parts_over()
            return False
        return parts.expired(now)

    def silence(self, now: float) -> float | None:
        """Return how long we have said nothing; ``None``: we have been as silent before."""
        return None if self._was_silent else now - (self._speak_by - self._speak_every)

    # ------------------------------------------------------------------ what to send

    @property
    def at_end(self) -> bool:
        """Whether everything that was accepted has been transmitted."""
        cursor, calls = self.cursor, self.calls
        return cursor.number > cursor.outbox.last and calls.number > calls.call_queue.last

    @property
    def has_output(self) -> bool:
        """Whether :meth:`transmit` may have something; if not, it need not be called."""
        if self.held:
            return False
        if self.close_action is not None or self._greet is not None:
            return True
        acks, calls, cursor = self.acks, self.calls, self.cursor
        inbox, outbox = acks.inbox, cursor.outbox
        return (
            (
                (cursor.number <= outbox.last or calls.number <= calls.call_queue.last)
                and not outbox.blocked
            )
            or calls.now
            or acks.now
            or (inbox.confirmed > acks.confirmed and inbox.tellable >= acks.due_at())
            or self._asked < outbox.wanted > outbox.confirmed
            or (inbox.stopped and not self._stop_told)
        )

    def transmit(self, now: float) -> bytes | None:
        """Return the next WebSocket message to send, or ``None`` if there is none for now.

        What it returns counts as transmitted. Call it again until it gives ``None``, whenever
        something happened and the transport has room.
        """
        if self._greet is not None or not self.met or self.close_action is not None or self.held:
            return None if self.held else self._transmit_edge()
        acks, calls = self.acks, self.calls
        inbox = acks.inbox
        frames: list[Frame] = []
        # 1. Stop goes before anything else (CLOSE-3). If it fills a frame, it goes alone.
        if not inbox.stopped or self._stop_told or self._add_stop(frames):
            # 2. Calls, unless messages wait for their turn. They take half a frame at most.
            cursor, used = self.cursor, 0
            outbox = cursor.outbox
            queue = calls.call_queue
            if (
                calls.number <= queue.last
                and not (cursor.starved or outbox.blocked)
                and calls.number <= queue.stored  # with a store: what is not kept waits (STORE-2)
            ):
                frame, used = calls.cut(cursor.frame_size.size, now)
                if frame.entries:
                    frames.append(frame)
            # 3. Messages in what is left of the frame, Want, Finish.
            if cursor.number <= outbox.last or outbox.wanted > self._asked or outbox.finish:
                self._add_sequenced(frames, now, used)
        # 4. Acks ride in front of these. Without other frames they go when they are due.
        # What is not kept is not told: as `tellable`, without a call.
        incoming, told = calls.incoming, calls.told
        if calls.now or (frames and told < incoming.received and told < incoming.stored):
            frames.insert(0, calls.take())  # before a Stop it is the last one (CALL-37)
        if acks.partial_news and (frames or acks.now):
            partial = acks.take_partial()
            if partial is not None:
                frames.insert(0, partial)
        if acks.now or inbox.received != acks.received or inbox.confirmed != acks.confirmed:
            ack = acks.take(riding=bool(frames))
            if ack is None:
                acks.note(now)
            else:
                frames.insert(0, ack)
        if not frames:
            return None
        self._speak_by = now + self._speak_every
        self.answer_from = now + self._answer_after
        return encode(frames)

    def _transmit_edge(self) -> bytes | None:
        """Return what goes before and after a link carries anything: a greeting, a last frame."""
        if self.phase is Phase.OVER:
            last_frame, self._last_frame = self._last_frame, None
            return None if last_frame is None else encode([last_frame])
        greet, self._greet = self._greet, None
        return None if greet is None else encode([greet(self)])  # nothing before Welcome (HELLO-7)

    def _add_stop(self, frames: list[Frame]) -> bool:
        """Add Stop. Return whether more fits into this frame (FRAME-7)."""
        inbox = self.acks.inbox
        if not inbox.is_stop_kept:
            return False  # it goes before anything else, and not yet (STORE-4)
        counters = inbox.counters()
        self.tell(counters)
        frames.append(Stop(counters))
        return not counters.ranges

    def _add_sequenced(self, frames: list[Frame], now: float, used: int) -> None:
        """Add the next run, part or Finish, and the Want for a number among them."""
        cursor = self.cursor
        outbox = cursor.outbox
        last: Frame | None = None
        finish = outbox.finish
        # Hold Finish back while an answer is owed: nothing comes behind it (CALL-10).
        upto = outbox.last
        if finish is not None and self.calls.owes_answers:
            upto -= 1
        if outbox.stored < upto:  # noqa: PLR1730 - without a call
            upto = outbox.stored
        if cursor.number <= upto and not outbox.blocked:
            last = cursor.cut(used)
            if type(last) is Part:
                self._timers.progressed(now)
        # Ask for an ack of what somebody waits for, once on each link (ACK-5, ACK-9).
        wanted = outbox.wanted
        if self._asked < wanted < cursor.number and wanted > outbox.confirmed:
            self._asked = wanted
            frames.append(new_unchecked(Want, (wanted,)))
        if last is not None:
            frames.append(last)
            if finish is not None and cursor.number == finish.number <= upto:
                frames.append(finish)  # it rides with the last message
                cursor.skip_finish()
        if finish is not None and cursor.number > finish.number:
            self.calls.finished()
