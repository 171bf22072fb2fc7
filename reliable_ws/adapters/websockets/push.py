"""Connections of websockets that hand over messages synchronously, as they are parsed.

This saves a hop through the library's queue and a task switch per message: most of what a
confirmed send costs more than a plain one (see the benchmarks). It rests on one method that the
library's own subclasses override, ``process_event``, unchanged from 13.1 to 17.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.frames import DATA_OPCODES, Frame, Opcode

__all__ = ["Pushing"]


class Pushing:
    """Mixed in before a connection class."""

    # One attribute more in the library's own dictionary would make that grow by 1.3 KiB.
    __slots__ = ("_partial", "push", "queued")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.push: Callable[[Any], None] | None = None
        "Where messages go; ``None``: into the library's queue."
        self.queued = 0
        "Messages that went there."
        self._partial: bytearray | None = None  # what has arrived of a binary one in fragments
        super().__init__(*arguments, **options)  # begins to read, with threads

    def process_event(self, event: Any) -> None:
        """Take one frame that arrived, as the library's own classes do."""
        push = self.push
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)  # type: ignore[misc]
        elif push is None:
            self.queued += event.fin
            super().process_event(event)  # type: ignore[misc]
        elif event.opcode is Opcode.BINARY and event.fin:
            push(event.data)
        else:
            self._put_together(event, push)

    def _put_together(self, event: Frame, push: Callable[[Any], None]) -> None:
        """Take a fragment, or a text: whatever it says, it is no message of ours."""
        if event.opcode is Opcode.BINARY:
            self._partial = bytearray()
        if self._partial is None:
            push("")
            return
        self._partial += event.data
        if event.fin:
            message, self._partial = bytes(self._partial), None
            push(message)
