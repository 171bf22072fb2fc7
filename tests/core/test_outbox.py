"""The ledger of what we send: one queue, and positions in it."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import MAX_NUMBER, Finish
from reliable_ws.protocol.outbox import Outbox
from reliable_ws.protocol.payload import MsgpackCodec

from .helpers import initiator


def outbox(*payloads: str, messages: int = 100, size: int = 1000) -> Outbox:
    config = Config(outbox_messages=messages, outbox_bytes=size)
    box = Outbox(config, MsgpackCodec())
    for payload in payloads:
        box.append(payload, len(payload))
    return box


def test_numbers_begin_at_1():
    """NUM-1"""
    box = outbox()
    assert [box.append(letter, 1) for letter in "abc"] == [1, 2, 3]
    assert (len(box), box.messages, box.last, box.held) == (3, 3, 3, 3)


def test_an_offer_lets_in_what_the_peer_and_the_room_allow():
    """The way of nearly every message: it never raises, 0 means to find out why."""
    box = outbox(messages=2, size=30)
    assert box.offer(b"x") == 0  # the first message makes the lists
    assert box.accept(b"", 0) == 1
    box.confirm(1)
    box.hold()
    assert box.offer(b"x") == 0
    box.unhold()
    box.heed(box.peer._replace(max_message=4))
    assert (box.offer(b"x" * 5), box.offer([1]), box.offer("\xe4")) == (0, 0, 0)
    assert (box.offer(b"abcd"), box.offer("efgh"), box.offer(b"")) == (2, 3, 0)
    box.confirm(2)
    assert (box.offer(b"abcdabcd"), box.offer(b"abc"), list(box.run(3, 9, 99))) == (
        0,
        4,
        ["efgh", b"abc"],
    )
    assert box.held == 19


def test_finish_takes_the_next_number_and_weighs_nothing():
    """CLOSE-1"""
    box = outbox("a", "b")
    box.close(1001, "bye")
    assert box.finish == Finish(3, 1001, "bye")
    assert (len(box), box.messages, box.last, box.held) == (2, 2, 3, 2)


def test_confirming_releases_messages_and_their_weight():
    box = outbox("a", "bb", "ccc")
    box.confirm(2)
    assert (len(box), box.held, box.released) == (1, 3, 3)
    assert list(box.unconfirmed()) == [(3, "ccc")]


def test_confirming_finish_leaves_nothing():
    box = outbox("a")
    box.close(1000, "")
    box.confirm(2)
    assert (len(box), box.held, list(box.unconfirmed())) == (0, 0, [])


def test_confirming_everything_but_finish_leaves_no_message():
    box = outbox("a")
    box.close(1000, "")
    box.confirm(1)
    assert (len(box), box.confirmed, box.last) == (0, 1, 2)


@pytest.mark.parametrize("step", [1, 2, 7, 50, 99])
def test_positions_hold_however_confirmations_are_cut(step):
    """The lists are compacted now and then; nobody can tell when."""
    box = outbox(*(str(n) for n in range(1, 101)))
    for upto in range(step, 100, step):
        box.confirm(upto)
        assert list(box.unconfirmed()) == [(n, str(n)) for n in range(upto + 1, 101)]
        assert box.held == sum(len(str(n)) for n in range(upto + 1, 101))
        assert box.run(upto + 1, 3, 1000) == [str(n) for n in range(upto + 1, min(upto + 4, 101))]
        assert box.end_of(upto) == box.released
        assert box.end_of(100) == box.total == 192


def test_what_is_confirmed_is_let_go_at_once():
    """G5: its place in the list may stay a while, the message itself does not."""
    box = outbox(*"abcdefghij")
    box.confirm(2)
    assert "a" not in box._payloads
    assert "b" not in box._payloads


def test_a_run_ends_at_count_at_weight_and_at_the_last_message():
    """WINDOW-1"""
    box = outbox("aa", "bb", "cc", "dd")
    assert box.run(1, 3, 100) == ["aa", "bb", "cc"]
    assert box.run(1, 9, 5) == ["aa", "bb"]
    assert box.run(3, 9, 100) == ["cc", "dd"]
    assert box.run(2, 9, 1) == []
    assert box.run(2, 9, -1) == []
    assert box.run(1, 0, 100) == []


def test_room_is_bounded_by_messages_and_by_bytes():
    """G5"""
    box = outbox("a", messages=2, size=10)
    assert box.has_room(9)
    assert not box.has_room(10)
    box.append("b", 1)
    assert not box.has_room(1)
    box.confirm(1)
    assert box.has_room(1)


def test_a_lone_message_always_has_room():
    """WINDOW-3: however large."""
    box = outbox(size=10)
    assert box.has_room(1000)
    box.append("x", 1000)
    assert not box.has_room(1)


def test_numbers_end_where_the_highest_is_left_for_finish():
    """NUM-3"""
    box = outbox()
    box.restore(MAX_NUMBER - 3, [])
    assert box.append("a", 7) == MAX_NUMBER - 2
    assert (box.offer("b"), box.offer("c")) == (MAX_NUMBER - 1, 0)
    with pytest.raises(OverflowError):
        box.append("more", 4)
    box.close(1000, "")
    assert box.last == MAX_NUMBER


def test_a_restored_outbox_counts_everything_as_transmitted():
    """RESUME-7: what really went is not known, and an honest peer may ack any of it."""
    box = outbox()
    box.restore(7, [("a", 1), ("bb", 2)])
    assert (box.confirmed, box.acked, box.transmitted, box.last) == (7, 7, 9, 9)
    assert list(box.unconfirmed()) == [(8, "a"), (9, "bb")]
    assert (box.held, box.payload(9), box.end_of(7), box.end_of(8)) == (3, "bb", 0, 1)


def test_a_session_offers_what_its_outbox_takes():
    """What is not plain bytes or ASCII takes the long way."""
    session = initiator().session
    assert (session.offer("first"), session.send("first")) == (0, 1)
    assert [session.offer(b"a"), session.offer("b"), session.offer({"c": 1})] == [2, 3, 0]
    assert session.send({"c": 1}) == 4
