"""The ledger of what we receive. (Its guards: test_dishonest*.py.)"""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.codec import MAX_RANGES
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import ConfirmTooLate
from reliable_ws.protocol.frames import BEYOND, Counters, Finish, Part
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving
from tests.support.pair import Pair


def inbox(*payloads: str, first: int = 1) -> Inbox:
    box = Inbox(Config(window_messages=1000, window_bytes=1000, max_message=1000))
    if payloads:
        box.arrived(first, list(payloads), 10)
    return box


def test_taking_hands_over_and_confirms_in_one_step():
    """G2, COUNT-1"""
    box = inbox("a", "b")
    assert box.counters() == Counters(2, 0, 0, False)
    assert box.take() == "a"
    assert box.counters() == Counters(2, 1, 1, False)
    assert (box.take(), len(box)) == ("b", 0)


def test_taking_from_an_empty_inbox_changes_nothing():
    box = inbox()
    with pytest.raises(IndexError):
        box.take()
    with pytest.raises(IndexError):
        box.deliver()
    assert box.counters() == Counters(0, 0, 0, False)


def test_a_delivery_is_handed_over_and_not_confirmed():
    box = inbox("a", "b")
    assert box.deliver() == (1, "a")
    assert box.counters() == Counters(2, 0, 1, False)
    assert box.confirm(1)
    assert box.counters() == Counters(2, 1, 1, False)


def test_deliveries_confirmed_out_of_order_wait_for_those_before():
    """COUNT-3: told as ranges meanwhile."""
    box = inbox(*"abcdef")
    for _ in range(6):
        box.deliver()
    for number in (2, 3, 6):
        box.confirm(number)
    assert box.counters() == Counters(6, 0, 6, False, ((2, 3), (6, 6)))
    box.confirm(1)
    assert box.counters() == Counters(6, 3, 6, False, ((6, 6),))
    box.confirm(5)
    box.confirm(4)
    assert box.counters() == Counters(6, 6, 6, False)


def test_what_is_taken_behind_an_open_delivery_waits_for_it():
    box = inbox("a", "b")
    box.deliver()
    assert box.take() == "b"
    assert box.counters() == Counters(2, 0, 2, False, ((2, 2),))
    box.confirm(1)
    assert box.confirmed == 2


def test_confirming_again_does_no_harm():
    box = inbox("a", "b")
    box.deliver()
    box.deliver()
    assert box.confirm(2)
    assert not box.confirm(2)
    assert box.confirm(1)
    assert not box.confirm(1)
    assert not box.confirm(2)


def test_confirming_what_was_never_handed_over_is_the_callers_mistake():
    box = inbox("a", "b")
    box.deliver()
    with pytest.raises(ValueError, match="2"):
        box.confirm(2)


def test_stopping_drops_what_is_untaken():
    """CLOSE-3, PART-12"""
    box = inbox("a", "b", "c")
    box.deliver()
    box.stop()
    assert (len(box), box.held) == (0, 0)
    assert box.counters() == Counters(3, 0, 1, True)
    with pytest.raises(IndexError):
        box.take()


def test_confirming_after_the_stop_is_too_late():
    """CLOSE-3: what was told is final."""
    box = inbox("a", "b")
    box.deliver()
    box.deliver()
    box.confirm(2)
    box.stop()
    with pytest.raises(ConfirmTooLate):
        box.confirm(1)
    assert not box.confirm(2)
    assert box.counters() == Counters(2, 0, 2, True, ((2, 2),))


def test_only_so_many_ranges_are_told():
    """COUNT-6: the rest is at most handed, hence unknown: no lie."""
    box = inbox(*map(str, range(200)))
    for _ in range(200):
        box.deliver()
    for number in range(2, 200, 2):
        box.confirm(number)
    ranges = box.counters().ranges
    assert len(ranges) == MAX_RANGES
    assert ranges[-1] == (128, 128)


def test_finish_is_taken_when_everything_before_it_is_confirmed():
    """CLOSE-2"""
    box = inbox("a")
    box.arrived_finish(Finish(2, 1000, ""))
    box.conclude()
    assert (box.confirmed, box.done) == (0, False)
    box.take()
    box.conclude()
    assert box.counters() == Counters(2, 2, 1, False)
    box.conclude()
    assert (box.confirmed, box.done) == (2, True)


