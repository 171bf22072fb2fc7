"""Calls: requests, replies, faults, streams - a ledger beside that of the messages.

Calls have numbers of their own, because they are confirmed by arriving: an unread message
holds back no reply, no reply holds back a message, and a full window can deadlock nothing
(CALL-1). What follows from numbers is the same: in order, each once, sent again from what the
peer has received. What bounds them is the number of open requests, and for streams a credit of
their own (CALL-7).
"""

from __future__ import annotations

from typing import cast

import msgpack

from .check import PAYLOADS
from .config import Config
from .errors import MessageTooLarge, Violation
from .events import Cancelled, Event, Faulted, Granted, Itemized, Replied, Requested
from .frames import (
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
)
from .outbox import OVERHEAD
from .payload import seal_weight

__all__ = ["CallLedger"]

PIECE = 3_800
"""A larger payload goes in pieces, each an entry: so every entry fits any legal frame (CALL-5)."""

NOTHING = b""


class CallLedger:
    """Both directions of the calls of one session."""

    def __init__(self, config: Config) -> None:
        self._max_requests = config.max_requests
        self._max_message = config.max_message
        self._entries: dict[int, Entry] = {}  # ours, above what the peer has received
        self._deadlines: dict[int, float] = {}  # of our requests that are not received yet
        self._pieces = bytearray()  # of the peer's next entry
        self.limit = 0
        "Most requests that we may have open there; 0: the peer takes no calls."
        self.last = 0
        "Highest number accepted."
        self.transmitted = 0
        "Highest number ever handed to a link."
        self.acked = 0
        "Highest number that the peer has received, as far as it told."
        self.received = 0
        "Highest number that arrived."
        self.peer_stopped = False
        "Whether the peer takes no more calls: what it has not acked, it never got (CALL-10)."
        self.open: dict[int, bool] = {}
        "Our requests without a final answer -> whether somebody still waits for it."
        self.served: set[int] = set()
        "The peer's requests that we owe an answer."

    # ------------------------------------------------------------------ ours

    @property
    def has_room(self) -> bool:
        """Whether another request may be opened (CALL-6)."""
        return len(self.open) < self.limit

    def request(self, method: str, payload: Payload, by: float | None, credit: int) -> int:
        """Queue a request and return its id. There is room. Raises MessageTooLarge."""
        number = self._put(Request(method, None, credit, payload))
        self.open[number] = True
        if by is not None:
            self._deadlines[number] = by
        return number

    def reply(self, request: int, payload: Payload) -> None:
        """Queue the answer to a request of the peer; too late, it is dropped."""
        if request in self.served:
            self._put(Reply(request, payload))
            self.served.remove(request)

    def fault(self, request: int, code: str, message: str, payload: Payload = NOTHING) -> None:
        """Queue why there is no answer; too late, it is dropped."""
        if request in self.served:
            self._put(Fault(request, code, message, payload))
            self.served.remove(request)

    def item(self, request: int, payload: Payload) -> None:
        """Queue an item of a stream. The driver minds the credit."""
        self._put(Item(request, payload))

    def grant(self, request: int, total: int) -> None:
        """Allow the peer so many bytes of items in all (CALL-7)."""
        if request in self.open:
            self._put(Credit(request, total))

    def cancel(self, request: int) -> bool:
        """Wait no more. ``True``: it was taken back before it went, and is never run (CALL-8)."""
        if request not in self.open:
            return False
        if request > self.transmitted:
            self._take_back(request)
            return True
        self.open[request] = False  # its place is free when the peer has answered
        self._put(Cancel(request))
        return False

    def _take_back(self, request: int) -> None:
        self._entries[request] = Void()
        self._deadlines.pop(request, None)
        del self.open[request]

    def _put(self, entry: Entry) -> int:
        payload = getattr(entry, "payload", None)
        if payload is not None and (weight := seal_weight(payload)) > PIECE:
            if weight - OVERHEAD > self._max_message:
                raise MessageTooLarge(f"{weight - OVERHEAD} bytes are above the limit")
            packed: bytes = msgpack.packb(payload)
            for offset in range(0, len(packed), PIECE):
                self.last += 1
                self._entries[self.last] = Piece(packed[offset : offset + PIECE])
            entry = cast("Reply", entry)._replace(payload=None)
        self.last += 1
        self._entries[self.last] = entry
        return self.last

    def cut(self, number: int, count: int, room: int, now: float) -> list[Entry]:
        """Return entries from ``number`` on, at most so many, about so many bytes.

        Time goes on while a request waits to be sent: what is left of it travels, and what has
        run out is never run (CALL-9).
        """
        entries: list[Entry] = []
        while number <= self.last and len(entries) < count and room > 0:
            entry = self._entries[number]
            if type(entry) is Request and (by := self._deadlines.get(number)) is not None:
                if now >= by:
                    self._take_back(number)
                    entry = self._entries[number]
                else:
                    entry = entry._replace(timeout_ms=int((by - now) * 1000))
            entries.append(entry)
            room -= _size(entry)
            number += 1
        self.transmitted = max(self.transmitted, number - 1)
        return entries

    def ack(self, received: int) -> None:
        """Forget what the peer has received (CALL-3)."""
        for number in range(self.acked + 1, received + 1):
            del self._entries[number]
            self._deadlines.pop(number, None)
        self.acked = max(self.acked, received)

    # ------------------------------------------------------------------ the peer's

    def arrived(self, first: int, entries: list[Entry], now: float) -> list[Event]:
        """Take in a run of entries. Raises :class:`Violation`."""
        if first != self.received + 1:
            raise Violation(Code.VIOLATION, f"call {first} after {self.received}")
        events: list[Event] = []
        for entry in entries:
            self.received += 1
            event = self._accept(self.received, entry, now)
            if event is not None:
                events.append(event)
        return events

    def _accept(self, number: int, entry: Entry, now: float) -> Event | None:
        match entry:
            case Piece(data):
                if len(self._pieces) + len(data) > self._max_message + OVERHEAD:
                    raise Violation(Code.VIOLATION, "a call above the announced limit")
                self._pieces += data
            case Request(method, timeout_ms, credit, payload):
                if len(self.served) >= self._max_requests:
                    raise Violation(Code.VIOLATION, "more open requests than announced")
                self.served.add(number)
                by = None if timeout_ms is None else now + timeout_ms / 1000
                return Requested(number, method, self._whole(payload), by, credit)
            case Reply(request, payload):
                whole = self._whole(payload)
                return Replied(request, whole) if self._answered(request) else None
            case Fault(request, code, message, payload):
                whole = self._whole(payload)
                if self._answered(request):
                    return Faulted(request, code, message, whole)
            case Item(request, payload):
                whole = self._whole(payload)
                if self._sent(request) in self.open and self.open[request]:
                    return Itemized(request, whole)
            case Cancel(request) if request in self.served:
                return Cancelled(request)
            case Credit(request, total) if request in self.served:
                return Granted(request, total)
            case Void():
                self._pieces.clear()
            case _:
                pass  # too late for a request that is answered: no harm (CALL-8)
        return None

    def _answered(self, request: int) -> bool:
        """Close a request of ours; whether somebody waits. Late answers are no mistake."""
        return self.open.pop(self._sent(request), False)

    def _sent(self, request: int) -> int:
        if request > self.transmitted:
            raise Violation(Code.VIOLATION, "an answer to what was never asked")
        return request

    def _whole(self, payload: Payload | None) -> Payload:
        if payload is not None:
            if self._pieces:
                raise Violation(Code.VIOLATION, "pieces that belong to nothing")
            return payload
        data = bytes(self._pieces)
        self._pieces.clear()
        try:
            whole = msgpack.unpackb(data, max_map_len=0, max_array_len=0)
        except Exception:  # noqa: BLE001 - whatever is wrong, the peer sent it
            raise Violation(Code.MALFORMED, "pieces that make no payload") from None
        if type(whole) not in PAYLOADS:
            raise Violation(Code.MALFORMED, "pieces that make no payload")
        result: Payload = whole
        return result

    # ------------------------------------------------------------------ links, and the end

    @property
    def held(self) -> int:
        """Bytes that are held, about."""
        return len(self._pieces) + 64 * len(self._entries)

    def position(self) -> CallPosition:
        """Return what the greeting says (CALL-4)."""
        return CallPosition(self.received, self.transmitted, self.acked + 1)

    def check(self, peer: CallPosition | None, *, stopped: bool) -> None:
        """Compare both sides' books. Raises :class:`Violation`."""
        if peer is None:
            if self.received or self.transmitted:
                raise Violation(Code.VIOLATION, "state lost: calls are not known any more")
            return
        if not self.acked <= peer.received <= self.transmitted:
            raise Violation(Code.VIOLATION, "state lost: calls received")
        if not stopped and not peer.first - 1 <= self.received <= peer.sent:
            raise Violation(Code.VIOLATION, "state lost: calls sent")
        self.ack(peer.received)

    def was_taken(self, request: int) -> bool | None:
        """Whether the peer's application got this request; ``None`` if nobody can say."""
        if request <= self.acked:
            return True
        return False if self.peer_stopped or request > self.transmitted else None


def _size(entry: Entry) -> int:
    match entry:
        case Piece(data):
            return len(data) + 8
        case Request(method=method, payload=payload):
            return 32 + len(method) + (0 if payload is None else seal_weight(payload))
        case Reply(payload=payload) | Item(payload=payload):
            return 16 + (0 if payload is None else seal_weight(payload))
        case Fault(message=message, payload=payload):
            return 64 + 4 * len(message) + (0 if payload is None else seal_weight(payload))
        case _:
            return 24
