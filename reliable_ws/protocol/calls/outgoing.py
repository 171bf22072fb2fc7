"""Requests that we make, and the streams that we read (CALL-6 to CALL-10).

A request's number is its id. It stays open until the peer has answered, also where nobody waits
for the answer any more: its place at the peer is taken until then. What bounds requests is the
number of open ones; what bounds the items of streams is a credit of their own (CALL-7).
"""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.errors import NumbersExhausted, Violation
from reliable_ws.protocol.frames import (
    LONGEST_NAME,
    Cancel,
    Code,
    Entry,
    Limits,
    Payload,
    Request,
    Void,
    new_unchecked,
)
from reliable_ws.protocol.payload import text_length
from reliable_ws.protocol.unused import UNUSED

from .codec import clipped
from .flow import Streams
from .queue import LAST_REQUEST, REQUESTS_WINDOW, SMALL_ENTRY, CallQueue

__all__ = ["OutgoingCalls"]

REQUEST_HEADER = 32
"""Most bytes of a Request besides its method's name and its payload."""


class OutgoingCalls:
    """The open requests of one session, from the side that asks.

    What most sessions never need is made when it is needed: an empty set takes 216 bytes.
    """

    __slots__ = (
        "_abandoned",
        "_given_up",
        "_never",
        "_queue",
        "_streams",
        "limit",
        "max_weight",
        "open",
        "peer_stopped",
        "weight",
    )

    def __init__(self, queue: CallQueue) -> None:
        self._queue = queue
        self._streams: Streams | None = None  # until we ask for one
        self._never: dict[int, None] | None = None  # taken back by us, not by :meth:`cancel`
        self._abandoned = False
        self.limit = 0
        "Most requests that we may have open there; 0: the peer takes no calls."
        self.max_weight = 0
        "Bytes of open requests from which on no other one may be opened (CALL-44)."
        self.weight = 0
        "Bytes of open requests."
        self.peer_stopped = False
        "Whether the peer takes no more calls: what it has not acked, it never got (CALL-37)."
        self.open: dict[int, int] = UNUSED
        "Requests without a final answer -> the weight of their parameters."
        self._given_up: (
            dict[int, None] | tuple[()]
        ) = ()  # those for whose answers nobody waits any more

    @property
    def has_room(self) -> bool:
        """Whether another request may be opened (CALL-6, CALL-44)."""
        room = len(self.open) < self.limit and self.weight < self.max_weight
        return room and not (self._queue.finished or self.peer_stopped)

    @property
    def held(self) -> int:
        """Bytes of items of streams that the application may not have taken, about."""
        return 0 if self._streams is None else self._streams.held

    def heed(self, limits: Limits) -> None:
        """Keep to what the peer takes (LIMIT-2)."""
        self.limit = limits.max_requests
        self.max_weight = REQUESTS_WINDOW * limits.window_bytes

    # ------------------------------------------------------------------ asked

    def request(
        self, method: str, payload: Payload, weight: int, by: float | None, credit: int
    ) -> int:
        """Queue a request and return its number. Call it only while :attr:`has_room`.

        ``weight`` is that of the payload.

        Raises:
            MessageTooLarge: The payload is larger than the peer's ``max_message``.
            NumbersExhausted: The session has made as many calls as there are numbers for.
            ValueError: The name is too long, or is no text.
        """
        if self._queue.last >= LAST_REQUEST:
            raise NumbersExhausted(
                "the session has used all its numbers of calls: begin another session"
            )
        short = method.isascii() and len(method) <= LONGEST_NAME
        if not short and clipped(method, LONGEST_NAME) != method:
            raise ValueError(f"a method is named by text of at most {LONGEST_NAME} bytes")
        entry = new_unchecked(Request, (method, None, credit, payload))
        size = REQUEST_HEADER + (len(method) if short else text_length(method)) + weight
        number = self._queue.put(entry, size, weight, by)
        if self.open is UNUSED:
            self.open = {}
        self.open[number] = weight
        self.weight += weight
        if credit:
            if self._streams is None:
                self._streams = Streams()
            self._streams.begin(number, credit)
        return number

    def grant(self, request: int, total: int) -> None:
        """Allow the peer so many bytes of items in all (CALL-7)."""
        if self._streams is not None:
            self._streams.grant(request, total)
            self._send_credits(self._streams)

    def _send_credits(self, streams: Streams) -> None:
        """Queue credits that are owed."""
        for credit in streams.credits():
            number = self._queue.put(credit, SMALL_ENTRY)
            if number:
                streams.sent(number)

    def cancel(self, request: int) -> bool:
        """Wait no more. ``True``: it was taken back before it went, and is never run (CALL-8)."""
        if self._never is not None and request in self._never:
            del self._never[request]
            return True
        if not self._is_waited_for(request):
            return False
        if request > self._queue.transmitted:
            self._take_back(request)
            return True
        left = self._given_up = self._given_up or {}
        left[request] = None  # its place is free when the peer has answered (CALL-30)
        self._queue.put(Cancel(request), SMALL_ENTRY)
        return False

    def abandon(self) -> None:
        """Wait for no answer any more: none can come, or nobody could take it (CALL-10)."""
        self._abandoned = True
        for request in list(self.open):  # CALL-35
            if self.cancel(request):
                self._will_never_run(request)

    def was_taken(self, request: int) -> bool | None:
        """Whether the peer got this request; ``None`` if nobody can say (CALL-39).

        Not for one that was cancelled: what is known of it then is what :meth:`cancel` returned.
        """
        never = self._never is not None and request in self._never
        if never or request > self._queue.transmitted:
            return False
        return True if request <= self._queue.acked else None

    def _will_never_run(self, request: int) -> None:
        if self._never is None:
            self._never = {}
        self._never[request] = None

    def _take_back(self, request: int) -> None:
        self._queue.take_back(request)
        self._close(request)

    def _close(self, request: int) -> bool:
        """Forget a request; whether somebody waits for it."""
        if self._streams is not None:
            self._streams.end(request)
        weight = self.open.pop(request, None)
        if weight is None:
            return False
        self.weight -= weight
        if self._given_up and request in self._given_up:
            del self._given_up[request]
            return False
        return True

    def _is_waited_for(self, request: int) -> bool:
        return request in self.open and request not in self._given_up

    # ------------------------------------------------------------------ sent, and received there

    def refresh(self, number: int, entry: Request, by: float | None, now: float) -> Entry:
        """Return a request as it is sent now, for the first time or because it got lost.

        Time goes on while it waits to be sent: what is left of it travels, and what has run out
        is never run (CALL-9).
        """
        late = by is not None and now >= by
        is_waited_for = number not in self._given_up
        if late or not is_waited_for:  # nobody waits: it need not be run (CALL-31)
            if is_waited_for or self._abandoned:  # somebody will ask what became of it
                self._will_never_run(number)
            self._take_back(number)
            return Void()
        return entry if by is None else entry._replace(timeout_ms=int((by - now) * 1000))

    def ack(self, received: int) -> bool:
        """Forget what the peer has received (CALL-3); whether it is more than before."""
        if received <= self._queue.acked or self.peer_stopped:
            return False
        self._queue.release(received)
        if self._streams is not None:
            self._streams.release(received)
            self._send_credits(self._streams)
        return True

    # ------------------------------------------------------------------ answered

    def answered(self, request: int, sent: int) -> bool:
        """Close a request; whether somebody waits. Late answers are no mistake (CALL-32).

        ``sent``: the highest number of ours that the peer can have received.

        Raises:
            Violation: The peer answers what it cannot have received.
        """
        if request > sent:  # CALL-19
            raise Violation(Code.VIOLATION, "an answer to what was never asked")
        if request > self._queue.acked:
            self.ack(request)  # an answer says that the request was received (CALL-18)
        return self._close(request)

    def item_arrived(self, request: int, weight: int, sent: int) -> bool:
        """Count an item. Return whether a caller waits for it.

        Raises:
            Violation: There was no credit for it.
        """
        if request > sent:  # CALL-19
            raise Violation(Code.VIOLATION, "an answer to what was never asked")
        if request not in self.open:
            return False
        if self._streams is None or not self._streams.count(request, weight):
            raise Violation(Code.VIOLATION, "more items than the credit")  # CALL-28
        return request not in self._given_up

    # ------------------------------------------------------------------ the end

    def stop(self) -> None:
        """Note that the peer takes nothing more: what it has not received, it never will (CALL-37).

        Answers may still come to what it has.
        """
        if self.peer_stopped:
            return
        queue = self._queue
        for request in list(self.open):
            if request > queue.acked:
                self._take_back(request)
                self._will_never_run(request)
        self.peer_stopped = True
        queue.eased |= queue.crowded
        self._forget()

    def end(self) -> None:
        """Note that nothing will be sent any more: the session is over."""
        self._queue.finished = True
        self._forget()

    def _forget(self) -> None:
        self._queue.clear()
        if self._streams is not None:
            self._streams.stop()

    # ------------------------------------------------------------------ a crash

    def snapshot(self) -> dict[str, Any]:
        """Return what must survive a crash, as plain values (CALL-12)."""
        return {
            "limit": self.limit,
            "max_weight": self.max_weight,
            "open": [(number, number not in self._given_up) for number in self.open],
            "room": [] if self._streams is None else self._streams.room(),
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Go on after a crash. The callers died with it: the peer is told (CALL-40)."""
        self.limit = values["limit"]
        self.max_weight = values["max_weight"]
        if values["room"]:
            self._streams = Streams()
            for request, room in values["room"]:
                self._streams.begin(request, room)
        self.open = dict.fromkeys((number for number, _is_waited_for in values["open"]), 0)
        self._given_up = {
            number: None for number, is_waited_for in values["open"] if not is_waited_for
        }
        for request in list(self.open):
            self.cancel(request)
