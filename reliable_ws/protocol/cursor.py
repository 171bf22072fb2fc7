"""How far one link has come through the outbox, and the next frame that it cuts from there.

Theory of operation. A cursor is two numbers: ``number``, the next message to transmit on this link,
and ``offset``, how many bytes of it went in parts. The outbox keeps the messages; the cursor only
reads them, so it can be dropped with its link. A new link's cursor begins behind what the peer has
received.

:meth:`Cursor.cut` returns the next frame. Its size is the smallest of these limits: the messages
and the bytes that the peer's window has room for, a quarter of that window (so that acks come while
the rest is under way), ``batch_messages`` and ``batch_bytes``, and the size of a frame. A message
larger than a frame goes in parts. A message larger than the window goes alone.
"""

from __future__ import annotations

import msgpack

from .codec import MAX_LIST
from .config import Config
from .frame_size import HEADROOM, FrameSize
from .frames import (
    KIND_BYTES,
    KIND_TEXT,
    KIND_VALUE,
    Finish,
    Messages,
    Part,
    Payload,
    new_unchecked,
)
from .outbox import Outbox

__all__ = ["Cursor"]

LARGEST_PART = 256 * 1024
"""A part is never larger, so that acks and heartbeats pass between parts (PART-7)."""


class Cursor:
    """A position in the outbox: dropped with its link, it moves no data."""

    __slots__ = (
        "_batch_bytes",
        "_batch_messages",
        "_large",
        "frame_size",
        "number",
        "offset",
        "outbox",
        "starved",
    )

    def __init__(self, outbox: Outbox, frame_size: FrameSize, config: Config) -> None:
        self.outbox = outbox
        self.frame_size = frame_size
        self._batch_messages = min(config.batch_messages, MAX_LIST)
        self._batch_bytes = config.batch_bytes
        self._large: tuple[bytes, int] | None = None  # the message being cut, and its kind
        self.number = 1
        "Number of the next message to transmit: at most ``outbox.last + 1``."
        self.offset = 0
        "How many bytes of it went in parts. 0 between two messages."
        self.starved = False
        "Whether calls alone kept the next message from going: it is its turn."

    def cut(self, used: int = 0) -> Messages | Part | Finish | None:
        """Return what the window lets go next, and move behind it (WINDOW-1).

        ``used``: how many bytes of the WebSocket message calls take. No message is cut smaller
        for that: it waits for the next one, and so do more calls.
        """
        self.starved = False
        outbox, number = self.outbox, self.number
        finish = outbox.finish
        # A lone message, with everything before it confirmed: only its size can stand against it.
        if (
            number == outbox.last == outbox.confirmed + 1 <= outbox.stored
            and finish is None
            and not self.offset
            and outbox.total - outbox.released <= self.frame_size.size - HEADROOM - used
        ):
            self.number = number + 1
            outbox.transmitted = max(outbox.transmitted, number)
            return new_unchecked(Messages, (number, [outbox.payload(number)]))
        if finish is not None and number == finish.number:
            self.skip_finish()
            return finish
        frame = self._messages(self.frame_size.size - HEADROOM, used)
        if self.number > outbox.transmitted:
            outbox.transmitted = self.number - 1
        return frame

    def skip_finish(self) -> None:
        """Move behind Finish: it goes now. It needs no room in the window (WINDOW-5)."""
        self.outbox.transmitted = self.number
        self.number += 1

    def _messages(self, most: int, used: int) -> Messages | Part | None:
        """Cut a run that fits the peer's window and the rest of the frame."""
        outbox, number = self.outbox, self.number
        # Apply the window: how many numbers, and how much weight, may go (WINDOW-1).
        peer = outbox.peer
        upto = outbox.confirmed + peer.window_messages
        room = (min(outbox.stored, upto)) - number + 1
        if room <= 0:
            return None
        before = outbox.end_of(number - 1)
        weight_room = outbox.released + peer.window_bytes - before
        if not self.offset:
            count = min(room, self._batch_messages, max(1, peer.window_messages // 4))
            room = min(weight_room, self._batch_bytes, most - used)
            payloads = outbox.run(number, count, before + room)
            # A run of whole messages.
            if payloads:
                self.number = number + len(payloads)
                return new_unchecked(Messages, (number, payloads))
            # Not even one fits: does the window keep it, or the rest of the batch, or the frame?
            weight = outbox.end_of(number) - before
            if weight > weight_room and number > outbox.confirmed + 1:
                return None  # a message above the window goes alone (WINDOW-3)
            if weight <= most - used:
                self.number = number + 1
                return Messages(number, [outbox.payload(number)])
            self.starved = used > 0
        else:
            self.starved = used > 0
        return None if self.starved else self._part(number, min(most, LARGEST_PART))

    def _part(self, number: int, length: int) -> Part:
        """Cut the next slice of a message that is too large for one frame (PART-1)."""
        if self._large is None:
            self._large = _content(self.outbox.payload(number))
        content, kind = self._large
        offset = self.offset
        data = memoryview(content)[offset : offset + length]  # no copy
        self.offset = offset + len(data)
        if self.offset >= len(content):
            self.number, self.offset, self._large = number + 1, 0, None
        return Part(number, offset, len(content), kind, data)


def _content(payload: Payload) -> tuple[bytes, int]:
    if isinstance(payload, str):
        return payload.encode(), KIND_TEXT
    if isinstance(payload, msgpack.ExtType):
        return payload.data, KIND_VALUE
    return payload, KIND_BYTES
