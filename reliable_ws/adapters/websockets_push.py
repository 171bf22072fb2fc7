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

__all__ = ["PushingClient", "PushingServer"]


class _Pushing:
    """Mixed in before a connection class."""

    push: Callable[[Any], None] | None = None
    "Where whole binary messages go; ``None``: into the library's queue."

    def process_event(self, event: Any) -> None:
        push = self.push
        if push is not None:
            opcode = event.opcode
            if opcode is Opcode.BINARY and event.fin:
                push(event.data)
                return
            if opcode in DATA_OPCODES:  # fragments, or text: from now on all in the queue, in order
                self.push = None
        super().process_event(event)  # type: ignore[misc]

    def write(self, data: bytes) -> None:
        """Send a binary message without waiting, as the library's ``broadcast`` does."""
        self.protocol.send_binary(data)  # type: ignore[attr-defined]
        self.send_data()  # type: ignore[attr-defined]


class PushingClient(_Pushing, ClientConnection):
    """The client side."""


class PushingServer(_Pushing, ServerConnection):
    """The server side."""
