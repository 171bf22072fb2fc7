"""When to send, and when to look at the clock.

Theory of operation. What the application queues in one turn of the event loop goes together: the
first message schedules :meth:`Pump.flush` for the end of the turn, the others wait for it too.
Four things do not wait for that end. Once enough is queued, the caller sends it at once, so that
the socket is busy while more is produced. A task that is about to wait sends first, because it adds
nothing before the answer. In a turn that lasts, because its task works or blocks between two sends,
the caller sends what has waited for :data:`LONG_TURN`. And the first message after a pause as long
goes at once, as its task may block next (:meth:`Pump.write_first`).

A verb that leaves something to be concluded sets ``session.due``. :meth:`Pump.flush` draws the
conclusions once, before it sends. So a caller only has to wake the pump.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from contextvars import copy_context
from threading import get_ident

from reliable_ws.driver.call_contexts import CallContexts
from reliable_ws.driver.confirm_timer import ConfirmTimer
from reliable_ws.driver.figures import Figures
from reliable_ws.driver.loop_watch import LoopWatch
from reliable_ws.driver.stalls import Looking
from reliable_ws.driver.status import logger, name_of
from reliable_ws.driver.window_watch import WindowWatch
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import BEYOND
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport
from reliable_ws.wire_trace import WireTrace

from .link_io import LinkIO

__all__ = [
    "LONG_TURN",
    "MAX_SENDS",
    "MAX_UNTIMED",
    "SEND_AT_ONCE",
    "Pump",
    "add_loop_stalls",
    "look_at_loop",
]

MAX_SENDS = 1024
"""Sends without a flush between before one yields to the event loop.

