"""One session: what outlives the WebSockets that carry it.

Theory of operation. A session has two directions that know nothing of each other. The *outbox*
keeps our messages until the outcome of each is known. The *inbox* keeps the peer's messages until
the application has taken them. Calls have a numbering of their own. One *link* at a time carries
all of that over a WebSocket; an older link is inert.

A verb changes facts and nothing else. Conclusions (a direction has ended, both have, the session
is over) are drawn in one place, at the end of a step: :meth:`Session.poll`. The documentation of
:mod:`reliable_ws.protocol` says in what order a driver calls the verbs.

Only mistakes of the caller raise. A mistake of the peer is a :class:`Violation` inside of
:meth:`Session.receive`; outside it is an event, the end of the session (FRAME-5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from .acks import Acks
from .calls.cursor import CallCursor
from .calls.incoming import IncomingCalls
from .calls.outgoing import OutgoingCalls
from .calls.queue import BEHIND_FINISH, CallQueue
from .codec import decode
from .config import DEFAULT_CONFIG, Config, limits_of
from .cursor import Cursor
from .deadline import NEVER
from .durable import Durable, Identity, Ledgers, Mark
from .errors import ConnectionClosed, StoreFull, Violation, closed
from .events import (
    Arrived,
    Confirmed,
    Detached,
    Eased,
    Ended,
    EndKept,
    Event,
    Opened,
    PeerFinished,
    Settled,
    SilenceLearned,
    Stored,
    Withdrawn,
)
from .fields import sayable
from .frame_size import FrameSize
from .frames import (
    VERSION,
    Ack,
    CallAck,
    Calls,
    Code,
    Counters,
    Done,
    Finish,
    Frame,
    Hello,
    Messages,
    Part,
    Partial,
    Payload,
    Refuse,
    Stop,
    Want,
    Welcome,
    may_resume,
    new_unchecked,
)
from .handshake import (
    call_position,
    check_calls,
    check_position,
    codecs_differ,
    position,
    told_codec,
)
from .idle_cuts import LEAST_SILENCE, IdleCuts
from .inbox import MESSAGE_WEIGHT, Inbox
from .link import Link
from .outbox import Outbox
from .payload import DEFAULT_CODEC, PayloadCodec, seal, seal_weight
from .report import End, Ending, Outcome, Report
from .state import Phase, Receiving, Sending
from .stored import Change
from .timers import NO_CONTACT, Timers

__all__ = ["Role", "Session"]

Role = Literal["initiator", "acceptor"]

NOTHING_THERE = Partial(0, 0)
"""What the peer has of a message in parts before it said anything."""


class Session:
    """What an application, and the driver under it, can do with a session.

    A driver may read ``inbox``, ``outbox``, ``incoming_calls`` and ``outgoing_calls``. Only the
    verbs of the session change them, but for a run of messages (``Inbox.begin_run``).
    """

    __slots__ = (
        "_events",
        "_partial_there",
        "_report",
        "_resumed",
        "attempt",
        "call_queue",
        "cause",
        "codec",
        "config",
        "durable",
        "ended",
        "frame_size",
        "id",
        "idle_cuts",
        "inbox",
        "incarnation",
        "incoming_calls",
        "key",
        "link",
        "obstacle",
        "offer",
        "outbox",
        "outgoing_calls",
        "replayed",
        "restored",
        "resumes",
        "role",
        "silence_limit",
        "take",
        "timers",
        "told_codec",
    )

    def __init__(  # noqa: PLR0917 - its identity, and the time
        self,
        role: Role,
        session_id: bytes,
        key: bytes,
        now: float,
        config: Config | None = None,
        codec: PayloadCodec | None = None,
        *,
        incarnation: int = 0,
    ) -> None:
        """Begin. ``key`` is the secret itself at the initiator, its hash at the acceptor.

        Id and key are drawn by the initiator's driver (HELLO-2).
        """
        self.role = role
        self.id = session_id
        self.key = key
        self.config = config or DEFAULT_CONFIG
        self.codec = codec or DEFAULT_CODEC
        self.told_codec = told_codec(self.codec)
        "What our greetings say of it (HELLO-18)."
        self.incarnation = incarnation
        self.attempt = 0
        self.link: Link | None = None
        """The newest link, as long as it is not over. Every other link of this session is over: a
        new one ends the old one in the same step."""
        self.ended: Ending | None = None
        "How the session ended; ``None`` while it lives. Set once, and then ``link`` is ``None``."
        self.obstacle: tuple[str, Exception] | None = None
        """Why no WebSocket could be opened since the last one that carried the session, in words.
        The driver says so. It is the cause of an end that comes for want of one (END-4)."""
        self.cause: Exception | None = None
        "The exception that ended it, if one did: the cause of what :meth:`error` returns."
        self.outbox = Outbox(self.config, self.codec)
        self.inbox = Inbox(self.config)
        # The two verbs of nearly every message are those of the ledgers: a call less for each.
        self.offer: Callable[[object], int] = self.outbox.offer
        """Accept plain ``bytes`` or ASCII ``str`` and return its number, or 0: then call
        :meth:`send`, which finds out why."""
        self.take: Callable[[], Payload] = self.inbox.take
        """Hand over the next message and confirm it. Raises IndexError if there is none."""
        self.call_queue = CallQueue(self.config)
        self.outgoing_calls = OutgoingCalls(self.call_queue)
        self.incoming_calls = IncomingCalls(self.config, self.call_queue, self.outgoing_calls)
        self.frame_size = FrameSize(self.config.max_frame)
        self.timers = Timers(self.config, now)
        self.idle_cuts: IdleCuts | None = None
        "What cuts have taught, at the initiator, once one came after a silence (LIVE-8)."
        self.silence_limit: float = NEVER
        "Seconds of silence after which the path cuts, as far as is known."
        self.resumes = 0
        "How many links were opened after the first."
        self.replayed = 0
        "How many messages were sent again on later links."
        self.durable: Durable | None = None
        "What of it is kept by a store; ``None`` without one."
        self.restored = False
        "Whether it came from a store and has not met its peer since."
        self._report: Report | None = None  # once it has ended, and somebody has asked
        self._resumed = False
        self._partial_there = NOTHING_THERE  # the most that the peer said
        self._events: list[Event] = []

    def __repr__(self) -> str:
        """Where it stands, for logs."""
        return (
            f"<Session {self.id.hex()[:8]} {self.role} sending={self.outbox.state.value} "
            f"receiving={self.inbox.state.value} {'ended' if self.ended else 'alive'}>"
        )

    # ------------------------------------------------------------------ facts

    @property
    def attached(self) -> bool:
        """Whether a link is open."""
        return self.link is not None and self.link.phase in (Phase.INITIATED, Phase.ACCEPTED)

    @property
    def closing(self) -> bool:
        """Whether ``close()`` was called."""
        return self.timers.closing

    @property
    def done(self) -> bool:
        """Whether both directions have come to their end, so that the report is final (CLOSE-6)."""
        return self.outbox.done and self.inbox.done

    @property
    def detached_at(self) -> float:
        """When the newest link was lost."""
        return self.timers.detached_at

    @property
    def due(self) -> bool:
        """Whether a verb has left conclusions to be drawn: then :meth:`poll` is to be called."""
        return self.inbox.due

    @property
    def exhausted(self) -> bool:
        """With no message to be taken: whether none will come any more."""
        inbox = self.inbox
        return self.ended is not None or inbox.finish is not None or inbox.stopped

    @property
    def welcomes(self) -> int:
        """How many links were opened."""
        return self.resumes + (self.incarnation > 0)

    @property
    def progress(self) -> tuple[int, ...]:
        """How far both sides have come, with messages and calls; compare number by number.

        What is only sent again moves none of them.
        """
        inbox, outbox = self.inbox, self.outbox
        calls = self.call_queue.acked, self.incoming_calls.received
        return (outbox.acked, outbox.confirmed, inbox.received, inbox.partial, *calls)

    @property
    def held(self) -> int:
        """Bytes of memory of messages and calls, both directions, about (LIMIT-4, CALL-27)."""
        # All sessions of a server are asked once a second. Most of them hold nothing.
        outbox, inbox, queue = self.outbox, self.inbox, self.call_queue
        held = 0
        if outbox.confirmed != outbox.last:
            held += outbox.held + MESSAGE_WEIGHT * len(outbox)
        if inbox.confirmed != inbox.received:
            held += inbox.memory
        if queue.last or self.incoming_calls.received:
            held += queue.held + self.incoming_calls.held + self.outgoing_calls.held
        return held + inbox.partial

    @property
    def at_rest(self) -> bool:
        """Whether neither side owes the other anything that this side knows of.

        Every message is confirmed, in both directions, and every request is answered.
        """
        return not (self.held or self.outgoing_calls.open or self.incoming_calls.served)

    def outcome(self, number: int) -> Outcome:
        """Return what is known of one message of ours (CLOSE-4)."""
        return self.outbox.outcome(number)

    def report(self, *, upto: int | None = None) -> Report:
        """Return what is known of every message (up to a number).

        Once the session has ended it is one report for all that ask: a hundred callers may wait
        behind ten thousand messages, and each raises it. With a store, outcomes may still change
        then.
        """
        if self.ended is None or upto is not None or self.durable is not None:
            return self.outbox.report(upto, self.ended)
        if self._report is None:
            self._report = self.outbox.report(None, self.ended)
        return self._report

    def report_of(self, number: int) -> Report:
        """Return what is known of one message."""
        return self.outbox.report_of(number, self.ended)

    def error(self) -> ConnectionClosed:
        """Return the exception that says how the session ended, or this half of it."""
        error = closed(self.ended or self._agreed_end(), self.report())
        if self.cause is not None:
            error.__cause__ = self.cause
        return error

    # ------------------------------------------------------------------ messages

    def send(self, message: Any) -> int:
        """Accept one message and return its number.

        If it raises, nothing has changed.

        Raises:
            NotSerializable: The payload codec cannot pack this value.
            MessageTooLarge: The message is larger than the peer's ``max_message``.
            OutboxFull: The outbox has no room.
            StoreFull: The store has no room on its disk.
            NumbersExhausted: No number is left.
            ConnectionClosed: The session, or this direction of it, has ended.
        """
        return self.outbox.offer(message) or self.send_sealed(*seal(message, self.codec))

    def send_sealed(self, payload: Payload, weight: int) -> int:
        """Accept a message that is packed already: a broadcast packs once.

        Raises:
            MessageTooLarge: The message is larger than the peer's ``max_message``.
            OutboxFull: The outbox has no room.
            StoreFull: The store has no room on its disk.
            NumbersExhausted: No number is left.
            ConnectionClosed: The session, or this direction of it, has ended.
        """
        outbox = self.outbox
        if outbox.state is not Sending.OPEN:
            # The end is seen in message order: while messages of the peer are still to
            # be taken, what is accepted is *not taken* from the start (CLOSE-14).
            unseen = outbox.state is Sending.STOPPED and self.inbox.state in (
                Receiving.OPEN,
                Receiving.FINISHING,
            )
            if not unseen or outbox.finish is not None or not outbox.has_room(weight):
                raise self.error()
        if self.durable is not None and self.durable.is_full:
            raise StoreFull("the store has no room on its disk: make room there, it goes on then")
        return outbox.accept(payload, weight)

    def hold_offers(self) -> None:
        """Let :meth:`offer` return 0 for now: so no message overtakes one that waits for room."""
        self.outbox.hold()

    def resume_offers(self) -> None:
        """Let :meth:`offer` accept messages again."""
        self.outbox.unhold()

    def want(self, number: int) -> None:
        """Ask to be told at once when this number is confirmed (ACK-5)."""
        self.outbox.wanted = max(self.outbox.wanted, number)

    def deliver(self) -> tuple[int, Payload]:
        """Hand over the next message without confirming it: its number, and itself.

        Raises:
            IndexError: There is none.
        """
        return self.inbox.deliver()

    def confirm(self, number: int) -> None:
        """Confirm a delivery. A second call has no effect.

        Raises:
            ConfirmTooLate: The session's counters are final.
            ValueError: This message was never handed over.
        """
        self.inbox.confirm(number)

    # ------------------------------------------------------------------ a store

    def keep_in_store(self, about: dict[str, Any]) -> None:
        """Say nothing from now on that a store has not kept (protocol.md, "Stores").

        Call it before the first link. From then on, give the store what :meth:`take_change`
        returns, behind every verb, and both before and behind ``Link.transmit``, which takes back
        requests for which nobody waits. ``about`` is kept beside: plain values.
        """
        self.durable = Durable(self._ledgers, about)

    @property
    def _ledgers(self) -> Ledgers:
        calls = self.call_queue, self.incoming_calls, self.outgoing_calls
        return Ledgers(self.outbox, self.inbox, *calls)

    def take_change(self, now: float, wall: float) -> Change | None:
        """Return what the store is to keep now; ``None``: nothing, or it works on a change.

        ``wall`` is the time in seconds since 1970. Say what became of it: :meth:`kept`,
        :meth:`unkept`, or :meth:`leave`.
        """
        durable = self.durable
        if durable is None or not durable.is_ready:
            return None
        mark = self._look(durable)
        if not durable.has_news(mark):  # as it is most of the times
            return None
        return durable.take_change(mark, self._identity(now, wall), wall, self.config)

    def _look(self, durable: Durable) -> Mark:
        """Return what is so now."""
        ended = self.ended is not None
        return durable.look(self.incarnation, attached=self.attached, ended=ended)

    def _identity(self, now: float, wall: float) -> Identity:
        link, ended = self.link, self.ended
        heard_at = self.timers.contact_at if link is None else link.heard_at
        contact = wall - max(0.0, now - max(heard_at, self.timers.contact_at))
        end = None if ended is None else (ended.kind.value, ended.code, ended.reason)
        who = self.role, self.id, self.key, self.incarnation, self.attempt
        return Identity(*who, contact, self.attached, self.closing, end)

    @property
    def is_kept(self) -> bool:
        """Whether the store has everything that is so now; always, without a store."""
        durable = self.durable
        return durable is None or durable.is_kept(self._look(durable))

    @property
    def is_left(self) -> bool:
        """Whether the store is given nothing more: another process goes on with the session."""
        return self.durable is not None and self.durable.closed

    def kept(self, now: float) -> list[Event]:
        """The store has kept the change that was taken."""
        durable, stored = self.durable, self.outbox.stored
        if durable is None or durable.closed:
            return []
        events = durable.kept()
        if not self.ended:
            self._events += events
        if self.outbox.stored > stored:
            self._events.append(Stored(self.outbox.stored))
        if self.ended and self.is_kept:
            self._events.append(EndKept())
        self._tell_kept()
        return self.poll(now)

    def _tell_kept(self) -> None:
        """Tell the peer what may be told now: it has waited for the store."""
        link, inbox = self.link, self.inbox
        if not inbox.stopped:
            inbox.watch(inbox.stored_confirmed + 1)  # the next one goes to the store
        if link is not None:
            acks, calls = link.acks, link.calls
            acks.now = acks.now or inbox.tellable > acks.confirmed
            calls.now = calls.now or calls.incoming.tellable > calls.told

    def unkept(self, now: float) -> list[Event]:
        """The store has no room for the change that was taken (STORE-7)."""
        durable = self.durable
        if durable is not None and not durable.closed and durable.unkept(now):
            self.outbox.wanted = min(self.outbox.wanted, self.outbox.messages)
            self._events.append(Withdrawn(self.outbox.messages))
        return self.poll(now)

    def accept_kept(self, row: int, payload: Payload, weight: int, key: str | None) -> int:
        """Accept a message that the store has in a row of its own; return its number."""
        number = self.outbox.append_kept(payload, weight)
        if self.durable is not None:
            self.durable.sends.append((row, number))
            if key is not None:
                self.durable.keys[key] = number
        return number

    def is_confirmed(self, number: int) -> bool:
        """Whether a delivery is confirmed.

        Raises:
            ConfirmTooLate: It is not, and the session's counters are final.
            ValueError: This message was never handed over.
        """
        return self.inbox.is_confirmed(number)

    def confirm_applied(self, number: int, now: float) -> list[Event]:
        """Confirm a delivery whose confirmation the store has kept with the application's data."""
        durable = self.durable
        if durable is not None and not self.inbox.stopped:
            self.inbox.confirm(number)
            if durable.has_applied(number):
                self._tell_kept()
        return self.poll(now)

    def leave(self, now: float, reason: str, cause: Exception | None = None) -> list[Event]:
        """Be done with a session that goes on in another process, from what the store has.

        The peer is told that this side restarts. Messages that the store has are *kept*.
        """
        self.leave_store()
        return self.end(now, Ending(End.KEPT, Code.RESTART, reason), cause)

    def move(self, now: float, reason: str, retry: float) -> list[Event]:
        """Be done with a session that goes on in another process; what is not confirmed is *kept*.

        The peer is told to come again after ``retry`` seconds (REFUSE-7).
        """
        if self.durable is None:
            self.outbox.kept = self.outbox.messages
        self.leave_store()
        if self.link is not None and self.attached:
            refuse = Refuse(Code.AWAY, reason, int(retry * 1000), None)
            self.link.leave(Code.AWAY, reason, refuse)
        return self.end(now, Ending(End.KEPT, Code.RESTART, reason))

    def send_away(self, now: float, reason: str, retry: float) -> list[Event]:
        """Ask the peer to come again after ``retry`` seconds; the session lives on (REFUSE-7).

        It may reach another process then, for which what this one waits for is no obstacle.
        """
        link = self.link
        if link is not None and self.attached:
            link.leave(Code.AWAY, reason, Refuse(Code.AWAY, reason, int(retry * 1000), None))
            link.held = False  # what is not kept is not said by this
            self._link_over(link, Code.AWAY, reason, now)
        return self.poll(now)

    def leave_store(self) -> None:
        """Give the store nothing more: the session goes on there, whatever becomes of it here."""
        if self.durable is not None and not self.durable.closed:
            self.durable.close()
            if self.ended:
                self._events.append(EndKept())

    def drop_partial(self) -> int:
        """Drop what is held of a message in parts, while detached; how many bytes (PART-4)."""
        return self.inbox.drop_partial()

    # ------------------------------------------------------------------ calls

    def request(
        self, method: str, payload: Payload, weight: int, by: float | None = None, credit: int = 0
    ) -> int:
        """Ask the peer, and return the request's number.

        Call it only while ``outgoing_calls.has_room``. ``by`` is the time when nobody waits any
        more. ``credit``: how many bytes of items may come, or 0 for one reply.

        Raises:
            MessageTooLarge: The parameters are larger than the peer's ``max_message``.
            NumbersExhausted: The session has made as many calls as there are numbers for.
            ValueError: The name is too long, or is no text.
        """
        return self.outgoing_calls.request(method, payload, weight, by, credit)

    def cancel(self, request: int) -> bool:
        """Wait no more. ``True``: it was taken back before it went, and never runs (CALL-8)."""
        return self.outgoing_calls.cancel(request)

    def grant(self, request: int, total: int) -> None:
        """Allow the peer so many bytes of items of a stream in all (CALL-7)."""
        self.outgoing_calls.grant(request, total)

    def reply(self, request: int, payload: Payload, weight: int) -> None:
        """Answer a request of the peer. An answer that comes too late is dropped.

        Raises:
            MessageTooLarge: The payload is larger than the peer's ``max_message``.
        """
        self.incoming_calls.reply(request, payload, weight)

    def fault(self, request: int, code: str, message: str, payload: Payload = b"") -> None:
        """Say why there is no answer. What comes too late is dropped.

        Raises:
            MessageTooLarge: The payload is larger than the peer's ``max_message``.
        """
        self.incoming_calls.fault(request, code, message, payload)

    def item(self, request: int, payload: Payload, weight: int) -> None:
        """Send an item of a stream. The driver keeps to the peer's credit.

        Raises:
            MessageTooLarge: The payload is larger than the peer's ``max_message``.
        """
        self.incoming_calls.item(request, payload, weight)

    # ------------------------------------------------------------------ the end, from this side

    def finish(self, now: float, code: int = Code.FINISHED, reason: str = "") -> list[Event]:
        """Send nothing after what was sent; go on receiving (CLOSE-1). A second call: no effect.

        Raises:
            ValueError: The code may not be sent.
        """
        self.outbox.close(code, reason)
        return self.poll(now)

    def close(
        self,
        now: float,
        code: int = Code.FINISHED,
        reason: str = "",
        timeout: float | None = None,
    ) -> list[Event]:
        """Finish, and take nothing more (CLOSE-2). A later call can only shorten the limit.

        The session ends after ``timeout`` seconds, after ``Config.close_timeout`` in which nothing
        arrived at the peer, or after ``Config.close_progress_timeout`` without progress.

        Raises:
            ValueError: The code may not be sent.
        """
        self.outbox.close(code, reason)
        self.timers.close(now, timeout)
        self._stop()
        return self.poll(now)

    def abort(self, now: float, code: int = Code.ABORTED, reason: str = "") -> list[Event]:
        """End at once. The peer is told if a link is open.

        Raises:
            ValueError: The code may not be sent.
        """
        return self.end(now, Ending(End.ABORTED, code, sayable(code, reason)))

    def end(self, now: float, ending: Ending, cause: Exception | None = None) -> list[Event]:
        """End at once, in a way that the driver knows: no other WebSocket can be had (END-1).

        ``cause`` is the exception of the driver or the application that made it so.
        """
        if not self.ended:
            self.cause = cause
        self._end(ending)
        return self.poll(now)

    # ------------------------------------------------------------------ links

    def dial(self, now: float, max_frame: int | None = None) -> Link:
        """Begin a link on a new WebSocket, at the initiator. An older link becomes inert."""
        self.attempt += 1
        return self._begin(Phase.DIALING, now, max_frame)

    def answer(
        self, hello: Hello, now: float, max_frame: int | None = None, *, resumed: bool
    ) -> Link:
        """Begin a link at the acceptor, for a Hello that the registry has found good.

        An older link is fenced (RESUME-2).

        Raises:
            Violation: The counters show that the peer lost its state. The caller ends the session.
        """
        self.attempt = hello.attempt
        self._resumed = resumed
        link = self._begin(Phase.ACCEPTED, now, max_frame)
        self._meet(link, hello, now, resumed=resumed)
        return link

    def _begin(self, phase: Phase, now: float, max_frame: int | None) -> Link:
        """Make the link that carries the session from now on."""
        config = self.config
        old = self.link
        self.link = link = Link(
            phase,
            now,
            config,
            max_frame,
            cursor=Cursor(self.outbox, self.frame_size, config),
            acks=Acks(self.inbox, config),
            calls=CallCursor(self.call_queue, self.outgoing_calls, self.incoming_calls, config),
            timers=self.timers,
            silence_limit=self.silence_limit,
            greet=self._greeting,
        )
        if self.durable is not None:
            self.durable.hold(link)  # STORE-1
        if old is not None:
            words = "another WebSocket took over"
            # The initiator's refusal would end the session where the old link still carries it
            # (RESUME-10).
            told = self.role == "acceptor"
            refuse = Refuse(Code.SUPERSEDED, words, 0, None) if told else None
            old.leave(Code.SUPERSEDED if told else Code.GOING_AWAY, words, refuse)
        return link

    def _greeting(self, link: Link) -> Frame:
        """Return our greeting, built when it is sent (HELLO-4); it is short (FRAME-11)."""
        counters = self.inbox.told()
        link.tell(counters)
        where = position(self.outbox, self.inbox, counters)
        limits = limits_of(self.config, link.max_frame)
        if self.silence_limit < self.config.idle_timeout:  # LIVE-8
            limits = limits._replace(idle_ms=int(self.silence_limit * 1000))
        if self.role == "initiator" and self.incarnation:  # LIVE-10
            limits = limits._replace(idle_ms=min(limits.idle_ms, self.outbox.peer.idle_ms))
        calls = call_position(self.call_queue, self.incoming_calls)
        codec = self.told_codec
        if self.role == "initiator":
            who = (self.id, self.key, self.attempt, self.incarnation)
            return Hello(VERSION, VERSION, *who, where, limits, calls, codec)
        return Welcome(VERSION, self._resumed, self.incarnation, where, limits, calls, codec)

    def check(self, greeting: Hello | Welcome) -> None:
        """Compare both sides' positions (RESUME-3). Nothing changes.

        Raises:
            Violation: One of the two has lost its state.
        """
        inbox, outgoing = self.inbox, self.outgoing_calls
        calls = self.call_queue, outgoing, self.incoming_calls
        check_position(greeting.position, self.outbox, inbox)
        check_calls(greeting.calls, *calls, stopped=inbox.stopped)

    def _meet(self, link: Link, greeting: Hello | Welcome, now: float, *, resumed: bool) -> None:
        """Open the link, unless one side has lost its state: before anything is sent again."""
        self.check(greeting)
        where, limits, calls = greeting.position, greeting.limits, greeting.calls
        counters, outbox, inbox = where.counters, self.outbox, self.inbox
        queue, outgoing = self.call_queue, self.outgoing_calls
        if calls is not None and calls.received > queue.acked:
            outgoing.ack(calls.received)
        # The limits of the first greeting hold for the session, but two (LIMIT-2, LIMIT-5).
        if not resumed:
            outbox.heed(limits)
            if calls is not None:
                outgoing.heed(limits)
                queue.max_there = outbox.peer.max_message
        self.frame_size.met(
            limits.max_frame,
            held=(counters.received, where.partial),
            more=resumed and outbox.last > counters.received,
        )
        # What came before a crash of ours may have been handed over (RESUME-7).
        if self.restored and not inbox.stopped:
            inbox.redelivered_upto = where.sent
        self.restored = False
        # From here the link is open.
        self.obstacle = None
        self.timers.contact_at = now
        link.opened(counters.received, where.partial, calls, limits.idle_ms, now)
        self.resumes += resumed
        replayed = max(0, outbox.transmitted - counters.received)
        self.replayed += replayed
        self._events.append(Opened(resumed, replayed))
        self._acked(counters.received, counters.confirmed, now)
        if counters.stopped:
            self._peer_stopped(counters, now)
        self.timers.progressed(now)

    def _link_over(
        self, link: Link, code: int | None, reason: str, now: float, retry: float | None = None
    ) -> None:
        """Note that the current link is gone; an older one is inert and never says so (LINK-4)."""
        self.timers.detached(link.heard_at, now)
        self.link = None
        if self.ended:
            return
        if code == Code.TOO_BIG and not self.frame_size.halve():
            words = "the peer's transport refuses even small frames"
            self._end(Ending(End.LOST, Code.TOO_BIG, words))
            return
        self._events.append(Detached(code, reason, retry))

    # ------------------------------------------------------------------ the network

    def receive(self, link: Link, data: bytes | str, now: float) -> list[Event]:
        """Take in one WebSocket message of a link; return what happened. Never raises."""
        if not link.accepts:  # it is over; the phase itself would cost 0.1 us to look at
            return []
        link.heard_at = now
        if now >= link.answer_from:
            link.answer()
        try:
            # Check everything before any frame has an effect.
            frames = decode(data, link.max_frame)
            size: int | None = None
            for frame in frames:  # in their order (FRAME-9)
                # Is this frame allowed in this phase (LINK-2)?
                kind = type(frame)
                if kind not in link.accepts:
                    if link.close_action is not None:
                        break  # behind a Refuse or a Done (LINK-5)
                    raise Violation(Code.VIOLATION, f"{kind.__name__} when {link.phase.value}")
                # Let it change the facts; then the link may be in another phase.
                if kind is Messages:
                    if size is None:
                        # The bytes of the whole WebSocket message count against the window of
                        # messages, unless calls are among them (WINDOW-8).
                        size = -1 if len(frames) > 1 and Calls in map(type, frames) else len(data)
                    self._messages_arrived(frame, size)  # type: ignore[arg-type]
                    size = 0  # counted once for all of them
                else:
                    _HANDLERS[kind](self, link, frame, now)
        except Violation as fault:
            self._violated(link, fault, now)
        return self.poll(now)

    def lost(self, link: Link, code: int | None, reason: str, now: float) -> list[Event]:
        """Take in that the WebSocket under a link is gone; its code may forbid another (CODE-2)."""
        if link.phase is not Phase.OVER:
            if link.phase is Phase.INITIATED and (code is None or self.idle_cuts is not None):
                self._learn_silence(link.silence(now) if code is None else None)
            link.leave(code or Code.GOING_AWAY, reason)
            # Whatever a page closes with, 1000 as well, is a link that ended (CLOSE-26).
            if code is None or may_resume(code) or self.role == "acceptor":
                self._link_over(link, code, reason, now)
            else:
                kind = End.SUPERSEDED if code == Code.SUPERSEDED else End.REFUSED
                self._end(Ending(kind, code, reason))
        return self.poll(now)

    def _learn_silence(self, silence: float | None) -> None:
        """Take in how long we had been silent when a link was cut; ``None``: it was not cut."""
        cuts = self.idle_cuts
        if cuts is None:
            if silence is None or silence < LEAST_SILENCE:
                return
            cuts = self.idle_cuts = IdleCuts()
        if cuts.lost(silence):
            self.silence_limit = cuts.limit
            self._events.append(SilenceLearned(cuts.limit))

    def _violated(self, link: Link, fault: Violation, now: float) -> None:
        """End the session, because the peer broke the rules; raise nothing (FRAME-5)."""
        if not link.met and self.incarnation:
            # What answers there now is not the peer that we know: try again (HELLO-13).
            link.heard_at = self.timers.contact_at
            link.leave(fault.code, fault.reason)
            self._link_over(link, fault.code, fault.reason, now)
            return
        self._end(Ending(End.VIOLATION, fault.code, fault.reason))  # HELLO-8, while dialing

    def _messages_arrived(self, frame: Messages, size: int) -> None:
        inbox = self.inbox
        if inbox.stopped:
            return  # behind our Stop, everything is discarded (CLOSE-11)
        first, payloads = frame
        if size < 0:
            size = sum(map(seal_weight, payloads))
        inbox.arrived(first, payloads, size)
        self._events.append(new_unchecked(Arrived, (len(payloads),)))

    def _part_arrived(self, link: Link, frame: Part, now: float) -> None:
        if self.inbox.stopped:
            return
        if self.inbox.arrived_part(frame):
            link.parts_over()
            self._events.append(Arrived(1))
        else:
            link.part_arrived(len(frame.data), now)
            link.acks.partial_news = True

    def _finish_arrived(self, _link: Link, frame: Finish, _now: float) -> None:
        if not self.inbox.stopped:
            self.inbox.arrived_finish(frame)
            self._abandon_calls()
            self._events.append(PeerFinished(frame.code, frame.reason))

    def _ack_arrived(self, link: Link, frame: Ack, now: float) -> None:
        received, confirmed = frame
        if received >= link.cursor.number:  # ACK-7
            raise Violation(Code.VIOLATION, "an ack of what was never sent")
        self._acked(received, confirmed, now)

    def _acked(self, received: int, confirmed: int, now: float) -> None:
        """Release what the peer has confirmed. An ack that goes backwards is ignored (ACK-6).

        From one link to the next ``received`` may fall. The new link's cursor begins there
        (RESUME-5).
        """
        outbox = self.outbox
        if outbox.final is not None:
            return  # the first final counters stand (CLOSE-12)
        if received <= outbox.acked and confirmed <= outbox.confirmed:
            return
        closing = self.timers.progress_at is not None
        if closing:
            self.timers.progressed(now)
        if received > outbox.acked:
            if closing:
                self.timers.moved(now)
            outbox.acked = received
            if self.frame_size.probe:
                self.frame_size.passed()
        if confirmed > outbox.confirmed:
            outbox.confirm(confirmed)
            self._events.append(new_unchecked(Confirmed, (confirmed,)))
            if self.durable is not None:
                self.durable.confirmed_there(now)

    def _calls_arrived(self, link: Link, frame: Calls, now: float) -> None:
        if not self.outgoing_calls.limit:  # CALL-41
            raise Violation(Code.VIOLATION, "a call of a side that has none")
        inbox = self.inbox
        first, entries = frame
        if inbox.finish is not None and not BEHIND_FINISH.issuperset(map(type, entries)):
            raise Violation(Code.VIOLATION, "a call behind Finish")
        if not inbox.stopped:  # CALL-36
            sent = link.calls.number - 1
            events = self.incoming_calls.arrived(first, entries, now, sent)
            self._events += events if self.durable is None else self.durable.defer(events)
            link.calls.note(now)

    def _call_ack_arrived(self, link: Link, frame: CallAck, now: float) -> None:
        (received,) = frame
        if received >= link.calls.number:  # CALL-19
            raise Violation(Code.VIOLATION, "an ack of what was never sent")
        if self.outgoing_calls.ack(received) and self.timers.progress_at is not None:
            self.timers.moved(now)

    def _want_arrived(self, link: Link, frame: Want, _now: float) -> None:
        (number,) = frame
        inbox, acks = self.inbox, link.acks
        if number > inbox.received + inbox.max_messages + 1:
            raise Violation(Code.VIOLATION, "Want beyond the window")  # ACK-10
        acks.wanted = max(acks.wanted, number)

    def _partial_arrived(self, link: Link, frame: Partial, now: float) -> None:
        """The peer has got more of a message in parts: closing may go on waiting (PART-16)."""
        cursor = link.cursor
        if frame > (cursor.number, cursor.offset):  # PART-17
            raise Violation(Code.VIOLATION, "a part that was never sent")
        if frame > self._partial_there:
            self._partial_there = frame
            self.timers.moved(now)

    def _stop_arrived(self, link: Link, frame: Stop, now: float) -> None:
        self._check_sent(link, frame.counters)
        self._peer_stopped(frame.counters, now)

    def _done_arrived(self, link: Link, frame: Done, now: float) -> None:
        """The acceptor needs nothing more (CLOSE-7)."""
        self._check_sent(link, frame.counters)
        self._settle_by(frame.counters, now)
        if not self.done:  # CLOSE-17
            raise Violation(Code.VIOLATION, "Done before both directions ended")
        link.leave(Code.FINISHED)
        self._end_as(self._agreed_end())

    def _welcome_arrived(self, link: Link, frame: Welcome, now: float) -> None:
        """Take in the acceptor's answer. What is wrong with it ends the session (END-5)."""
        link.met = True
        link.enter(Phase.INITIATED)
        if frame.version != VERSION:
            raise Violation(Code.VERSION, f"version {frame.version} was not offered")
        if frame.codec != self.told_codec:
            raise codecs_differ(self.told_codec, frame.codec)
        if self.incarnation not in (0, frame.incarnation):  # HELLO-15
            raise Violation(Code.VIOLATION, "another incarnation than before")
        resumed = self.incarnation != 0
        self.incarnation = frame.incarnation
        self._meet(link, frame, now, resumed=resumed)
        if resumed:
            return
        if number := self.outbox.too_large:  # it was accepted before this greeting (PART-5)
            words = f"message {number} is larger than the peer takes (Config.max_message there)"
            self._end(Ending(End.ABORTED, Code.ABORTED, words))
        elif self.durable is not None:
            self.durable.hold(link)  # STORE-1

    def _refuse_arrived(self, link: Link, frame: Refuse, now: float) -> None:
        """Take in a Refuse: later, or never (REFUSE-2)."""
        code, reason, retry_ms, counters = frame
        if counters is not None:
            if link.met:
                self._check_sent(link, counters)
            try:
                self._settle_by(counters, now)
            except Violation as fault:
                if not self.restored:
                    raise
                # Our store has lost what the peer has seen: each later answer says the same.
                link.leave(Code.FINISHED)
                self._end(Ending(End.VIOLATION, fault.code, f"state lost: {fault.reason}"))
                return
        self.timers.contact_at = now
        link.leave(Code.FINISHED)  # CLOSE-9
        if may_resume(code) and counters is None:  # REFUSE-4
            self._link_over(link, code, reason, now, retry_ms / 1000)
            return
        # RESUME-6: the driver reopens nothing after an end.
        kind = End.SUPERSEDED if code == Code.SUPERSEDED else End.REFUSED
        self._end(Ending(kind, code, reason))

    @staticmethod
    def _check_sent(link: Link, counters: Counters) -> None:
        if counters.received >= link.cursor.number:  # ACK-7
            raise Violation(Code.VIOLATION, "counters of what was never sent")

    # ------------------------------------------------------------------ ends

    def _peer_stopped(self, counters: Counters, now: float) -> None:
        """The peer takes nothing more: every outcome is known (CLOSE-5)."""
        self._settle_by(counters, now)
        self.outgoing_calls.stop()

    def _settle_by(self, counters: Counters, now: float) -> None:
        """Let the peer's final counters decide what became of each message (CLOSE-4)."""
        outbox = self.outbox
        outbox.check_final(counters)
        if outbox.final is not None:
            return
        self._acked(counters.received, counters.confirmed, now)
        if outbox.settle(counters):
            self._events.append(Settled())

    def _stop(self) -> None:
        """Freeze intake in the step that reads its counters (CLOSE-3)."""
        self.inbox.stop()
        self._abandon_calls()

    def _abandon_calls(self) -> None:
        """Stop waiting for answers: none can come, or nobody could take it (CALL-10)."""
        self.incoming_calls.abandon()
        self.outgoing_calls.abandon()

    def _end(self, ending: Ending) -> None:
        """End now: freeze intake, keep what is known of our messages, tell the peer (END-1)."""
        if self.ended:
            return
        # An earlier frame of the same envelope may have made it done (CLOSE-15).
        self.inbox.conclude()
        self.outbox.conclude()
        self._end_as(self._agreed_end() if self.done else ending)

    def _end_as(self, ending: Ending) -> None:
        self._stop()
        self.outbox.end()
        self.outgoing_calls.end()
        self.ended = ending
        if self.durable is not None and not self.durable.closed:
            self.durable.end()
        link, self.link = self.link, None
        if link is not None:
            self._take_leave(link, ending)
            self.timers.heard(link.heard_at)
        self._events.append(Ended(ending))

    def _take_leave(self, link: Link, ending: Ending) -> None:
        """Say our final counters on the last link: Done, or Refuse (CLOSE-7, END-2)."""
        counters = self.inbox.counters()
        if self.durable is not None:
            self.durable.hold(link)  # STORE-4
        if self.durable is not None and self.durable.closed:  # the last word will not be kept
            link.leave(Code.RESTART, ending.reason)
        elif ending.kind is End.KEPT:
            link.leave(ending.code, ending.reason)
        elif not link.met:  # the peer has not been heard: say nothing (END-5)
            link.leave(Code.GOING_AWAY)
        elif ending.kind is End.FINISHED and self.role == "acceptor" and link.greeted:
            link.leave(Code.FINISHED, "", Done(counters), linger=True)
        else:  # no effect on a link that the peer has ended already (CLOSE-20)
            code = Code.ENDED if ending.kind is End.FINISHED else ending.code
            last_frame = Refuse(code, ending.reason, 0, counters)
            link.leave(code, ending.reason, last_frame, linger=not link.greeted)  # CLOSE-18

    def _agreed_end(self) -> Ending:
        """Return the agreed end: code and reason of the peer's Finish, else of ours (CLOSE-16)."""
        finish = self.inbox.finish or self.outbox.finish
        said = (finish.code, finish.reason) if finish else (Code.FINISHED, "")
        return Ending(End.FINISHED, *said)

    # ------------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick` at the latest."""
        if self.ended:
            return NEVER if self.durable is None else self.durable.deadline
        timers = self.timers
        silent_since = self._silent_since if timers.progress_at is not None else None
        by = timers.deadline(attached=self.attached, silent_since=silent_since)
        if self.durable is not None:
            by = min(by, self.durable.deadline)
        return by if self.link is None else min(by, self.link.deadline)

    @property
    def peer_deadline(self) -> float:
        """When the peer gives up a session without link, as far as this side knows (END-4)."""
        return self.timers.contact_at + self.outbox.peer.ttl_ms / 1000

    @property
    def _silent_since(self) -> float | None:
        """When the peer was heard last, if a close waits for an answer only (CLOSE-25)."""
        outbox = self.outbox
        if outbox.confirmed < outbox.messages and outbox.final is None:
            return None
        if self.call_queue.weight:
            return None
        contact_at, link = self.timers.contact_at, self.link
        return contact_at if link is None else max(contact_at, link.heard_at)

    def tick(self, now: float) -> list[Event]:
        """Do what is due; every deadline that has passed moves."""
        if self.durable is not None:
            self.durable.tick(now)
            if now >= self.durable.give_up_at:
                return self.leave(now, "the store is too slow, or full")
        if not self.ended:
            link = self.link
            if link is not None and link.tick(now):
                self._drop(link, "nothing heard in time", now)
            elif link is not None and link.is_stalled(now):
                self.inbox.drop_partial()
                self._drop(link, "a message in parts stood still", now)
            elif link is not None and (again := link.calls.stalled(now)) is not None:
                if again:
                    fault = Violation(Code.VIOLATION, "a call in pieces stood still twice")
                    self._violated(link, fault, now)
                else:
                    self._drop(link, "a call in pieces stood still", now)
            why = self.timers.expired(now, attached=self.attached, silent_since=self._silent_since)
            if why is not None:
                is_left = self.durable is not None and self.closing and why != NO_CONTACT
                is_left = is_left and not self.done  # else nothing is left to be closed
                if self.obstacle is not None and not self.attached:
                    words, self.cause = self.obstacle
                    why = f"{why}; last attempt: {words}"
                if is_left and self.role == "initiator":  # another process closes it (STORE-9)
                    return self.leave(now, why)
                self._end(Ending(End.EXPIRED, Code.ENDED, why))
        return self.poll(now)

    def _drop(self, link: Link, words: str, now: float) -> None:
        """Give up the link; another one may carry the session."""
        link.leave(Code.SILENT, words)
        self._link_over(link, Code.SILENT, words, now)

    def poll(self, now: float) -> list[Event]:
        """Draw the conclusions from the facts; return what happened since the last call.

        An envelope is taken in whole before (CLOSE-15).
        """
        inbox, outbox = self.inbox, self.outbox
        # A direction may have come to its end; both ends are that of the acceptor's session,
        # while the initiator goes on until it has heard Done (CLOSE-8).
        if (inbox.finish or outbox.finish or outbox.final) and not self.ended:
            inbox.conclude()
            outbox.conclude()
            if self.role == "acceptor" and self.done:
                self._end_as(self._agreed_end())
        # What was confirmed is news to the peer: soon, or when somebody waits for it.
        link = self.link
        if link is not None:
            acks = link.acks
            if (
                acks.by is not None
                or inbox.received != acks.received
                or inbox.confirmed != acks.confirmed
            ):
                acks.note(now)
        inbox.due = False
        if self.ended and self.durable is not None and not self.is_kept:
            give_up_at = now + self.config.close_progress_timeout
            self.durable.give_up_at = min(self.durable.give_up_at, give_up_at)
        if self.call_queue.eased:
            self.call_queue.eased = False
            self._events.append(Eased())
        events, self._events = self._events, []
        return events


_HANDLERS: dict[type[Frame], Callable[[Session, Link, Any, float], None]] = {
    Ack: Session._ack_arrived,
    CallAck: Session._call_ack_arrived,
    Calls: Session._calls_arrived,
    Done: Session._done_arrived,
    Finish: Session._finish_arrived,
    Part: Session._part_arrived,
    Partial: Session._partial_arrived,
    Refuse: Session._refuse_arrived,
    Stop: Session._stop_arrived,
    Want: Session._want_arrived,
    Welcome: Session._welcome_arrived,
}
"""What takes in each frame but Messages, which has a short way of its own."""
