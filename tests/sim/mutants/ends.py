"""Guards of the end."""

from __future__ import annotations

from unittest import mock

from reliable_ws.protocol import link as link_module
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Finish, Messages, Stop
from reliable_ws.protocol.halves import Incoming
from reliable_ws.protocol.inbox import NEVER, Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Phase, Receiving, Sending, Trigger

from .registry import Replace, mutant


@mutant("the initiator leaves as soon as it is done")
def _leaves_early(put: Replace) -> None:
    right = Session.settle

    def settle(self, now):
        events = right(self, now)
        if self.role == "initiator" and self.done and not self.ended:
            self.end(Ending(End.FINISHED, *self._last_words()))
            events += right(self, now)
        return events

    put(Session, "settle", settle)


@mutant("Stop does not freeze intake: what waits can be taken")
def _no_freeze(put: Replace) -> None:
    def freeze(self):
        self.stopped = True
        self.mark = NEVER
        return 0

    put(Inbox, "freeze", freeze)


@mutant("Stop does not freeze intake: what arrives can be taken")
def _no_discard(put: Replace) -> None:
    def messages(self, frame, _now):
        self._inbox.arrived(frame.first, frame.payloads, self._size)
        self.session.messages_arrived(len(frame.payloads))

    put(link_module, "_ACCEPT", {**link_module._ACCEPT, Messages: messages})


@mutant("Stop's counters are read before the freeze")
def _stale_stop(put: Replace) -> None:
    transmit, end_as, finish = Link.transmit, Session._end_as, link_module._ACCEPT[Finish]

    def stop(self):
        self.incoming.conclude()
        self.incoming._move(Trigger.STOP)
        if self.receiving is Receiving.STOPPED and not self.inbox.stopped:
            self.stale = self.inbox.counters()._replace(stopped=True)

    def late(self, now):
        stale = getattr(self.session, "stale", None)
        live = self.phase in (Phase.INITIATED, Phase.ACCEPTED) and self.greeted
        if stale is not None and live and not self._inbox.stopped:
            self._inbox.freeze()
            self.tell(stale)
            return encode([Stop(stale)])
        return transmit(self, now)

    def end(self, *args):
        end_as(self, *args)
        if self.receiving is Receiving.STOPPED and not self.inbox.stopped:
            self.inbox.freeze()

    def finished(self, frame, now):
        if getattr(self.session, "stale", None) is None:
            finish(self, frame, now)

    put(link_module, "_ACCEPT", {**link_module._ACCEPT, Finish: finished})
    move = Incoming._move

    def moved(self, trigger):
        if self.state is not Receiving.STOPPED or trigger is not Trigger.TAKEN:
            move(self, trigger)

    put(Session, "_stop", stop)
    put(Incoming, "_move", moved)
    put(Session, "_end_as", end)
    put(Link, "transmit", late)
    put(Link, "has_output", property(lambda _self: True))


@mutant("no tombstone")
def _no_tombstone(put: Replace) -> None:
    right = SessionRegistry.retire

    def retire(self, session, now):
        right(self, session, now)
        self._tombstones.pop(session.id, None)

    put(SessionRegistry, "retire", retire)


@mutant("a tombstone has no counters")
def _blank_tombstone(put: Replace) -> None:
    right = SessionRegistry.retire

    def retire(self, session, now):
        right(self, session, now)
        if session.id in self._tombstones:
            self._tombstones[session.id] = self._tombstones[session.id]._replace(counters=None)

    put(SessionRegistry, "retire", retire)


@mutant("expiry does not freeze the inbox", "timeouts")
def _warm_corpse(put: Replace) -> None:
    right = Session._end_as

    def end(self, ending, *args):
        if ending.kind is End.EXPIRED:
            with mock.patch.object(Session, "_stop"):
                right(self, ending, *args)
        else:
            right(self, ending, *args)

    put(Session, "_end_as", end)


@mutant("handed over counts for nothing: unknown is called not taken", "deliveries")
def _handed_uncounted(put: Replace) -> None:
    right = Inbox.counters

    def counters(self):
        told = right(self)
        return told._replace(handed=min(told.confirmed, told.handed))

    put(Inbox, "counters", counters)


@mutant("confirmations above the counter are not told", "two")
def _no_ranges(put: Replace) -> None:
    right = Inbox.counters
    put(Inbox, "counters", lambda self: right(self)._replace(ranges=()))


@mutant("the acceptor is done before its Finish is confirmed")
def _done_early(put: Replace) -> None:
    right = Session.done.fget

    def done(self):
        half = self.role == "acceptor" and self.sending is Sending.FINISHING
        return right(self) or (half and self.receiving in (Receiving.FINISHED, Receiving.STOPPED))

    put(Session, "done", property(done))


@mutant("Done goes without a Welcome before it")
def _blunt_done(put: Replace) -> None:
    right = Session._take_leave

    def take_leave(self, link, ending):
        greeted, link.greeted = link.greeted, True
        right(self, link, ending)
        link.greeted = greeted

    put(Session, "_take_leave", take_leave)
