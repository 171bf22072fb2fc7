"""What a driver decides about one session: which worker hears of an event, and how it ends.

Theory of operation. A driver has four workers: a sender, a receiver, an RPC client and an RPC
server. Every step ends in :meth:`SessionDriver.dispatch`, with the events that a verb of the
session returned. It does four things, in this order:

1. Give each event to the worker that it concerns. What follows from an event (the end of a session
   that cannot have a second WebSocket) goes behind the others.
2. If anything rare happened (opened, detached, ended), wake the callers that wait for the session's
   state.
3. Go on with what waited for this: requests that waited for room, a close that waits for handlers.
4. :meth:`Pump.after_step` writes. Nothing else does, but for :meth:`flush_last_frames` and
   :meth:`drop_transport` at the end.

A close has two stages. While handlers of requests run, a :class:`~.close_plan.ClosePlan` decides
how long they have (:meth:`SessionDriver._step_close_plan`). Then the session closes
(:meth:`SessionDriver._close`), and from there on the session's own deadlines bound it.

Subclasses in :mod:`reliable_ws.aio` and :mod:`reliable_ws.sync` know how callers wait, when bytes
are written, and what a timer is. With threads every method here is called with the session's lock
held. No method calls the application, or anything that may block: handlers are started in threads
of their own, and another thread calls ``on_event``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from reliable_ws.protocol.errors import ConnectionClosed
from reliable_ws.protocol.events import (
    Arrived,
    Cancelled,
    Confirmed,
    Detached,
    Eased,
    Ended,
    EndKept,
    Event,
    Faulted,
    Granted,
    Itemized,
    Opened,
    PeerFinished,
    Replied,
    Requested,
    Settled,
    SilenceLearned,
    Stored,
    Withdrawn,
)
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session

from .close_plan import ClosePlan, CloseStep
from .explanation import Explanation, Facts, explain
from .fork import end_in_child
from .reconnect import CANNOT_REOPEN, OPENS_NONE
from .restored import Restored
from .rpc_client import OpenRequests
from .rpc_server import RunningRequests
from .stalls import READER_STOPPED_AFTER, Stalls, is_waiting
from .status import EventName, NotifyEvent, log_silence, name_of, notify_end

__all__ = ["SessionDriver"]


class Timer(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> None:
        """Do not call."""


class Pump(Protocol):
    """What writes, and looks at the clock."""

    principal: Hashable
    driver: Any
    "What looks since when something has waited, whenever the timer fires."

    @property
    def is_writing(self) -> bool:
        """Whether the transport had no room, and a write waits for some."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Write what follows from a step. The last thing in it."""

    def after_events(self) -> None:
        """The same after something that the application may answer at once.

        A confirmation or an answer is none: the caller that goes on with it sends by itself.
        """

    def after_answers(self) -> None:
        """The same after the peer asked for something, where no handler runs any more."""


class SendSide(Protocol):
    """What waits for room in the outbox, and for confirmations."""

    @property
    def waiting(self) -> int:
        """How many callers wait for room."""
        raise NotImplementedError

    def confirmed(self, number: int) -> None:
        """Wake the callers that wait for a message up to ``number``, or for room."""

    def settled(self) -> None:
        """Wake the callers that wait: every outcome is known."""

    def stored(self, number: int) -> None:
        """Wake the callers that wait until a message is kept. Only with a store."""

    def withdrawn(self, number: int) -> None:
        """Tell that messages above ``number`` were taken back. Only with a store."""

    def try_again(self) -> None:
        """Wake the caller that waits for room: there is some, or it is too late."""


class Waiters(Protocol):
    """Those that wait for a message, first come first served."""

    def notify(self, count: int = 1, /) -> None:
        """Wake the first ones: so many messages came."""


class ReceiveSide(Protocol):
    """What waits for messages."""

    @property
    def waiters(self) -> Waiters:
        """Whoever waits for one."""
        raise NotImplementedError

    @property
    def waited_for(self) -> bool:
        """Whether a caller waits for a message."""
        raise NotImplementedError

    def wake_if_over(self) -> None:
        """Wake the callers that wait, if no message can come any more."""


PumpT = TypeVar("PumpT", bound=Pump)
SenderT = TypeVar("SenderT", bound=SendSide)
ReceiverT = TypeVar("ReceiverT", bound=ReceiveSide)
ClientT = TypeVar("ClientT", bound=OpenRequests[Any])
ServerT = TypeVar("ServerT", bound=RunningRequests[Any])


