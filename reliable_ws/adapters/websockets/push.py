"""Connections of websockets that hand over messages synchronously, as they are parsed.

This saves a hop through the library's queue and a task switch per message: most of what a
confirmed send costs more than a plain one (see the benchmarks). It rests on one method that the
library's own subclasses override, ``process_event``, unchanged from 13.1 to 17.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol

from reliable_ws.protocol.registry import MAX_GREETING

__all__ = ["Pushing", "Unmet"]

BINARY = Opcode.BINARY


class Unmet(ServerProtocol):
    """A server's protocol until the first message has come.

    The library keeps up to ``max_size`` bytes of an incomplete message. A peer that has not greeted
    could have a megabyte kept for it until it is given up. The class of the protocol object is
    changed for that time: an attribute more would make each connection larger for good.
    """

    __slots__ = ()

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take bytes from the network; fail the connection if too many are kept."""
        super().receive_data(data)
        if self.state is State.OPEN:
            fragments = getattr(self, SIZE, None) or 0
            if fragments + len(self.reader.buffer) > MAX_GREETING:
                self.fail(1009, "the first message is a greeting")


SIZE = "current_size" if hasattr(Protocol(Side.SERVER), "current_size") else "cur_size"
"""How many bytes of fragments have come of a message; the older name until 15.0."""


class Pushing:
    """Mixed in before a connection class."""

    greeted = False
    "Whether the first message is a greeting, so that it has to be short. For servers."

    # One attribute more in the library's own dictionary would make that grow by 1.3 KiB.
    __slots__ = ("_partial", "push", "queued")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.push: Callable[[Any], None] | None = None
        "Where messages go; ``None``: into the library's queue."
        self.queued = 0
        "Messages that went there."
        self._partial: bytearray | None = None  # what has arrived of a binary one in fragments
        if self.greeted:
            for protocol in (*arguments, *options.values()):
                if type(protocol) is ServerProtocol:
                    protocol.__class__ = Unmet
        super().__init__(*arguments, **options)  # begins to read, with threads

    def process_event(self, event: Any) -> None:
        """Take one frame that arrived, as the library's own classes do."""
        push = self.push
        # The short way of nearly every message, then the others.
        if push is not None and type(event) is Frame and event.opcode is BINARY and event.fin:
            push(event.data)
        elif not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)  # type: ignore[misc]
        elif push is None:
            self.queued += event.fin
            if self.queued == 1 and event.fin and self.greeted:
                self.protocol.__class__ = ServerProtocol  # type: ignore[attr-defined]
            super().process_event(event)  # type: ignore[misc]
        else:
            self._put_together(event, push)

    def _put_together(self, event: Frame, push: Callable[[Any], None]) -> None:
        """Take a fragment, or a text: whatever it says, it is no message of ours."""
        if event.opcode is BINARY:
            self._partial = bytearray()
        if self._partial is None:
            push("")
            return
        self._partial += event.data
        if event.fin:
            message, self._partial = bytes(self._partial), None
            push(message)
