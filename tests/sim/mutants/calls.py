"""Guards of calls."""

from __future__ import annotations

from reliable_ws.protocol import link as link_module
from reliable_ws.protocol import session as session_module
from reliable_ws.protocol.calls.cursor import CallCursor
from reliable_ws.protocol.calls.incoming import IncomingCalls
from reliable_ws.protocol.calls.outgoing import OutgoingCalls
from reliable_ws.protocol.calls.queue import CallQueue
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import CallAck, Calls, Stop, Void
from reliable_ws.protocol.link import Link

from .registry import ALONE, Replace, mutant

# ----------------------------------------------------------------------------- numbers and acks


@mutant("a resume goes on at the old position of calls", "a call")
def _old_position(put: Replace) -> None:
    right = Link.opened

    def opened(self, *args):
        right(self, *args)
        self.calls.number = self.calls.call_queue.transmitted + 1

    put(Link, "opened", opened)


@mutant("nobody notes which calls have gone", "a call")
def _not_transmitted(put: Replace) -> None:
    put(CallQueue, "transmitted", property(lambda _self: 0, lambda _self, _number: None))


@mutant("calls are never acked", "a call")
def _no_ack(put: Replace) -> None:
    put(CallCursor, "take", lambda _self: None)
    put(CallCursor, "note", lambda _self, _now: None)


@mutant("an ack of calls that rides with nothing is lost", "a call")
def _lost_ack(put: Replace) -> None:
    put(CallCursor, "note", lambda _self, _now: None)


@mutant("nobody looks when an ack of calls is due", ALONE)
def _no_deadline(put: Replace) -> None:
    put(Link, "ack_by", property(lambda self: self.acks.by or 1e12))


@mutant("nobody knows that calls wait to be sent", "a call")
def _not_restless(put: Replace) -> None:
    right = Link.has_output.fget

    def has_output(self):
        number, self.calls.number = self.calls.number, self.calls.call_queue.last + 1
        found = right(self)
        self.calls.number = number
        return found

    put(Link, "has_output", property(has_output))


@mutant("an ack of calls goes behind calls", "one at a time")
def _late_ack(put: Replace) -> None:
    def late(frames):
        return encode(sorted(frames, key=lambda frame: type(frame) is CallAck))

    put(link_module, "encode", late)


@mutant("an ack of calls goes behind Stop", "a call, close")
def _ack_behind_stop(put: Replace) -> None:
    def late(frames):
        return encode(sorted(frames, key=lambda frame: type(frame) is not Stop))

    put(link_module, "encode", late)


# ----------------------------------------------------------------------------- requests


@mutant("the peer's limit of requests is not looked at", "one at a time")
def _no_limit(put: Replace) -> None:
    put(OutgoingCalls, "has_room", property(lambda self: self.limit > 0))


@mutant("a request that has gone is taken back", "a call, dropped")
def _taken_back_late(put: Replace) -> None:
    right = OutgoingCalls.cancel

    def cancel(self, request):
        return right(self, request) or request in self.open

    put(OutgoingCalls, "cancel", cancel)


@mutant("what is taken back goes all the same", "a call, dropped")
def _kept(put: Replace) -> None:
    def take_back(self, request):
        self._close(request)

    put(OutgoingCalls, "_take_back", take_back)
    put(OutgoingCalls, "refresh", lambda _self, _number, entry, _by, _now: entry)


@mutant("who waits no more is answered", "a call, dropped")
def _answers_nobody(put: Replace) -> None:
    right = OutgoingCalls.answered

    def answered(self, request, sent):
        right(self, request, sent)
        return True

    put(OutgoingCalls, "answered", answered)


@mutant("what nobody has heard of was not taken", "a call, close")
def _unknown_is_not_taken(put: Replace) -> None:
    right = OutgoingCalls.was_taken
    put(OutgoingCalls, "was_taken", lambda self, request: bool(right(self, request)))


@mutant("a request goes when its time is up", "a call, late")
def _expired(put: Replace) -> None:
    right = OutgoingCalls.refresh

    def refresh(self, number, entry, by, now):
        return right(self, number, entry, by, now if by is None else min(now, by - 0.1))

    put(OutgoingCalls, "refresh", refresh)


@mutant("a request that comes again has all its time again", "a call, late")
def _time_again(put: Replace) -> None:
    right = OutgoingCalls.refresh

    def refresh(self, number, entry, by, now):
        again = number <= self._queue.transmitted
        return right(self, number, entry, by, 0.0 if again else now)

    put(OutgoingCalls, "refresh", refresh)


@mutant("a Void drops no pieces", "large calls")
def _no_drop(put: Replace) -> None:
    right = IncomingCalls._other

    def other(self, entry, sent):
        return None if type(entry) is Void else right(self, entry, sent)

    put(IncomingCalls, "_other", other)


# ----------------------------------------------------------------------------- streams


@mutant("credit is never paid", "a stream")
def _no_credit(put: Replace) -> None:
    put(OutgoingCalls, "_send_credits", lambda _self, _streams: None)


@mutant("no stream is told that there is room again", "a crowded stream")
def _not_eased(put: Replace) -> None:
    put(CallQueue, "eased", property(lambda _self: False, lambda _self, _eased: None))


@mutant("no stream waits for acks", "a crowded stream")
def _never_crowded(put: Replace) -> None:
    put(CallQueue, "crowded", property(lambda _self: False))


# ----------------------------------------------------------------------------- the end


@mutant("Finish does not wait for the answers that are owed", "a call, finish")
def _hasty_finish(put: Replace) -> None:
    put(CallCursor, "owes_answers", property(lambda self: self.number <= self.call_queue.last))


@mutant("answers go behind Finish", "a call, finish")
def _behind_finish(put: Replace) -> None:
    put(CallQueue, "finished", property(lambda _self: False, lambda _self, _finished: None))


@mutant("what arrives behind our Stop is run", ALONE)
def _behind_stop(put: Replace) -> None:
    right = session_module._HANDLERS[Calls]

    def calls(self, link, frame, now):
        inbox = self.inbox
        stopped, inbox.stopped = inbox.stopped, False
        right(self, link, frame, now)
        inbox.stopped = stopped

    put(session_module, "_HANDLERS", {**session_module._HANDLERS, Calls: calls})


@mutant("the peer's Stop says nothing of requests", "a call, close")
def _no_stop(put: Replace) -> None:
    def stop(self):
        self.peer_stopped = True
        self._forget()

    put(OutgoingCalls, "stop", stop)


@mutant("calls are kept when the session is over", "a call, close")
def _kept_for_ever(put: Replace) -> None:
    def end(self):
        self._queue.finished = self._queue.blocked = True

    put(OutgoingCalls, "end", end)
