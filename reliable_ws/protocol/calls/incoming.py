"""Requests that the peer makes, what we answer, and everything that its entries bring (CALL-2).

An entry of the peer is either about a request of its own, which is kept here until it is answered,
or about one of ours, which :class:`~.outgoing.OutgoingCalls` knows. Every guard against a peer that
miscounts calls is here or there.
"""

from __future__ import annotations

from sys import getsizeof
from typing import Any

import msgpack

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
    BEYOND,
    LONGEST_NAME,
    LONGEST_WORDS,
    OVERHEAD,
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
from reliable_ws.protocol.payload import seal_weight, text_length
from reliable_ws.protocol.unused import UNUSED

from .codec import clipped
from .fragments import Pieces, whole
from .outgoing import OutgoingCalls
from .queue import ENTRY_WEIGHT, REQUESTS_WINDOW, CallQueue

__all__ = ["IncomingCalls"]

REPLY_HEADER, FAULT_HEADER, ITEM_HEADER = 16, 32, 16
"""Most bytes of an entry besides its texts and its payload."""

BYTES_HEADER = getsizeof(b"")
"""Bytes of memory of a bytes object besides its content."""

OVERLOADED = "overloaded"
"""Code of the fault of a request, or in place of an answer, for which there is no memory."""


class IncomingCalls:
    """The peer's entries, and its requests until they are answered."""

    __slots__ = (
        "_max_message",
        "_max_requests",
        "_outgoing",
        "_queue",
        "_window_bytes",
        "memory",
        "pieces",
        "received",
        "served",
        "stored",
        "weight",
    )

    def __init__(self, config: Config, queue: CallQueue, outgoing: OutgoingCalls) -> None:
        self._max_requests = config.max_requests
        self._max_message = config.max_message
        self._window_bytes = config.window_bytes
        self._queue = queue
        self._outgoing = outgoing
        self.pieces: Pieces | None = None
        "Those of the peer's next entry, while any are held."
        self.received = 0
        "Highest number that arrived."
        self.stored = BEYOND
        "With a store: the part of ``received`` that is kept. The peer is told no more (CALL-12)."
        self.served: dict[int, tuple[int, int]] = UNUSED
        "The peer's requests that we owe an answer (CALL-26): their weight, their bytes in memory."
        self.weight = 0
        "Weight of them."
        self.memory = 0
        "Bytes of memory of them: text may take four times its bytes."

    @property
    def tellable(self) -> int:
        """The part of ``received`` that the peer may be told."""
        received, stored = self.received, self.stored
        return min(stored, received)

    @property
    def partial(self) -> int:
        """Bytes held of an entry that has not arrived whole."""
        return 0 if self.pieces is None else len(self.pieces.data)

    @property
    def held(self) -> int:
        """Bytes of memory of what arrived and is not answered, about."""
        return self.memory + ENTRY_WEIGHT * len(self.served) + self.partial

    # ------------------------------------------------------------------ arrived

    def arrived(self, first: int, entries: list[Entry], now: float, sent: int) -> list[Event]:
        """Take in a run of entries; return what happened.

        ``sent``: the highest number of ours that the peer can have received.

        Raises:
            Violation: The peer miscounts, or has more requests open than it may.
        """
        if first != self.received + 1:
            raise Violation(Code.VIOLATION, f"call {first} after {self.received}")
        events: list[Event] = []
        for entry in entries:
            self.received += 1
            if type(entry) is Reply:
                request, payload = entry
                if payload is None or self.pieces is not None:
                    payload = self._whole(payload)
                if self._outgoing.answered(request, sent):
                    events.append(new_unchecked(Replied, (request, payload)))
            elif type(entry) is Request:
                self._requested(entry, now, events)
            elif (event := self._other(entry, sent)) is not None:
                events.append(event)
        return events

    def _requested(self, entry: Request, now: float, events: list[Event]) -> None:
        """Take in a request: it is owed an answer from now on."""
        method, timeout_ms, credit, payload = entry
        if payload is None or self.pieces is not None:
            payload = self._whole(payload)
        if len(self.served) + len(self._queue.answers) >= self._max_requests:  # CALL-6
            raise Violation(Code.VIOLATION, "more open requests than announced")
        number = self.received
        if self.served is UNUSED:
            self.served = {}
        if self.weight >= REQUESTS_WINDOW * self._window_bytes:  # CALL-44
            self.served[number] = (0, 0)
            self.fault(number, OVERLOADED, "the open requests take too much memory")
            return
        data: Any = payload[1] if type(payload) is msgpack.ExtType else payload
        if type(data) is bytes:
            weight = OVERHEAD + len(data)
            memory = BYTES_HEADER + len(data)
        else:
            weight = OVERHEAD + text_length(data)
            memory = getsizeof(data)
        self.served[number] = (weight, memory)
        self.weight += weight
        self.memory += memory
        by = None if timeout_ms is None else now + timeout_ms / 1000
        events.append(new_unchecked(Requested, (number, method, payload, by, credit)))

    def _other(self, entry: Entry, sent: int) -> Event | None:
        if type(entry) is Piece:
            if self.pieces is None:
                self.pieces = Pieces(self._max_message)
            self.pieces.add(entry.data)
            return None
        if type(entry) is Void:
            self.pieces = None
            return None
        payload = self._whole(getattr(entry, "payload", b""))
        match entry:
            case Fault(request, code, message):
                waited = self._outgoing.answered(request, sent)
                return Faulted(request, code, message, payload) if waited else None
            case Item(request):
                waited = self._outgoing.item_arrived(request, seal_weight(payload), sent)
                return Itemized(request, payload) if waited else None
            case Cancel(request) if request in self.served:
                return Cancelled(request)
            case Credit(request, total) if request in self.served:
                return Granted(request, total)
        return None  # the request is answered: it comes too late, and is ignored (CALL-32)

    def _whole(self, payload: Payload | None) -> Payload:
        """Return an entry's payload, made of the pieces before it if it has none.

        Raises:
            Violation: There are pieces before a payload, or the pieces make no payload.
        """
        pieces, self.pieces = self.pieces, None
        return whole(payload, pieces)

    def abandon(self) -> None:
        """Keep no part of what will not become whole any more (CALL-10)."""
        self.pieces = None

    # ------------------------------------------------------------------ answered

    def reply(self, request: int, payload: Payload, weight: int) -> None:
        """Queue the answer to a request of the peer. It is dropped if it is too late (CALL-16)."""
        if request in self.served:
            queue = self._queue
            if queue.weight > queue.most_held and queue.weight >= queue.most_answers:  # CALL-45
                self.fault(request, OVERLOADED, "too much waits for the peer to receive it")
                return
            entry = new_unchecked(Reply, (request, payload))
            queue.put(entry, REPLY_HEADER + weight, weight)
            held, memory = self.served.pop(request)
            self.weight -= held
            self.memory -= memory

    def fault(self, request: int, code: str, message: str, payload: Payload = b"") -> None:
        """Queue why there is no answer, cut to what may be sent. If it is too late, drop it."""
        if request in self.served:
            code, message = clipped(code, LONGEST_NAME), clipped(message, LONGEST_WORDS)
            weight = seal_weight(payload)
            size = FAULT_HEADER + text_length(code) + text_length(message) + weight
            self._queue.put(Fault(request, code, message, payload), size, weight)
            held, memory = self.served.pop(request)
            self.weight -= held
            self.memory -= memory

    def item(self, request: int, payload: Payload, weight: int) -> None:
        """Queue an item of a stream; if it is too late, drop it. The driver keeps to the credit.

        Raises:
            MessageTooLarge: The payload is larger than the peer's ``max_message``.
        """
        if request in self.served:
            self._queue.put(Item(request, payload), ITEM_HEADER + weight, weight)

    # ------------------------------------------------------------------ a crash

    def snapshot(self, *, finishing: bool) -> dict[str, Any]:
        """Return what must survive a crash, as plain values (CALL-12).

        ``finishing``: whether Finish is queued; if nothing is owed, it may go before the next one.
        """
        return {
            "received": self.received,
            "pieces": b"" if self.pieces is None else bytes(self.pieces.data),
            "served": list(self.served),
            "finished": self._queue.finished or (finishing and not self.served),
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Go on after a crash. The handlers died with it: the peer is told (CALL-40)."""
        self.received = values["received"]
        if values["pieces"]:
            self.pieces = Pieces(self._max_message)
            self.pieces.add(values["pieces"])
        self.served = dict.fromkeys(values["served"], (0, 0))
        for request in values["served"]:
            self.fault(request, "cancelled", "the process was restarted")
