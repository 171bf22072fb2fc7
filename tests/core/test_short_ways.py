"""The short ways of a lone message and of a lone call give what the long ones do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reliable_ws import Config
from reliable_ws.protocol.calls.outgoing import OutgoingCalls
from reliable_ws.protocol.calls.queue import CallQueue
from reliable_ws.protocol.cursor import Cursor
from reliable_ws.protocol.frame_size import HEADROOM, FrameSize
from reliable_ws.protocol.frames import Messages
from reliable_ws.protocol.outbox import Outbox
from reliable_ws.protocol.payload import DEFAULT_CODEC

CONFIG = Config(window_messages=4, window_bytes=4096, batch_bytes=2048, max_frame=4096)


class LongWay(Cursor):
    """A cursor that cuts every run as it cuts a long one."""

    def cut(self, used: int = 0) -> Any:
        frame = self._messages(self.frame_size.size - HEADROOM, used)
        self.outbox.transmitted = max(self.outbox.transmitted, self.number - 1)
        return frame


def lone_message(kind: type[Cursor], size: int, before: int, stored: int) -> Cursor:
    """Return a cursor at the only message that is not confirmed."""
    outbox = Outbox(CONFIG, DEFAULT_CODEC)
    cursor = kind(outbox, FrameSize(CONFIG.max_frame), CONFIG)
    for _ in range(before):
        outbox.accept(b"before", 10)
    if before:
        cursor.number = before + 1
        outbox.confirm(before)
    outbox.accept(b"x" * size, size + 6)
    outbox.stored = stored
    return cursor


@given(
    size=st.integers(0, 6000),
    before=st.integers(0, 3),
    stored=st.integers(0, 5),
    used=st.integers(0, 3000),
)
def test_a_lone_message_is_cut_as_a_run_would_be(
    size: int, before: int, stored: int, used: int
) -> None:
    """WINDOW-1, WINDOW-3: whatever its size, and what calls take of the frame."""
    short = lone_message(Cursor, size, before, stored)
    long = lone_message(LongWay, size, before, stored)
    for _ in range(4):  # a message above the frame goes in parts
        frame = short.cut(used)
        assert frame == long.cut(used)
        assert (short.number, short.offset, short.starved) == (
            long.number,
            long.offset,
            long.starved,
        )
        assert short.outbox.transmitted == long.outbox.transmitted
        if isinstance(frame, Messages):
            return


@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=4),
    by=st.none() | st.floats(1, 9),
    gone=st.integers(0, 4),
)
def test_a_lone_call_goes_as_a_run_would(sizes: list[int], by: float | None, gone: int) -> None:
    """CALL-3, CALL-9: one with a time, or that went before, takes the long way."""
    queues = []
    for _ in range(2):
        queue = CallQueue(CONFIG)
        calls = OutgoingCalls(queue)
        for size in sizes:
            number = calls.request("do", b"x" * size, size + 6, by, 0)
        queue.transmitted = min(gone, number)
        queues.append((queue, calls))
    (short, _), (long, calls) = queues
    lone = short.lone(number)
    if by is not None or gone >= number:
        assert lone is None
        assert short.transmitted == long.transmitted
        return
    entries, used = long.run(number, 640, 10**9, calls.refresh, 0.0)
    assert lone == (entries[0], used)
    assert short.transmitted == long.transmitted == number
