"""Figures of many sessions together, for metrics: they are read, and no message pays for them.

Theory of operation. A session counts in positions anyway: how far it has sent, and how far the
peer has confirmed. :meth:`Figures.add_slice` adds up the positions of sessions that live, and
:meth:`Figures.add_ended` those of one that has ended, once. So a counter is what ended sessions
have left, and the positions of those that live.

A reader in another thread holds the event loop back while it computes. So it reads
:data:`SESSIONS_AT_ONCE` sessions, pauses, and goes on. What it adds up is still right: it takes a
copy of what ended sessions have left and a list of those that live at the same moment, so each
session counts once, also one that ends while it reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from reliable_ws.histogram import Histogram
from reliable_ws.protocol.frames import Limits
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.store import StoreStats

from .stalls import Stalls, is_own_window_full
from .state import State, state_of
from .window_watch import FULL

__all__ = ["SLICE_PAUSE", "Figures", "GroupStats", "add_all"]

SESSIONS_AT_ONCE = 250
"""Sessions that are read without a pause: half a millisecond."""

SLICE_PAUSE = 0.0005
"""Seconds that a reader in another thread pauses between two slices. Merely letting others run is
not enough: a thread takes the interpreter back before one that waits for it has woken up."""

STALLED = 10.0
"""Seconds after which a message that waits to be taken makes its session count as stalled."""


@dataclass(slots=True)
class Figures:
    """What all sessions of a server, or of some connections, have done together.

    The first part are counters, which only grow. The others are of this moment. Ages are lower
    bounds, as those of :meth:`Connection.explain`.
    """

    sent: int = 0
    "Messages that ``send()`` accepted."
    transmitted: int = 0
    "Messages of them that were given to a WebSocket."
    confirmed: int = 0
    "Messages of them that the peers' applications have taken."
    not_taken: int = 0
    "Messages of sessions that have ended which the peer never took, and never will."
    unknown: int = 0
    "Messages of sessions that have ended of which nobody knows whether they were taken."
    received: int = 0
    "Messages that have arrived from peers."
    taken: int = 0
    "Messages of them that were handed to the application."
    acknowledged: int = 0
    "Messages of them that the application has confirmed."
    resumes: int = 0
    "WebSockets that carried a session after its first."
    replayed: int = 0
    "Messages that were sent again."
    window_full_peers: float = 0.0
    """Seconds that peers' windows were full, over all sessions, as far as seen: their applications
    took too little."""
    window_full_here: float = 0.0
    "Seconds that our windows were full: our application took too little."
    ended: Counter[str] = field(default_factory=Counter)
    "Sessions that have ended, by :class:`~reliable_ws.End`."
    refused: Counter[int] = field(default_factory=Counter)
    "WebSockets that were refused, by code (protocol.md, section 12)."

    confirm_seconds: Histogram = field(default_factory=Histogram)
    """How long confirmations took, from when a message was given to a WebSocket: of one message of
    each session at a time. A connection of a server leaves it to the server."""

    sessions: Counter[str] = field(default_factory=Counter)
    "Sessions that live, by :class:`~reliable_ws.State`."
    outbox_messages: int = 0
    "Messages that wait for the peers' confirmations."
    outbox_bytes: int = 0
    "Bytes of them."
    outbox_seconds: float = 0.0
    "For how long the oldest of them has waited."
    outbox_stalled: int = 0
    "Sessions in which one has waited for 10 seconds."
    inbox_messages: int = 0
    "Messages that wait to be taken and confirmed here."
    inbox_bytes: int = 0
    "Bytes of them."
    inbox_seconds: float = 0.0
    "For how long the oldest of them has waited."
    inbox_stalled: int = 0
    "Sessions in which one has waited for 10 seconds."
    requests: int = 0
    "Requests of ours that wait for their answers."
    handlers: int = 0
    "Handlers of requests that run here."

    loop_stalled_seconds: float = 0.0
    """Seconds that something has blocked the event loops of this process, for two or more at a
    time: a counter. Each block may have taken a second more at a server that has sessions, and
    elsewhere a third of ``Config.idle_timeout``. The same in all figures of a process; 0 with
    threads."""
    loop_last_stall: float = 0.0
    "For how many seconds it did the last time."
    loop_last_stall_at: float = 0.0
    "When that was seen, in seconds since 1970."

    store: StoreStats | None = None
    "What the store of a server has done, if it says so."
    cluster: Any = None
    "The :class:`~reliable_ws.cluster.ClusterStats` of a server in a cluster."
    group: GroupStats | None = None
    "Only this is there if the figures are those of a :class:`~reliable_ws.Group`."

    def add_slice(self, drivers: Sequence[Counted], now: float) -> None:  # noqa: PLR0915 - as there
        """Add some sessions.

        Ten thousand are read in one scrape, and most of them are idle. So this looks at as few
        objects of each as possible, adds up in local variables, and calls nothing for a session in
        which nothing waits.
        """
        # Where everything is confirmed, all positions of a direction are the same.
        all_out = sent = transmitted = confirmed = all_in = received = taken = acknowledged = 0
        resumes = replayed = others = 0
        waiting: list[Counted] = []
        for driver in drivers:
            session = driver.session
            if session.ended is not None:
                self.add_ended(session, driver.stalls)
                others += 1
                continue
            # What is counted.
            outbox, inbox = session.outbox, session.inbox
            last, told = outbox.last, outbox.confirmed
            arrived, done = inbox.received, inbox.confirmed
            if told == last and done == arrived:
                all_out += last
                all_in += arrived
                if (
                    driver.stalls is not None
                    or session.incoming_calls.served
                    or (driver.rpc_client is not None and session.outgoing_calls.open)
                ):
                    waiting.append(driver)
            else:
                sent += last
                transmitted += outbox.transmitted
                confirmed += told
                received += arrived
                taken += inbox.handed if done != arrived else done
                acknowledged += done
                waiting.append(driver)
            if session.resumes or session.replayed:
                resumes += session.resumes
                replayed += session.replayed
            # In which state it is. A Finish has a number, and is no message.
            if (
                outbox.finish is not None
                or inbox.finish is not None
                or session.link is None
                or (session.role != "acceptor" and not session.attached)
            ):
                others += 1
                self.sessions[state_of(session).value] += 1
                if outbox.finish is not None:
                    sent -= 1
                    transmitted -= outbox.transmitted == last
                    confirmed -= told == last
                if inbox.finish is not None:
                    received -= 1
                    if done == arrived:
                        taken -= 1
                        acknowledged -= 1
        self.sent += all_out + sent
        self.transmitted += all_out + transmitted
        self.confirmed += all_out + confirmed
        self.received += all_in + received
        self.taken += all_in + taken
        self.acknowledged += all_in + acknowledged
        self.resumes += resumes
        self.replayed += replayed
        if others < len(drivers):
            self.sessions[State.OPEN.value] += len(drivers) - others
        if waiting:
            self._add_waiting(waiting, now)

    def _add_waiting(self, drivers: list[Counted], now: float) -> None:  # noqa: C901, PLR0912, PLR0915 - calls would take half of the time
        """Add what waits in some sessions: where they stand is counted already.

        There may be thousands, so :meth:`Stalls.look` is called only where it changes something.
        """
        out_messages = out_bytes = out_stalled = in_messages = in_bytes = in_stalled = 0
        out_since = in_since = now
        long_ago = now - STALLED
        peer: Limits | None = None
        most_there = most_bytes_there = 0.0  # from which on the window of such a peer may be full
        for driver in drivers:
            session, stalls = driver.session, driver.stalls
            outbox, inbox = session.outbox, session.inbox
            told, done = outbox.confirmed, inbox.confirmed
            out, size = outbox.last - told, outbox.total - outbox.released
            waits = inbox.received - done
            if outbox.peer is not peer:  # sessions of one configuration share it
                peer = outbox.peer
                most_there, most_bytes_there = FULL * peer.window_messages, FULL * peer.window_bytes
            # Calls, if there were any. Then take note of since when something has waited.
            served = session.incoming_calls.served
            asked = () if driver.rpc_client is None else session.outgoing_calls.open
            if served or asked or stalls is None or not (out or waits):
                self.requests += len(asked)
                self.handlers += len(served)
                driver.look(now)
                stalls = driver.stalls
                if stalls is None:
                    continue
            elif (
                stalls.was_full_there
                or stalls.was_full_here
                or (out and (told >= stalls.mark_out or out >= most_there))
                or size >= most_bytes_there
                or (waits and (done >= stalls.mark_in or is_own_window_full(session)))
            ):
                stalls.look(session, now)
            # Messages.
            if out:
                out_messages += out
                out_bytes += size
                if outbox.finish is not None:
                    out_messages -= 1
                if told < stalls.mark_out:
                    since = stalls.since_out
                    if since < out_since:  # noqa: PLR1730 - a call
                        out_since = since
                    if since <= long_ago:
                        out_stalled += 1
            if waits:
                in_messages += waits
                in_bytes += inbox.held
                if inbox.finish is not None:
                    in_messages -= 1
                if done < stalls.mark_in:
                    since = stalls.since_in
                    if since < in_since:  # noqa: PLR1730 - a call
                        in_since = since
                    if since <= long_ago:
                        in_stalled += 1
            if stalls.full_there or stalls.full_here:
                self.window_full_peers += stalls.full_there
                self.window_full_here += stalls.full_here
        self.outbox_messages += out_messages
        self.outbox_bytes += out_bytes
        self.outbox_seconds = max(self.outbox_seconds, now - out_since)
        self.outbox_stalled += out_stalled
        self.inbox_messages += in_messages
        self.inbox_bytes += in_bytes
        self.inbox_seconds = max(self.inbox_seconds, now - in_since)
        self.inbox_stalled += in_stalled

    def add_ended(self, session: Session, stalls: Stalls | None) -> None:
        """Add a session that has ended: call it once for each."""
        self._count(session, stalls)
        if session.ended is not None:
            self.ended[session.ended.kind.value] += 1
        if session.outbox.confirmed < session.outbox.messages:
            report = session.report()
            self.not_taken += report.count(Outcome.NOT_TAKEN)
            self.unknown += report.count(Outcome.UNKNOWN)

    def _count(self, session: Session, stalls: Stalls | None) -> None:
        """Add the positions of a session."""
        outbox, inbox = session.outbox, session.inbox
        messages = outbox.messages
        if messages:
            self.sent += messages
            self.transmitted += min(outbox.transmitted, messages)
            self.confirmed += min(outbox.confirmed, messages)
        if inbox.received:
            finish = inbox.finish is not None
            self.received += inbox.received - finish
            self.taken += inbox.handed
            self.acknowledged += min(inbox.confirmed, inbox.received - finish)
        self.resumes += session.resumes
        self.replayed += session.replayed
        if stalls is not None:
            self.window_full_peers += stalls.full_there
            self.window_full_here += stalls.full_here

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            values[name] = _plain(value)
        return values

    def copy(self) -> Figures:
        """Return figures that others can be added to."""
        return replace(
            self,
            ended=self.ended.copy(),
            refused=self.refused.copy(),
            sessions=self.sessions.copy(),
            confirm_seconds=self.confirm_seconds.copy(),
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Counter):
        return dict(value)
    if isinstance(value, Histogram):
        return {"counts": value.counts, "total": value.total}
    if hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    return value


class GroupStats(NamedTuple):
    """What a group has done."""

    members: int
    "Connections that are in it now."
    waiting: int
    "Publications that wait for room, over all members."
    publications: int
    """Messages that were given to its members in this process. In a cluster they may have been
    published in another one."""
    skipped: int
    "Times that a member did not get a publication, as it had no room or takes none so large."
    dropped: int
    "Members that were taken out of the group, as they had no room."


class Counted(Protocol):
    """What drives a session."""

    session: Session
    stalls: Stalls | None
    rpc_client: Any
    "What makes requests, once there was any."

    def now(self) -> float:
        """Return the time."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Take note of since when something has waited."""


def add_all(
    figures: Figures, drivers: Sequence[Counted], pause: Callable[[], object] | None = None
) -> None:
    """Add these sessions. ``pause`` is called between slices of them, in another thread."""
    for at in range(0, len(drivers), SESSIONS_AT_ONCE):
        if at and pause is not None:
            pause()
        some = drivers[at : at + SESSIONS_AT_ONCE]
        figures.add_slice(some, some[0].now())
