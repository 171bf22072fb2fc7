"""Our direction of a session: one queue of messages, positions in it, and what became of each.

Theory of operation. ``confirmed <= acked <= transmitted <= last``: four positions in one queue,
each a sequence number. *last* grows when the application sends. *transmitted* grows when a link
takes a message, and never falls. *acked* and *confirmed* follow the peer's acks; what is confirmed
is released. Losing a link moves no data: the next link starts a cursor of its own at what the
peer has received.

A message costs no object but its payload: ``_payloads`` and ``_ends`` are two lists in step, where
``_ends[i]`` is the weight of everything up to and including entry ``i``. So the weight of a run is
one subtraction, and the run that fits a window is found by bisection. Both lists are compacted now
and then, and a message costs the same whether ten or a million wait.

``state`` says where the direction stands; the table that moves it is in :mod:`.state`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

from .config import Config
from .errors import MessageTooLarge, NumbersExhausted, OutboxFull, PayloadError, Violation
from .fields import sayable
from .frames import BEYOND, MAX_NUMBER, OVERHEAD, Code, Counters, Finish, Limits, Payload
from .payload import PayloadCodec, open_payload
from .report import Ending, LazyReport, Outcome, Report, Run, Undelivered
from .state import SENDING, Sending, Trigger
from .unused import UNUSED_LIST

__all__ = ["Outbox"]


class Outbox:
    """Accepted messages that are not yet confirmed, in order, and the Finish behind them."""

    __slots__ = (
        "_base",
        "_codec",
        "_ends",
        "_is_store_full",
        "_payloads",
        "_total_upto",
        "_upto",
        "acked",
        "blocked",
        "confirmed",
        "doubtful",
        "final",
        "finish",
        "is_held",
        "is_open",
        "kept",
        "last",
        "max_bytes",
        "max_messages",
        "max_weight",
        "peer",
        "released",
        "state",
        "stored",
        "total",
        "transmitted",
        "wanted",
    )

    def __init__(self, config: Config, codec: PayloadCodec) -> None:
        self.max_messages = config.outbox_messages or config.window_messages
        self.max_bytes = config.outbox_bytes or config.window_bytes
        self._codec = codec
        # Both are made with the first message: many a session never sends one.
        self._payloads: list[Payload | None] = UNUSED_LIST  # in step with _ends; None once released
        self._ends: list[int] = UNUSED_LIST  # ascending
        self._base = 0  # number of the entry before the first in the lists
        self.last = 0
        "Highest number accepted, Finish included. It never falls."
        self.stored = BEYOND
        """With a store: everything up to this number is kept, and links take no more than that
        (STORE-2)."""
        self.kept = self.doubtful = 0
        """Once the session was left to another process: up to ``kept`` messages are in the store,
        and nobody knows whether those up to ``doubtful`` are."""
        self.transmitted = 0
        "Highest number ever handed to a link, whole. At most ``last``; it never falls."
        self.acked = 0
        "The peer's ``received``, as far as it told. At most ``transmitted``."
        self.confirmed = 0
        "The peer's ``confirmed``, as far as it told. At most ``acked``; it never falls."
        self.total = 0
        "Weight of everything ever accepted."
        self.released = 0
        "Weight of everything confirmed."
        # Numbers and total weights for which there is room. For the first message there is none:
        # so it goes the long way, which makes the lists, and no other is slower for that.
        self._upto = 0
        self._total_upto = self.max_bytes
        self.state = Sending.OPEN
        self.finish: Finish | None = None
        "Our Finish, once queued. Its number is ``last``, and nothing comes behind it."
        self.final: Counters | None = None
        "The peer's frozen counters, once they are known."
        self.wanted = 0
        "Highest number whose confirmation somebody waits for (ACK-5)."
        self.peer = config.limits(None)
        "What the peer takes; until the first greeting, a guess from ours (LIMIT-2)."
        self.blocked = False
        """Whether links may take nothing sequenced any more, calls included (CLOSE-5): every
        outcome is known."""
        self.is_held = False
        "Whether :meth:`hold` keeps :meth:`offer` from accepting anything."
        self._is_store_full = False
        self._set_limits()

    def __len__(self) -> int:
        """Messages accepted and not confirmed."""
        if self.confirmed == self.last:
            return 0
        return self.last - self.confirmed - (self.finish is not None)

    @property
    def held(self) -> int:
        """Weight of the messages accepted and not confirmed, in bytes."""
        return self.total - self.released

    @property
    def messages(self) -> int:
        """Messages ever accepted: the numbers without Finish."""
        return self.last - (self.finish is not None)

    @property
    def done(self) -> bool:
        """Whether the outcome of every message is known, by evidence (CLOSE-6)."""
        return self.state in (Sending.FINISHED, Sending.STOPPED)

    # ------------------------------------------------------------------ what is let in

    def heed(self, peer: Limits) -> None:
        """Keep to what the peer takes (PART-5, LIMIT-2)."""
        if peer != self.peer:  # else the object that sessions of one configuration share
            self.peer = peer
        self._set_limits()

    def hold(self) -> None:
        """Let :meth:`offer` accept nothing until :meth:`unhold`: no message overtakes another."""
        self.is_held = True
        self._set_limits()

    def unhold(self) -> None:
        """Let :meth:`offer` accept messages again."""
        self.is_held = False
        self._set_limits()

    def hold_for_store(self, *, full: bool) -> None:
        """Let :meth:`offer` accept nothing while the store is full (STORE-7)."""
        self._is_store_full = full
        self._set_limits()

    def _set_limits(self) -> None:
        """Say what :meth:`offer` lets in, and whether links may take anything."""
        self.is_open = self.state is Sending.OPEN
        is_offered = self.is_open and not (self.is_held or self._is_store_full)
        self.max_weight = self.peer.max_message + OVERHEAD if is_offered else -1
        self.blocked = self.state in (Sending.STOPPED, Sending.ENDED)

    def has_room(self, weight: int) -> bool:
        """Whether a message of this weight may be accepted; a lone one always may (G5)."""
        waiting = self.last - self.confirmed
        return waiting == 0 or (
            waiting < self.max_messages and self.held + weight <= self.max_bytes
        )

    def is_too_large(self, weight: int) -> bool:
        """Whether the peer takes no message of this weight."""
        return weight - OVERHEAD > self.peer.max_message

    def offer(self, message: object) -> int:
        """Accept plain ``bytes`` or ASCII ``str`` if nothing stands against it; else return 0.

        This is the way of nearly every message, so it is short: three comparisons decide.
        After a 0, ``Session.send`` finds out why.
        """
        kind = type(message)
        if kind is bytes or (kind is str and message.isascii()):  # type: ignore[attr-defined]
            weight = len(message) + OVERHEAD  # type: ignore[arg-type]
            total = self.total + weight
            number = self.last + 1
            if weight <= self.max_weight and number <= self._upto and total <= self._total_upto:
                self.total = total
                self.last = number
                self._payloads.append(message)  # type: ignore[arg-type]
                self._ends.append(total)
                return number
        return 0

    def accept(self, payload: Payload, weight: int) -> int:
        """Accept one message and return its number. If it raises, nothing has changed.

        Raises:
            MessageTooLarge: The message is larger than the peer's ``max_message``.
            OutboxFull: There is no room.
            NumbersExhausted: No number is left.
        """
        self.check_size(weight)
        if not self.has_room(weight):
            raise OutboxFull(
                f"the outbox is full: {len(self)} messages, {self.held} bytes wait for the peer; "
                "send() waits for room (Config.outbox_messages, Config.outbox_bytes)"
            )
        return self.append(payload, weight)

    def _make_room(self, confirmed: int) -> None:
        """Let :meth:`offer` accept as many messages as may wait behind this one."""
        self._total_upto = self.released + self.max_bytes
        upto = confirmed + self.max_messages
        self._upto = upto if upto < MAX_NUMBER else MAX_NUMBER - 1

    @property
    def too_large(self) -> int:
        """The first message that the peer does not take; 0: there is none (PART-5).

        One that was accepted before the first greeting may be.
        """
        for number in range(self.confirmed + 1, self.messages + 1):
            if self.is_too_large(self.end_of(number) - self.end_of(number - 1)):
                return number
        return 0

    def check_size(self, weight: int) -> None:
        """Raise ``MessageTooLarge`` for a message that the peer does not take."""
        if self.is_too_large(weight):
            raise MessageTooLarge(
                f"{weight - OVERHEAD} bytes are above the peer's limit of "
                f"{self.peer.max_message} (Config.max_message there)"
            )

    def append(self, payload: Payload, weight: int) -> int:
        """Accept one message, whatever the room, and return its number (NUM-1).

        Raises:
            NumbersExhausted: There is none left.
        """
        if self.last >= MAX_NUMBER - 1:  # the highest is left for Finish (NUM-3)
            raise NumbersExhausted(
                "the session has used all its sequence numbers: begin another session"
            )
        if self._payloads is UNUSED_LIST:
            self._payloads, self._ends = [], []
            self._make_room(self.confirmed)
        self.total += weight
        self.last += 1
        self._payloads.append(payload)
        self._ends.append(self.total)
        return self.last

    def append_kept(self, payload: Payload, weight: int) -> int:
        """Accept a message that a store has, also before a Finish that is queued already.

        No link has taken that Finish, and the store does not have it (STORE-6).
        """
        finish = self.finish
        if finish is None:
            return self.append(payload, weight)
        self.last -= 1
        number = self.append(payload, weight)
        self.last += 1
        self.finish = finish._replace(number=self.last)
        return number

    def close(self, code: int, reason: str) -> None:
        """Queue Finish behind the last message; it weighs nothing (CLOSE-1).

        A second call has no effect.

        Raises:
            ValueError: The code may not be sent.
        """
        said = sayable(code, reason)
        if self.state is Sending.OPEN:
            self._move(Trigger.FINISH)
            self.last += 1
            self.finish = Finish(self.last, code, said)

    # ------------------------------------------------------------------ what the peer has got

    def confirm(self, number: int) -> None:
        """Release everything up to ``number``, which is above ``confirmed``."""
        since = self.confirmed - self._base
        self.confirmed = number
        # Make room for more.
        if number < self.last:
            self.released = self.end_of(number)
        else:
            self.released = self.total
            if self.finish is not None:
                number -= 1  # it weighs nothing
        self._make_room(number)
        # Release the payloads at once, their places in one go later: constant cost per message.
        drop = number - self._base
        if drop * 2 >= len(self._payloads):
            del self._payloads[:drop]
            del self._ends[:drop]
            self._base = number
        else:
            self._payloads[since:drop] = [None] * (drop - since)

    def conclude(self) -> None:
        """See whether the peer has confirmed our Finish."""
        finish = self.finish
        if (
            self.state is Sending.FINISHING
            and finish is not None
            and self.confirmed == finish.number
        ):
            self._move(Trigger.CONFIRMED)

    def check_final(self, counters: Counters) -> None:
        """Raise :class:`Violation` for final counters that cannot be true (CLOSE-13)."""
        if counters.received > self.transmitted:
            raise Violation(Code.VIOLATION, "counters of what was never sent")
        if counters.confirmed < self.confirmed:
            raise Violation(Code.VIOLATION, "final counters below an earlier ack")

    def settle(self, final: Counters) -> bool:
        """Let these decide what became of each message; ``False`` if the end came first."""
        if self.state is Sending.ENDED:
            return False
        self.conclude()
        self._move(Trigger.PEER_STOPPED)
        self.final = final
        return True

    def end(self) -> None:
        """End with the session: what is not confirmed stays unknown, or never left (END-3)."""
        self.conclude()
        self._move(Trigger.END)

    def _move(self, trigger: Trigger) -> None:
        self.state = SENDING[self.state][trigger]
        self._set_limits()

    # ------------------------------------------------------------------ what links take

    def end_of(self, number: int) -> int:
        """Total weight of everything up to ``number``, which is not below the last release."""
        index = number - self._base - 1
        if index < 0:
            return self.released
        return self._ends[index] if index < len(self._ends) else self.total

    def run(self, cursor: int, count: int, end: int) -> list[Payload]:
        """Return messages from number ``cursor`` on: at most ``count``, up to a total weight."""
        start = cursor - self._base - 1
        stop = min(start + count, len(self._payloads))
        stop = bisect_right(self._ends, end, start, stop)
        return self._payloads[start:stop]  # type: ignore[return-value]  # None only below

    def payload(self, number: int) -> Payload:
        """Return one unconfirmed message."""
        return self._payloads[number - self._base - 1]  # type: ignore[return-value]

    def unconfirmed(self) -> Iterator[tuple[int, Payload]]:
        """Every message above ``confirmed``, with its number."""
        for number in range(self.confirmed + 1, self.messages + 1):
            yield number, self.payload(number)

    def withdraw(self, upto: int) -> int:
        """Take back every message above a number: no link has taken one. Return how many.

        A Finish behind them stays queued.
        """
        finish = self.finish
        count = self.messages - upto
        if count > 0:
            start = upto - self._base
            del self._payloads[start:]
            del self._ends[start:]
            self.total = self.end_of(upto)
            self.last = upto
            if finish is not None:
                self.last += 1
                self.finish = finish._replace(number=self.last)
        return max(0, count)

    def restore(self, confirmed: int, messages: Iterable[tuple[Payload, int]]) -> None:
        """Begin where a store left off; everything counts as transmitted."""
        self._base = self.acked = self.confirmed = self.last = confirmed
        for payload, weight in messages:
            self.append(payload, weight)
        self.transmitted = self.last

    # ------------------------------------------------------------------ what became of them

    def outcome(self, number: int) -> Outcome:
        """Return what is known of one message of ours (CLOSE-4)."""
        if number <= self.confirmed:
            return Outcome.CONFIRMED
        final = self.final
        if final is not None:
            if any(first <= number <= last for first, last in final.ranges):
                return Outcome.CONFIRMED
            handed = min(final.handed, self.transmitted)
            return Outcome.UNKNOWN if number <= handed else Outcome.NOT_TAKEN
        if self.state is Sending.ENDED:  # END-3
            if number <= self.kept:
                return Outcome.KEPT
            left = max(self.transmitted, self.doubtful)
            return Outcome.UNKNOWN if number <= left else Outcome.NOT_TAKEN
        return Outcome.PENDING

    def report(self, upto: int | None, ending: Ending | None) -> Report:
        """Return what is known of every message (up to a number)."""
        last = self.messages if upto is None else min(upto, self.messages)
        runs = self._runs(last)
        if not runs:
            return Report(last, last, (), ending)
        # The messages are kept by the report from here on, whatever is confirmed later.
        first = runs[0].first
        payloads = self._payloads[first - self._base - 1 : last - self._base]
        codec = self._codec  # and not the outbox: a report may be kept for long

        def list_entries() -> tuple[Undelivered, ...]:
            return tuple(
                Undelivered(number, run.outcome, _shown(number, payloads[number - first], codec))
                for run in runs
                for number in range(run.first, run.last + 1)
            )

        return LazyReport(last, runs, ending, list_entries)

    def _runs(self, last: int) -> list[Run]:
        """Return the messages up to a number that are not confirmed, in runs of one outcome."""
        final, first = self.final, self.confirmed + 1
        # Where the outcome may change.
        starts = {first, self.transmitted + 1, self.kept + 1, self.doubtful + 1}
        if final is not None:
            starts.add(final.handed + 1)
            for low, high in final.ranges:
                starts |= {low, high + 1}
        bounds = sorted(start for start in starts if first <= start <= last)
        runs = map(
            Run, bounds, [bound - 1 for bound in bounds[1:]] + [last], map(self.outcome, bounds)
        )
        return [run for run in runs if run.outcome is not Outcome.CONFIRMED]

    def report_of(self, number: int, ending: Ending | None) -> Report:
        """Return what is known of one message."""
        outcome = self.outcome(number)
        if outcome is Outcome.CONFIRMED:
            return Report(1, 1, (), ending)
        message = _shown(number, self._payloads[number - self._base - 1], self._codec)
        return Report(1, 0, (Undelivered(number, outcome, message),), ending)


def _shown(number: int, payload: Any, codec: PayloadCodec) -> Any:
    """Return a message of ours for a report; what cannot be decoded is shown as bytes."""
    try:
        return open_payload(payload, number, codec)
    except PayloadError as error:
        return error.raw
