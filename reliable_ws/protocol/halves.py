"""The two directions of a session, each with its ledger and where it stands.

They know nothing of each other. *Outgoing* minds our messages until the outcome of each is
known, *incoming* minds the peer's until we take no more. The tables of what moves them are
in :mod:`.state`.
"""

from __future__ import annotations

from typing import Any

from .codec import MAX_REASON
from .config import Config
from .errors import MessageTooLarge, OutboxFull, PayloadError, Violation
from .frames import OVERHEAD, Code, Counters, Finish, Payload
from .inbox import Inbox
from .outbox import Outbox
from .payload import PayloadCodec, open_payload
from .report import Ending, Outcome, Report, Undelivered
from .state import RECEIVING, SENDING, Receiving, Sending, Trigger

__all__ = ["Incoming", "Outgoing", "words"]


class Outgoing:
    """Our direction: what is let into the outbox, and what became of each message."""

    __slots__ = ("_codec", "_max_message", "_shut", "final", "outbox", "state")

    def __init__(self, config: Config, codec: PayloadCodec) -> None:
        self.outbox = Outbox(
            config.outbox_messages or config.window_messages,
            config.outbox_bytes or config.window_bytes,
        )
        self.state = Sending.OPEN
        self.final: Counters | None = None
        "The peer's frozen counters, once they are known."
        self._codec = codec
        self._shut = False
        self.limit(config.max_message)

    # ------------------------------------------------------------------ what is let in

    def accept(self, payload: Payload, weight: int) -> int:
        """Accept one message and return its number; else raise, and nothing has changed."""
        if self.is_too_large(weight):
            raise MessageTooLarge(
                f"{weight - OVERHEAD} bytes are above the peer's limit of "
                f"{self._max_message} (Config.max_message there)"
            )
        outbox = self.outbox
        if not outbox.has_room(weight):
            raise OutboxFull(f"{len(outbox)} messages, {outbox.held} bytes wait")
        return outbox.append(payload, weight)

    def is_too_large(self, weight: int) -> bool:
        """Whether the peer takes no message of this weight."""
        return weight - OVERHEAD > self._max_message

    def limit(self, max_message: int) -> None:
        """Let no message in that is longer than the peer takes (PART-5, LIMIT-2)."""
        self._max_message = max_message
        self._set_gate()

    def shut(self) -> None:
        """Shut the outbox's gate: every message takes the way of :meth:`accept`."""
        self._shut = True
        self._set_gate()

    def unshut(self) -> None:
        """Open the gate again."""
        self._shut = False
        self._set_gate()

    def _set_gate(self) -> None:
        """Say what the outbox may let in without asking, and whether links may take from it."""
        is_open = self.state is Sending.OPEN and not self._shut
        self.outbox.gate = self._max_message + OVERHEAD if is_open else -1
        self.outbox.blocked = self.state in (Sending.STOPPED, Sending.ENDED)

    # ------------------------------------------------------------------ where it stands

    @property
    def done(self) -> bool:
        """Whether the outcome of every message is known, by evidence."""
        return self.state in (Sending.FINISHED, Sending.STOPPED)

    def finish(self, code: int, reason: str) -> None:
        """Queue Finish (CLOSE-1); again: no effect. ValueError for a code that may not be."""
        said = words(code, reason)
        if self.state is Sending.OPEN:
            self._move(Trigger.FINISH)
            self.outbox.close(code, said)

    def conclude(self) -> None:
        """See whether the peer has confirmed our Finish."""
        finish = self.outbox.finish
        if (
            self.state is Sending.FINISHING
            and finish is not None
            and self.outbox.confirmed == finish.number
        ):
            self._move(Trigger.CONFIRMED)

    def check_final(self, counters: Counters) -> None:
        """Raise :class:`Violation` for final counters that cannot be true (CLOSE-13)."""
        if counters.received > self.outbox.transmitted:
            raise Violation(Code.VIOLATION, "counters of what was never sent")
        if counters.confirmed < self.outbox.confirmed:
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
        self._set_gate()

    # ------------------------------------------------------------------ what became of them

    def outcome(self, number: int) -> Outcome:
        """Return what is known of one message of ours (CLOSE-4)."""
        if number <= self.outbox.confirmed:
            return Outcome.CONFIRMED
        final = self.final
        if final is not None:
            if any(first <= number <= last for first, last in final.ranges):
                return Outcome.CONFIRMED
            handed = min(final.handed, self.outbox.transmitted)
            return Outcome.UNKNOWN if number <= handed else Outcome.NOT_TAKEN
        if self.state is Sending.ENDED:  # END-3
            return Outcome.UNKNOWN if number <= self.outbox.transmitted else Outcome.NOT_TAKEN
        return Outcome.PENDING

    def report(self, upto: int | None, ending: Ending | None) -> Report:
        """Return what is known of every message (up to a number)."""
        last = self.outbox.messages if upto is None else min(upto, self.outbox.messages)
        entries = []
        for number, payload in self.outbox.unconfirmed():
            outcome = self.outcome(number)
            if number <= last and outcome is not Outcome.CONFIRMED:
                entries.append(Undelivered(number, outcome, self._shown(number, payload)))
        return Report(last, last - len(entries), tuple(entries), ending)

    def report_of(self, number: int, ending: Ending | None) -> Report:
        """Return what is known of one message."""
        outcome = self.outcome(number)
        if outcome is Outcome.CONFIRMED:
            return Report(1, 1, (), ending)
        message = self._shown(number, self.outbox.payload(number))
        return Report(1, 0, (Undelivered(number, outcome, message),), ending)

    def _shown(self, number: int, payload: Payload) -> Any:
        """Return a message of ours for a report; what cannot be decoded is shown as bytes."""
        try:
            return open_payload(payload, number, self._codec)
        except PayloadError as error:
            return error.raw


class Incoming:
    """The peer's direction: what we take, until we take no more."""

    __slots__ = ("inbox", "state")

    def __init__(self, config: Config) -> None:
        self.inbox = Inbox(config.window_messages, config.window_bytes, config.max_message)
        self.state = Receiving.OPEN

    @property
    def done(self) -> bool:
        """Whether nothing more will be taken."""
        return self.state in (Receiving.FINISHED, Receiving.STOPPED)

    def finish_arrived(self) -> None:
        """Note that the inbox has the peer's last word."""
        self._move(Trigger.PEER_FINISHED)

    def conclude(self) -> None:
        """See whether everything before the peer's last word is confirmed (CLOSE-2)."""
        if self.inbox.take_finish():
            self._move(Trigger.TAKEN)

    def stop(self) -> None:
        """Freeze intake in the step that reads its counters (CLOSE-3)."""
        self.conclude()
        self._move(Trigger.STOP)
        if self.state is Receiving.STOPPED and not self.inbox.stopped:
            self.inbox.freeze()

    def restore(self, confirmed: int, finish: Finish | None, stopped: Counters | None) -> None:
        """Begin where a store left off (RESUME-7)."""
        self.inbox.restore(confirmed, finish)
        if finish is not None:
            self._move(Trigger.PEER_FINISHED)
            self._move(Trigger.TAKEN)
        if stopped is not None:
            self.inbox.restore_stopped(stopped)
            self._move(Trigger.STOP)

    def _move(self, trigger: Trigger) -> None:
        self.state = RECEIVING[self.state][trigger]


def words(code: int, reason: str) -> str:
    """Return as much of a reason as may be said. ValueError for a code that may not."""
    if not 1000 <= code <= 4999:
        raise ValueError(f"a code is from 1000 to 4999, not {code}")
    return reason.encode(errors="replace")[:MAX_REASON].decode(errors="ignore")
