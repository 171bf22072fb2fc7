"""Connections of websockets that hand over messages synchronously, as they are parsed.

This saves a hop through the library's queue and a task switch per message: most of what a
confirmed send costs more than a plain one (see the benchmarks). It rests on one method that the
library's own subclasses override, ``process_event``, unchanged from 13.1 to 17.4; where it is
never called, messages go the ordinary way, through ``recv()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.frames import DATA_OPCODES, Opcode

__all__ = ["Pushing", "PushingClient", "PushingServer"]


class Pushing:
    """Mixed in before a connection class."""

    push: Callable[[Any], None] | None = None
    "Where whole binary messages go; ``None``: into the library's queue."

    partial: bytearray | None = None
    "What has arrived of a binary message in fragments."

    def process_event(self, event: Any) -> None:
        """Take one frame that arrived, as the library's own classes do."""
        push = self.push
        if push is not None and event.opcode in DATA_OPCODES:
            if event.opcode is Opcode.BINARY and event.fin:
                push(event.data)
                return
            partial = bytearray() if event.opcode is Opcode.BINARY else self.partial
            if partial is not None:
                partial += event.data
                self.partial = None if event.fin else partial
                if event.fin:
                    push(bytes(partial))
                return
            self.push = None  # text: from now on all in the queue, in order
        super().process_event(event)  # type: ignore[misc]


class _Writing(Pushing):
    """Where one thread does everything, a write need not wait for another."""

    def write(self, data: bytes) -> None:
        """Send a binary message without waiting, as the library's ``broadcast`` does."""
        self.protocol.send_binary(data)  # type: ignore[attr-defined]
        self.send_data()  # type: ignore[attr-defined]


class PushingClient(_Writing, ClientConnection):
    """The client side."""


class PushingServer(_Writing, ServerConnection):
    """The server side."""
