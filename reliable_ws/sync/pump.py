"""What keeps one session moving, with threads: its lock, its timers, and when to send.

Theory of operation. A *step* is what one thread does while it holds the lock: some verbs of the
session, then :meth:`~reliable_ws.driver.session_driver.SessionDriver.dispatch`, then sending.
Sending is the last thing in a step, because the lock is free during a write: another thread may
begin a step of its own then.

Who sends? A thread that is about to wait sends first (:meth:`Pump.flush`), because nobody adds
anything before the answer. After a step, what follows from it goes at once: acks, last frames, and
messages for which the peer's acks have made room. So does a request or an answer while no other is
open, and what a caller has queued once it is enough (:data:`SEND_AT_ONCE`). What others may follow
is for the writer (:meth:`Pump.wake`): what is queued until it looks goes together.

The timers of all sessions have one thread (:mod:`.timers`). :meth:`Pump.rearm` sets a timer when
the session's deadline is earlier than the next one. It does not cancel later timers: they are
cheaper to keep, and they fire without harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from functools import partial

from reliable_ws.driver.call_contexts import CallContexts
from reliable_ws.driver.confirm_timer import ConfirmTimer
from reliable_ws.driver.stalls import Looking
from reliable_ws.driver.status import logger, name_of
from reliable_ws.driver.window_watch import WindowWatch
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.session import Session
from reliable_ws.transport import SyncTransport
from reliable_ws.wire_trace import WireTrace

from .link_io import LinkIO
from .timers import Timer, call_at

__all__ = ["SEND_AT_ONCE", "DurablePump", "Pump"]

SEND_AT_ONCE = 64 * 1024
"""Bytes queued since the last write that are written at once, from the caller: it keeps the socket
busy while more is produced, and the writer need not be given a turn by the interpreter."""


class Pump:
    """The lock of one session and what is done under it: all methods are called with it held.

    What happened goes to ``dispatch``.
    """

    __slots__ = (
        "_due",
        "_timers",
        "confirm_timer",
        "contexts",
        "dispatch",
        "driver",
        "flush_at",
        "link_io",
        "lock",
        "principal",
        "session",
        "window_watch",
        "wire",
    )

    def __init__(
        self, session: Session, lock: threading.Lock, dispatch: Callable[[list[Event]], None]
    ) -> None:
        self.session = session
        self.lock = lock
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
        self.link_io: LinkIO | None = None
        self.flush_at = SEND_AT_ONCE
        "Total weight of the outbox from which on the caller of a send writes."
        self.window_watch: WindowWatch | None = None
        "Looks at the window, once the application takes deliveries."
        self._timers: dict[float, Timer] = {}  # by when they are due; the next one is the last
        self._due: float = NEVER  # when the next one is

    @property
    def is_writing(self) -> bool:
        """Whether the transport had no room, and a write waits for some."""
        return self.link_io is not None and self.link_io.is_writing

    @property
    def name(self) -> str:
        """The session, in log lines."""
        return name_of(self.session.id, self.principal)

    def attach(
        self, transport: SyncTransport, link: Link, hello: bytes | str | None = None
    ) -> LinkIO:
        """Carry the session over this transport from now on; read with ``link_io.read()``.

        ``hello``: what has been read already, at the acceptor.
        """
        link_io = LinkIO(
            transport,
            link,
            self.session,
            self.lock,
            self.dispatch,
            confirm_timer=self.confirm_timer,
            principal=self.principal,
            wire=self.wire,
            hello=hello,
            contexts=self.contexts,
        )
        end = link.close_action
        if end is None or end.code != Code.SUPERSEDED:  # else the next one has overtaken it
            old, self.link_io = self.link_io, link_io
            if old is not None:
                old.flush()  # says superseded, and closes
        link_io.flush()
        self.rearm()
        return link_io

    # ------------------------------------------------------------------ sending

    def wake(self, *, alone: bool = False) -> None:
        """Send what was queued: at once if it is alone, else what the writer finds together."""
        if self.link_io is None:
            return
        if alone:
            self.flush()
        else:
            self.link_io.wake()

    def flush(self) -> None:
        """Send now what there is, as far as the transport has room."""
        self.flush_at = self.session.outbox.total + SEND_AT_ONCE
        if self.link_io is not None:
            self.link_io.flush()

    def after_step(self) -> None:
        """Send what follows from a step, and what its acks have made room for."""
        link_io = self.link_io
        if link_io is None:
            self.rearm()
            return
        link = link_io.link
        if link.has_output:
            self.flush()
        # Of the deadlines of an open session only this one moves forward, but for rare events.
        if link.ack_by < self._due:
            self.rearm()

    def after_events(self) -> None:
        """Send what follows: the application answers by itself, in a thread of its own."""
        self.after_step()

    def after_answers(self) -> None:
        """Send what follows: answers go by the writer."""
        self.after_step()

    # ------------------------------------------------------------------ the clock

    def poll(self) -> None:
        """Draw the conclusions from what the application did, and tell everybody."""
        self.dispatch(self.session.poll(time.monotonic()))

    def rearm(self) -> None:
        """Look at the session again at its deadline."""
        due = self.session.deadline
        if due < self._due:
            self._due = due
            self._timers[due] = call_at(due, partial(self._tick, due))  # later ones: of use, too

    def _tick(self, due: float) -> None:
        """Do what is due; in the clock's thread."""
        with self.lock:
            if self._timers.pop(due, None) is None:  # cancelled too late
                return
            self._due = next(reversed(self._timers), NEVER)
            now = max(time.monotonic(), due)  # clocks may disagree by a hair
            if now >= self.session.deadline:
                self.dispatch(self.session.tick(now))
            self.rearm()
            warnings = [self.driver.ticked(now)]
            if self.window_watch is not None:
                warnings.append(self.window_watch.look(now))
        for warning in filter(None, warnings):
            logger.warning("%s", warning)

    def cancel_timers(self) -> None:
        """Look at the clock no more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._due = NEVER


class DurablePump(Pump):
    """That of a session with a store: what has changed goes to the store before anything is sent.

    What the store has not kept is not transmitted (STORE-2). The step in which it says that it is
    kept sends it.
    """

    __slots__ = ("give_to_store",)

    def __init__(
        self, session: Session, lock: threading.Lock, dispatch: Callable[[list[Event]], None]
    ) -> None:
        super().__init__(session, lock, dispatch)
        self.give_to_store: Callable[[], None] = lambda: None
        "Gives the store what changed."

    def attach(
        self, transport: SyncTransport, link: Link, hello: bytes | str | None = None
    ) -> LinkIO:
        """Carry the session over this transport; it greets when the store has what it says."""
        link_io = super().attach(transport, link, hello)
        link_io.after_write = self.give_to_store
        self.give_to_store()
        return link_io

    def wake(self, *, alone: bool = False) -> None:
        """Give the store what was queued, then send what may be sent."""
        self.give_to_store()
        super().wake(alone=alone)

    def flush(self) -> None:
        """Give the store what there is: this thread is about to wait."""
        self.give_to_store()
        super().flush()

    def after_step(self) -> None:
        """Give the store what follows from a step, then send what may be sent."""
        self.give_to_store()
        super().after_step()
        self.rearm()  # the store has its time, too
