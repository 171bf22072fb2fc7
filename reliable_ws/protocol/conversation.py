"""Two sides in conversation: what their links bring, and how it comes to its end.

What the application can do with it is in :mod:`.session`.
"""

from __future__ import annotations

from typing import Literal

from .calls.ledger import CallLedger
from .config import Config
from .errors import Violation
from .events import Arrived, Confirmed, Detached, Eased, Ended, Event, Opened, PeerFinished, Settled
from .frame_size import FrameSize
from .frames import (
    VERSION,
    Ack,
    Code,
    Counters,
    Done,
    Finish,
    Hello,
    Limits,
    Position,
    Refuse,
    Welcome,
    may_resume,
    new_unchecked,
)
from .halves import Incoming, Outgoing
from .handshake import check_position
from .link import Link
from .payload import MsgpackCodec, PayloadCodec
from .report import End, Ending
from .state import Phase, Receiving, Sending
from .timers import Timers

__all__ = ["Conversation", "Role"]

Role = Literal["initiator", "acceptor"]

PLAIN = MsgpackCodec()


class Conversation:
    """Two halves, calls beside them, and the link that carries them now (link.Owner)."""

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
        self.codec = codec or PLAIN
        self.incarnation = incarnation
        self.attempt = 0
        self.link: Link | None = None
        self.ended: Ending | None = None
        self.wanted = 0
        "Highest number whose confirmation somebody waits for."
        self.peer = self.config.limits(None)
        "The peer's limits; until the first greeting, a guess from ours."
        self.frame_size = FrameSize(self.config.max_frame)
        self.outgoing = Outgoing(self.config, self.codec)
        self.incoming = Incoming(self.config)
        self.outbox = self.outgoing.outbox
        self.inbox = self.incoming.inbox
        self.calls = CallLedger(self.config)
        "Requests and replies: a ledger of their own (CALL-1)."
        self.timers = Timers(self.config, now)
        self.resumes = 0
        "How many links were opened after the first."
        self._resumed = False
        self.restored = False
        self._events: list[Event] = []

    def __repr__(self) -> str:
        """Where it stands, for logs."""
        return (
            f"<Session {self.id.hex()[:8]} {self.role} sending={self.sending.value} "
            f"receiving={self.receiving.value} {'ended' if self.ended else 'alive'}>"
        )

    @property
    def done(self) -> bool:
        """Whether both halves have come to their end, so that the report is final (CLOSE-6)."""
        return self.outgoing.done and self.incoming.done

    @property
    def attached(self) -> bool:
        """Whether a link is open."""
        return self.link is not None and self.link.phase in (Phase.INITIATED, Phase.ACCEPTED)

    @property
    def sending(self) -> Sending:
        """Where our direction stands."""
        return self.outgoing.state

    @property
    def receiving(self) -> Receiving:
        """Where the peer's direction stands."""
        return self.incoming.state

    # ------------------------------------------------------------------ links

    def greeting(self, link: Link) -> Hello | Welcome:
        """Return our greeting, built when it is sent (HELLO-4); it is short (FRAME-11)."""
        counters = self.inbox.counters()
        link.tell(counters)
        outbox = self.outbox
        position = Position(counters, outbox.transmitted, outbox.confirmed + 1, self.inbox.partial)
        limits = self.config.limits(link.max_frame)
        calls = self.calls.position()
        if self.role == "initiator":
            who = (self.id, self.key, self.attempt, self.incarnation)
            return Hello(VERSION, VERSION, *who, position, limits, calls)
        return Welcome(VERSION, self._resumed, self.incarnation, position, limits, calls)

    def welcomed(self, link: Link, welcome: Welcome, now: float) -> None:
        """Take in the acceptor's answer. What is wrong with it ends the session (END-5)."""
        link.enter(Phase.INITIATED)
        if welcome.version != VERSION:
            raise Violation(Code.VERSION, f"version {welcome.version} was not offered")
        if self.incarnation not in (0, welcome.incarnation):  # HELLO-15
            raise Violation(Code.VIOLATION, "another incarnation than before")
        resumed = self.incarnation != 0
        self.incarnation = welcome.incarnation
        self._meet(link, welcome, now, resumed=resumed)

    def _meet(self, link: Link, greeting: Hello | Welcome, now: float, *, resumed: bool) -> None:
        """Compare both sides' books before anything is sent again (RESUME-3)."""
        position, limits, calls = greeting.position, greeting.limits, greeting.calls
        counters, outbox, inbox = position.counters, self.outbox, self.inbox
        check_position(position, outbox, inbox)
        self.calls.check(calls, stopped=inbox.stopped)
        if not resumed:  # LIMIT-2
            self.heed(limits)
        if calls is not None and not resumed:
            self.calls.limit = self.peer.max_requests
            self.calls.max_there = self.peer.max_message
        self.frame_size.met(
            limits.max_frame,
            held=(counters.received, position.partial),
            more=resumed and outbox.last > counters.received,
        )
        if self.restored and not inbox.stopped:
            inbox.redelivered_upto = position.sent
        self.restored = False
        self.timers.contact_at = now
        link.opened(counters.received, position.partial, calls, now)
        self.resumes += resumed
        replayed = max(0, outbox.transmitted - counters.received)
        self._events.append(Opened(resumed, replayed))
        self.acked(Ack(counters.received, counters.confirmed), now)
        if counters.stopped:
            self.peer_stopped(counters, now)
        self.progressed(now)

    def heed(self, limits: Limits) -> None:
        """Keep to what the peer takes."""
        if limits != self.peer:  # else the one that sessions share
            self.peer = limits
        self.outgoing.limit(limits.max_message)

    def refused(self, link: Link, refuse: Refuse, now: float) -> None:
        """Take in a Refuse: later, or never (REFUSE-2)."""
        if refuse.counters is not None:
            self._settle_by(refuse.counters, now)
        self.timers.contact_at = now
        link.leave(Code.FINISHED)  # CLOSE-9
        retry = refuse.retry_ms / 1000
        if may_resume(refuse.code) and refuse.counters is None:  # REFUSE-4
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
        self.timers.heard(link.heard_at)
        self.link = None
        if self.ended:
            return
        if code == Code.TOO_BIG and not self.frame_size.halve():
            words = "the peer's transport refuses even small frames"
            self.end(Ending(End.LOST, Code.TOO_BIG, words))
            return
        self._events.append(Detached(code, reason, retry))

    # ------------------------------------------------------------------ what a link brings

    def messages_arrived(self, count: int) -> None:
        """Note that ``count`` messages can be taken."""
        self._events.append(new_unchecked(Arrived, (count,)))

    def finish_arrived(self, finish: Finish) -> None:
        """Note the peer's last word."""
        self.incoming.finish_arrived()
        self.calls.abandon()
        self._events.append(PeerFinished(finish.code, finish.reason))

    def calls_arrived(self, events: list[Event]) -> None:
        """Note what calls say."""
        self._events += events

    def acked(self, ack: Ack, now: float) -> None:
        """Release what the peer has confirmed; an ack that goes backwards is ignored (ACK-6).

        From link to link ``received`` may fall; the new link's cursor knows (RESUME-5).
        """
        if self.outgoing.final is not None:
            return  # the first final counters stand (CLOSE-12)
        received, confirmed = ack
        outbox = self.outbox
        if received <= outbox.acked and confirmed <= outbox.confirmed:
            return
        self.timers.progressed(now)
        if received > outbox.acked:
            outbox.acked = received
            self.frame_size.passed()
        if confirmed > outbox.confirmed:
            outbox.confirm(confirmed)
            self._events.append(new_unchecked(Confirmed, (confirmed,)))

    def peer_stopped(self, counters: Counters, now: float) -> None:
        """The peer takes nothing more: every outcome is known (CLOSE-5)."""
        self._settle_by(counters, now)
        self.calls.stop()

    def peer_done(self, link: Link, counters: Counters, now: float) -> None:
        """The acceptor needs nothing more (CLOSE-7)."""
        self._settle_by(counters, now)
        if not self.done:  # CLOSE-17
            raise Violation(Code.VIOLATION, "Done before both directions ended")
        link.leave(Code.FINISHED)
        self._end_as(Ending(End.FINISHED, *self._last_words()))

    def _settle_by(self, counters: Counters, now: float) -> None:
        """Let the peer's final counters decide what became of each message (CLOSE-4)."""
        outgoing = self.outgoing
        outgoing.check_final(counters)
        if outgoing.final is not None:
            return
        self.acked(Ack(counters.received, counters.confirmed), now)
        if outgoing.settle(counters):
            self._events.append(Settled())

    def violated(self, link: Link, fault: Violation, now: float) -> None:
        """The peer broke the rules: an outcome, never an exception (FRAME-5)."""
        if link.phase is Phase.DIALING and self.incarnation:
            # whoever answers there now, it is not the peer we know: try again (HELLO-13)
            link.heard_at = self.timers.contact_at
            link.leave(fault.code, fault.reason)
            self.link_over(link, fault.code, fault.reason, now)
            return
        self.end(Ending(End.VIOLATION, fault.code, fault.reason))  # HELLO-8, if it was dialing

    def progressed(self, now: float) -> None:
        """Note that the peer moved on: ``close()`` may go on waiting (CLOSE-21)."""
        self.timers.progressed(now)

    # ------------------------------------------------------------------ ends

    def settle(self, now: float) -> list[Event]:
        """Draw the conclusions from the facts and return what happened since the last call.

        An envelope is taken in whole before (CLOSE-15).

        Call it after taking or confirming messages when ``inbox.due`` is set.
        """
        self.inbox.due = False
        ending = self.inbox.finish or self.outbox.finish or self.outgoing.final
        if ending is not None and not self.ended:
            self.incoming.conclude()
            self.outgoing.conclude()
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
        self.outgoing.end()
        self.calls.end()
        self.ended = ending
        if self.link is not None:
            self._take_leave(self.link, ending)
            self.timers.heard(self.link.heard_at)
            self.link = None
        self._events.append(Ended(ending))

    def _take_leave(self, link: Link, ending: Ending) -> None:
        """Say our final counters on the last link: Done, or Refuse (CLOSE-7, END-2)."""
        counters = self.inbox.counters()
        if link.phase is Phase.DIALING:  # the peer has not been heard: say nothing (END-5)
            link.leave(Code.GOING_AWAY)
        elif ending.kind is End.FINISHED and self.role == "acceptor" and link.greeted:
            link.leave(Code.FINISHED, "", Done(counters), linger=True)
        else:  # no effect where the peer has had its say, and the link is over already (CLOSE-20)
            code = Code.ENDED if ending.kind is End.FINISHED else ending.code
            last_frame = Refuse(code, ending.reason, 0, counters)
            link.leave(code, ending.reason, last_frame, linger=not link.greeted)  # CLOSE-18

    def _stop(self) -> None:
        """Freeze intake in the step that reads its counters (CLOSE-3)."""
        self.incoming.stop()
        self.calls.abandon()

    def _last_words(self) -> tuple[int, str]:
        """Return code and reason of the end that was agreed: the peer's word first (CLOSE-16)."""
        finish = self.inbox.finish or self.outbox.finish
        return (finish.code, finish.reason) if finish else (Code.FINISHED, "")
