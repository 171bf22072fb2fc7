"""What we say of calls: requests, answers, items and credit, until the peer has received them."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import MessageTooLarge
from reliable_ws.protocol.frames import (
    OVERHEAD,
    Calls,
    Cancel,
    Credit,
    Entry,
    Fault,
    Item,
    Payload,
    Reply,
    Request,
    Void,
    new_unchecked,
)
from reliable_ws.protocol.payload import seal_weight, text_length

from .codec import LONGEST_NAME, LONGEST_WORDS, read_calls, wire_calls
from .flow import Streams
from .fragments import LARGEST_ENTRY
from .queue import VOID, CallOutbox

__all__ = ["BEHIND_FINISH", "OwnCalls"]

BEHIND_FINISH = frozenset((Cancel, Credit))
"""Who has finished may still read a stream, or leave it (CALL-34)."""

NOTHING = b""

REQUEST, REPLY, FAULT, ITEM = 32, 16, 32, 16
"""Most bytes of an entry besides its texts and its payload."""


class OwnCalls:
    """Our direction of the calls of one session.

    What most sessions never need is made when it is needed: an empty set takes 216 bytes.
    """

    __slots__ = (
        "_abandoned",
        "_answers",
        "_blocked",
        "_most_held",
        "_never",
        "_streams",
        "eased",
        "finished",
        "limit",
        "max_there",
        "open",
        "outbox",
        "peer_stopped",
        "served",
    )

    def __init__(self, config: Config) -> None:
        self._most_held = config.outbox_bytes or config.window_bytes
        self.outbox = CallOutbox()
        "Our entries."
        self._streams: Streams | None = None  # until we ask for one
        self._answers: list[int] = []  # numbers of ours that are not received yet
        self._never: dict[int, None] | None = None  # taken back by us, not by :meth:`cancel`
        self._abandoned = False
        self._blocked = False  # nothing can be sent any more
        self.limit = 0
        "Most requests that we may have open there; 0: the peer takes no calls."
        self.max_there = config.max_message
        "Longest payload that the peer takes; until the first greeting, a guess from ours."
        self.finished = False
        "Whether our Finish has been transmitted: what may come behind it is little."
        self.peer_stopped = False
        "Whether the peer takes no more calls: what it has not acked, it never got (CALL-37)."
        self.eased = False
        "Set when there is room for items again (see :attr:`crowded`)."
        self.open: dict[int, bool] = {}
        "Our requests without a final answer -> whether somebody still waits for it."
        self.served: dict[int, None] = {}
        "The peer's requests that we owe an answer (CALL-26)."

    # ------------------------------------------------------------------ said

    @property
    def has_room(self) -> bool:
        """Whether another request may be opened (CALL-6)."""
        return len(self.open) < self.limit and not (self.finished or self.peer_stopped)

    @property
    def crowded(self) -> bool:
        """Whether so much waits to be received that items of streams wait too (CALL-29)."""
        return self.outbox.weight >= self._most_held

    def request(self, method: str, payload: Payload, by: float | None, credit: int) -> int:
        """Queue a request and return its id. There is room.

        Raises MessageTooLarge, and ValueError for a name that cannot be said.
        """
        short = method.isascii() and len(method) <= LONGEST_NAME
        if not short and _words(method, LONGEST_NAME) != method:
            raise ValueError(f"a method is named by text of at most {LONGEST_NAME} bytes")
        weight = seal_weight(payload)
        entry = new_unchecked(Request, (method, None, credit, payload))
        number = self._put(entry, REQUEST + text_length(method) + weight, weight, by)
        self.open[number] = True
        if credit:
            if self._streams is None:
                self._streams = Streams()
            self._streams.begin(number, credit)
        return number

    def reply(self, request: int, payload: Payload) -> None:
        """Queue the answer to a request of the peer; too late, it is dropped (CALL-16)."""
        if request in self.served:
            weight = seal_weight(payload)
            self._answer(request, new_unchecked(Reply, (request, payload)), REPLY + weight, weight)

    def fault(self, request: int, code: str, message: str, payload: Payload = NOTHING) -> None:
        """Queue why there is no answer, in as many words as may be; too late, it is dropped."""
        if request in self.served:
            code, message = _words(code, LONGEST_NAME), _words(message, LONGEST_WORDS)
            weight = seal_weight(payload)
            size = FAULT + text_length(code) + text_length(message) + weight
            self._answer(request, Fault(request, code, message, payload), size, weight)

    def _answer(self, request: int, entry: Reply | Fault, size: int, weight: int) -> None:
        number = self._put(entry, size, weight)
        del self.served[request]
        if number:
            self._answers.append(number)

    def item(self, request: int, payload: Payload) -> None:
        """Queue an item of a stream; too late, it is dropped. The driver minds the credit."""
        if request in self.served:
            weight = seal_weight(payload)
            self._put(Item(request, payload), ITEM + weight, weight)

    def grant(self, request: int, total: int) -> None:
        """Allow the peer so many bytes of items in all (CALL-7)."""
        if self._streams is not None:
            self._streams.grant(request, total)
            self._pay(self._streams)

    def _pay(self, streams: Streams) -> None:
        """Queue credits that are owed."""
        for credit in streams.credits():
            number = self._put(credit, VOID)
            if number:
                streams.sent(number)

    def cancel(self, request: int) -> bool:
        """Wait no more. ``True``: it was taken back before it went, and is never run (CALL-8)."""
        if self._never is not None and request in self._never:
            del self._never[request]
            return True
        if not self.open.get(request):
            return False
        if request > self.outbox.transmitted:
            self._take_back(request)
            return True
        self.open[request] = False  # its place is free when the peer has answered (CALL-30)
        self._put(Cancel(request), VOID)
        return False

    def abandon(self) -> None:
        """Wait for no answer any more: none can come, or nobody could take it (CALL-10)."""
        self._abandoned = True
        for request in list(self.open):
            if self.cancel(request):
                self._will_never_run(request)

    def _will_never_run(self, request: int) -> None:
        if self._never is None:
            self._never = {}
        self._never[request] = None

    def _take_back(self, request: int) -> None:
        crowded = self.crowded
        self.outbox.take_back(request)
        self.eased |= crowded and not self.crowded
        self._close(request)

    def _close(self, request: int) -> bool:
        if self._streams is not None:
            self._streams.end(request)
        return self.open.pop(request, False)

    def _put(self, entry: Entry, size: int, weight: int = 0, by: float | None = None) -> int:
        """Queue an entry and return its number; 0 if the peer could not take it any more.

        ``size``: its bytes, at most; ``weight``: those of its payload, if it has any.
        """
        if size > self.max_there and weight - OVERHEAD > self.max_there:
            raise MessageTooLarge(
                f"{weight - OVERHEAD} bytes are above the peer's limit of "
                f"{self.max_there} (Config.max_message there)"
            )
        # CALL-35
        if self._blocked or (self.finished and type(entry) not in BEHIND_FINISH):
            return 0
        if size > LARGEST_ENTRY:
            return self.outbox.append_cut(entry, size - weight, by)
        return self.outbox.append(entry, size, by)

    # ------------------------------------------------------------------ sent, and received there

    def refresh(self, number: int, entry: Request, by: float | None, now: float) -> Entry:
        """Return a request as it is sent now, for the first time or because it got lost.

        Time goes on while it waits to be sent: what is left of it travels, and what has run out
        is never run (CALL-9).
        """
        late = by is not None and now >= by
        if late or not self.open[number]:  # nobody waits: it need not be run (CALL-31)
            if self.open[number] or self._abandoned:  # somebody will ask what became of it
                self._will_never_run(number)
            self._take_back(number)
            return Void()
        return entry if by is None else entry._replace(timeout_ms=int((by - now) * 1000))

    def ack(self, received: int) -> bool:
        """Forget what the peer has received (CALL-3); whether it is more than before."""
        outbox = self.outbox
        if received <= outbox.acked or self.peer_stopped:
            return False
        crowded = outbox.weight >= self._most_held
        outbox.release(received)
        answers = self._answers
        if answers and answers[0] <= received:
            del answers[: bisect_right(answers, received)]
        if self._streams is not None:
            self._streams.release(received)
            self._pay(self._streams)
        if crowded and outbox.weight < self._most_held:
            self.eased = True
        return True

    def was_taken(self, request: int) -> bool | None:
        """Whether the peer got this request; ``None`` if nobody can say (CALL-39).

        Not for one that was cancelled: what is known of it then is what :meth:`cancel` returned.
        """
        never = self._never is not None and request in self._never
        if never or request > self.outbox.transmitted:
            return False
        return True if request <= self.outbox.acked else None

    # ------------------------------------------------------------------ a crash

    def snapshot(self, *, finishing: bool) -> dict[str, Any]:
        """Return what must survive a crash, as plain values (CALL-12).

        ``finishing``: whether Finish is queued; if nothing is owed, it may go before the next one.
        """
        entries, sizes = self.outbox.unacked()
        return {
            "limit": self.limit,
            "max_there": self.max_there,
            "finished": self.finished or (finishing and not self.served),
            "acked": self.outbox.acked,
            "last": self.outbox.last,
            "entries": wire_calls(new_unchecked(Calls, (0, entries)))[-1],
            "sizes": sizes,
            "open": list(self.open.items()),
            "served": list(self.served),
            "room": [] if self._streams is None else self._streams.room(),
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Go on after a crash. Callers and handlers died with it: the peer is told (CALL-40)."""
        self.limit, self.max_there = values["limit"], values["max_there"]
        self.finished = values["finished"]
        items = [list(entry) for entry in values["entries"]]
        entries = read_calls([0, 1, items]).entries if items else []
        self.outbox.restore(values["acked"], values["last"], entries, values["sizes"])
        for number, entry in enumerate(entries, self.outbox.acked + 1):
            if type(entry) in {Reply, Fault}:
                self._answers.append(number)
        if values["room"]:
            self._streams = Streams()
            for request, room in values["room"]:
                self._streams.begin(request, room)
        self.open = dict(values["open"])
        self.served = dict.fromkeys(values["served"])
        for request in list(self.open):
            self.cancel(request)
        for request in values["served"]:
            self.fault(request, "cancelled", "the process was restarted")

    # ------------------------------------------------------------------ the end

    def stop(self) -> None:
        """Note that the peer takes nothing more: what it has not received, it never will (CALL-37).

        Answers may still come to what it has.
        """
        if self.peer_stopped:
            return
        for request in list(self.open):
            if request > self.outbox.acked:
                self._take_back(request)
                self._will_never_run(request)
        self.peer_stopped = True
        self.eased |= self.crowded
        self._forget()

    def end(self) -> None:
        """Note that nothing will be sent any more: the session is over."""
        self.finished = True
        self._forget()

    def _forget(self) -> None:
        self._blocked = True
        self.outbox.clear()
        self._answers.clear()
        if self._streams is not None:
            self._streams.stop()


def _words(text: str, longest: int) -> str:
    """Return as much of a text as may be said."""
    return text.encode(errors="replace")[:longest].decode(errors="ignore")
