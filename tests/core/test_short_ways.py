"""The short ways of a lone message, of a lone call and of a run give what the long ones do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reliable_ws import Config
from reliable_ws.protocol.acks import Acks
from reliable_ws.protocol.calls.outgoing import OutgoingCalls
from reliable_ws.protocol.calls.queue import CallQueue
from reliable_ws.protocol.cursor import Cursor
from reliable_ws.protocol.frame_size import HEADROOM, FrameSize
from reliable_ws.protocol.frames import BEYOND, Finish, Messages
from reliable_ws.protocol.inbox import Inbox
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


class Runner:
    """Two inboxes that get the same: one hands over runs, the other each message by itself."""

    def __init__(self) -> None:
        self.short, self.long = Inbox(CONFIG), Inbox(CONFIG)
        self.run = iter(range(0))
        self.begun = self.short.run

    def both(self, verb: str, *arguments: Any) -> None:
        results = []
        for inbox in (self.short, self.long):
            try:
                results.append(getattr(inbox, verb)(*arguments))
            except IndexError:
                results.append(IndexError)
        assert results[0] == results[1]

    def begin(self, most: int) -> None:
        self.begun = self.short.begin_run(most)
        self.run = iter(self.begun)

    def go_on(self) -> None:
        """Take the next message of the run, if there is one."""
        if self.short.run is self.begun and (number := next(self.run, None)) is not None:
            payload = self.short.queue.popleft()
            self.short.handed = self.short.confirmed = number
            assert payload == self.long.take()

    def arrive(self, count: int) -> None:
        first = self.long.received + 1
        count = min(count, self.long.confirmed + CONFIG.window_messages - self.long.received)
        if not self.long.stopped and self.long.finish is None and count:
            for inbox in (self.short, self.long):
                inbox.arrived(first, [b"%d" % n for n in range(first, first + count)], count)

    def finish(self) -> None:
        if not self.long.stopped and self.long.finish is None:
            self.both("arrived_finish", Finish(self.long.received + 1, 1000, ""))

    def look(self) -> None:
        """Draw the conclusions of what is due."""
        for inbox in (self.short, self.long):
            inbox.due = False

    def same(self) -> bool:
        short, long = self.short, self.long
        return (short.counters(), short.due, short.mark, list(short.queue)) == (
            long.counters(),
            long.due,
            long.mark,
            list(long.queue),
        )


INBOX_STEPS = st.one_of(
    st.tuples(st.just("arrive"), st.integers(0, 4)),
    st.tuples(st.just("begin"), st.integers(0, 5)),
    st.just(("go_on",)),
    st.just(("go_on",)),
    st.just(("look",)),
    st.just(("finish",)),
    st.just(("both", "take")),
    st.just(("both", "deliver")),
    st.just(("both", "stop")),
    st.just(("both", "conclude")),
    st.just(("both", "end_run")),
    st.builds(lambda number: ("confirm", number), st.integers(1, 9)),
    st.builds(lambda number: ("both", "watch", number), st.integers(1, 9)),
)


@given(st.lists(INBOX_STEPS, max_size=30))
def test_a_run_of_messages_is_taken_as_each_by_itself(steps: list[tuple[Any, ...]]) -> None:
    """G2, ACK-3: whatever happens between two of them."""
    runner = Runner()
    for verb, *arguments in steps:
        if verb == "confirm":
            (number,) = arguments
            if number <= runner.long.handed and not runner.long.stopped:
                runner.both("confirm", number)
        else:
            getattr(runner, verb)(*arguments)
        assert runner.same()


def test_a_run_ends_before_the_message_whose_confirmation_is_news():
    """ACK-3, ACK-5"""
    inbox = Inbox(CONFIG)
    inbox.arrived(1, [b"a", b"b", b"c", b"d"], 4)
    inbox.watch(3)
    assert inbox.begin_run(10) == range(1, 3)
    run = inbox.begin_run(1)
    assert run == range(1, 2)
    inbox.watch(BEYOND)
    assert inbox.run is not run
    run = inbox.begin_run(1)
    inbox.end_run()
    assert inbox.run is not run
    assert inbox.begin_run(10) == range(1, 5)
    inbox.deliver()
    assert not inbox.begin_run(10)


def test_a_run_hands_over_nothing_that_was_confirmed_before_a_crash():
    """STORE-8"""
    inbox = Inbox(CONFIG)
    inbox.applied = frozenset({2})
    inbox.arrived(1, [b"a", b"b", b"c"], 4)
    assert not inbox.begin_run(10)


@given(st.integers(1, 4), st.booleans())
def test_an_ack_ends_the_run(taken: int, rides: bool) -> None:
    """ACK-2: it sets another mark."""
    inbox = Inbox(CONFIG)
    inbox.arrived(1, [b"a", b"b", b"c", b"d"], 4)
    run = inbox.begin_run(4)
    for number in run[:taken]:
        inbox.queue.popleft()
        inbox.handed = inbox.confirmed = number
    ack = Acks(inbox, CONFIG).take(riding=rides)
    assert (inbox.run is run) == (ack is None)
