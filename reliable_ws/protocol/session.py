"""One conversation: what outlives the WebSockets that carry it.

How to drive it: tell it what happened (the link's ``receive``, :meth:`Session.tick`, the verbs
of the application), dispatch the events that each step returns, then pull what is to be sent
from ``session.link`` until it gives ``None``. ``deadline`` says when to tick at the latest.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from .calls import CallLedger
from .codec import MAX_REASON
from .config import MIN_FRAME, Config
from .errors import (
    ConnectionClosed,
    MessageTooLarge,
    OutboxFull,
    PayloadError,
    Violation,
    closed,
)
from .events import Arrived, Confirmed, Detached, Eased, Ended, Event, Opened, PeerFinished, Settled
from .frames import (
    OVERHEAD,
    VERSION,
    Ack,
    Code,
    Counters,
    Done,
    Finish,
    Hello,
    Payload,
    Position,
    Refuse,
    Welcome,
    may_resume,
)
from .inbox import NEVER, Inbox
from .link import OVERSLEPT, Link
from .outbox import Outbox
from .payload import MsgpackCodec, PayloadCodec, open_payload, seal
from .report import End, Ending, Outcome, Report, Undelivered
from .state import RECEIVING, SENDING, Deed, Phase, Receiving, Sending

__all__ = ["Role", "Session", "hash_key"]

CAUTIOUS_FRAME = 256 * 1024
"""A quarter of this, a sixteenth, … is sent in one frame on links that die at once."""

Role = Literal["initiator", "acceptor"]


def hash_key(key: bytes) -> bytes:
    """Return what an acceptor keeps of a session's key (HELLO-3)."""
    return hashlib.sha256(key).digest()


