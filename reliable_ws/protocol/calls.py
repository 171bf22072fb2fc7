"""Calls: requests, replies, faults, streams - a ledger beside that of the messages.

Calls have numbers of their own, because they are confirmed by arriving: an unread message
holds back no reply, no reply holds back a message, and a full window can deadlock nothing
(CALL-1). What follows from numbers is the same: in order, each once, sent again from what the
peer has received. What bounds them is the number of open requests, and for streams a credit of
their own (CALL-7).
"""

from __future__ import annotations

from collections import deque

from .call_codec import LONGEST_NAME, LONGEST_WORDS
from .call_outbox import VOID, CallOutbox
from .call_pieces import LARGEST_ENTRY, Pieces
from .call_streams import Streams
from .config import Config
from .errors import MessageTooLarge, Violation
from .events import Cancelled, Event, Faulted, Granted, Itemized, Replied, Requested
from .frames import (
    OVERHEAD,
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
    make,
)
from .payload import seal_weight, text_length

__all__ = ["BEHIND_FINISH", "CallLedger"]

BEHIND_FINISH = frozenset((Cancel, Credit))
"""Who has finished may still read a stream, or leave it (CALL-10)."""

NOTHING = b""

REQUEST, REPLY, FAULT, ITEM = 32, 16, 32, 16
"""Most bytes of an entry besides its texts and its payload."""


