"""Calls: requests, replies, faults, streams - a ledger beside that of the messages.

Calls have numbers of their own, because they are confirmed by arriving: an unread message
holds back no reply, no reply holds back a message, and a full window can deadlock nothing
(CALL-1, CALL-13). What follows from numbers is the same: in order, each once, sent again from what
the peer has received. What bounds them is the number of open requests, and for streams a credit of
their own (CALL-7).
"""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import Violation
from reliable_ws.protocol.events import (
    Cancelled,
    Event,
    Faulted,
    Granted,
    Itemized,
    Replied,
    Requested,
)
from reliable_ws.protocol.frames import (
    CallPosition,
    Cancel,
    Code,
    Credit,
    Entry,
    Fault,
    Item,
    Payload,
    Piece,
    Reply,
    Request,
    Void,
    new_unchecked,
)
from reliable_ws.protocol.payload import seal_weight

from .fragments import Pieces, whole
from .outgoing import OwnCalls

__all__ = ["CallLedger"]


class CallLedger(OwnCalls):
    """Both directions of the calls of one session: what the peer says comes in here."""

    __slots__ = ("_max_message", "_max_requests", "_pieces", "received")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._max_requests = config.max_requests
        self._max_message = config.max_message
        self._pieces: Pieces | None = None  # of the peer's next entry, while any are held
        self.received = 0
        "Highest number that arrived."

    def arrived(self, first: int, entries: list[Entry], now: float, sent: int) -> list[Event]:
        """Take in a run of entries. Raises :class:`Violation`.

        ``sent``: the highest number of ours that the peer can have received.
        """
        if first != self.received + 1:
            raise Violation(Code.VIOLATION, f"call {first} after {self.received}")
        events: list[Event] = []
        for entry in entries:
            self.received += 1
            if type(entry) is Reply:
                event = self._accept_reply(entry, sent)
            elif type(entry) is Request:
                event = self._accept_request(entry, now)
            else:
                event = self._accept(entry, sent)
            if event is not None:
                events.append(event)
        return events

    def _accept_reply(self, entry: Reply, sent: int) -> Event | None:
        request, payload = entry
        if payload is None or self._pieces is not None:
            payload = self._whole(payload)
        return new_unchecked(Replied, (request, payload)) if self._answered(request, sent) else None

    def _accept_request(self, entry: Request, now: float) -> Event:
        method, timeout_ms, credit, payload = entry
        if payload is None or self._pieces is not None:
            payload = self._whole(payload)
        if len(self.served) + len(self._answers) >= self._max_requests:
            raise Violation(Code.VIOLATION, "more open requests than announced")
        self.served[self.received] = None
        by = None if timeout_ms is None else now + timeout_ms / 1000
        return new_unchecked(Requested, (self.received, method, payload, by, credit))

    def _accept(self, entry: Entry, sent: int) -> Event | None:
        if type(entry) is Piece:
            if self._pieces is None:
                self._pieces = Pieces(self._max_message)
            self._pieces.add(entry.data)
            return None
        if type(entry) is Void:
            self._pieces = None
            return None
        payload = self._whole(getattr(entry, "payload", b""))
        match entry:
            case Fault(request, code, message):
                waited = self._answered(request, sent)
                return Faulted(request, code, message, payload) if waited else None
            case Item(request):
                return Itemized(request, payload) if self._fits(request, payload, sent) else None
            case Cancel(request) if request in self.served:
                return Cancelled(request)
            case Credit(request, total) if request in self.served:
                return Granted(request, total)
        return None  # too late for a request that is answered: no harm (CALL-32)

    def _whole(self, payload: Payload | None) -> Payload:
        """Return an entry's payload, of the pieces before it if it has none. Raises Violation."""
        pieces, self._pieces = self._pieces, None
        return whole(payload, pieces)

    def _answered(self, request: int, sent: int) -> bool:
        """Close a request of ours; whether somebody waits. Late ones are no mistake (CALL-32)."""
        _asked(request, sent)
        if request > self.outbox.acked:
            self.ack(request)  # who answers has received it (CALL-18)
        return self._close(request)

    def _fits(self, request: int, payload: Payload, sent: int) -> bool:
        """Count an item; whether somebody waits for it. Raises where there is no credit."""
        _asked(request, sent)
        if request not in self.open:
            return False
        if self._streams is None or not self._streams.count(request, seal_weight(payload)):
            raise Violation(Code.VIOLATION, "more items than the credit")  # CALL-28
        return self.open[request]

    def abandon(self) -> None:
        """Wait for no answer any more: none can come, or nobody could take it (CALL-10)."""
        self._pieces = None
        super().abandon()

    # ------------------------------------------------------------------ greetings

    @property
    def held(self) -> int:
        """Bytes that are held, about; no window bounds them in all (CALL-27)."""
        pieces = 0 if self._pieces is None else len(self._pieces.data)
        return pieces + self.outbox.weight

    def position(self) -> CallPosition:
        """Return what the greeting says (CALL-4)."""
        return CallPosition(self.received, self.outbox.transmitted, self.outbox.acked + 1)

    def check(self, peer: CallPosition | None, *, stopped: bool) -> None:
        """Compare both sides' books (CALL-21). Raises :class:`Violation`."""
        if peer is None:
            if self.limit:
                raise Violation(Code.VIOLATION, "state lost: calls are not known any more")
            return
        if not self.outbox.acked <= peer.received <= self.outbox.transmitted:
            raise Violation(Code.VIOLATION, "state lost: calls received")
        if not stopped and not peer.first - 1 <= self.received <= peer.sent:
            raise Violation(Code.VIOLATION, "state lost: calls sent")
        self.ack(peer.received)

    # ------------------------------------------------------------------ a crash

    def snapshot(self, *, finishing: bool) -> dict[str, Any]:
        """Return what must survive a crash, of both directions (CALL-12)."""
        pieces = b"" if self._pieces is None else bytes(self._pieces.data)
        theirs = {"received": self.received, "pieces": pieces}
        return super().snapshot(finishing=finishing) | theirs

    def restore(self, values: dict[str, Any]) -> None:
        """Go on after a crash with what :meth:`snapshot` gave."""
        self.received = values["received"]
        if values["pieces"]:
            self._pieces = Pieces(self._max_message)
            self._pieces.add(values["pieces"])
        super().restore(values)


def _asked(request: int, sent: int) -> None:
    if request > sent:  # CALL-19
        raise Violation(Code.VIOLATION, "an answer to what was never asked")
