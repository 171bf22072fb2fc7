"""Guards of links, and of who may greet."""

from __future__ import annotations

from reliable_ws.protocol import link as link_module
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Ack, Code, Finish, Refuse
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Phase, Sending

from .registry import Replace, mutant


@mutant("the old link is not fenced")
def _no_fence(put: Replace) -> None:
    def replace(self, link):
        self.link = link

    put(Session, "_replace", replace)


@mutant("an old WebSocket's death takes the new link down", "waiting")
def _late_death(put: Replace) -> None:
    right = Link.lost

    def lost(self, code, reason, now):
        current = self.session.link
        if self.phase is Phase.OVER and current is not None:
            return right(current, code, reason, now)
        return right(self, code, reason, now)

    put(Link, "lost", lost)


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
    right = Session.link_over

    def link_over(self, link, *rest):
        now, sent = rest[2], self.outbox.transmitted
        if link is self.link and self.sending is Sending.FINISHING:
            self.acked(Ack(sent, sent), now)
        right(self, link, *rest)

    put(Session, "link_over", link_over)


@mutant("an unknown session must have finished", "forget")
def _unknown_is_finished(put: Replace) -> None:
    right = Session.refused

    def refused(self, link, refuse, now):
        sent = self.outbox.transmitted
        if refuse.code == Code.UNKNOWN:
            self.acked(Ack(sent, sent), now)
        right(self, link, refuse, now)

    put(Session, "refused", refused)


@mutant("a resume goes on at the old send position")
def _old_position(put: Replace) -> None:
    right = Link.opened

    def opened(self, received, *rest):
        right(self, received, *rest)
        self.cursor.number = max(received, self.session.outbox.transmitted) + 1
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
            session, cursor = self.session, self.cursor
            cursor.number = max(cursor.number, session.outbox.confirmed + 1)
            if cursor.number > session.outbox.last or session.outbox.blocked:
                return None
            frame = cursor.cut(session.peer, session.frame_size.size)
            return None if frame is None else encode([frame])
        return right(self, now)

    put(Link, "transmit", transmit)
    put(Link, "has_output", property(lambda self: self.phase is Phase.DIALING or has_output(self)))
    put(Inbox, "_expect", lambda _self, _number: None)
    finish = link_module._ACCEPT[Finish]

    def once(self, frame, now):
        if self._inbox.finish is None:
            finish(self, frame, now)

    put(link_module, "_ACCEPT", {**link_module._ACCEPT, Finish: once})


@mutant("the incarnation is not checked", "forget")
def _no_incarnation(put: Replace) -> None:
    right, welcomed = SessionRegistry._is_holder, Session.welcomed

    def is_holder(self, known, hello, principal):
        return known is None or right(self, known, hello._replace(incarnation=0), principal)

    def welcome(self, link, frame, now):
        self.incarnation = 0
        welcomed(self, link, frame, now)

    put(SessionRegistry, "_is_holder", is_holder)
    put(Session, "welcomed", welcome)


@mutant("the initiator's old link says superseded", "redial")
def _initiator_supersedes(put: Replace) -> None:
    def replace(self, link):
        old, self.link = self.link, link
        if old is not None:
            old.leave(Code.SUPERSEDED, "", Refuse(Code.SUPERSEDED, "", 0, None))

    put(Session, "_replace", replace)