class CallLedger:
    """Both directions of the calls of one session."""

    def __init__(self, config: Config) -> None:
        self._max_requests = config.max_requests
        self._most_held = config.outbox_bytes or config.window_bytes
        self.outbox = CallOutbox()
        "Our entries."
        self._deadlines: dict[int, float] = {}  # of our requests that are not received yet
        self._pieces = Pieces(config.max_message)  # of the peer's next entry
        self._streams = Streams()
        self._answers: deque[int] | tuple[()] = ()  # numbers of ours that are not received yet
        self._never: set[int] = set()  # requests taken back by us, not by :meth:`cancel`
        self._abandoned = False
        self._mute = False  # nothing can be sent any more
        self.limit = 0
        "Most requests that we may have open there; 0: the peer takes no calls."
        self.max_there = config.max_message
        "Longest payload that the peer takes; until the first greeting, a guess from ours."
        self.finished = False
        "Whether our Finish has been transmitted: what may come behind it is little."
        self.received = 0
        "Highest number that arrived."
        self.peer_stopped = False
        "Whether the peer takes no more calls: what it has not acked, it never got (CALL-10)."
        self.eased = False
        "Set when there is room for items again (see :attr:`crowded`)."
        self.open: dict[int, bool] = {}
        "Our requests without a final answer -> whether somebody still waits for it."
        self.served: set[int] = set()
        "The peer's requests that we owe an answer."

    # ------------------------------------------------------------------ ours

    @property
    def has_room(self) -> bool:
        """Whether another request may be opened (CALL-6)."""
        return len(self.open) < self.limit and not (self.finished or self.peer_stopped)

    @property
    def crowded(self) -> bool:
        """Whether so much waits for the peer to receive it that items of streams wait too."""
        return self.outbox.weight >= self._most_held

    def request(self, method: str, payload: Payload, by: float | None, credit: int) -> int:
        """Queue a request and return its id. There is room.

        Raises MessageTooLarge, and ValueError for a name that cannot be said.
        """
        short = method.isascii() and len(method) <= LONGEST_NAME
        if not short and _words(method, LONGEST_NAME) != method:
            raise ValueError(f"a method is named by text of at most {LONGEST_NAME} bytes")
        weight = seal_weight(payload)
        entry = make(Request, (method, None, credit, payload))
        number = self._put(entry, REQUEST + text_length(method) + weight, weight)
        self.open[number] = True
        if by is not None:
            self._deadlines[number] = by
        if credit:
            self._streams.begin(number, credit)
        return number

    def reply(self, request: int, payload: Payload) -> None:
        """Queue the answer to a request of the peer; too late, it is dropped."""
        if request in self.served:
            weight = seal_weight(payload)
            self._answer(request, make(Reply, (request, payload)), REPLY + weight, weight)

    def fault(self, request: int, code: str, message: str, payload: Payload = NOTHING) -> None:
        """Queue why there is no answer, in as many words as may be; too late, it is dropped."""
        if request in self.served:
            code, message = _words(code, LONGEST_NAME), _words(message, LONGEST_WORDS)
            weight = seal_weight(payload)
            size = FAULT + text_length(code) + text_length(message) + weight
            self._answer(request, Fault(request, code, message, payload), size, weight)

    def _answer(self, request: int, entry: Reply | Fault, size: int, weight: int) -> None:
        number = self._put(entry, size, weight)
        self.served.remove(request)
        if number:
            if type(self._answers) is tuple:  # an empty deque takes 0.7 KiB, and most need none
                self._answers = deque()
            self._answers.append(number)  # type: ignore[union-attr]  # see above

    def item(self, request: int, payload: Payload) -> None:
        """Queue an item of a stream; too late, it is dropped. The driver minds the credit."""
        if request in self.served:
            weight = seal_weight(payload)
            self._put(Item(request, payload), ITEM + weight, weight)

    def grant(self, request: int, total: int) -> None:
        """Allow the peer so many bytes of items in all (CALL-7)."""
        self._streams.grant(request, total)
        self._pay()

    def _pay(self) -> None:
        """Queue credits that are owed."""
        for credit in self._streams.credits():
            number = self._put(credit, VOID)
            if number:
                self._streams.sent(number)

    def cancel(self, request: int) -> bool:
        """Wait no more. ``True``: it was taken back before it went, and is never run (CALL-8)."""
        if request in self._never:
            self._never.remove(request)
            return True
        if not self.open.get(request):
            return False
        if request > self.outbox.transmitted:
            self._take_back(request)
            return True
        self.open[request] = False  # its place is free when the peer has answered
        self._put(Cancel(request), VOID)
        return False

    def abandon(self) -> None:
        """Wait for no answer any more: none can come, or nobody could take it (CALL-10)."""
        self._abandoned = True
        self._pieces.drop()
        for request in list(self.open):
            if self.cancel(request):
                self._never.add(request)

    def _take_back(self, request: int) -> None:
        crowded = self.crowded
        self.outbox.take_back(request)
        self.eased |= crowded and not self.crowded
        self._deadlines.pop(request, None)
        self._close(request)

    def _close(self, request: int) -> bool:
        self._streams.end(request)
        return self.open.pop(request, False)

    def _put(self, entry: Entry, size: int, weight: int = 0) -> int:
        """Queue an entry and return its number; 0 if the peer could not take it any more.

        ``size``: its bytes, at most; ``weight``: those of its payload, if it has any.
        """
        if size > self.max_there and weight - OVERHEAD > self.max_there:
            raise MessageTooLarge(
                f"{weight - OVERHEAD} bytes are above the peer's limit of "
                f"{self.max_there} (Config.max_message there)"
            )
        if self._mute or (self.finished and type(entry) not in BEHIND_FINISH):
            return 0
        if size > LARGEST_ENTRY:
            return self.outbox.append_cut(entry, size - weight)
        return self.outbox.append(entry, size)

    # ------------------------------------------------------------------ links

    def cut(self, number: int, count: int, room: int, now: float) -> tuple[list[Entry], int]:
        """Return entries from ``number`` on, at most so many in so many bytes, and their size.

        Time goes on while a request waits to be sent: what is left of it travels, and what has
        run out is never run (CALL-9).
        """
        if not self._deadlines and number > self.outbox.transmitted:
            return self.outbox.run(number, count, room, None)

        def judge(number: int, entry: Request) -> Entry:
            return self._judge(number, entry, now)

        return self.outbox.run(number, count, room, judge)

    def _judge(self, number: int, entry: Request, now: float) -> Entry:
        """Return a request as it is sent now, for the first time or because it got lost."""
        by = self._deadlines.get(number)
        late = by is not None and now >= by
        if late or not self.open[number]:  # nobody waits: it need not be run
            if self.open[number] or self._abandoned:  # somebody will ask what became of it
                self._never.add(number)
            self._take_back(number)
            return Void()
        return entry if by is None else entry._replace(timeout_ms=int((by - now) * 1000))

    def ack(self, received: int) -> bool:
        """Forget what the peer has received (CALL-3); whether it is more than before."""
        outbox = self.outbox
        if received <= outbox.acked or self.peer_stopped:
            return False
        crowded = outbox.weight >= self._most_held
        if self._deadlines:
            for number in range(outbox.acked + 1, received + 1):
                self._deadlines.pop(number, None)
        outbox.release(received)
        while self._answers and self._answers[0] <= received:
            self._answers.popleft()
        self._streams.release(received)
        if self._streams.owed:
            self._pay()
        if crowded and outbox.weight < self._most_held:
            self.eased = True
        return True

    def stop(self) -> None:
        """Note that the peer takes nothing more: what it has not received, it never will (CALL-10).

        Answers may still come to what it has.
        """
        if self.peer_stopped:
            return
        for request in list(self.open):
            if request > self.outbox.acked:
                self._take_back(request)
                self._never.add(request)
        self.peer_stopped = True
        self.eased |= self.crowded
        self._forget()

    def end(self) -> None:
        """Note that nothing will be sent any more: the session is over."""
        self.finished = True
        self._forget()

    def _forget(self) -> None:
        self._mute = True
        self.outbox.clear()
        self._deadlines.clear()
        self._answers = ()
        self._streams.stop()

    # ------------------------------------------------------------------ the peer's

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
        if payload is None or self._pieces.data:
            payload = self._pieces.whole(payload)
        return make(Replied, (request, payload)) if self._answered(request, sent) else None

    def _accept_request(self, entry: Request, now: float) -> Event:
        method, timeout_ms, credit, payload = entry
        if payload is None or self._pieces.data:
            payload = self._pieces.whole(payload)
        if len(self.served) + len(self._answers) >= self._max_requests:
            raise Violation(Code.VIOLATION, "more open requests than announced")
        self.served.add(self.received)
        by = None if timeout_ms is None else now + timeout_ms / 1000
        return make(Requested, (self.received, method, payload, by, credit))

    def _accept(self, entry: Entry, sent: int) -> Event | None:
        if type(entry) is Piece:
            self._pieces.add(entry.data)
            return None
        if type(entry) is Void:
            self._pieces.drop()
            return None
        whole = self._pieces.whole(getattr(entry, "payload", NOTHING))
        match entry:
            case Fault(request, code, message):
                waited = self._answered(request, sent)
                return Faulted(request, code, message, whole) if waited else None
            case Item(request):
                return Itemized(request, whole) if self._fits(request, whole, sent) else None
            case Cancel(request) if request in self.served:
                return Cancelled(request)
            case Credit(request, total) if request in self.served:
                return Granted(request, total)
        return None  # too late for a request that is answered: no harm (CALL-8)

    def _answered(self, request: int, sent: int) -> bool:
        """Close a request of ours; whether somebody waits. Late answers are no mistake."""
        _asked(request, sent)
        if request > self.outbox.acked:
            self.ack(request)  # who answers has received it
        return self._close(request)

    def _fits(self, request: int, payload: Payload, sent: int) -> bool:
        """Count an item; whether somebody waits for it. Raises where there is no credit."""
        _asked(request, sent)
        if request not in self.open:
            return False
        self._streams.count(request, seal_weight(payload))
        return self.open[request]

    # ------------------------------------------------------------------ greetings, and the end

    @property
    def held(self) -> int:
        """Bytes that are held, about."""
        return len(self._pieces.data) + self.outbox.weight

    def position(self) -> CallPosition:
        """Return what the greeting says (CALL-4)."""
        return CallPosition(self.received, self.outbox.transmitted, self.outbox.acked + 1)

    def check(self, peer: CallPosition | None, *, stopped: bool) -> None:
        """Compare both sides' books. Raises :class:`Violation`."""
        if peer is None:
            if self.limit:
                raise Violation(Code.VIOLATION, "state lost: calls are not known any more")
            return
        if not self.outbox.acked <= peer.received <= self.outbox.transmitted:
            raise Violation(Code.VIOLATION, "state lost: calls received")
        if not stopped and not peer.first - 1 <= self.received <= peer.sent:
            raise Violation(Code.VIOLATION, "state lost: calls sent")
        self.ack(peer.received)

    def was_taken(self, request: int) -> bool | None:
        """Whether the peer got this request; ``None`` if nobody can say.

        Not for one that was cancelled: what is known of it then is what :meth:`cancel` returned.
        """
        if request in self._never or request > self.outbox.transmitted:
            return False
        return True if request <= self.outbox.acked else None


def _asked(request: int, sent: int) -> None:
    if request > sent:
        raise Violation(Code.VIOLATION, "an answer to what was never asked")


def _words(text: str, longest: int) -> str:
    """Return as much of a text as may be said."""
    return text.encode(errors="replace")[:longest].decode(errors="ignore")
