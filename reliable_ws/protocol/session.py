"""One conversation: what outlives the WebSockets that carry it.

How to drive it: tell it what happened (the link's ``receive``, :meth:`Session.tick`, the verbs
of the application), dispatch the events that each step returns, then pull what is to be sent
from ``session.link`` until it gives ``None``. ``deadline`` says when to tick at the latest.
"""

from __future__ import annotations

from typing import Any

from .conversation import Conversation
from .errors import ConnectionClosed, closed
from .events import Event
from .frames import Code, Hello, Payload, Refuse
from .halves import words
from .inbox import NEVER
from .link import Link
from .payload import seal
from .report import End, Ending, Outcome, Report
from .state import Phase, Receiving, Sending

__all__ = ["Session"]


class Session(Conversation):
    """What an application, and whoever drives it, can do with a conversation."""

    # ------------------------------------------------------------------ facts

    @property
    def closing(self) -> bool:
        """Whether ``close()`` was called."""
        return self.timers.closing

    @property
    def held(self) -> int:
        """Bytes of messages that this session holds, both directions."""
        return self.outbox.held + self.inbox.held + self.inbox.partial + self.calls.held

    def outcome(self, number: int) -> Outcome:
        """Return what is known of one message of ours (CLOSE-4)."""
        return self.outgoing.outcome(number)

    def report(self, *, upto: int | None = None) -> Report:
        """Return what is known of every message (up to a number)."""
        return self.outgoing.report(upto, self.ended)

    def report_of(self, number: int) -> Report:
        """Return what is known of one message."""
        return self.outgoing.report_of(number, self.ended)

    def error(self) -> ConnectionClosed:
        """Return the exception that says how the session ended, or this half of it."""
        ending = self.ended
        if ending is None:
            ending = Ending(End.FINISHED, *self._last_words())
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
        if self.outgoing.state is not Sending.OPEN:
            self._refuse_send(weight)
        return self.outgoing.accept(payload, weight)

    def _refuse_send(self, weight: int) -> None:
        """Raise, unless the end has yet to be seen in message order (CLOSE-14).

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
        self.outgoing.finish(code, reason)
        return self.settle(now)

    def close(
        self,
        now: float,
        code: int = Code.FINISHED,
        reason: str = "",
        timeout: float | None = None,
    ) -> list[Event]:
        """Finish, and take nothing more (CLOSE-2); bounded. Again: only shortens the limit."""
        self.outgoing.finish(code, reason)
        self.timers.close(now, timeout)
        self._stop()
        return self.settle(now)

    def abort(self, now: float, code: int = Code.ABORTED, reason: str = "") -> list[Event]:
        """End at once, telling the peer if a link is open."""
        self.end(Ending(End.ABORTED, code, words(code, reason)))
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
        """Begin a link at the acceptor, for a Hello that the registry has found good.

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
            # The initiator's refusal would end the session where the old link still carries it
            # (RESUME-10).
            told = self.role == "acceptor"
            refuse = Refuse(Code.SUPERSEDED, words, 0, None) if told else None
            old.leave(Code.SUPERSEDED if told else Code.GOING_AWAY, words, refuse)

    # ------------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick` at the latest."""
        if self.ended:
            return NEVER
        by = self.timers.deadline(attached=self.attached)
        return by if self.link is None else min(by, self.link.deadline)

    def tick(self, now: float) -> list[Event]:
        """Do what is due; every deadline that has passed moves."""
        if self.ended:
            return self.settle(now)
        if self.link is not None:
            self.link.tick(now)
        why = self.timers.expired(now, attached=self.attached)
        if why is not None and not self.ended:
            self.end(Ending(End.EXPIRED, Code.ENDED, why))
        return self.settle(now)
