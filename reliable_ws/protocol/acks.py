"""What one link has told the peer of our inbox, and when it tells more (protocol.md, section 7).

Theory of operation. There is *news* when the inbox's counters are higher than what this link has
told. News rides in front of any other frame. Without other frames it goes in two cases:

- ``confirmed`` has reached :meth:`Acks.due_at`: a quarter of the window (in messages or in bytes),
  a number that the peer asked for with Want, or the peer's Finish (ACK-3).
- ``now`` is set: a heartbeat is due, or ``by`` has passed, because the news is older than
  ``Config.ack_delay`` (ACK-4).

Taking a message must be cheap. So :meth:`~.inbox.Inbox.watch` sets a mark in the inbox, and taking
compares ``confirmed`` with the mark and does no more. After an ack the mark is the next number: it
is news, and starts the delay. While the delay runs, the mark is ``due_at()``.
"""

from __future__ import annotations

from .config import Config
from .frames import BEYOND, Ack, Counters, Partial, new_unchecked
from .inbox import NO_RUN, Inbox

__all__ = ["Acks"]


class Acks:
    """Decides when an Ack goes: at once, riding with other frames, or after a short delay.

    It looks at our inbox only, which an Ack of the peer's does not move (ACK-8).
    """

    __slots__ = (
        "_delay",
        "_quarter",
        "by",
        "confirmed",
        "inbox",
        "now",
        "partial_news",
        "received",
        "wanted",
    )

    def __init__(self, inbox: Inbox, config: Config) -> None:
        self.inbox = inbox
        self._quarter = max(1, config.window_messages // 4)
        self._delay = config.ack_delay
        self.received = 0
        "The last ``received`` told on this link."
        self.confirmed = 0
        "The last ``confirmed`` told on this link. Never above ``inbox.confirmed``."
        self.wanted = 0
        "The peer waits for the confirmation of this number (ACK-5)."
        self.now = False
        "Whether an Ack goes whatever it says: a heartbeat, or a delay that has passed."
        self.partial_news = False
        "Whether more of a message in parts has arrived than was told on this link (PART-16)."
        self.by: float | None = None
        "When news that nobody waits for is told (ACK-4). ``None`` while there is no news."

    def tell(self, counters: Counters) -> None:
        """Note that the peer is being told these."""
        self.received, self.confirmed = counters.received, counters.confirmed
        self.by = None
        self.inbox.watch(self.confirmed + 1)  # the next one is news

    def due_at(self) -> int:
        """Number whose confirmation is told at once (ACK-3)."""
        inbox, told = self.inbox, self.confirmed
        if inbox.stopped:
            return BEYOND
        # The first of these: a quarter of the window in messages, what the peer waits for,
        at = told + self._quarter
        if told < self.wanted < at:
            at = self.wanted
        # a quarter of the window in bytes,
        marks = inbox.byte_marks
        while marks and marks[0] <= told:
            marks.popleft()
        if marks and marks[0] < at:
            at = marks[0]
        # the peer's Finish.
        finish = inbox.finish
        if finish is not None and told < finish.number < at:
            at = finish.number
        return at

    def note(self, now: float) -> None:
        """There is news: arm the delay, unless it is armed, and watch for what cannot wait."""
        inbox = self.inbox
        if inbox.confirmed > inbox.stored_confirmed:
            # The store has it, or gets it behind this step. When it is kept, it is told at once
            # (STORE-3). What is confirmed meanwhile goes to the store then: nothing to watch for.
            if self.by is None and inbox.received != self.received:
                self.by = now + self._delay
            inbox.watch(BEYOND)
            return
        if self.by is None:
            self.by = now + self._delay
        elif inbox.due:  # while the delay runs, the mark is what cannot wait
            self.now = True
            return
        inbox.watch(self.due_at())

    def take(self, *, riding: bool) -> Ack | None:
        """Return the Ack that goes now, or ``None`` if the news can wait (ACK-2, ACK-3).

        There is news, or :attr:`now` is set. ``riding``: other frames go anyway.
        """
        inbox = self.inbox
        received, confirmed = inbox.received, inbox.confirmed
        if inbox.stored_confirmed < confirmed:  # noqa: PLR1730 - as `tellable`, without a call
            confirmed = inbox.stored_confirmed
        if not (self.now or riding) and confirmed < self.due_at():
            return None
        self.received, self.confirmed = received, confirmed
        self.now = False
        self.by = None
        if inbox.finish is None:  # as `watch`, without a call
            inbox.mark = confirmed + 1
            inbox.run = NO_RUN
        else:
            inbox.watch(confirmed + 1)
        return new_unchecked(Ack, (received, confirmed))

    def take_partial(self) -> Partial | None:
        """Return what the envelope that goes now says of a message in parts (PART-16)."""
        self.partial_news = False
        inbox = self.inbox
        return Partial(inbox.received + 1, inbox.partial) if inbox.partial else None

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.by is not None and now >= self.by:
            self.now = True
            self.by = None
