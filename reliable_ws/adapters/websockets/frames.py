"""The short way of nearly every frame: a whole binary message, neither compressed nor in fragments.

Theory of operation. The library parses frames with nested generators, which fill a buffer and cut
from it. That is a quarter of what a confirmed message costs, and two more copies of a large one.
Here the usual frame is taken out of what has arrived, and put together for what is sent. Everything
else is the library's: the handshake, control frames, texts, fragments, extensions, and every fault.
It gets such frames whole, as they came.

So both have to agree where a frame begins. :meth:`FrameReader.takes_over` looks where the library's
parser stands. From then on :meth:`FrameReader.take_frame` reads each frame's header itself.

Two things differ, and nothing follows from them. A fault in a header is noticed once the header is
whole. And when the library gives a peer up, because it does not answer pings, it drops what comes
later; usual frames are taken until the WebSocket is gone, and confirmed on the next one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from os import urandom
from typing import Any

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # in C where it can be
from websockets.protocol import Side, State

from .options import max_frame_of
from .push import SIZE, Pushing

__all__ = ["MASKED", "WRITE_APART", "FrameReader", "framed"]

FINAL_BINARY = 0x82
"First byte of a frame that is a whole binary message, without extensions (RFC 6455, 5.2)."

FINAL, CONTROL = 0x80, 0x08
"In the first byte: the last frame of a message; a control frame."

MASKED = 0x80
"In the second byte: the payload is masked, as every client does."

LENGTH = 0x7F
"In the second byte: the length of the payload, or one of the next two."

TWO_BYTES, EIGHT_BYTES = 126, 127
"The length is in so many bytes behind the second one."

COPY_BELOW = 2048
"Bytes of a payload from which on a view of it is cheaper than one copy more."

WRITE_APART = 64 * 1024
"Bytes of a payload from which on one system call more is cheaper than one copy more."

NO_LIMIT = 1 << 63

OPEN = State.OPEN  # the lookup of an enum's member costs more than what is done with it

_short, _medium, _long = (struct.Struct(layout).pack for layout in ("!BB", "!BBH", "!BBQ"))


def framed(payload: bytes, mask: int) -> tuple[bytes, bytes]:
    """Return the header and the rest of a frame that is a whole binary message.

    ``mask``: ``MASKED`` at a client, which has to mask what it sends with a new key (5.3), else 0.
    """
    size = len(payload)
    if size < TWO_BYTES:
        header = _short(FINAL_BINARY, mask | size)
    elif size < 1 << 16:
        header = _medium(FINAL_BINARY, mask | TWO_BYTES, size)
    else:
        header = _long(FINAL_BINARY, mask | EIGHT_BYTES, size)
    if not mask:
        return header, payload
    key = urandom(4)
    return header + key, apply_mask(payload, key)


class FrameReader(Pushing):
    """Mixed in before a connection class: takes frames out of what arrives."""

    __slots__ = (
        "_begun",
        "_in_fragments",
        "_key",
        "_largest",
        "_left",
        "_mask",
        "_passes",
        "hand",
        "header",
        "takes_frames",
    )

    protocol: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.takes_frames = False
        "Whether frames are taken here, since :meth:`takes_over`."
        self.hand: Callable[[Any], None] | None = None
        "Where payloads go that are taken here, if not to :attr:`push` at once."
        self.header = b""
        "What has come of a frame's header: it belongs before the next bytes."
        self._largest = 0  # bytes of a payload that is taken here
        self._mask = 0  # of the peer's frames, as in `framed`
        self._begun: bytearray | None = None  # what has come of a payload that is taken here
        self._key = b""  # its mask
        self._left = 0  # bytes of a frame that are to come, whoever takes it
        self._in_fragments = False  # whether the library has a part of a message
        self._passes = False  # whether it takes the next frame too: for that, or after the end
        super().__init__(*arguments, **options)

    def pass_on(self, data: bytes) -> None:
        """Give the library a frame, or the next bytes of one."""
        raise NotImplementedError

    def takes_over(self) -> bool:
        """Whether frames are taken here from now on: the library is between two of them."""
        protocol = self.protocol
        if protocol.state is not OPEN or protocol.debug or protocol.extensions:
            return False  # it sees, and logs, every frame
        step: Any = protocol.parser
        while step.gi_yieldfrom is not None:
            step = step.gi_yieldfrom
        if step.gi_code.co_name != "at_eof" or getattr(protocol, SIZE, 0) is not None:
            return False
        limit = max_frame_of(self)
        self._largest = NO_LIMIT if limit is None else limit
        self._mask = MASKED if protocol.side is Side.SERVER else 0
        self.takes_frames = True
        return True

    def take_frames(self, data: bytes) -> None:
        """Take every frame of what has arrived, and what has come of the last one."""
        if self.header:
            data, self.header = self.header + data, b""
        at, end, take = 0, len(data), self.take_frame
        while at < end:
            at = take(data, at)

    def take_frame(self, data: bytes, at: int) -> int:
        """Take what ``data`` has of one frame, from ``at`` on; return where the next one begins."""
        end = len(data)
        if self._left:
            return self._go_on(data, at)
        # 1. The header.
        body = at + 2
        if body > end:
            self.header = data[at:]
            return end
        first, second = data[at], data[at + 1]
        size = second & LENGTH
        if size >= TWO_BYTES:
            body += 2 if size == TWO_BYTES else 8
            size = int.from_bytes(data[at + 2 : body])
        if second & MASKED:
            body += 4
        if body > end:
            self.header = data[at:]
            return end
        stop = body + size
        # 2. What is not usual is for the library.
        push = self.push
        if (
            first != FINAL_BINARY
            or second & MASKED != self._mask
            or size > self._largest
            or self._passes
            or push is None
        ):
            if not first & CONTROL:
                self._in_fragments = not first & FINAL
            upto = min(stop, end)
            self._left = stop - upto
            self._pass(data[at:upto])
            return upto
        # 3. A payload that is whole, or the beginning of one.
        if stop > end:
            self._key = data[body - 4 : body]
            self._begun = bytearray(memoryview(data)[body:])
            self._left = stop - end
            return end
        hand = self.hand or push
        if self._mask:
            payload = data[body:stop] if size < COPY_BELOW else memoryview(data)[body:stop]
            hand(apply_mask(payload, data[body - 4 : body]))
        else:
            hand(data[body:stop])
        return stop

    def _go_on(self, data: bytes, at: int) -> int:
        """Take what ``data`` has of the frame that has begun; return where that ends."""
        stop = min(at + self._left, len(data))
        self._left -= stop - at
        payload = self._begun
        if payload is None:
            self._pass(data[at:stop])
            return stop
        payload += memoryview(data)[at:stop]
        if not self._left:
            self._begun = None
            hand = self.hand or self.push
            if hand is not None:
                hand(apply_mask(payload, self._key) if self._mask else payload)
        return stop

    def _pass(self, data: bytes) -> None:
        """Give the library a frame or a part of one, and see whether it takes the next one too."""
        self.pass_on(data)
        self._passes = self._in_fragments or self.protocol.state is not OPEN