Without it a loop over 32 k queued messages starves acks, heartbeats and timeouts for a second.
"""

SEND_AT_ONCE = 64 * 1024
"""Bytes queued in one turn of the loop that are sent at once, from the caller: it keeps the
socket busy while more is produced, and what is copied still warm."""

WRONG_THREAD = (
    "this connection belongs to an event loop that runs in another thread. Call it there, by "
    "loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe(), or use reliable_ws.sync, "
    "where every thread may call every method"
)

OTHER_LOOP = (
    "this connection belongs to another event loop, which does not run now. Use it in the loop in "
    "which it was opened (in tests: its fixture and the test need the same loop)"
)

LONG_TURN = 0.005
"""Seconds that what is queued waits for the end of the turn, if its task goes on sending."""

MAX_UNTIMED = 64
"""Most sends between two looks at the clock. A look at each would cost a twentieth of a stream."""

CALLS_AT_ONCE = 32
"""Calls queued in one turn that are sent at once: the peer works on them while we go on."""


LOOP_WATCH = LoopWatch()
"""One for all event loops of the process."""


def look_at_loop(due: float, now: float) -> None:
    """Tell if a timer that was due then comes now, and much too late."""
    if warning := LOOP_WATCH.look(due, now, time.time()):
        logger.warning("%s", warning)


def add_loop_stalls(figures: Figures) -> None:
    """Add for how long something has blocked the event loops of this process."""
    figures.loop_stalled_seconds = LOOP_WATCH.total
    figures.loop_last_stall = LOOP_WATCH.last
    figures.loop_last_stall_at = LOOP_WATCH.last_at


class Pump:
    """Keeps one session moving: sends at the end of a turn of the loop, ticks when it is time.

    What happened goes to ``dispatch``.
    """

    __slots__ = (
        "_armed",
        "_calls",
        "_due",
        "_outbox",
        "_thread",
        "_timer",
        "awake",
        "check_after",
        "check_at",
        "clock",
        "clock_after",
        "confirm_timer",
        "context",
        "contexts",
        "dispatch",
        "driver",
        "first_after",
        "flush_at",
        "flush_by",
        "give_to_store",
        "limits_at",
        "link_io",
        "loop",
        "principal",
        "session",
        "window_watch",
        "wire",
        "yield_at",
    )

    def __init__(self, session: Session, dispatch: Callable[[list[Event]], None]) -> None:
        self.session = session
        self.dispatch = dispatch
        self.principal: Hashable = None
        "Who the peer is, for the log."
        self.driver: Looking
        "Told when the timer fires."
        self.contexts: CallContexts | None = None
        "Contexts of calls, while somebody traces them."
        self.confirm_timer = ConfirmTimer(session)
        self.wire: WireTrace | None = None
        "Where to write what travels."
        self.loop = asyncio.get_running_loop()
        self.context = copy_context()
        "In which timers run. A copy for each of them would take more memory."
        # The loop's clock, without a call between where that is the usual one.
        is_usual = type(self.loop).time is asyncio.BaseEventLoop.time
        self.clock: Callable[[], float] = time.monotonic if is_usual else self.loop.time
        self.flush_by: float = NEVER
        "When the caller of the next send writes, if the turn has not ended by then."
        self.first_after = 0.0
        "From when on the first message of a turn is written at once."
        self.link_io: LinkIO | None = None
        self.awake = False
        "Whether what is queued goes at the end of this turn: then :meth:`wake` has no effect."
        self.yield_at = MAX_SENDS
        "From this number on, a send lets others run first."
        self.flush_at = SEND_AT_ONCE
        "Total weight of the outbox from which on a send flushes."
        self.check_after = 1
        "Sends between two looks at these two limits: as many as are likely to reach neither."
        self.clock_after = 1
        "Sends between two looks at the clock, to see whether this turn lasts."
        self.limits_at = 0
        "The number of the message that is likely to reach one of the two, in this turn."
        self.check_at = 0
        "The number of the message that is sent with the next look: 0 at the start of a turn."
        self.give_to_store: Callable[[], None] | None = None
        "With a store: gives it what changed. What it has not kept is not transmitted (STORE-2)."
        self._thread = get_ident()
        "In which the event loop runs."
        self.window_watch: WindowWatch | None = None
        "Looks at the window, once the application takes deliveries."
        self._calls = 0  # queued since the last flush
        self._outbox = session.outbox
        self._timer: asyncio.TimerHandle | None = None
        self._due: float = NEVER  # when it fires
        self._armed = 0.0  # when it was set

    @property
    def is_writing(self) -> bool:
        """Whether the transport had no room, and a write waits for some."""
        return self.link_io is not None and self.link_io.is_writing

    @property
    def name(self) -> str:
        """The session, in log lines."""
        return name_of(self.session.id, self.principal)

    def attach(self, transport: Transport, link: Link, hello: bytes | str | None = None) -> LinkIO:
        """Carry the session over this transport from now on; read with ``link_io.read()``.

        ``hello``: what has been read already, at the acceptor.
        """
        old, self.link_io = (
            self.link_io,
            LinkIO(
                transport,
                link,
                self.session,
                self.dispatch,
                self.clock,
                confirm_timer=self.confirm_timer,
                principal=self.principal,
                wire=self.wire,
                hello=hello,
                contexts=self.contexts,
            ),
        )
        if old is not None:
            old.flush()  # says superseded, and closes
        self.rearm()
        return self.link_io

    # ------------------------------------------------------------------ sending

    def wake(self) -> None:
        """Flush at the end of this turn of the loop: what is queued in one turn goes together."""
        if not self.awake:
            if get_ident() != self._thread:  # quicker than the check itself
                self.check_thread()
                self._thread = get_ident()  # the loop was stopped in one, and goes on in this one
            self.awake = True
            clock = self.clock
            self.flush_by = clock() + LONG_TURN
            self.loop.call_soon(self._end_turn)
        else:
            self.write_if_long()

    def write_if_long(self) -> bool:
        """Write what is queued if this turn of the loop lasts; return whether it does."""
        clock = self.clock
        now = clock()
        if now < self.flush_by:
            return False
        self.flush_by = now + LONG_TURN
        if self.link_io is not None:
            self.link_io.flush()
        return True

    def write_first(self) -> None:
        """Write the first message of a turn at once, if that of the turn before is not recent.

        Its task may work or block next, and this turn end late. A run of messages costs one
        WebSocket message more by that, and a stream of them nothing: its turns are short.
        """
        now = self.clock()
        if now >= self.first_after and self.link_io is not None:
            self.link_io.flush()
        self.first_after = now + LONG_TURN

    def check_thread(self) -> None:
        """Raise ``RuntimeError`` in another thread or event loop than that of the connection.

        There a message would lie until something else wakes the loop, and two threads could change
        the session at the same time. asyncio itself looks only in its debug mode. What is usual
        costs 0.1 µs, and is looked at once for all messages of a turn. While no loop runs, what is
        queued waits until this one goes on.
        """
        try:
            running = asyncio.get_running_loop()  # by its module: trio-asyncio replaces it there
        except RuntimeError:
            running = None
        if running is self.loop or self.session.ended:
            return
        if self.loop.is_running():
            raise RuntimeError(WRONG_THREAD)
        if running is not None:
            raise RuntimeError(OTHER_LOOP)

    def wake_for_call(self) -> None:
        """Flush at the end of this turn, or now if there is a good run of calls."""
        self._calls += 1
        if self._calls >= CALLS_AT_ONCE:
            self.flush()
        elif not self.awake:
            self.wake()
        else:
            self.write_if_long()

    def _end_turn(self) -> None:
        if self.awake:  # else a caller has flushed already
            self.flush()

    def flush(self) -> None:
        """Draw the conclusions of this turn, then send, as far as the transport has room."""
        self.awake = False
        self.check_at = 0
        self._calls = 0
        session, link_io, outbox = self.session, self.link_io, self._outbox
        # Once for everything that was done in this turn.
        if session.inbox.due:  # as `session.due`, without a call
            events = session.poll(self.clock())
            if events:
                self.dispatch(events)
                self.awake = False  # what that has woken goes now
                self.check_at = 0
        if self.give_to_store is not None:
            self.give_to_store()
        if link_io is not None:
            link_io.flush()
            if self.give_to_store is not None and session.call_queue.taken_back != BEYOND:
                self.give_to_store()  # requests were taken back (CALL-12)
        # Allow the application another run of messages.
        self.yield_at = outbox.last + MAX_SENDS
        self.flush_at = outbox.total + SEND_AT_ONCE
        # An ack that could not ride has a deadline of its own.
        if link_io is None:
            self.rearm()
        elif (by := link_io.link.ack_by) < self._due:
            self._look_by(by)

    def taken(self) -> None:
        """Draw the conclusions of what the application has taken (``session.due``).

        That is news to the peer, for the end of this turn. What was the last message before the
        peer's Finish may be the end of the session: the next call must see it (CLOSE-14).
        """
        clock = self.clock
        events = self.session.poll(clock())
        if events:
            self.dispatch(events)
        if not self.awake:
            self.wake()

    def after_step(self) -> None:
        """Flush soon, or look at the clock earlier, if a step has made that necessary."""
        if self.awake:
            return
        if self.give_to_store is not None:
            self.wake()  # what happened is kept, also where nothing is said of it
        elif self.link_io is not None:
            link = self.link_io.link
            if link.has_output:
                self.wake()
            elif (by := link.ack_by) < self._due:
                self._look_by(by)

    def after_events(self) -> None:
        """Flush soon.

        A task that this step has woken runs in the next turn, and the flush behind it in the same
        one: what the task adds goes at once.
        """
        if not self.awake and (self.link_io is not None or self.give_to_store is not None):
            self.wake()

    def after_answers(self) -> None:
        """Flush now: every handler has ended in its first step, and nobody adds anything."""
        self.flush()

    # ------------------------------------------------------------------ the clock

    def rearm(self) -> None:
        """Look at the session again at its deadline."""
        due = self.session.deadline
        if due < self._due:
            self._look_by(due)
        elif due == NEVER and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._due = NEVER

    def _look_by(self, due: float) -> None:
        """Look at the session by then, which is before the timer fires.

        A later deadline needs no new timer: it is found out when the present one fires.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._armed = self.clock()
        self._timer = self.loop.call_at(due, self._tick, context=self.context)

    def _tick(self) -> None:
        # The timer may fire a little early by this clock: then it is that time.
        now = max(self.loop.time(), self._due)
        look_at_loop(max(self._due, self._armed), now)
        self._timer = None
        self._due = NEVER
        if now >= self.session.deadline:
            self.dispatch(self.session.tick(now))
            self.flush()
        if warning := self.driver.ticked(now):
            logger.warning("%s", warning)
        if self.window_watch is not None and (warning := self.window_watch.look(now)):
            logger.warning("%s", warning)
        self.rearm()