class Session:
    """Both ledgers of a conversation, its halves, and the link that carries it now."""

    def __init__(  # noqa: PLR0917 - who it is, and since when
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
        self.config = config or Config()
        self.codec = codec or MsgpackCodec()
        self.incarnation = incarnation
        self.attempt = 0
        self.link: Link | None = None
        self.sending = Sending.OPEN
        self.receiving = Receiving.OPEN
        self.ended: Ending | None = None
        self.wanted = 0
        "Highest number whose confirmation somebody waits for."
        self.peer = self.config.limits(None)
        "The peer's limits; until the first greeting, a guess from ours."
        self.frame_limit = self.config.max_frame
        "Largest WebSocket message that the peer takes: what it says, or less after a 1009."
        self.frame_size = self.config.max_frame
        "Largest one that we send: less than the limit on links that die before it is through."
        self._caution = 0
        self._met = (0, 0)  # what the peer held at the last greeting
        limits = self.config
        self.outbox = Outbox(
            limits.outbox_messages or limits.window_messages,
            limits.outbox_bytes or limits.window_bytes,
        )
        self._shut = False
        self.muted = False
        "Whether nothing sequenced may be sent any more (CLOSE-5)."
        self._set_gate()
        self.inbox = Inbox(limits.window_messages, limits.window_bytes, limits.max_message)
        self.calls = CallLedger(self.config)
        "Requests and replies: a ledger of their own (CALL-1)."
        self.final: Counters | None = None
        "The peer's frozen counters, once they are known."
        self.contact_at = now
        self._progress_at: float | None = None  # set while closing
        self._hard_by: float = NEVER
        self._resumed = False
        self.restored = False
        self._events: list[Event] = []

    def __repr__(self) -> str:
        """Where it stands, for logs."""
        return (
            f"<Session {self.id.hex()[:8]} {self.role} sending={self.sending.value} "
            f"receiving={self.receiving.value} {'ended' if self.ended else 'alive'}>"
        )

    # ------------------------------------------------------------------ facts

    @property
    def done(self) -> bool:
        """Whether both halves have come to their end, so that the report is final (CLOSE-6)."""
        return self.sending in (Sending.FINISHED, Sending.STOPPED) and self.receiving in (
            Receiving.FINISHED,
            Receiving.STOPPED,
        )

    @property
    def closing(self) -> bool:
        """Whether ``close()`` was called."""
        return self._progress_at is not None

    @property
    def attached(self) -> bool:
        """Whether a link is open."""
        return self.link is not None and self.link.phase in (Phase.INITIATED, Phase.ACCEPTED)

    @property
    def held(self) -> int:
        """Bytes of messages that this session holds, both directions."""
        return self.outbox.held + self.inbox.held + self.inbox.partial + self.calls.held

    def outcome(self, number: int) -> Outcome:
        """Return what is known of one message of ours (CLOSE-4)."""
        if number <= self.outbox.confirmed:
            return Outcome.CONFIRMED
        final = self.final
        if final is not None:
            if any(first <= number <= last for first, last in final.ranges):
                return Outcome.CONFIRMED
            handed = min(final.handed, self.outbox.transmitted)
            return Outcome.UNKNOWN if number <= handed else Outcome.NOT_TAKEN
        if self.sending is Sending.ENDED:  # END-3
            return Outcome.UNKNOWN if number <= self.outbox.transmitted else Outcome.NOT_TAKEN
        return Outcome.PENDING

    def report(self, *, upto: int | None = None) -> Report:
        """Return what is known of every message (up to a number)."""
        last = self.outbox.messages if upto is None else min(upto, self.outbox.messages)
        entries = []
        for number, payload in self.outbox.unconfirmed():
            outcome = self.outcome(number)
            if number <= last and outcome is not Outcome.CONFIRMED:
                entries.append(Undelivered(number, outcome, self._shown(number, payload)))
        return Report(last, last - len(entries), tuple(entries), self.ended)

    def report_of(self, number: int) -> Report:
        """Return what is known of one message."""
        outcome = self.outcome(number)
        if outcome is Outcome.CONFIRMED:
            return Report(1, 1, (), self.ended)
        message = self._shown(number, self.outbox.payload(number))
        return Report(1, 0, (Undelivered(number, outcome, message),), self.ended)

    def _shown(self, number: int, payload: Payload) -> Any:
        """Return a message of ours for a report; what cannot be decoded is shown as bytes."""
        try:
            return open_payload(payload, number, self.codec)
        except PayloadError as error:
            return error.raw

    def error(self) -> ConnectionClosed:
        """Return the exception that says how the session ended, or this half of it."""
        ending = self.ended
        if ending is None:
            finish = self.inbox.finish or self.outbox.finish
            code, reason = (finish.code, finish.reason) if finish else (Code.FINISHED, "")
            ending = Ending(End.FINISHED, code, reason)
        return closed(ending, self.report())

    # ------------------------------------------------------------------ the application

    def send(self, message: Any) -> int:
        """Accept one message and return its number.

        Raises NotSerializable, MessageTooLarge, OutboxFull or ConnectionClosed, and then
        nothing has changed.
        """
        return self.outbox.offer(message) or self.send_sealed(*seal(message, self.codec))

    def send_sealed(self, payload: Payload, weight: int) -> int:
        """Accept a message that is packed already (a broadcast packs once)."""
        if self.sending is not Sending.OPEN:
            self._refuse_send(weight)
        if weight - OVERHEAD > self.peer.max_message:
            raise MessageTooLarge(
                f"{weight - OVERHEAD} bytes are above the peer's limit of "
                f"{self.peer.max_message} (Config.max_message there)"
            )
        if not self.outbox.has_room(weight):
            raise OutboxFull(f"{len(self.outbox)} messages, {self.outbox.held} bytes wait")
        return self.outbox.append(payload, weight)

    def _refuse_send(self, weight: int) -> None:
        """Raise, unless the end has yet to be seen in message order (CLOSE-5).

        What is accepted then is *not taken* from the start.
        """
        unseen = self.sending is Sending.STOPPED and self.receiving in (
            Receiving.OPEN,
            Receiving.FINISHING,
        )
        if not unseen or self.outbox.finish is not None or not self.outbox.has_room(weight):
            raise self.error()

    def want(self, number: int) -> None:
        """Ask to be told at once when this number is confirmed (ACK-5)."""
        self.wanted = max(self.wanted, number)

    def finish(self, now: float, code: int = Code.FINISHED, reason: str = "") -> list[Event]:
        """Send nothing after what was sent; go on receiving (CLOSE-1). Again: no effect."""
        self._finish(code, reason)
        return self.settle(now)

    def _finish(self, code: int, reason: str) -> None:
        words = _words(code, reason)
        if self.sending is Sending.OPEN:
            self._move_sending(Deed.FINISH)
            self.outbox.close(code, words)

    def close(
        self,
        now: float,
        code: int = Code.FINISHED,
        reason: str = "",
        timeout: float | None = None,
    ) -> list[Event]:
        """Finish, and take nothing more (CLOSE-2); bounded. Again: only shortens the limit."""
        self._finish(code, reason)
        if self._progress_at is None:
            self._progress_at = now
            self._hard_by = now + self.config.close_timeout
        if timeout is not None:
            self._hard_by = min(self._hard_by, now + timeout)
        self._stop()
        return self.settle(now)

    def abort(self, now: float, code: int = Code.ABORTED, reason: str = "") -> list[Event]:
        """End at once, telling the peer if a link is open."""
        self.end(Ending(End.ABORTED, code, _words(code, reason)))
        return self.settle(now)

    # ------------------------------------------------------------------ links

    def dial(self, now: float, max_frame: int | None = None) -> Link:
        """Begin a link on a new WebSocket, at the initiator. An older link becomes inert."""
        self.attempt += 1
        link = Link(self, Phase.DIALING, now, max_frame)
        self._replace(link)
        return link

    def answer(
        self, hello: Hello, now: float, max_frame: int | None = None, *, resumed: bool
    ) -> Link:
        """Begin a link at the acceptor, for a Hello that the book has found good.

        An older link is fenced (RESUME-2). Raises :class:`Violation` if the counters show
        that the peer lost its state; then the caller ends the session.
        """
        self.attempt = hello.attempt
        self._resumed = resumed
        link = Link(self, Phase.ACCEPTED, now, max_frame)
        self._replace(link)
        self._meet(link, hello, now, resumed=resumed)
        return link

    def _replace(self, link: Link) -> None:
        old, self.link = self.link, link
        if old is not None:
            words = "another WebSocket took over"
            # The initiator's refusal would end the session where the old link still carries it.
            told = self.role == "acceptor"
            refuse = Refuse(Code.SUPERSEDED, words, 0, None) if told else None
            old.leave(Code.SUPERSEDED if told else Code.GOING_AWAY, words, refuse)

    def greeting(self, link: Link) -> Hello | Welcome:
        """Return our greeting, built when it is sent (HELLO-4)."""
        counters = self.inbox.counters()
        link.tell(counters)
        outbox = self.outbox
        position = Position(counters, outbox.transmitted, outbox.confirmed + 1, self.inbox.partial)
        limits = self.config.limits(link.max_frame)
        calls = self.calls.position()
        if self.role == "initiator":
            return Hello(
                VERSION,
                VERSION,
                self.id,
                self.key,
                self.attempt,
                self.incarnation,
                position,
                limits,
                calls,
            )
        return Welcome(VERSION, self._resumed, self.incarnation, position, limits, calls)

    def welcomed(self, link: Link, welcome: Welcome, now: float) -> None:
        """Take in the acceptor's answer. What is wrong with it ends the session (HELLO-9)."""
        link.enter(Phase.INITIATED)
        if welcome.version != VERSION:
            raise Violation(Code.VERSION, f"version {welcome.version} was not offered")
        if self.incarnation not in (0, welcome.incarnation):  # HELLO-9
            raise Violation(Code.VIOLATION, "another incarnation than before")
        resumed = self.incarnation != 0
        self.incarnation = welcome.incarnation
        self._meet(link, welcome, now, resumed=resumed)

    def _meet(self, link: Link, greeting: Hello | Welcome, now: float, *, resumed: bool) -> None:
        """Compare both sides' books before anything is sent again (RESUME-3)."""
        position, limits, calls = greeting.position, greeting.limits, greeting.calls
        counters, outbox, inbox = position.counters, self.outbox, self.inbox
        if counters.confirmed < outbox.confirmed:
            raise Violation(Code.VIOLATION, "state lost: confirmed has fallen")
        if counters.received > outbox.transmitted:
            raise Violation(Code.VIOLATION, "counters of what was never sent")
        if not inbox.stopped:
            if position.first > inbox.received + 1:
                raise Violation(Code.VIOLATION, "state lost: messages are not available any more")
            if position.sent < inbox.received:
                raise Violation(Code.VIOLATION, "state lost: sent has fallen")
        if position.partial > 0 and not self._fits(counters.received + 1, position.partial):
            raise Violation(Code.VIOLATION, "more of a message than was sent")
        self.calls.check(calls, stopped=inbox.stopped)
        if not resumed:  # LIMIT-2
            self.peer = limits
            self._set_gate()
        if calls is not None and (self.restored or not resumed):
            self.calls.limit = self.peer.max_requests
            self.calls.max_there = self.peer.max_message
        self.frame_limit = min(self.frame_limit, limits.max_frame)
        held = (counters.received, position.partial)
        stuck = resumed and held == self._met and outbox.last > counters.received
        self._met = held
        self._be_cautious(self._caution + 1 if stuck else 0)
        if self.restored and not inbox.stopped:
            inbox.redelivered_upto = position.sent
        self.restored = False
        self.contact_at = now
        link.opened(counters.received, position.partial, calls, now)
        replayed = max(0, outbox.transmitted - counters.received)
        self._events.append(Opened(resumed, replayed))
        self.acked(Ack(counters.received, counters.confirmed), now)
        if counters.stopped:
            self.peer_stopped(counters, now)
        self.progressed(now)

    def _be_cautious(self, caution: int) -> None:
        """Send smaller frames when link after link dies with nothing through (RESUME-8)."""
        self._caution = caution
        cautious = max(MIN_FRAME, CAUTIOUS_FRAME >> 2 * caution)
        self.frame_size = min(self.frame_limit, cautious) if caution else self.frame_limit

    def _fits(self, number: int, partial: int) -> bool:
        """Whether the peer can hold so many bytes of this message of ours (PART-4)."""
        outbox = self.outbox
        if number > outbox.messages:
            return False
        weight = outbox.end_of(number) - outbox.end_of(number - 1)
        return partial < weight - OVERHEAD

    def refused(self, link: Link, refuse: Refuse, now: float) -> None:
        """Take in a Refuse: later, or never (REFUSE-2)."""
        if refuse.counters is not None:
            self._settle_by(refuse.counters, now)
        self.contact_at = now
        link.leave(Code.FINISHED)
        retry = refuse.retry_ms / 1000
        if may_resume(refuse.code) and refuse.counters is None:
            self.link_over(link, refuse.code, refuse.reason, now, retry)
            return
        # RESUME-6: the driver reopens nothing after an end
        kind = End.SUPERSEDED if refuse.code == Code.SUPERSEDED else End.REFUSED
        self.end(Ending(kind, refuse.code, refuse.reason))

    def link_lost(self, link: Link, code: int | None, reason: str, now: float) -> None:
        """Note that a WebSocket is gone; its code may forbid another (CODE-2)."""
        if code is None or may_resume(code) or self.role == "acceptor":
            self.link_over(link, code, reason, now)
        else:
            kind = End.SUPERSEDED if code == Code.SUPERSEDED else End.REFUSED
            self.end(Ending(kind, code, reason))

    def link_over(
        self,
        link: Link,
        code: int | None,
        reason: str,
        now: float,  # noqa: ARG002 - said with all that a link brings
        retry: float | None = None,
    ) -> None:
        """Note that the current link is gone; an older one is inert and never says so (LINK-4)."""
        self.contact_at = max(self.contact_at, link.heard_at)
        self.link = None
        if self.ended:
            return
        if code == Code.TOO_BIG:
            self.frame_limit //= 2
            self._met = (-1, 0)  # known why: no reason to be cautious, too
            if self.frame_limit < MIN_FRAME:
                words = "the peer's transport refuses even small frames"
                self.end(Ending(End.LOST, Code.TOO_BIG, words))
                return
        self._events.append(Detached(code, reason, retry))

    # ------------------------------------------------------------------ what a link brings

    def messages_arrived(self, count: int) -> None:
        """Note that ``count`` messages can be taken."""
        self._events.append(Arrived(count))

    def finish_arrived(self, finish: Finish) -> None:
        """Note the peer's last word."""
        self._move_receiving(Deed.PEER_FINISHED)
        self.calls.abandon()
        self._events.append(PeerFinished(finish.code, finish.reason))

    def calls_arrived(self, events: list[Event]) -> None:
        """Note what calls say."""
        self._events += events

    def acked(self, ack: Ack, now: float) -> None:
        """Release what the peer has confirmed; an ack that goes backwards is ignored (ACK-6).

        From link to link ``received`` may fall; the new link's cursor knows (RESUME-5).
        """
        if self.final is not None:
            return  # the first final counters stand (CLOSE-4)
        outbox = self.outbox
        if ack.received > outbox.acked:
            outbox.acked = ack.received
            if self._caution:
                self._be_cautious(0)
            self.progressed(now)
        if ack.confirmed > outbox.confirmed:
            outbox.confirm(ack.confirmed)
            self._events.append(Confirmed(ack.confirmed))
            self.progressed(now)

    def peer_stopped(self, counters: Counters, now: float) -> None:
        """The peer takes nothing more: every outcome is known (CLOSE-5)."""
        self._settle_by(counters, now)
        self.calls.stop()

    def peer_done(self, link: Link, counters: Counters, now: float) -> None:
        """The acceptor needs nothing more (CLOSE-7)."""
        self._settle_by(counters, now)
        if not self.done:
            raise Violation(Code.VIOLATION, "Done before both directions ended")
        link.leave(Code.FINISHED)
        self._end_as(Ending(End.FINISHED, *self._last_words()))

    def _settle_by(self, counters: Counters, now: float) -> None:
        """Let the peer's final counters decide what became of each message (CLOSE-4)."""
        outbox = self.outbox
        if counters.received > outbox.transmitted:
            raise Violation(Code.VIOLATION, "counters of what was never sent")
        if counters.confirmed < outbox.confirmed:
            raise Violation(Code.VIOLATION, "final counters below an earlier ack")
        if self.final is not None:
            return
        self.acked(Ack(counters.received, counters.confirmed), now)
        if self.sending is Sending.ENDED:
            return
        self._finish_confirmed()
        self._move_sending(Deed.PEER_STOPPED)
        self.final = counters
        self._events.append(Settled())

    def violated(self, link: Link, fault: Violation, now: float) -> None:
        """The peer broke the rules: an outcome, never an exception (FRAME-5)."""
        if link.phase is Phase.DIALING and self.incarnation:
            # whoever answers there now, it is not the peer we know: try again (HELLO-8)
            link.heard_at = self.contact_at
            link.leave(fault.code, fault.reason)
            self.link_over(link, fault.code, fault.reason, now)
            return
        self.end(Ending(End.VIOLATION, fault.code, fault.reason))

    # ------------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick` at the latest."""
        if self.ended:
            return NEVER
        by: float = self._hard_by
        if self._progress_at is not None:
            by = min(by, self._progress_at + self.config.close_progress_timeout)
        if not self.attached:
            by = min(by, self.contact_at + self.config.session_ttl)
        return by if self.link is None else min(by, self.link.deadline)

    def tick(self, now: float) -> list[Event]:
        """Do what is due; every deadline that has passed moves."""
        if self.ended:
            return self.settle(now)
        if self.link is not None:
            self.link.tick(now)
        if now >= self._hard_by:
            self._give_up("close() took too long")
        elif self._progress_at is not None:
            limit = self.config.close_progress_timeout
            late = now - (self._progress_at + limit)  # rounded as in `deadline`
            if late > OVERSLEPT:  # it was us who were not there (LIVE-4)
                self._progress_at = now - limit / 2
            elif late >= 0:
                self._give_up("no progress while closing")
        if not self.attached and not self.ended:
            late = now - (self.contact_at + self.config.session_ttl)
            if late > OVERSLEPT:
                self.contact_at = now - self.config.session_ttl + self.config.open_timeout
            elif late >= 0:  # END-4
                self._give_up("no contact with the peer")
        return self.settle(now)

    def progressed(self, now: float) -> None:
        """Note that the peer moved on: ``close()`` may go on waiting (CLOSE-10)."""
        if self._progress_at is not None:
            self._progress_at = max(self._progress_at, now)

    def _give_up(self, why: str) -> None:
        self.end(Ending(End.EXPIRED, Code.ENDED, why))

    # ------------------------------------------------------------------ ends

    def settle(self, now: float) -> list[Event]:
        """Draw the conclusions from the facts and return what happened since the last call.

        Call it after taking or confirming messages when ``inbox.due`` is set.
        """
        self.inbox.due = False
        ending = self.inbox.finish or self.outbox.finish or self.final
        if ending is not None and not self.ended:
            if self.inbox.take_finish():
                self._move_receiving(Deed.TAKEN)
            self._finish_confirmed()
            if self.done and self.role == "acceptor":  # the initiator goes on (CLOSE-8)
                self._end_as(Ending(End.FINISHED, *self._last_words()))
        if self.link is not None:
            self.link.acks.note(now)
        if self.calls.eased:
            self.calls.eased = False
            self._events.append(Eased())
        events, self._events = self._events, []
        return events

    def end(self, ending: Ending) -> None:
        """End now: freeze intake, keep what is known of our messages, tell the peer (END-1)."""
        if self.ended:
            return
        if self.done:
            ending = Ending(End.FINISHED, *self._last_words())
        self._end_as(ending)

    def _end_as(self, ending: Ending) -> None:
        self._stop()
        self._finish_confirmed()
        self._move_sending(Deed.END)
        self.calls.end()
        self.ended = ending
        if self.link is not None:
            self._take_leave(self.link, ending)
            self.contact_at = max(self.contact_at, self.link.heard_at)
            self.link = None
        self._events.append(Ended(ending))

    def _take_leave(self, link: Link, ending: Ending) -> None:
        """Say our final counters on the last link: Done, or Refuse (CLOSE-7, END-2)."""
        counters = self.inbox.counters()
        if link.phase is Phase.DIALING:  # the peer has not been heard: nothing may be said
            link.leave(Code.GOING_AWAY)
        elif ending.kind is End.FINISHED and self.role == "acceptor" and link.greeted:
            link.leave(Code.FINISHED, "", Done(counters), linger=True)
        else:  # no effect where the peer has had its say, and the link is over already
            code = Code.ENDED if ending.kind is End.FINISHED else ending.code
            farewell = Refuse(code, ending.reason, 0, counters)
            link.leave(code, ending.reason, farewell, linger=not link.greeted)  # a refused Hello

    def _stop(self) -> None:
        """Freeze intake in the step that reads its counters (CLOSE-3)."""
        if self.inbox.take_finish():
            self._move_receiving(Deed.TAKEN)
        self._move_receiving(Deed.STOP)
        self.calls.abandon()
        if self.receiving is Receiving.STOPPED and not self.inbox.stopped:
            self.inbox.freeze()

    def _finish_confirmed(self) -> None:
        finish = self.outbox.finish
        if (
            self.sending is Sending.FINISHING
            and finish is not None
            and self.outbox.confirmed == finish.number
        ):
            self._move_sending(Deed.CONFIRMED)

    def _last_words(self) -> tuple[int, str]:
        """Return code and reason of the end that was agreed: the peer's word goes first."""
        finish = self.inbox.finish or self.outbox.finish
        return (finish.code, finish.reason) if finish else (Code.FINISHED, "")

    def restore_receiving(
        self, confirmed: int, finish: Finish | None, stopped: Counters | None
    ) -> None:
        """Begin where a store left off (RESUME-7)."""
        self.restored = True
        self.inbox.restore(confirmed, finish)
        if finish is not None:
            self._move_receiving(Deed.PEER_FINISHED)
            self._move_receiving(Deed.TAKEN)
        if stopped is not None:
            self.inbox.restore_stopped(stopped)
            self._move_receiving(Deed.STOP)

    def _move_sending(self, deed: Deed) -> None:
        self.sending = SENDING[self.sending][deed]
        self._set_gate()

    def shut(self) -> None:
        """Shut the outbox's gate: every message takes the way of :meth:`send`."""
        self._shut = True
        self._set_gate()

    def unshut(self) -> None:
        """Open the gate again."""
        self._shut = False
        self._set_gate()

    def _set_gate(self) -> None:
        """Say what the outbox may let in without asking, and what links may take from it."""
        self.muted = self.sending in (Sending.STOPPED, Sending.ENDED)
        is_open = self.sending is Sending.OPEN and not self._shut
        self.outbox.gate = self.peer.max_message + OVERHEAD if is_open else -1

    def _move_receiving(self, deed: Deed) -> None:
        self.receiving = RECEIVING[self.receiving][deed]


def _words(code: int, reason: str) -> str:
    """Return as much of a reason as may be said. ValueError for a code that may not."""
    if not 1000 <= code <= 4999:
        raise ValueError(f"a code is from 1000 to 4999, not {code}")
    return reason.encode(errors="replace")[:MAX_REASON].decode(errors="ignore")