class SessionDriver(Generic[PumpT, SenderT, ReceiverT, ClientT, ServerT]):
    """One session, its four workers, and its end."""

    __slots__ = (
        "_close_plan",
        "_close_timer",
        "_opened",
        "_resumable",
        "attempt_over",
        "end_waiters",
        "notify",
        "opens_late",
        "principal",
        "pump",
        "receiver",
        "restored",
        "retry",
        "rpc_client",
        "rpc_server",
        "sender",
        "session",
        "stalls",
    )

    GRACE: ClassVar[float] = 0.0
    "Seconds that a cancelled handler has to end; 0 where none can be cancelled."

    def __init__(
        self,
        session: Session,
        pump: PumpT,
        sender: SenderT,
        receiver: ReceiverT,
        rpc_server: ServerT,
        *,
        resumable: bool,
    ) -> None:
        self.session = session
        self.pump = pump
        self.sender = sender
        self.receiver = receiver
        self.rpc_client: ClientT | None = None
        "Our requests, once there is any."
        self.rpc_server = rpc_server
        self.notify: NotifyEvent | None = None
        "Takes note of what happens to the session as a whole."
        self.attempt_over = False
        "Whether the session was opened, was detached or has ended since this was last cleared."
        self.end_waiters = 0
        "How many callers wait for the end of the session."
        self.retry: float | None = None
        "Seconds that the peer asked us to wait before the next WebSocket."
        self.principal: Hashable = None
        "Who the application found the peer to be, at the acceptor."
        self.restored: Restored | None = None
        "What the session had when it came from a store."
        self.stalls: Stalls | None = None
        "Since when something has waited, once anything did at a look."
        self._resumable = resumable
        pump.driver = self
        self.opens_late = False
        "Whether the application has the connection before it was opened."
        self._opened = False  # whether a WebSocket carries the session, as events have told
        self._close_plan: ClosePlan | None = None  # only while a close waits for handlers
        self._close_timer: Timer | None = None  # set only while there is a plan

    def belong_to(self, principal: Hashable) -> None:
        """Note who the peer is, also for the log lines of the workers."""
        self.principal = self.pump.principal = self.rpc_server.principal = principal

    @property
    def name(self) -> str:
        """The session in log lines: its short id, and whose it is."""
        return name_of(self.session.id, self.principal)

    @property
    def is_finishing(self) -> bool:
        """Whether this side sends no more messages."""
        return self.session.outbox.finish is not None

    @property
    def over(self) -> ConnectionClosed | None:
        """What ``recv()`` raises once no message can come any more."""
        return self.session.error() if self.session.exhausted else None

    @property
    def at_rest(self) -> bool:
        """Whether nothing can happen here until the peer does something.

        Nothing is owed in either direction, and the application waits for the peer.
        """
        waited_for = self.receiver.waited_for or self.end_waiters
        return bool(waited_for) and self.session.at_rest and not self.rpc_server.busy

    def look(self, now: float) -> None:
        """Take note of since when something has waited: now and then."""
        client, running = self.rpc_client, self.rpc_server.running
        stalls = self.stalls
        if not (running or is_waiting(self.session)) and (stalls is None or stalls.is_blank):
            self.stalls = None
            return
        if stalls is None:
            stalls = self.stalls = Stalls()
        stalls.look(self.session, now)
        asked = () if client is None else client.numbers
        # Handlers in threads change what runs meanwhile.
        stalls.look_at_calls(asked, running and running.copy(), now)

    def ticked(self, now: float) -> str:
        """Take note, as :meth:`look`; return a warning if one is due, once for each stall.

        Of callers of ``send()`` that have waited long, and of messages that our application does
        not take. That of deliveries that nobody confirms is :mod:`.window_watch`'s.
        """
        self.look(now)
        stalls = self.stalls
        if stalls is None:
            return ""
        if self.sender.waiting and stalls.is_worth_a_warning(self.session.outbox.confirmed, now):
            return f"{self.name}: {self.explain(now)}"
        if stalls.has_reader_stopped(self.session, now):
            count = len(self.session.inbox.queue)
            return (
                f"{self.name}: {count:,} messages wait here and fill the window, and "
                f"the application has taken none for {READER_STOPPED_AFTER:.0f} s at least, so the "
                "peer can send next to nothing. See what waits or blocks between two recv(), or in "
                "the loop over the connection"
            )
        return ""

    def explain(self, now: float) -> Explanation:
        """Return why the session does not go on; :meth:`look` first."""
        client, server = self.rpc_client, self.rpc_server
        return explain(
            Facts(
                self.session,
                now,
                self.stalls,
                is_writing=self.pump.is_writing,
                senders=self.sender.waiting,
                asked={} if client is None else client.methods,
                running=server.methods,
                postponed=server.postponed,
                next_attempt=self.next_attempt,
            )
        )

    @property
    def next_attempt(self) -> float | None:
        """When this side opens the next WebSocket; ``None``: it does not."""
        return None

    # ------------------------------------------------------------------ what drivers add

    def now(self) -> float:
        """Return the time, in seconds of the driver's clock."""
        raise NotImplementedError

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Have this called at that time, in a step of its own."""
        raise NotImplementedError

    def changed(self) -> None:
        """Wake the callers that wait for the session to be opened, detached, closing or over."""
        raise NotImplementedError

    def flush_last_frames(self) -> None:
        """Write what the session says at its end, if that need not wait for the end of the step."""

    def drop_transport(self) -> None:
        """Drop the transport at once: no closing handshake."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what happened

    def dispatch(self, events: list[Event]) -> None:
        """Give each event to the worker that it concerns, then write. The last thing in a step."""
        # Give out the events. The list grows: what follows from an event goes behind the others.
        eventful = asked = is_rare = False
        for event in events:
            kind = type(event)
            if kind is Arrived:
                self.receiver.waiters.notify(event.messages)  # type: ignore[union-attr]
                eventful = True
            elif kind is Confirmed:
                self.sender.confirmed(event.number)  # type: ignore[union-attr]
            elif (answer := REPLY_HANDLERS.get(kind)) is not None:
                answer(self.rpc_client, event)
            elif kind is Requested:
                by = event.by  # type: ignore[union-attr]
                self.rpc_server.requested(event, 0.0 if by is None else self.now())  # type: ignore[arg-type]
                asked = True
            elif (order := REQUEST_HANDLERS.get(kind)) is not None:
                order(self, event)
                eventful = asked = True
            elif kind is Stored:
                self.sender.stored(event.number)  # type: ignore[union-attr]
                eventful = True
            else:
                eventful = is_rare = True
                events += self._on_rare(event)
        # Wake the callers that wait for the session's state.
        if is_rare:
            self.changed()
        # Go on with requests that waited for room, and with a close that waits for handlers.
        if self.rpc_client is not None and self.rpc_client.has_waiters:
            self.rpc_client.admit()
        if self._close_plan is not None:
            self._step_close_plan()
        # Write. For a lone handler there is no need: its answer does.
        running = self.rpc_server.running if asked else ()
        if asked and not running:
            self.pump.after_answers()
        elif eventful or len(running) > 1:
            self.pump.after_events()
        else:
            self.pump.after_step()

    def _on_rare(self, event: Event) -> list[Event]:
        """Deal with what happens a few times in a session's life; return what follows."""
        following: list[Event] = []
        match event:
            case Opened(resumed, replayed):
                self.attempt_over = self._opened = True
                self._tell("resumed" if resumed else "opened", None, "", replayed)
            case Settled():
                ending = self.session.ended
                if ending is not None and ending.kind is not End.FINISHED:
                    self._tell_end()  # before the callers that this wakes and that raise for it
                self._on_settled()
                self.rpc_server.abort()  # the peer takes no answers
                self.receiver.wake_if_over()
            case Detached(code, reason, retry):
                following = self._on_detached(code, reason, retry)
            case Ended(ending):
                self._on_ended(ending)
                self.receiver.wake_if_over()
            case PeerFinished(code, reason):
                if self.session.outbox.finish is None:  # else it only answers
                    self._tell("peer_finished", code, reason, 0)
                if self.rpc_client is not None:
                    self.rpc_client.settle()
                self.receiver.wake_if_over()
            case Eased():
                self.rpc_server.eased(self.now())
            case SilenceLearned(limit):
                log_silence(self.name, limit)
            case EndKept():
                self._on_end_kept()
            case Withdrawn(number):
                self.sender.withdrawn(number)
        return following

    def _on_settled(self) -> None:
        self.sender.settled()
        if self.rpc_client is not None:
            self.rpc_client.settle()

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> list[Event]:
        self.attempt_over = True
        self.retry = retry
        if self._opened:  # else an attempt has failed, which is another event
            self._opened = False
            self._tell("detached", code, reason, 0)
        ending = self._ending_for(code, reason)
        if ending is None:
            return []
        if ending.kind is End.KEPT:
            return self.session.leave(self.now(), ending.reason)
        return self.session.end(self.now(), ending)

    def _ending_for(self, code: int | None, reason: str) -> Ending | None:
        """Return how the session ends with this end of its WebSocket; ``None``: it does not."""
        del code, reason  # whatever they are
        if self._resumable:
            return None
        if self.session.durable is not None:
            return Ending(End.KEPT, Code.RESTART, CANNOT_REOPEN)
        return Ending(End.LOST, 1006, CANNOT_REOPEN)

    def _on_ended(self, ending: Ending) -> None:
        self.attempt_over = True
        if self.session.is_kept:
            self._on_end_kept()
        self.rpc_server.abort()
        self.flush_last_frames()
        if ending.kind is End.EXPIRED:  # the peer would not answer a closing handshake
            self.drop_transport()

    def _on_end_kept(self) -> None:
        """Tell the end. With a store: once it has it, since before, another process could go on."""
        self._tell_end()
        self._on_settled()

    def _tell(self, name: EventName, code: int | None, reason: str, replayed: int) -> None:
        """Tell what happened to the session as a whole, if anybody listens."""
        if self.notify is not None:
            self.notify(name, code, reason, replayed)

    def _tell_end(self) -> None:
        """Tell how the session ended, once, before the callers that wait for it are woken.

        A session that was never open is no event where its opening raises.
        """
        session = self.session
        if session.ended is not None and (session.incarnation or self.opens_late):
            if self.notify is not None:
                notify_end(self.notify, session.ended)
            self.notify = None

    # ------------------------------------------------------------------ the end

    def finish(self, code: int, reason: str) -> None:
        """Send nothing after what was sent; turn new requests away."""
        self.rpc_server.turn_away()
        self.dispatch(self.session.finish(self.now(), code, reason))
        self.sender.try_again()

    def start_closing(
        self, code: int = Code.FINISHED, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin to close, and wait for nothing: handlers of requests may end first."""
        plan = self._close_plan
        session = self.session
        if plan is None and (session.closing or session.ended or not self.rpc_server.busy):
            self._close(code, reason, timeout)
            return
        if plan is None:
            plan = self._close_plan = ClosePlan(code, reason, grace=self.GRACE)
            self.rpc_server.turn_away()
            self.rpc_server.on_idle = self._step_close_plan
        plan.limit(self.now(), session.config, timeout)
        self._step_close_plan()

    def _step_close_plan(self) -> None:
        """Go on with a close that waits for handlers, as far as can be now."""
        plan = self._close_plan
        if plan is None:
            return
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        step = CloseStep.CLOSE
        if not self.session.ended:
            step = plan.step(self.now(), busy=self.rpc_server.busy)
        if step is CloseStep.CANCEL:
            self.rpc_server.abort()
            step = plan.step(self.now(), busy=self.rpc_server.busy)
        if step is CloseStep.WAIT:
            self._close_timer = self.call_at(plan.deadline, self._step_close_plan)
            return
        self._close_plan = self.rpc_server.on_idle = None
        if not self.session.ended:
            self.rpc_server.give_up("it does not end")
            self._close(plan.code, plan.reason, plan.left(self.now()))

    def _close(self, code: int, reason: str, timeout: float | None) -> None:
        """Close the session, whatever runs."""
        self.rpc_server.turn_away()
        events = self.session.close(self.now(), code, reason, timeout)
        self.sender.try_again()  # callers that wait to send or to receive learn that it is too late
        self.receiver.wake_if_over()
        if self.rpc_client is not None:
            self.rpc_client.settle()
        self.changed()
        self.dispatch(events)

    def abort(self, code: int = Code.ABORTED, reason: str = "") -> None:
        """End at once, waiting for nothing."""
        self.dispatch(self.session.abort(self.now(), code, reason))
        self.drop_transport()

    def end(self, ending: Ending, cause: Exception | None = None) -> None:
        """End the session like this; ``cause`` is the cause of what its users are raised then."""
        self.dispatch(self.session.end(self.now(), ending, cause))

    def reconnect_now(self) -> None:
        """Begin the next attempt to open a WebSocket at once. ``RuntimeError``: there is none."""
        raise RuntimeError(OPENS_NONE)

    def after_fork(self) -> None:
        """Take no part any more: this process is a child of the session's."""
        end_in_child(self.session)
        self.rpc_server.abort()  # what runs there is answered nowhere
        self.changed()


REPLY_HANDLERS: dict[type[Event], Callable[[Any, Any], None]] = {
    Replied: OpenRequests.replied,
    Faulted: OpenRequests.faulted,
    Itemized: OpenRequests.itemized,
}
"""What comes for our requests."""

REQUEST_HANDLERS: dict[type[Event], Callable[[Any, Any], None]] = {
    Granted: lambda driver, event: driver.rpc_server.granted(event),
    Cancelled: lambda driver, event: driver.rpc_server.cancel(event),
}
"""What comes for the peer's."""
