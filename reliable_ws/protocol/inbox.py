"""The peer's direction of a session: what arrived, what was handed over, what is confirmed.

Theory of operation. ``confirmed <= handed <= received``: three positions in the peer's numbers.
*received* grows when messages arrive, *handed* when the application takes one, *confirmed* when it
has confirmed everything up to there. Usually taking confirms. A delivery confirms later and in any
order: ``_ahead`` remembers the numbers between ``confirmed`` and ``handed``.

Taking in never waits: the window that we announced bounds what is held (WINDOW-6). Every guard
against a peer that miscounts is here.

``mark`` is the number whose confirmation somebody waits for. Confirming it is news: the session
notes that, and draws its conclusions at the end of the step. Between two marks a driver may take
messages without a call for each: :meth:`Inbox.begin_run`. ``state`` says where the direction
stands; the table that moves it is in :mod:`.state`.
"""

from __future__ import annotations

from collections import deque
from sys import getsizeof
from typing import Any

import msgpack

from .codec import MAX_RANGES
from .config import Config
from .errors import ConfirmTooLate, Violation
from .frames import (
    BEYOND,
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
from .state import RECEIVING, Receiving, Trigger
from .unused import UNUSED, UNUSED_LIST

__all__ = ["MESSAGE_WEIGHT", "Inbox"]

NO_QUEUE: deque[Any] = deque(maxlen=0)
"""Stands for each queue that nothing was put in yet: one of its own takes 0.7 KiB."""

MESSAGE_WEIGHT = 96
"""Bytes of memory of a message besides its content, about."""

NO_RUN = range(0)
"""A run of no messages."""

NONE_APPLIED: frozenset[int] = frozenset()

SHORT_MESSAGE = 128
"""Bytes of a message below which it is not looked at whether its text takes more memory."""

SHORT_PIECE = 4096
"""Bytes of a message in parts below which the next part is joined to them at once."""

ENVELOPE_BYTES = 64
"""Bytes that an envelope may add to the messages in it (WINDOW-7)."""


class Inbox:
    """Messages that arrived and wait for the application, and the peer's Finish behind them."""

    __slots__ = (
        "_ahead",
        "_extra",
        "_held",
        "_partial_kind",
        "_partial_total",
        "_pieces",
        "_sizes",
        "_unmarked",
        "_wide",
        "applied",
        "byte_marks",
        "confirmed",
        "due",
        "finish",
        "handed",
        "is_stop_kept",
        "mark",
        "max_bytes",
        "max_message",
        "max_messages",
        "out_of_order",
        "partial",
        "queue",
        "received",
        "redelivered_upto",
        "run",
        "state",
        "stopped",
        "stored_confirmed",
    )

    def __init__(self, config: Config) -> None:
        self.max_messages = config.window_messages
        self.max_bytes = config.window_bytes
        self.max_message = config.max_message
        self.received = 0
        "Highest number that arrived with everything before it."
        self.confirmed = 0
        "Highest number that the application has confirmed with everything before it."
        self.handed = 0
        "Highest number handed over. Finish is never handed over."
        self.stored_confirmed = BEYOND
        """With a store: the part of ``confirmed`` that is kept. The peer is told no more than that
        (STORE-3)."""
        self.is_stop_kept = True
        "Whether the peer may be told that intake is frozen. With a store: once that is kept."
        self.applied: frozenset[int] = NONE_APPLIED
        "Above ``confirmed``: confirmed before a crash of ours, so not handed over again (STORE-8)."
        self.out_of_order = 0
        "How often a number was confirmed before one below it."
        self.redelivered_upto = 0
        "Up to here a message may have been handed over before a crash of ours (RESUME-7)."
        self.state = Receiving.OPEN
        self.finish: Finish | None = None
        "The peer's Finish, once it has arrived. Its number is ``received``."
        self.stopped = False
        "Whether intake is frozen for good (CLOSE-3)."
        self._held = 0
        self.due = False
        "Whether the marked number has been confirmed since the session looked."
        self.mark = BEYOND
        "Confirming this number is news that somebody waits for."
        self.byte_marks: deque[int] = NO_QUEUE
        "Numbers whose confirmation frees a quarter of the byte window (ACK-3)."
        self.run = NO_RUN
        "The run that may go on: see :meth:`begin_run`."
        self._unmarked = 0
        self.queue: deque[Payload] = NO_QUEUE
        "Messages that can be taken."
        self._sizes: deque[tuple[int, int]] = NO_QUEUE  # last number of an arrival, its bytes
        # The same for text, with the bytes of memory that it takes besides.
        self._wide: deque[tuple[int, int]] = NO_QUEUE
        self._extra = 0  # all of these
        # Handed over above `confirmed` -> whether confirmed; the numbers ascend.
        self._ahead: dict[int, bool] = UNUSED
        self.partial = 0
        "Bytes held of message ``received + 1``: it comes in parts (PART-4)."
        self._pieces: list[bytes] = UNUSED_LIST  # these bytes
        self._partial_total = 0
        self._partial_kind = 0

    def __len__(self) -> int:
        """Messages that can be taken."""
        return len(self.queue)

    @property
    def held(self) -> int:
        """Bytes of the messages that arrived and are not confirmed, counted by arrival.

        Reading changes nothing, since metrics are read in threads of their own. For them ``held``
        is read before the sizes: what arrives or is confirmed meanwhile makes it no less than 0.
        """
        confirmed, held = self.confirmed, self._held
        sizes = self._sizes.copy()
        while sizes and sizes[0][0] <= confirmed:
            held -= sizes.popleft()[1]
        return held

    @property
    def memory(self) -> int:
        """Bytes of memory of the same messages, about: text may take four times its bytes."""
        if self.stopped:
            return 0
        sizes, wide = self._sizes, self._wide
        while sizes and sizes[0][0] <= self.confirmed:
            self._held -= sizes.popleft()[1]
        while wide and wide[0][0] <= self.confirmed:
            self._extra -= wide.popleft()[1]
        messages = self.received - self.confirmed - (self.state is Receiving.FINISHING)
        return self._held + MESSAGE_WEIGHT * messages + self._extra

    @property
    def tellable(self) -> int:
        """The part of ``confirmed`` that the peer may be told (STORE-3)."""
        confirmed, stored = self.confirmed, self.stored_confirmed
        return min(stored, confirmed)

    @property
    def done(self) -> bool:
        """Whether nothing more will be taken (CLOSE-6)."""
        return self.state in (Receiving.FINISHED, Receiving.STOPPED)

    # ------------------------------------------------------------------ from the peer

    def arrived(self, first: int, payloads: list[Payload], size: int) -> None:
        """Take in a run of messages that took ``size`` bytes on the wire."""
        if first != self.received + 1 or self.finish is not None:
            self._expect(first)
        last = first + len(payloads) - 1
        if last - self.confirmed > self.max_messages:  # WINDOW-4
            raise Violation(Code.VIOLATION, "more messages than the window")
        if self.partial:  # PART-8
            raise Violation(Code.VIOLATION, "a message inside another")
        if self.confirmed != self.received:
            self._check_held(size)
        elif self._held:  # nothing is held any more
            self._sizes.clear()
            self._held = 0
        if size >= SHORT_MESSAGE * len(payloads) and str in map(type, payloads):
            self._count_wide(last, size, payloads)
        self._count(last, size)
        if self.queue is NO_QUEUE:
            self.queue = deque()
        self.queue.extend(payloads)
        self.received = last
        if self.applied:
            self._leave_out()

    def arrived_part(self, part: Part) -> bool:
        """Take in a slice; return whether it completed its message (PART-3)."""
        self._expect(part.number)
        if part.total > self.max_message:  # PART-13
            raise Violation(Code.VIOLATION, "a message above the announced limit")
        if part.offset != self.partial:  # PART-1
            raise Violation(Code.VIOLATION, "a part out of place")
        if not self.partial:
            if part.number - self.confirmed > self.max_messages:
                raise Violation(Code.VIOLATION, "more messages than the window")
            self._check_held(part.total)  # whole, from its first part on (WINDOW-8)
            self._pieces = []
            self._partial_total, self._partial_kind = part.total, part.kind
        elif (part.total, part.kind) != (self._partial_total, self._partial_kind):
            raise Violation(Code.VIOLATION, "parts of different messages under one number")
        data, pieces = bytes(part.data), self._pieces  # bytes that were decoded are not copied
        if pieces and len(pieces[-1]) < SHORT_PIECE:
            pieces[-1] += data  # a piece by itself takes memory, too
        else:
            pieces.append(data)
        self.partial += len(data)
        if self.partial < part.total:
            return False
        if self.queue is NO_QUEUE:
            self.queue = deque()
        payload = _whole(b"".join(self._pieces), part.kind)
        self.queue.append(payload)
        self.drop_partial()
        self.received = part.number
        self._count_wide(part.number, part.total, [payload])
        self._count(part.number, part.total)
        if self.applied:
            self._leave_out()
        return True

    def drop_partial(self) -> int:
        """Drop what is held of a message in parts: the next link brings it from its beginning."""
        partial = self.partial
        self.partial = 0
        self._pieces = UNUSED_LIST
        return partial

    def arrived_finish(self, finish: Finish) -> None:
        """Take in the peer's Finish (CLOSE-1)."""
        self._expect(finish.number)
        if self.partial:  # PART-8
            raise Violation(Code.VIOLATION, "Finish inside a message")
        self.received = finish.number
        self.finish = finish
        self.mark = min(self.mark, finish.number - 1)
        self.run = NO_RUN
        self._move(Trigger.PEER_FINISHED)

    def _expect(self, number: int) -> None:
        """Check that it is the next number, and not behind Finish (NUM-2)."""
        if self.finish is not None:
            raise Violation(Code.VIOLATION, "a number behind Finish")
        if number != self.received + 1:
            word = "a gap in" if number > self.received else "a repeat of"
            raise Violation(Code.VIOLATION, f"{word} the numbers: {number} after {self.received}")

    def _check_held(self, size: int) -> None:
        """Refuse what no sender within the window would send (WINDOW-7)."""
        sizes = self._sizes
        while sizes and sizes[0][0] <= self.confirmed:
            self._held -= sizes.popleft()[1]
        held = self._held
        if held and held + size > 2 * self.max_bytes + ENVELOPE_BYTES * (len(sizes) + 1):
            raise Violation(Code.VIOLATION, "more bytes than the window")

    def _count_wide(self, last: int, size: int, payloads: list[Payload]) -> None:
        """Note what text takes in memory above its bytes: one wide character widens all."""
        extra = sum(map(getsizeof, payloads)) - size - MESSAGE_WEIGHT * len(payloads)
        if extra > 0:
            if self._wide is NO_QUEUE:
                self._wide = deque()
            self._wide.append((last, extra))
            self._extra += extra

    def _count(self, last: int, size: int) -> None:
        """Count what is held, and mark each quarter of the window (ACK-3)."""
        if self._sizes is NO_QUEUE:
            self._sizes = deque()
        self._sizes.append((last, size))
        self._held += size
        self._unmarked += size
        if self._unmarked >= self.max_bytes // 4:
            self._unmarked = 0
            if self.byte_marks is NO_QUEUE:
                self.byte_marks = deque()
            self.byte_marks.append(last)

    # ------------------------------------------------------------------ to the application

    def take(self) -> Payload:
        """Hand over the next message and confirm it, in one step.

        Raises:
            IndexError: There is none.
        """
        payload = self.queue.popleft()
        self.run = NO_RUN
        number = self.handed + 1
        self.handed = number
        if self.confirmed == number - 1:
            self.confirmed = number
            if number >= self.mark:
                self.due = True
        else:  # deliveries before it are still open
            self._ahead[number] = True
            self.out_of_order += 1
        return payload

    def begin_run(self, most: int) -> range:
        """Return the numbers of the next messages that can be taken without a call for each.

        There are at most so many. For each number, as long as :attr:`run` is what was returned, do
        ``queue.popleft()``, and set ``handed`` and ``confirmed`` to the number. :meth:`take` does
        no more for these: no delivery is open, and none of them is marked. Whatever changes that
        ends the run: a message that is taken in another way, another mark, the end of intake.
        """
        next_one = self.handed + 1
        if self._ahead or self.applied:
            self.run = NO_RUN
        else:
            self.run = range(next_one, min(next_one + min(most, len(self.queue)), self.mark))
        return self.run

    def end_run(self) -> None:
        """Let the run that was begun go on no more."""
        self.run = NO_RUN

    def deliver(self) -> tuple[int, Payload]:
        """Hand over the next message without confirming it: its number, and itself.

        Raises:
            IndexError: There is none.
        """
        payload = self.queue.popleft()
        self.run = NO_RUN
        self.handed = number = self.handed + 1
        if self._ahead is UNUSED:
            self._ahead = {}
        self._ahead[number] = False
        if self.applied:
            self._leave_out()
        return number, payload

    def take_unless_applied(self) -> Payload:
        """Do the same as :meth:`take`, in a session whose last process has confirmed ahead."""
        payload = self.take()
        self._leave_out()
        return payload

    def _leave_out(self) -> None:
        """Hand over to nobody what was confirmed before a crash of ours, once it is next (STORE-8).

        So whatever is in :attr:`queue` first can be taken.
        """
        while self.queue and self.handed + 1 in self.applied:
            self.queue.popleft()
            self.handed = number = self.handed + 1
            if self._ahead is UNUSED:
                self._ahead = {}
            self._ahead[number] = False
            self.confirm(number)

    def confirm(self, number: int) -> bool:
        """Confirm one delivery. Return ``False`` if it was confirmed before.

        Raises:
            ValueError: It was never handed over.
            ConfirmTooLate: The counters are final.
        """
        ahead = self._ahead
        if self.is_confirmed(number):
            return False
        if number != self.confirmed + 1:
            ahead[number] = True
            self.out_of_order += 1
            return True
        del ahead[number]
        while ahead.get(number + 1):
            number += 1
            del ahead[number]
        self.confirmed = number
        if number >= self.mark:
            self.due = True
        return True

    def is_confirmed(self, number: int) -> bool:
        """Whether a delivery is confirmed. Raises as :meth:`confirm` does, if it is not."""
        if self._ahead.get(number, True):
            if number > self.handed:
                raise ValueError(f"message {number} was never handed over")
            return True
        if self.stopped:
            raise ConfirmTooLate(
                f"message {number} cannot be confirmed any more: the session is over or is being "
                "closed, and its counters are final"
            )
        return False

    def watch(self, number: int) -> None:
        """Set the mark at ``number``, or at the last message before Finish."""
        self.mark = number if self.finish is None else min(number, self.finish.number - 1)
        self.run = NO_RUN

    # ------------------------------------------------------------------ its end

    def conclude(self) -> None:
        """Confirm the peer's Finish if everything before it is confirmed (CLOSE-2)."""
        finish = self.finish
        if finish is not None and not self.stopped and self.confirmed == finish.number - 1:
            self.confirmed = finish.number  # and it is not handed over (COUNT-4)
            self._move(Trigger.TAKEN)

    def stop(self) -> None:
        """Freeze intake in the step that reads its counters (CLOSE-3)."""
        self.conclude()
        self._move(Trigger.STOP)
        if self.state is Receiving.STOPPED and not self.stopped:
            self._freeze()

    def _freeze(self) -> None:
        """Hand over nothing more, ever."""
        self.stopped = True
        self.queue.clear()
        self.drop_partial()  # so `partial` is 0 (PART-12)
        self._sizes.clear()
        self._wide.clear()
        self._extra = 0
        self.byte_marks.clear()
        self._held = 0
        self.mark = BEYOND
        self.run = NO_RUN

    def told(self) -> Counters:
        """Return what a greeting says of this direction: with a store, only what is kept."""
        counters = self.counters()
        if self.stored_confirmed == BEYOND or (self.stopped and self.is_stop_kept):
            return counters
        return Counters(self.received, self.tellable, self.handed, stopped=False, ranges=())

    def counters(self) -> Counters:
        """Return what is so of this direction (COUNT-1)."""
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

    def _move(self, trigger: Trigger) -> None:
        self.state = RECEIVING[self.state][trigger]

    # ------------------------------------------------------------------ after a crash

    def restore(
        self, confirmed: int, finish: Finish | None = None, stopped: Counters | None = None
    ) -> None:
        """Begin where a store left off: what was not confirmed comes again (RESUME-7).

        ``finish``: the peer's last word, if that was confirmed too. ``stopped``: the counters
        that may have been told before, if intake was frozen.
        """
        self.received = self.confirmed = self.handed = confirmed
        self.redelivered_upto = MAX_NUMBER  # until the peer says how much it had sent
        if finish is not None:
            self.finish = finish
            self.handed = self.redelivered_upto = confirmed - 1
            self._move(Trigger.PEER_FINISHED)
            self._move(Trigger.TAKEN)
        if stopped is not None:
            self.received, self.confirmed, self.redelivered_upto = stopped[:3]
            self.handed = min(self.received, self.redelivered_upto)
            for first, last in stopped.ranges:
                self._ahead = self._ahead | dict.fromkeys(range(first, last + 1), True)
            self._freeze()
            self._move(Trigger.STOP)


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
