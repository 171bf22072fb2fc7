"""How far one link has come through the calls, both ways."""

from __future__ import annotations

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frame_size import HEADROOM
from reliable_ws.protocol.frames import CallAck, Calls, new_unchecked
from reliable_ws.protocol.stall import StallTimer

from .fragments import Pieces
from .incoming import IncomingCalls
from .outgoing import OutgoingCalls
from .queue import CallQueue

__all__ = ["CallCursor"]

MAX_ENTRIES = 640
"""Most entries of one frame. Six elements each, and :data:`~.codec.MAX_LIST` messages, leave 256 of
the elements of an envelope for the other frames in it (FRAME-16)."""

ACK_AT_ONCE = 256
"""Entries that are acked at once, so that the peer can forget them (CALL-17)."""


class CallCursor:
    """A position in the calls: dropped with its link."""

    __slots__ = (
        "_batch",
        "_delay",
        "_held",
        "_outgoing",
        "_part_timeout",
        "_unfinished",
        "by",
        "call_queue",
        "incoming",
        "now",
        "number",
        "pieces",
        "told",
    )

    def __init__(
        self, queue: CallQueue, outgoing: OutgoingCalls, incoming: IncomingCalls, config: Config
    ) -> None:
        self.call_queue = queue
        self._outgoing = outgoing
        self.incoming = incoming
        self._batch = config.batch_bytes
        self._delay = config.ack_delay
        self.number = 1
        "Number of the next entry to transmit."
        self.told = incoming.tellable
        "The last ack of calls on this link, or what the greeting said."
        self.now = False
        "Whether an ack goes at once."
        self.by: float | None = None
        "When an ack that could not ride is sent."
        self._part_timeout = config.part_timeout
        self.pieces: StallTimer | None = None
        "By when a call of the peer's in pieces has to move on (CALL-46), while one is waited for."
        self._unfinished: Pieces | None = None  # the call that this is about
        self._held = 0  # bytes of it

    @property
    def owes_answers(self) -> bool:
        """Whether an entry has to go before our Finish (CALL-10)."""
        return self.number <= self.call_queue.last or bool(self.incoming.served)

    def begin(self, peer_received: int) -> None:
        """Start at what the peer has received (CALL-22); the greeting has told what we have."""
        self.number = peer_received + 1
        self.told = self.incoming.tellable

    def finished(self) -> None:
        """Note that our Finish has been transmitted: little may come behind it (CALL-10)."""
        self.call_queue.finished = True

    def note(self, now: float) -> None:
        """Calls have arrived: ack them soon, or at once if they are many."""
        incoming = self.incoming
        if incoming.pieces is not None or self._unfinished is not None:
            self.pieces_moved(now)
        if incoming.received - self.told >= ACK_AT_ONCE and (
            incoming.tellable - self.told >= ACK_AT_ONCE
        ):
            self.now = True
        elif self.by is None:
            self.by = now + self._delay

    def pieces_moved(self, now: float) -> None:
        """Note how much is here of an entry that has not arrived whole (CALL-46)."""
        pieces = self.incoming.pieces
        held = 0 if pieces is None else len(pieces.data)
        if pieces is None:
            self.pieces = None
        elif self.pieces is None or pieces is not self._unfinished:  # it is another one
            self.pieces = StallTimer(self._part_timeout)
            self.pieces.arrived(0, now)
        elif self.pieces.arrived(held - self._held, now):
            pieces.stood_still = False
        self._unfinished, self._held = pieces, held

    def stalled(self, now: float) -> bool | None:
        """Whether a call in pieces stands still, for the second time in a row; ``None``: none does.

        The deadline moves.
        """
        pieces = self.incoming.pieces
        if pieces is None:  # intake was frozen (CALL-10)
            self.pieces = None
        if pieces is None or self.pieces is None or not self.pieces.expired(now):
            return None
        again, pieces.stood_still = pieces.stood_still, True
        return again

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.by is not None and now >= self.by:
            self.by = None
            self.now = True

    def cut(self, frame_limit: int, now: float) -> tuple[Calls, int]:
        """Return the next run, at most half a frame if that is possible, and its bytes."""
        number, queue = self.number, self.call_queue
        if (lone := queue.lone(number)) is not None:
            entry, used = lone
            self.number = number + 1
            return new_unchecked(Calls, (number, [entry])), used
        room = min(self._batch, frame_limit - HEADROOM) // 2
        entries, used = queue.run(number, MAX_ENTRIES, room, self._outgoing.refresh, now)
        self.number = number + len(entries)
        return new_unchecked(Calls, (number, entries)), used

    def take(self) -> CallAck:
        """Return the ack that goes now: more has arrived than was told (CALL-17)."""
        incoming = self.incoming
        received = incoming.received
        if incoming.stored < received:  # noqa: PLR1730 - as `tellable`, without a call
            received = incoming.stored
        self.told = received
        self.now = False
        self.by = None
        return new_unchecked(CallAck, (received,))
