"""Guards of confirming."""

from __future__ import annotations

from reliable_ws.protocol.acks import Acks
from reliable_ws.protocol.cursor import Cursor
from reliable_ws.protocol.frames import BEYOND
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.state import Trigger
from reliable_ws.protocol.unused import UNUSED

from .registry import Replace, mutant


@mutant("an ack before the message is taken")
def _early_ack(put: Replace) -> None:
    right = Inbox.arrived

    def arrived(self, first, payloads, size):
        right(self, first, payloads, size)
        if self._ahead is UNUSED:
            self._ahead = {}  # as `take` expects where something is open
        self.confirmed = self.received

    put(Inbox, "arrived", arrived)


@mutant("Finish is confirmed before the messages before it", "finish")
def _early_finish(put: Replace) -> None:
    def conclude(self):
        finish = self.finish
        if finish is not None and not self.stopped and self.confirmed < finish.number:
            self.confirmed = finish.number
            self._move(Trigger.TAKEN)

    put(Inbox, "conclude", conclude)


@mutant("an early confirmation moves the counter", "two")
def _cumulative(put: Replace) -> None:
    def confirm(self, number):
        if not self._ahead.get(number, True) and not self.stopped:
            self._ahead[number] = True
            self.confirmed = max(self.confirmed, number)
            return True
        return False

    put(Inbox, "confirm", confirm)


@mutant("nobody is woken when an ack falls due", "finish")
def _no_wake(put: Replace) -> None:
    def watch(self, _number):
        self.mark = BEYOND

    put(Inbox, "watch", watch)


@mutant("an ack that rides with nothing is not delayed, it is lost", "finish")
def _lost_ack(put: Replace) -> None:
    put(Acks, "note", lambda _self, _now: None)


@mutant("the peer's window is not looked at", "window")
def _no_window(put: Replace) -> None:
    right = Cursor.cut

    def cut(self, *args):
        outbox = self.outbox
        peer = outbox.peer
        outbox.peer = peer._replace(window_messages=1 << 30, window_bytes=1 << 40)
        frame = right(self, *args)
        outbox.peer = peer
        return frame

    put(Cursor, "cut", cut)
