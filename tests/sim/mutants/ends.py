"""Guards of the end."""

from __future__ import annotations

from typing import NamedTuple
from unittest import mock

from reliable_ws.protocol import registry
from reliable_ws.protocol import session as session_module
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.events import Arrived
from reliable_ws.protocol.frames import BEYOND, Counters, Finish, Stop
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.payload import seal_weight
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Phase, Receiving, Sending, Trigger

from .registry import Replace, mutant


@mutant("the initiator leaves as soon as it is done")
def _leaves_early(put: Replace) -> None:
    right = Session.poll

    def poll(self, now):
        events = right(self, now)
        if self.role == "initiator" and self.done and not self.ended:
            self._end(self._agreed_end())
            events += right(self, now)
        return events

    put(Session, "poll", poll)


@mutant("Stop does not freeze intake: what waits can be taken")
def _no_freeze(put: Replace) -> None:
    def freeze(self):
        self.stopped = True
        self.mark = BEYOND

    put(Inbox, "_freeze", freeze)


@mutant("Stop does not freeze intake: what arrives can be taken")
def _no_discard(put: Replace) -> None:
    def messages(self, frame, size):
        if size < 0:
            size = sum(map(seal_weight, frame.payloads))
        self.inbox.arrived(frame.first, frame.payloads, size)
        self._events.append(Arrived(len(frame.payloads)))

    put(Session, "_messages_arrived", messages)


class Stale(NamedTuple):
    """Stands for ``stopped`` where intake is still open, and the counters of Stop are read."""

    counters: Counters

    def __bool__(self) -> bool:
        return False


@mutant("Stop's counters are read before the freeze")
def _stale_stop(put: Replace) -> None:
    transmit, end_as, counters = Link.transmit, Session._end_as, Inbox.counters
    finish, move = session_module._HANDLERS[Finish], Inbox._move

    def stop(self):
        self.conclude()
        self._move(Trigger.STOP)
        if self.state is Receiving.STOPPED and not self.stopped:
            self.stopped = Stale(self.counters()._replace(stopped=True))

    def told(self):
        return counters(self)._replace(stopped=bool(self.stopped))

    def late(self, now):
        stopped = self.acks.inbox.stopped
        live = self.phase in (Phase.INITIATED, Phase.ACCEPTED) and self.greeted
        if isinstance(stopped, Stale) and live:
            self.acks.inbox._freeze()
            self.tell(stopped.counters)
            return encode([Stop(stopped.counters)])
        return transmit(self, now)

    def end(self, *args):
        end_as(self, *args)
        if isinstance(self.inbox.stopped, Stale):
            self.inbox._freeze()

    def finished(self, link, frame, now):
        if not isinstance(self.inbox.stopped, Stale):
            finish(self, link, frame, now)

    def moved(self, trigger):
        if self.state is not Receiving.STOPPED or trigger is not Trigger.TAKEN:
            move(self, trigger)

    put(session_module, "_HANDLERS", {**session_module._HANDLERS, Finish: finished})
    put(Inbox, "stop", stop)
    put(Inbox, "counters", told)
    put(Inbox, "_move", moved)
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
    put(registry, "_final_counters", lambda _counters, _hello: None)


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
        half = self.role == "acceptor" and self.outbox.state is Sending.FINISHING
        return right(self) or (half and self.inbox.done)

    put(Session, "done", property(done))


@mutant("Done goes without a Welcome before it")
def _blunt_done(put: Replace) -> None:
    right = Session._take_leave

    def take_leave(self, link, ending):
        greet, link._greet = link._greet, None  # as if it had been called
        right(self, link, ending)
        link._greet = greet

    put(Session, "_take_leave", take_leave)
