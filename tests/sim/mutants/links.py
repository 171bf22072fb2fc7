"""Guards of links, and of who may greet."""

from __future__ import annotations

from reliable_ws.protocol import session as session_module
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Code, Finish, Refuse, Welcome
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Phase, Sending

from .registry import Replace, mutant


@mutant("the old link is not fenced")
def _no_fence(put: Replace) -> None:
    right = Session._begin

    def begin(self, *args):
        self.link = None  # so that nothing is said to it
        return right(self, *args)

    put(Session, "_begin", begin)


@mutant("an old WebSocket's death takes the new link down", "waiting")
def _late_death(put: Replace) -> None:
    right = Session.lost

    def lost(self, link, code, reason, now):
        if link.phase is Phase.OVER and self.link is not None:
            link = self.link
        return right(self, link, code, reason, now)

    put(Session, "lost", lost)


@mutant("the attempt number is not checked")
def _no_attempt(put: Replace) -> None:
    right = SessionRegistry.answer

    def answer(self, arrival, hello, now):
        known = self._sessions.get(hello.session) or self._tombstones.get(hello.session)
        if known is not None and hello.attempt <= known.attempt:
            hello = hello._replace(attempt=known.attempt + 1)
        return right(self, arrival, hello, now)

    put(SessionRegistry, "answer", answer)


@mutant("transport closed means confirmed")
def _closed_is_confirmed(put: Replace) -> None:
    right = Session._link_over

    def link_over(self, link, *rest):
        sent = self.outbox.transmitted
        if link is self.link and self.outbox.state is Sending.FINISHING:
            self._acked(sent, sent, link.heard_at)
        right(self, link, *rest)

    put(Session, "_link_over", link_over)


@mutant("an unknown session must have finished", "forget")
def _unknown_is_finished(put: Replace) -> None:
    right = session_module._HANDLERS[Refuse]

    def refused(self, link, refuse, now):
        sent = self.outbox.transmitted
        if refuse.code == Code.UNKNOWN:
            self._acked(sent, sent, now)
        right(self, link, refuse, now)

    put(session_module, "_HANDLERS", {**session_module._HANDLERS, Refuse: refused})


@mutant("a resume goes on at the old send position")
def _old_position(put: Replace) -> None:
    right = Link.opened

    def opened(self, received, *rest):
        right(self, received, *rest)
        self.cursor.number = max(received, self.cursor.outbox.transmitted) + 1
        self.cursor.offset = 0

    put(Link, "opened", opened)


@mutant("a resume begins a message in parts again", "parts")
def _parts_again(put: Replace) -> None:
    right = Link.opened
    put(Link, "opened", lambda self, received, _partial, *rest: right(self, received, 0, *rest))


@mutant("data before Welcome, and no check of numbers")
def _early_data(put: Replace) -> None:
    right, has_output = Link.transmit, Link.has_output.fget

    def transmit(self, now):
        if self.phase is Phase.DIALING and self.greeted:
            cursor, outbox = self.cursor, self.cursor.outbox
            cursor.number = max(cursor.number, outbox.confirmed + 1)
            if cursor.number > outbox.last or outbox.blocked:
                return None
            frame = cursor.cut()
            return None if frame is None else encode([frame])
        return right(self, now)

    put(Link, "transmit", transmit)
    put(Link, "has_output", property(lambda self: self.phase is Phase.DIALING or has_output(self)))
    put(Inbox, "_expect", lambda _self, _number: None)
    finish = session_module._HANDLERS[Finish]

    def once(self, link, frame, now):
        if self.inbox.finish is None:
            finish(self, link, frame, now)

    put(session_module, "_HANDLERS", {**session_module._HANDLERS, Finish: once})


@mutant("the incarnation is not checked", "forget")
def _no_incarnation(put: Replace) -> None:
    right, welcomed = SessionRegistry._is_holder, session_module._HANDLERS[Welcome]

    def is_holder(self, known, hello, principal):
        return known is None or right(self, known, hello._replace(incarnation=0), principal)

    def welcome(self, link, frame, now):
        self.incarnation = 0
        welcomed(self, link, frame, now)

    put(SessionRegistry, "_is_holder", is_holder)
    put(session_module, "_HANDLERS", {**session_module._HANDLERS, Welcome: welcome})


@mutant("the initiator's old link says superseded", "redial")
def _initiator_supersedes(put: Replace) -> None:
    right = Session._begin

    def begin(self, *args):
        if self.link is not None:
            self.link.leave(Code.SUPERSEDED, "", Refuse(Code.SUPERSEDED, "", 0, None))
        return right(self, *args)

    put(Session, "_begin", begin)
