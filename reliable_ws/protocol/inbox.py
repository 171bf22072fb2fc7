"""The ledger of what we receive: what arrived, what was handed over, what is confirmed.

``confirmed <= handed <= received``. Every guard against a peer that miscounts is here.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgpack

from .codec import MAX_RANGES
from .errors import ConfirmTooLate, Violation
from .frames import (
    EXT_VALUE,
    KIND_TEXT,
    KIND_VALUE,
    MAX_NUMBER,
    Code,
    Counters,
    Finish,
    Part,
    Payload,
    Range,
)

__all__ = ["Inbox"]

NEVER = 2**62
"""A mark that no number reaches."""

EMPTY: deque[Any] = deque(maxlen=0)
"""Stands for each queue that nothing was put in yet: one of its own takes 0.7 KiB."""

ENVELOPE = 64
"""Bytes that an envelope may add to the messages in it (WINDOW-7)."""


class Inbox:
    """Messages that arrived and wait for the application, and the peer's Finish behind them.

    Taking in never waits: credit bounds what is held (WINDOW-6).
    """

    __slots__ = (
        "_ahead",
        "_held",
        "_partial",
        "_partial_kind",
        "_partial_total",
        "_sizes",
        "_unmarked",
        "byte_marks",
        "confirmed",
        "due",
        "finish",
        "handed",
        "mark",
        "max_bytes",
        "max_message",
        "max_messages",
        "queue",
        "received",
        "redelivered_upto",
        "stopped",
    )

    def __init__(self, max_messages: int, max_bytes: int, max_message: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.max_message = max_message
        self.received = 0
        self.confirmed = 0
        self.handed = 0
        self.redelivered_upto = 0
        "Up to here a message may have been handed over before a crash of ours (RESUME-7)."
        self.finish: Finish | None = None
        "The peer's last word, once it has arrived."
        self.stopped = False
        "Whether intake is frozen for good (CLOSE-3)."
        self._held = 0
        self.mark = NEVER
        "Confirming this number is news that somebody waits for: then ``due`` is set."
        self.due = False
        self.byte_marks: deque[int] = EMPTY
        "Numbers whose confirmation frees a quarter of the byte window (ACK-3)."
        self._unmarked = 0
        self.queue: deque[Payload] = EMPTY
        self._sizes: deque[tuple[int, int]] = EMPTY  # last number of an arrival, its bytes
        self._ahead: dict[int, bool] = {}  # handed over above `confirmed` -> whether confirmed
        self._partial: bytearray | None = None  # what is held of the next message
        self._partial_total = 0
        self._partial_kind = 0

    def __len__(self) -> int:
        """Messages that can be taken."""
        return len(self.queue)

    @property
    def held(self) -> int:
        """Bytes of the messages that arrived and are not confirmed, counted by arrival."""
        sizes = self._sizes
        while sizes and sizes[0][0] <= self.confirmed:
            self._held -= sizes.popleft()[1]
        return self._held

    @property
    def partial(self) -> int:
        """Bytes held of message ``received + 1`` (PART-4)."""
        return 0 if self._partial is None else len(self._partial)

    def restore(self, confirmed: int, finish: Finish | None = None) -> None:
        """Begin where a store left off: what was not confirmed comes again.

        ``finish``: the peer's last word, if that was confirmed too.
        """
        self.received = self.confirmed = self.handed = confirmed
        self.redelivered_upto = MAX_NUMBER  # until the peer says how much it had sent
        if finish is not None:
            self.finish = finish
            self.handed = self.redelivered_upto = confirmed - 1

    def restore_stopped(self, counters: Counters) -> None:
        """Stop again with the counters that may have been told before."""
        self.received, self.confirmed, self.redelivered_upto = counters[:3]
        self.handed = min(self.received, self.redelivered_upto)
        for first, last in counters.ranges:
            self._ahead |= dict.fromkeys(range(first, last + 1), True)
        self.freeze()

    # ------------------------------------------------------------------ from the peer

    def arrived(self, first: int, payloads: list[Payload], size: int) -> None:
        """Take in a run of messages that took ``size`` bytes on the wire."""
        if first != self.received + 1 or self.finish is not None:
            self._expect(first)
        last = first + len(payloads) - 1
        if last - self.confirmed > self.max_messages:  # WINDOW-4
            raise Violation(Code.VIOLATION, "more messages than the window")
        if self._partial is not None:  # PART-8
            raise Violation(Code.VIOLATION, "a message inside another")
        self._bear(size)
        if self.queue.maxlen == 0:
            self.queue = deque()
        self.queue.extend(payloads)
        self.received = last
        self._account(last, size)

    def arrived_part(self, part: Part) -> bool:
        """Take in a slice; return whether it completed its message (PART-3)."""
        self._expect(part.number)
        if part.total > self.max_message:  # PART-13
            raise Violation(Code.VIOLATION, "a message above the announced limit")
        if part.offset != self.partial:  # PART-1
            raise Violation(Code.VIOLATION, "a part out of place")
        held = self._partial
        if held is None:
            if part.number - self.confirmed > self.max_messages:
                raise Violation(Code.VIOLATION, "more messages than the window")
            self._bear(part.total)  # whole, from its first part on (WINDOW-8)
            held = self._partial = bytearray()
            self._partial_total, self._partial_kind = part.total, part.kind
        elif (part.total, part.kind) != (self._partial_total, self._partial_kind):
            raise Violation(Code.VIOLATION, "parts of different messages under one number")
        held += part.data
        if len(held) < part.total:
            return False
        if self.queue.maxlen == 0:
            self.queue = deque()
        self.queue.append(_whole(bytes(held), part.kind))
        self._partial = None
        self.received = part.number
        self._account(part.number, part.total)
        return True

    def arrived_finish(self, finish: Finish) -> None:
        """Take in the peer's last word (CLOSE-1)."""
        self._expect(finish.number)
        if self._partial is not None:  # PART-8
            raise Violation(Code.VIOLATION, "Finish inside a message")
        self.received = finish.number
        self.finish = finish
        self.mark = min(self.mark, finish.number - 1)

    def _expect(self, number: int) -> None:
        """Nothing but the next number, and nothing behind Finish (NUM-2)."""
        if self.finish is not None:
            raise Violation(Code.VIOLATION, "a number behind Finish")
        if number != self.received + 1:
            word = "a gap in" if number > self.received else "a repeat of"
            raise Violation(Code.VIOLATION, f"{word} the numbers: {number} after {self.received}")

    def _bear(self, size: int) -> None:
        """Refuse what no sender within the window would send (WINDOW-7)."""
        held = self.held
        if held and held + size > 2 * self.max_bytes + ENVELOPE * (len(self._sizes) + 1):
            raise Violation(Code.VIOLATION, "more bytes than the window")

    def _account(self, last: int, size: int) -> None:
        if self._sizes.maxlen == 0:
            self._sizes = deque()
        self._sizes.append((last, size))
        self._held += size
        self._unmarked += size
        if self._unmarked >= self.max_bytes // 4:
            self._unmarked = 0
            if self.byte_marks.maxlen == 0:
                self.byte_marks = deque()
            self.byte_marks.append(last)

    # ------------------------------------------------------------------ to the application

    def take(self) -> Payload:
        """Hand over the next message and confirm it, in one step. IndexError if there is none."""
        payload = self.queue.popleft()
        number = self.handed + 1
        self.handed = number
        if self.confirmed == number - 1:
            self.confirmed = number
            if number >= self.mark:
                self.due = True
        else:  # deliveries before it are still open
            self._ahead[number] = True
        return payload

    def deliver(self) -> tuple[int, Payload]:
        """Hand over the next message without confirming it: its number, and itself."""
        payload = self.queue.popleft()
        self.handed += 1
        self._ahead[self.handed] = False
        return self.handed, payload

    def confirm(self, number: int) -> bool:
        """Confirm one delivery; ``False`` if it was confirmed before (no harm)."""
        ahead = self._ahead
        if ahead.get(number, True):
            if number > self.handed:
                raise ValueError(f"message {number} was never handed over")
            return False
        if self.stopped:
            raise ConfirmTooLate(f"message {number}: this session's counters are final")
        if number != self.confirmed + 1:
            ahead[number] = True
            return True
        del ahead[number]
        while ahead.get(number + 1):
            number += 1
            del ahead[number]
        self.confirmed = number
        if number >= self.mark:
            self.due = True
        return True

    def take_finish(self) -> bool:
        """Confirm the peer's Finish if everything before it is (CLOSE-2)."""
        finish = self.finish
        if finish is None or self.stopped or self.confirmed != finish.number - 1:
            return False
        self.confirmed = finish.number  # and it is not handed over (COUNT-4)
        return True

    def watch(self, number: int) -> None:
        """Set ``due`` when ``number`` is confirmed, or the last message before Finish."""
        self.mark = number if self.finish is None else min(number, self.finish.number - 1)

    def freeze(self) -> int:
        """Hand over nothing more, ever; return how many messages are left untaken (CLOSE-3)."""
        untaken = len(self.queue)
        self.stopped = True
        self.queue.clear()
        self._partial = None  # hence `partial` is 0 (PART-12)
        self._sizes.clear()
        self.byte_marks.clear()
        self._held = 0
        self.mark = NEVER
        return untaken

    def counters(self) -> Counters:
        """Return what we say of this direction (COUNT-1)."""
        ranges: list[Range] = []
        for number, confirmed in self._ahead.items():  # in order: so they were handed over
            if not confirmed:
                continue
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1] = (ranges[-1][0], number)
            elif len(ranges) == MAX_RANGES:
                break  # the rest are at most `handed`: unknown, which is no lie (COUNT-6)
            else:
                ranges.append((number, number))
        handed = self.handed
        if self.stopped:  # what came before a crash of ours may have been handed over (COUNT-5)
            handed = max(handed, self.redelivered_upto)
        return Counters(self.received, self.confirmed, handed, self.stopped, tuple(ranges))


def _whole(data: bytes, kind: int) -> Payload:
    """Return the payload that a message's parts make."""
    if kind == KIND_VALUE:
        return msgpack.ExtType(EXT_VALUE, data)
    if kind != KIND_TEXT:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:  # PART-10
        raise Violation(Code.MALFORMED, "text that is not UTF-8") from None
