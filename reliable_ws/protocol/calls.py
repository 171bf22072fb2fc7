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
from .call_pieces import LARGEST_ENTRY, VOID, Pieces, cut, size_of
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
)
from .payload import seal_weight

__all__ = ["BEHIND_FINISH", "CallLedger"]

BEHIND_FINISH = frozenset((Cancel, Credit))
"""Who has finished may still read a stream, or leave it (CALL-10)."""

NOTHING = b""

CREDITS = 64
"""Most credits on their way; the rest wait, so that a peer that acks nothing holds us to this."""


class Stream:
    """Items that come for one request of ours (CALL-7)."""

    __slots__ = ("got", "granted")

    def __init__(self, granted: int) -> None:
        self.granted = granted
        self.got = 0


class CallLedger:
    """Both directions of the calls of one session."""

    def __init__(self, config: Config) -> None:
        self._max_requests = config.max_requests
        self._most_held = config.outbox_bytes or config.window_bytes
        self._entries: dict[int, Entry] = {}  # ours, above what the peer has received
        self._sizes: dict[int, int] = {}  # of them, in bytes
        self._weight = 0  # in all
        self._deadlines: dict[int, float] = {}  # of our requests that are not received yet
        self._pieces = Pieces(config.max_message)  # of the peer's next entry
        self._streams: dict[int, Stream] = {}  # our open requests that items may come for
        self._credits: deque[int] | tuple[()] = ()  # numbers of ours that are not received yet
        self._owed: dict[int, None] = {}  # streams whose credit waits, in order
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
        return self._weight >= self._most_held

    def request(self, method: str, payload: Payload, by: float | None, credit: int) -> int:
        """Queue a request and return its id. There is room.

        Raises MessageTooLarge, and ValueError for a name that cannot be said.
        """
        if not (method.isascii() and len(method) <= LONGEST_NAME) and (
            _words(method, LONGEST_NAME) != method
        ):
            raise ValueError(f"a method is named by text of at most {LONGEST_NAME} bytes")
        number = self._put(Request(method, None, credit, payload))
        self.open[number] = True
        if by is not None:
            self._deadlines[number] = by
        if credit:
            self._streams[number] = Stream(credit)
        return number

    def reply(self, request: int, payload: Payload) -> None:
        """Queue the answer to a request of the peer; too late, it is dropped."""
        if request in self.served:
            self._answer(request, Reply(request, payload))

    def fault(self, request: int, code: str, message: str, payload: Payload = NOTHING) -> None:
        """Queue why there is no answer, in as many words as may be; too late, it is dropped."""
        if request in self.served:
            words = _words(code, LONGEST_NAME), _words(message, LONGEST_WORDS)
            self._answer(request, Fault(request, *words, payload))

    def _answer(self, request: int, entry: Reply | Fault) -> None:
        number = self._put(entry)
        self.served.remove(request)
        if number:
            if isinstance(
                self._answers, tuple
            ):  # an empty one takes 0.7 KiB, and most never need it
                self._answers = deque()
            self._answers.append(number)

    def item(self, request: int, payload: Payload) -> None:
        """Queue an item of a stream; too late, it is dropped. The driver minds the credit."""
        if request in self.served:
            self._put(Item(request, payload))

    def grant(self, request: int, total: int) -> None:
        """Allow the peer so many bytes of items in all (CALL-7)."""
        stream = self._streams.get(request)
        if stream is not None and total > stream.granted:
            stream.granted = total
            self._owed[request] = None
            self._pay()

    def _pay(self) -> None:
        """Queue credits that are owed."""
        if isinstance(self._credits, tuple):
            self._credits = deque()
        while self._owed and len(self._credits) < CREDITS:
            request = next(iter(self._owed))
            del self._owed[request]
            number = self._put(Credit(request, self._streams[request].granted))
            if number:
                self._credits.append(number)

    def cancel(self, request: int) -> bool:
        """Wait no more. ``True``: it was taken back before it went, and is never run (CALL-8)."""
        if request in self._never:
            self._never.remove(request)
            return True
        if not self.open.get(request):
            return False
        if request > self.transmitted:
            self._take_back(request)
            return True
        self.open[request] = False  # its place is free when the peer has answered
        self._put(Cancel(request))
        return False

    def abandon(self) -> None:
        """Wait for no answer any more: none can come, or nobody could take it (CALL-10)."""
        self._abandoned = True
        self._pieces.drop()
        for request in list(self.open):
            if self.cancel(request):
                self._never.add(request)

    def _take_back(self, request: int) -> None:
        """Put nothing in a request's place: the peer has not received it and never will."""
        crowded = self.crowded
        number = request
        while number == request or type(self._entries.get(number)) is Piece:
            self._entries[number] = Void()
            self._weight -= self._sizes[number]
            self._sizes[number] = 0
            number -= 1
        self.eased |= crowded and not self.crowded
        self._deadlines.pop(request, None)
        self._close(request)

    def _close(self, request: int) -> bool:
        self._streams.pop(request, None)
        self._owed.pop(request, None)
        return self.open.pop(request, False)

    def _put(self, entry: Entry) -> int:
        """Queue an entry and return its number; 0 if the peer could not take it any more."""
        payload: Payload | None = getattr(entry, "payload", None)
        size, most = size_of(entry), self.max_there
        if size > most and payload is not None:  # else it cannot be too large
            weight = seal_weight(payload) - OVERHEAD
            if weight > most:
                raise MessageTooLarge(f"{weight} bytes are above the peer's limit of {most}")
        if self._mute or (self.finished and type(entry) not in BEHIND_FINISH):
            return 0
        if size > LARGEST_ENTRY and payload is not None:
            for piece in cut(payload):
                self._append(piece, size_of(piece))
            entry = entry._replace(payload=None)  # type: ignore[call-arg]  # it has a payload
            size = size_of(entry)
        return self._append(entry, size)

    def _append(self, entry: Entry, size: int) -> int:
        number = self.last = self.last + 1
        self._entries[number] = entry
        self._sizes[number] = size
        self._weight += size
        return number

    # ------------------------------------------------------------------ links

    def cut(self, number: int, count: int, room: int, now: float) -> tuple[list[Entry], int]:
        """Return entries from ``number`` on, at most so many in so many bytes, and their size.

        The first one goes in any case. Time goes on while a request waits to be sent: what is
        left of it travels, and what has run out is never run (CALL-9).
        """
        entries: list[Entry] = []
        used = 0
        while number <= self.last and len(entries) < count:
            entry = self._entries[number]
            if type(entry) is Request:
                entry = self._judge(number, entry, now)
            size = self._sizes[number] or VOID
            if entries and used + size > room:
                break
            entries.append(entry)
            used += size
            number += 1
        self.transmitted = max(self.transmitted, number - 1)
        return entries, used

    def _judge(self, number: int, entry: Request, now: float) -> Entry:
        """Return a request as it is sent now, for the first time or because it got lost."""
        by = self._deadlines.get(number)
        late = by is not None and now >= by
        if late or not self.open[number]:  # nobody waits: it need not be run
            if late or self._abandoned:
                self._never.add(number)
            self._take_back(number)
            return Void()
        return entry if by is None else entry._replace(timeout_ms=int((by - now) * 1000))

    def ack(self, received: int) -> bool:
        """Forget what the peer has received (CALL-3); whether it is more than before."""
        if self.peer_stopped or received <= self.acked:
            return False
        crowded = self.crowded
        entries, sizes, deadlines = self._entries, self._sizes, self._deadlines
        for number in range(self.acked + 1, received + 1):
            del entries[number]
            self._weight -= sizes.pop(number)
            if number in deadlines:
                del deadlines[number]
        self.acked = received
        for numbers in (self._answers, self._credits):
            while numbers and numbers[0] <= received:
                numbers.popleft()
        if self._owed:
            self._pay()
        self.eased |= crowded and not self.crowded
        return True

    def stop(self) -> None:
        """Note that the peer takes nothing more: what it has not received, it never will (CALL-10).

        Answers may still come to what it has.
        """
        if self.peer_stopped:
            return
        for request in list(self.open):
            if request > self.acked:
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
        self._weight = 0
        self._entries.clear()
        self._sizes.clear()
        self._deadlines.clear()
        self._answers = self._credits = ()
        self._owed.clear()

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
            event = self._accept(self.received, entry, now, sent)
            if event is not None:
                events.append(event)
        return events

    def _accept(self, number: int, entry: Entry, now: float, sent: int) -> Event | None:
        kind = type(entry)
        if kind is Piece:
            self._pieces.add(entry.data)  # type: ignore[union-attr]  # see above
            return None
        if kind is Void:
            self._pieces.drop()
            return None
        whole = self._pieces.whole(getattr(entry, "payload", NOTHING))
        match entry:
            case Reply():
                return Replied(entry.request, whole) if self._answered(entry, sent) else None
            case Request():
                if len(self.served) + len(self._answers) >= self._max_requests:
                    raise Violation(Code.VIOLATION, "more open requests than announced")
                self.served.add(number)
                by = None if entry.timeout_ms is None else now + entry.timeout_ms / 1000
                return Requested(number, entry.method, whole, by, entry.credit)
            case Item(request):
                return Itemized(request, whole) if self._fits(request, whole, sent) else None
            case Fault(request, code, message):
                waited = self._answered(entry, sent)
                return Faulted(request, code, message, whole) if waited else None
            case Cancel(request) if request in self.served:
                return Cancelled(request)
            case Credit(request, total) if request in self.served:
                return Granted(request, total)
        return None  # too late for a request that is answered: no harm (CALL-8)

    def _answered(self, answer: Reply | Fault, sent: int) -> bool:
        """Close a request of ours; whether somebody waits. Late answers are no mistake."""
        request = answer.request
        self._asked(request, sent)
        if request > self.acked:
            self.ack(request)  # who answers has received it
        return self._close(request)

    def _fits(self, request: int, payload: Payload, sent: int) -> bool:
        """Count an item; whether somebody waits for it. Raises where there is no credit."""
        self._asked(request, sent)
        if request not in self.open:
            return False
        stream = self._streams.get(request)
        if stream is None or stream.got >= stream.granted:
            raise Violation(Code.VIOLATION, "more items than the credit")
        stream.got += seal_weight(payload)
        return self.open[request]

    def _asked(self, request: int, sent: int) -> None:
        if request > sent:
            raise Violation(Code.VIOLATION, "an answer to what was never asked")

    # ------------------------------------------------------------------ greetings, and the end

    @property
    def held(self) -> int:
        """Bytes that are held, about."""
        return len(self._pieces) + self._weight

    def position(self) -> CallPosition:
        """Return what the greeting says (CALL-4)."""
        return CallPosition(self.received, self.transmitted, self.acked + 1)

    def check(self, peer: CallPosition | None, *, stopped: bool) -> None:
        """Compare both sides' books. Raises :class:`Violation`."""
        if peer is None:
            if self.limit:
                raise Violation(Code.VIOLATION, "state lost: calls are not known any more")
            return
        if not self.acked <= peer.received <= self.transmitted:
            raise Violation(Code.VIOLATION, "state lost: calls received")
        if not stopped and not peer.first - 1 <= self.received <= peer.sent:
            raise Violation(Code.VIOLATION, "state lost: calls sent")
        self.ack(peer.received)

    def was_taken(self, request: int) -> bool | None:
        """Whether the peer got this request; ``None`` if nobody can say.

        Not for one that was cancelled: what is known of it then is what :meth:`cancel` returned.
        """
        if request in self._never or request > self.transmitted:
            return False
        return True if request <= self.acked else None


def _words(text: str, longest: int) -> str:
    """Return as much of a text as may be said."""
    return text.encode(errors="replace")[:longest].decode(errors="ignore")
