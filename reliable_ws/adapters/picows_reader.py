"""What stands between the event loop and picows, and bounds what a peer can do to both.

picows parses all that has come in one turn of the event loop, as often as its buffer is filled. Its
buffer holds a whole frame: many messages can be parsed at once. And after a fault in a frame it
reads on for a moment, with a log line for each piece that comes.

So :class:`BoundedReader` hands over slices, waits for the next turn of the loop when they have
taken long, and drops what comes after a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from picows import WSCloseCode, WSTransport

from reliable_ws.transport import LONGEST_STEP

__all__ = ["SLICE", "BoundedReader"]

SLICE = 32 * 1024
"""Bytes that picows parses between two looks at the clock. Some 3,200 messages fit in."""

DROPPED = bytearray(SLICE)
"""Where what comes after a fault goes. Nobody reads it."""


class BoundedReader(asyncio.BufferedProtocol):
    """The protocol of a TCP or TLS connection whose bytes picows parses.

    ``closing`` is called whenever something was parsed and a close frame has been sent: perhaps
    picows has found a fault. ``refuse`` is called with what is to be said when more than ``left``
    bytes have come before the first message is whole.
    """

    __slots__ = (
        "_closing",
        "_full",
        "_inner",
        "_loop",
        "_offered",
        "_refuse",
        "_spent",
        "_tcp",
        "_turn_over",
        "_update",
        "_ws",
        "left",
        "stopped",
    )

    def __init__(
        self,
        ws: WSTransport,
        closing: Callable[[], None],
        refuse: Callable[[WSCloseCode, str], None],
        left: int | None,
    ) -> None:
        self._ws = ws
        self._tcp: Any = ws.underlying_transport
        self._closing = closing
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self.left = left
        "Bytes that may come before the first message is whole; ``None``: any number."
        self.stopped = False
        "Whether what comes is dropped."
        self._full = False  # whether nothing is read because the receiver has enough
        self._turn_over = False  # whether nothing is read until the next turn of the loop
        self._offered = 0  # bytes that the last piece had room for
        self._spent = 0.0  # seconds that pieces which filled their room have taken, in a row
        inner: Any = self._tcp.get_protocol()
        self._inner = inner
        self._update = inner.buffer_updated
        self._tcp.set_protocol(self)

    # ------------------------------------------------------------------ what asyncio calls

    def get_buffer(self, sizehint: int) -> Any:
        """Return where the next piece goes."""
        if self.stopped:
            return DROPPED
        room = self._inner.get_buffer(sizehint)
        if len(room) > SLICE:
            room = room[:SLICE]
        self._offered = len(room)
        return room

    def buffer_updated(self, nbytes: int) -> None:
        """Have picows parse a piece."""
        if self.stopped:
            return
        if nbytes < self._offered:  # there is no more at hand
            self._spent = 0.0
            self._update(nbytes)
        else:
            began = time.monotonic()
            self._update(nbytes)
            self._spent += time.monotonic() - began
            if self._spent >= LONGEST_STEP and not self._turn_over:
                self._spent = 0.0
                self._turn_over = True
                self._read_or_not()
                self._loop.call_soon(self._next_turn)
        if self.left is not None:
            self.left -= nbytes
            if self.left < 0:
                self._refuse(WSCloseCode.MESSAGE_TOO_BIG, "the first message is a greeting")
        if self._ws.is_close_frame_sent:
            self._closing()

    def eof_received(self) -> bool | None:
        """Learn that nothing more comes."""
        return self._inner.eof_received()  # type: ignore[no-any-return]

    def pause_writing(self) -> None:
        """Learn that the write buffer is full."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Learn that there is room in it."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the connection is gone."""
        self._inner.connection_lost(exc)

    # ------------------------------------------------------------------ for the transport

    def set_full(self, *, full: bool) -> None:
        """Note whether the receiver has enough for now."""
        self._full = full
        self._read_or_not()

    def stop(self) -> None:
        """Drop what comes from now on: a peer that still writes can read why it is refused."""
        self.stopped = True

    # ------------------------------------------------------------------ inside

    def _next_turn(self) -> None:
        self._turn_over = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read, or do not; a transport that is closing may raise, and reads nothing."""
        # AttributeError: of asyncio, over TLS, once it was closed twice.
        with contextlib.suppress(RuntimeError, AttributeError):
            if self._full or self._turn_over:
                self._tcp.pause_reading()
            elif not self._tcp.is_closing():
                self._tcp.resume_reading()
