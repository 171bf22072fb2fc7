"""The sessions of a server: which live, what they leave behind, how they are drained."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from reliable_ws.protocol.events import Event
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.report import Report
from reliable_ws.protocol.session import Session

from .figures import Counted, Figures, add_all

__all__ = ["EVICTION_INTERVAL", "OnDrained", "SessionTable"]

OnDrained = Callable[[dict[bytes, Report]], object]
"""What the application has called after a drain: with the reports of all sessions, by their ids."""

EVICTION_INTERVAL = 1.0
"""Seconds between two looks at what sessions hold. Each costs a microsecond a session."""

IDLE_LOOK_INTERVAL = 0.5
"""Seconds from one look for idle sessions to the next while a server drains. A peer that closes as
soon as it is told has done so before the first look: it needs a round trip."""

CLOSING = 3.0
"""Seconds that sessions have to end when their handlers were stopped: a few round trips, as after a
cancellation (``Config.close_cancelled_timeout``)."""

TASKS_END = 1.0
"""Seconds that tasks and threads have to end after their sessions."""

DRAIN_CLOSE = (1001, "going away")


COPY_TRIES = 5
"""How often a reader in another thread begins again, because a session ended just then."""


class Acceptor(Counted, Protocol):
    """What drives one session of a server."""

    connection: Any
    "The application's end of it."
    handling: Any
    "The task or thread that runs the application's handler, or ``None``."

    @property
    def at_rest(self) -> bool:
        """Whether nothing can happen here until the peer does something."""
        raise NotImplementedError

    def finish(self, code: int, reason: str) -> None:
        """Send nothing more, and go on receiving."""

    def start_closing(self, code: int, reason: str) -> None:
        """Begin to close, and wait for nothing."""

    def abort(self, code: int, reason: str) -> None:
        """End at once."""

    def dispatch(self, events: list[Event]) -> None:
        """Give each event to the worker that it concerns."""


A = TypeVar("A", bound=Acceptor)
H = TypeVar("H", bound=Hashable)


class SessionTable(Generic[A, H]):
    """Every session of one server, by its id, and the handlers that run (tasks or threads)."""

    def __init__(self, registry: SessionRegistry) -> None:
        self.registry = registry
        self.acceptors: dict[bytes, A] = {}
        self.handlers: set[H] = set()
        "Those of sessions that have ended as well."
        self.callers: set[H] = set()
        "Tasks or threads that wait for the draining: nobody waits for them."
        self._reports: dict[bytes, Report] | None = None  # from the first drain on
        self.left = Figures()
        "What sessions that have ended have left."
        self._retiring = self._retired = 0  # sessions: they differ while one is being retired

    def retire(self, acceptor: A, now: float) -> None:
        """Keep of a session that has ended no more than that it has."""
        session = acceptor.session
        self._retiring += 1
        self.registry.retire(session, now)
        self.acceptors.pop(session.id, None)
        self.left.add_ended(session, acceptor.stalls)
        self._retired += 1
        if self._reports is not None:
            self._reports[session.id] = session.report()

    def figures(self, pause: Callable[[], object] | None) -> Figures:
        """Return what all sessions have done together; in any thread.

        ``pause`` is called between slices of them: in another thread than that of the sessions.
        """
        figures, living = self._begin_figures(pause)
        add_all(figures, living, pause)
        figures.refused.update(self.registry.refused)
        return figures

    def _begin_figures(self, pause: Callable[[], object] | None) -> tuple[Figures, list[A]]:
        """Return a copy of what was left, and the sessions that lived at the same moment."""
        tries = 0
        while True:
            retired = self._retired
            figures, living = self.left.copy(), list(self.acceptors.values())
            tries += 1
            if retired == self._retiring or tries == COPY_TRIES:
                return figures, living
            if pause is not None:
                pause()

    @property
    def is_empty(self) -> bool:
        """Whether no session lives, and no handler runs that does not wait for just that."""
        return not self.acceptors and not self.waited_for

    @property
    def waited_for(self) -> set[H]:
        """The handlers that draining waits for: those that run and do not wait for it."""
        return self.handlers - self.callers

    def tell_evicted(self) -> None:
        """Tell the sessions that have made room for a new one."""
        self._dispatch(self.registry.take_evicted())

    def evict(self, now: float) -> bool:
        """End sessions that hold too much (LIMIT-4); whether to look again soon."""
        self._dispatch(self.registry.evict(now))
        return bool(self.acceptors)  # any of them may come to hold more

    def _dispatch(self, evicted: list[tuple[Session, list[Event]]]) -> None:
        for session, events in evicted:
            acceptor = self.acceptors.get(session.id)
            if acceptor is not None:
                acceptor.dispatch(events)

    # ------------------------------------------------------------------ draining

    @property
    def draining(self) -> bool:
        """Whether new sessions are turned away."""
        return self.registry.draining

    def begin_drain(self) -> dict[bytes, Report]:
        """Turn new sessions away; return where reports of those that end are kept."""
        self.registry.draining = True
        if self._reports is None:
            self._reports = {}
        return self._reports

    def drain(self, timeout: float, stop_handlers: Callable[[], object]) -> Iterator[float]:
        """Tell every session to end, in steps, each more urgent than the one before.

        Each step yields how many seconds it is good for. Go on to the next one when they have
        passed and the table is not empty. All steps together take ``timeout`` seconds. If that is
        less than 8, they may take up to four seconds more.

        1. The peers are told that nothing follows, and handlers may end. Twice a second, sessions
           end in which only the peer could do something, and does not.
        2. Four seconds before the end, or after half of the time if that is later: handlers are
           stopped, and sessions are given up whose peer is out of reach. ``stop_handlers`` cancels
           tasks, or closes connections under threads, which cannot be cancelled.
        3. All sessions are given up.
        """
        acceptors = list(self.acceptors.values())
        last = min(CLOSING + TASKS_END, timeout / 2)
        # Tell every peer at once. Those that listen finish too, and their sessions end.
        for acceptor in acceptors:
            if acceptor.handling is None:
                acceptor.start_closing(*DRAIN_CLOSE)
            else:
                acceptor.finish(*DRAIN_CLOSE)
        left = timeout - last
        while left > 0:
            pause = min(IDLE_LOOK_INTERVAL, left)
            yield pause
            left -= pause
            for acceptor in acceptors:
                _end_if_idle(acceptor, waits=acceptor.handling in self.callers)
        stop_handlers()
        for acceptor in acceptors:
            session = acceptor.session
            if not (session.attached or session.closing or session.ended):
                acceptor.abort(*DRAIN_CLOSE)  # its peer cannot be told
        yield CLOSING
        for acceptor in acceptors:
            acceptor.abort(*DRAIN_CLOSE)
        yield TASKS_END


def _end_if_idle(acceptor: Acceptor, *, waits: bool) -> None:
    """End a session that would only wait for a peer that says nothing, or is gone.

    ``waits``: whether its handler waits for the end of the draining.
    """
    session = acceptor.session
    if session.ended:
        return
    if session.attached:
        at_rest = acceptor.at_rest or (waits and session.at_rest)
        if at_rest and not session.closing:
            acceptor.start_closing(*DRAIN_CLOSE)
    elif acceptor.at_rest or (session.closing and session.at_rest):
        acceptor.abort(*DRAIN_CLOSE)