def test_finish_is_not_taken_after_the_stop():
    """CLOSE-3"""
    box = inbox("untaken")
    box.arrived_finish(Finish(2, 1000, ""))
    box.stop()
    box.conclude()
    assert (box.confirmed, box.state) == (0, Receiving.STOPPED)


def session_with(*payloads: str) -> Session:
    session = Session("acceptor", bytes(16), bytes(32), 0.0)
    session.inbox.arrived(1, list(payloads), 10)
    return session


def test_something_is_due_when_the_watched_number_is_confirmed():
    """ACK-5: by taking and by confirming alike."""
    session = session_with("a", "b", "c")
    session.inbox.watch(2)
    session.take()
    assert not session.due
    session.deliver()
    session.confirm(2)
    assert session.due
    session.poll(0.0)
    session.inbox.watch(3)
    session.take()
    assert session.due


def test_something_is_due_when_the_last_message_before_finish_is_confirmed():
    """CLOSE-2: nobody else would look."""
    session = session_with("a", "b")
    box = session.inbox
    assert box.mark == BEYOND
    box.arrived_finish(Finish(3, 1000, ""))
    box.watch(BEYOND)
    session.take()
    assert not session.due
    session.take()
    assert session.due


def test_bytes_are_held_until_confirmed():
    """G5: the count is right at every moment, not only when more arrives."""
    box = inbox()
    box.arrived(1, ["a", "b"], 30)
    box.arrived(3, ["c"], 20)
    assert box.held == 50
    box.take()
    assert box.held == 50
    box.take()
    assert box.held == 20
    box.take()
    assert box.held == 0


def test_reading_what_is_held_changes_nothing():
    """Metrics read it in a thread of their own: a change there could undo one of the session."""
    box = inbox()
    box.arrived(1, ["a"], 30)
    box.arrived(2, ["b"], 20)
    box.take()

    def facts():
        return box._held, list(box._sizes)

    before = facts()
    assert box.held == 20
    assert facts() == before


def test_a_quarter_of_the_bytes_is_marked():
    """ACK-3: its confirmation is worth telling at once."""
    box = inbox()
    box.arrived(1, ["a"], 249)
    assert not box.byte_marks
    box.arrived(2, ["b"], 1)
    assert list(box.byte_marks) == [2]
    box.arrived(3, ["c"], 300)
    assert list(box.byte_marks) == [2, 3]


@pytest.mark.parametrize(
    ("kind", "data", "payload"),
    [
        (0, b"0123456789", b"0123456789"),
        (1, "0123ä678".encode(), "0123ä678"),
        (2, b"\x93\x01\x02\x03\x04", msgpack.ExtType(1, b"\x93\x01\x02\x03\x04")),
    ],
)
def test_parts_become_one_message(kind, data, payload):
    """PART-2, PART-3"""
    box = inbox("a")
    total = len(data)
    assert not box.arrived_part(Part(2, 0, total, kind, data[:3]))
    assert (box.partial, box.received, len(box)) == (3, 1, 1)
    assert not box.arrived_part(Part(2, 3, total, kind, data[3:4]))
    assert box.arrived_part(Part(2, 4, total, kind, data[4:]))
    assert (box.partial, box.received, len(box)) == (0, 2, 2)
    assert [box.take(), box.take()] == ["a", payload]


def test_a_part_may_be_whole():
    box = inbox()
    assert box.arrived_part(Part(1, 0, 1, 0, b"x"))
    assert box.take() == b"x"


def test_the_stop_drops_parts():
    box = inbox()
    box.arrived_part(Part(1, 0, 9, 0, b"x"))
    box.stop()
    assert box.partial == 0


def test_a_restored_inbox_begins_at_what_was_confirmed():
    """RESUME-7"""
    box = inbox()
    box.restore(5)
    box.arrived(6, ["f"], 1)
    assert box.deliver() == (6, "f")


def test_wide_text_counts_with_its_memory_until_it_is_taken():
    pair = Pair()
    pair.connect()
    wide = "\N{GRINNING FACE}" + "a" * 1000
    for count in (1, 2):
        pair.client.send(wide)
        pair.run()
        assert pair.server.inbox.memory > count * 4 * len(wide)
    assert pair.server_take() == [wide, wide]
    assert pair.server.inbox.memory == 0
