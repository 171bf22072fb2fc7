"""Messages between two connections with threads, over a pipe."""

from __future__ import annotations

import logging
import threading

import msgpack
import pytest

from reliable_ws import (
    Config,
    ConfirmTooLate,
    ConnectionClosed,
    ConnectionClosedOK,
    MessageTooLarge,
    NotSerializable,
    NotTaken,
    OutboxFull,
    Outcome,
    OutcomeUnknown,
    PayloadError,
    PeerFinish,
)
from reliable_ws.driver import window_watch
from reliable_ws.driver.status import State
from reliable_ws.protocol.frames import MAX_NUMBER
from reliable_ws.sync import broadcast
from tests.support.inside import driver_of, session_of

from .conftest import SECONDS, pair, run, until, waits
from .pipe import EagerPipe, Pipe

SMALL = Config(outbox_messages=4)
LONG = "long" * 1000


@pytest.mark.parametrize("kind", [Pipe, EagerPipe])
def test_messages_arrive_as_sent_and_are_confirmed(kind):
    with pair(kind) as (ours, theirs):
        sent = ["text \u2603", b"bytes", {"a": [1, None]}, 7, "x" * 3_000_000]
        receipts = [ours.send(message) for message in sent]
        assert [theirs.recv(timeout=SECONDS) for _ in sent] == sent
        for receipt in receipts:
            receipt.wait(SECONDS)
            assert receipt.outcome is Outcome.CONFIRMED
        ours.flush(timeout=SECONDS)
        assert (ours.stats.sent, ours.stats.confirmed, theirs.stats.taken) == (5, 5, 5)
        assert ours.state is theirs.state is State.OPEN
        assert ours.id == theirs.id


def test_many_queued_while_one_is_written_go_together():
    with pair() as (ours, theirs):
        ours.send("first")
        assert theirs.recv(timeout=SECONDS) == "first"
        pipe = ours.websocket
        pipe.freeze()
        for number in range(1000):
            ours.send(number)
        before = pipe.sent
        pipe.thaw()
        assert [theirs.recv(timeout=SECONDS) for _ in range(1000)] == list(range(1000))
        assert pipe.sent - before <= 4


def test_a_message_that_will_be_waited_for_says_so_itself():
    with pair() as (ours, theirs):
        taking = run(lambda: [theirs.recv(timeout=SECONDS) for _ in range(6)])
        ours.send(0).wait(SECONDS)  # nobody knew
        before = ours.websocket.sent
        for number in range(1, 6):
            ours.send(number).wait(SECONDS)
        assert ours.websocket.sent - before == 5
        assert taking.result(SECONDS) == list(range(6))


def test_messages_cross_from_many_threads_each_in_order():
    with pair() as (ours, theirs):
        count, senders = 500, 4

        def produce(conn, name):
            for number in range(count):
                conn.send([name, number])

        def consume(conn):
            received = {name: [] for name in range(senders)}
            for _ in range(count * senders):
                name, number = conn.recv(timeout=SECONDS)
                received[name].append(number)
            return received

        work = [run(produce, conn, name) for conn in (ours, theirs) for name in range(senders)]
        received = [run(consume, conn) for conn in (ours, theirs)]
        for future in work:
            future.result(SECONDS)
        for future in received:
            assert future.result(SECONDS) == {n: list(range(count)) for n in range(senders)}


def test_several_threads_that_receive_are_served_in_the_order_in_which_they_came():
    with pair() as (ours, theirs):
        waiting = []
        for number in range(3):
            waiting.append(run(theirs.recv))
            waits(driver_of(theirs).receiver.waiters, number + 1)
        for number in range(3):
            ours.send(number)
        assert [future.result(SECONDS) for future in waiting] == [0, 1, 2]


def test_a_recv_that_times_out_has_taken_nothing_and_passes_its_turn_on():
    with pair() as (ours, theirs):
        first = run(lambda: theirs.recv(timeout=0.05))
        waits(driver_of(theirs).receiver.waiters)
        second = run(theirs.recv)
        with pytest.raises(TimeoutError):
            first.result(SECONDS)
        ours.send("kept")
        assert second.result(SECONDS) == "kept"
        with pytest.raises(TimeoutError):
            theirs.recv(timeout=0)


def test_send_waits_for_room_and_is_accepted_in_call_order():
    with pair(config=SMALL) as (ours, theirs):
        for number in range(4):
            ours.send(number)
        with pytest.raises(TimeoutError):
            ours.send("late", timeout=0.01)
        with pytest.raises(OutboxFull):
            ours.send_nowait("now")
        waiting = []
        for number in (4, 5):
            waiting.append(run(ours.send, number))
            waits(driver_of(ours).sender.waiters, number - 3)
        with pytest.raises(OutboxFull, match="before this message"):
            ours.send_nowait("now")
        assert [theirs.recv(timeout=SECONDS) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
        assert [future.result(SECONDS).number for future in waiting] == [5, 6]
        after = ours.send_nowait("after")
        assert theirs.recv(timeout=SECONDS) == "after"
        after.wait(SECONDS)


def test_what_cannot_be_sent_is_refused_and_nothing_is_queued():
    with pair(config=Config(max_message=1000)) as (ours, _):
        for send in (ours.send, ours.send_nowait):
            with pytest.raises(NotSerializable):
                send(object())
            with pytest.raises(MessageTooLarge):
                send("x" * 1001)
        assert ours.stats.sent == 0


def test_a_payload_that_cannot_be_decoded_does_not_end_an_iteration(caplog):
    """MSG-4: `recv()` raises; an iteration logs a line and goes on."""
    with pair() as (ours, theirs):
        bad = msgpack.ExtType(1, b"\xc1")
        for payload in ("a", bad, "b", bad, "c"):
            session_of(ours).send_sealed(payload, 7)
        ours.send("d")
        messages = iter(theirs)
        assert [next(messages) for _ in range(2)] == ["a", "b"]
        with pytest.raises(PayloadError):
            theirs.recv()
        session_of(ours).send_sealed(bad, 7)
        ours.send("e")
        deliveries = theirs.deliveries()
        for expected in ("c", "d", "e"):
            with next(deliveries) as message:
                assert message == expected
        ours.flush(timeout=SECONDS)
    assert [record.getMessage().partition(": ")[2][:38] for record in caplog.records] == [
        "message 2 (1 bytes) cannot be decoded ",
        "message 7 (1 bytes) cannot be decoded ",
    ]


def test_a_receipt_and_a_flush_time_out_and_can_be_waited_for_again():
    with pair() as (ours, theirs):
        receipt = ours.send("x")
        for wait in (receipt.wait, ours.flush):
            with pytest.raises(TimeoutError):
                wait(timeout=0.01)
        waiting = run(receipt.wait), run(ours.flush)
        theirs.recv(timeout=SECONDS)
        for future in waiting:
            future.result(SECONDS)
        assert repr(receipt) == "<Receipt 1 confirmed>"


def test_deliveries_are_confirmed_when_the_work_is_done():
    with pair() as (ours, theirs):
        receipts = [ours.send(number) for number in range(3)]
        deliveries = theirs.deliveries()
        with next(deliveries) as message:
            assert message == 0
        receipts[0].wait(SECONDS)
        failed = next(deliveries)
        with pytest.raises(ValueError, match="at work"), failed:
            raise ValueError("at work")
        with next(deliveries):
            pass
        with pytest.raises(TimeoutError):
            receipts[1].wait(0.05)
        failed.confirm()
        failed.confirm()
        ours.flush(timeout=SECONDS)


def test_a_delivery_is_not_confirmed_after_the_end():
    with pair() as (ours, theirs):
        receipt = ours.send("x")
        delivery = next(theirs.deliveries())
        theirs.start_closing()
        with pytest.raises(OutcomeUnknown):
            receipt.wait(SECONDS)
        with pytest.raises(ConfirmTooLate):
            delivery.confirm()


def test_iterating_ends_quietly_at_the_peers_last_word():
    with pair() as (ours, theirs):
        for number in range(3):
            ours.send(number)
        ours.finish()
        assert list(theirs) == [0, 1, 2]
        with pytest.raises(ConnectionClosedOK):
            theirs.recv()
        with pytest.raises(ConnectionClosed):
            ours.send("behind")
        theirs.send("still open")
        assert ours.recv(timeout=SECONDS) == "still open"
        assert [d.message for d in theirs.deliveries()] == []


def test_close_returns_when_everything_is_taken():
    with pair() as (ours, theirs):
        for number in range(100):
            ours.send(number)
        closing = run(ours.close)
        assert list(theirs) == list(range(100))
        theirs.close()
        closing.result(SECONDS)
        assert ours.report.confirmed == 100
        assert ours.state is theirs.state is State.CLOSED
        assert ours.close_code == 1000
        ours.close()
        assert ours.wait_closed(0)


def test_close_in_another_thread_wakes_everybody():
    with pair(config=SMALL) as (ours, theirs):
        for number in range(4):
            ours.send(number)
        reading, sending = run(ours.recv), run(ours.send, "no room")
        known = run(ours.flush)
        waits(driver_of(ours).receiver.waiters)
        waits(driver_of(ours).sender.waiters)
        closing = run(lambda: ours.close(timeout=SECONDS))
        for future in (reading, sending):
            with pytest.raises(ConnectionClosed):
                future.result(SECONDS)
        theirs.close()
        for future in (known, closing):
            with pytest.raises(NotTaken):
                future.result(SECONDS)


def test_that_the_peer_has_finished_is_told_at_once():
    told, heard = [], threading.Event()

    def on_event(event):
        told.append(event)
        if event.name == "peer_finished":
            heard.set()

    with pair(on_event=on_event) as (ours, theirs):
        assert ours.peer_finished is None
        theirs.send("before")
        theirs.finish(1001, "going away")
        assert heard.wait(SECONDS)
        assert (told[-1].code, told[-1].reason) == (1001, "going away")
        assert ours.peer_finished == PeerFinish(1001, "going away")
        assert ours.state is State.PEER_FINISHED
        assert list(ours) == ["before"]


def test_abort_ends_every_wait_at_both_ends():
    with pair() as (ours, theirs):
        receipt = ours.send("unread")
        waiting = [run(ours.recv), run(receipt.wait), run(ours.flush), run(theirs.deliveries)]
        waits(driver_of(ours).receiver.waiters)
        assert not theirs.ended
        ours.abort(reason="enough")
        for future in waiting[:3]:
            with pytest.raises((ConnectionClosed, NotTaken, OutcomeUnknown)):
                future.result(SECONDS)
        assert theirs.wait_closed(SECONDS)
        assert theirs.ended
        assert (theirs.close_code, theirs.close_reason) == (4499, "enough")
        assert ours.report.undelivered[0].message == "unread"


TORN_DOWN = [KeyboardInterrupt, SystemExit, GeneratorExit]


@pytest.mark.parametrize("error", TORN_DOWN)
def test_a_block_that_is_torn_down_delivers_what_was_accepted(error, caplog):
    def work(conn):
        with conn:
            for number in range(5):
                conn.send(number)
            raise error

    with pair() as (ours, theirs):
        reading = run(lambda: (list(theirs), theirs.close())[0])
        with pytest.raises(error):
            work(ours)
        assert reading.result(SECONDS) == list(range(5))
        assert ours.close_code == 1001
    assert not caplog.records


@pytest.mark.parametrize("error", TORN_DOWN)
def test_a_block_that_is_torn_down_tells_what_it_leaves_and_waits_briefly(error, caplog):
    def work(conn):
        with conn:
            conn.send("untaken")
            raise error

    with pair(config=Config(close_cancelled_timeout=0.1)) as (ours, _):
        with pytest.raises(error) as raised:
            work(ours)
        words = "1 sent, 0 confirmed, 1 unknown"
        assert words in raised.value.__notes__[0]
        assert f"{error.__name__} left a connection: {words}" in caplog.text


def test_leaving_the_block_by_an_error_closes_and_notes_what_was_not_delivered():
    def work(conn):
        with conn:
            conn.send("untaken")
            raise ValueError("mine")

    with pair(config=Config(close_progress_timeout=0.1)) as (ours, _):
        with pytest.raises(ValueError, match="mine") as raised:
            work(ours)
        assert "1 sent, 0 confirmed, 1 unknown" in raised.value.__notes__[0]


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_events_are_told_in_order_in_a_thread_of_their_own(error):
    told, done = [], threading.Event()

    def on_event(event):
        told.append((event.name, event.connection.state, threading.current_thread()))
        if event.name == "closed":
            assert event.report.confirmed == 1
            done.set()
        raise error("nobody is hurt")

    with pair(on_event=on_event) as (ours, theirs):
        ours.send("x")
        theirs.recv(timeout=SECONDS)
        theirs.finish()
        until(lambda: ours.peer_finished)
        closing = run(theirs.close)
        ours.close()
        closing.result(SECONDS)
    assert done.wait(SECONDS)
    assert [name for name, _, _ in told] == ["opened", "peer_finished", "closed"]
    assert threading.current_thread() not in [thread for _, _, thread in told]


def test_one_iterator_at_a_time():
    with pair() as (ours, theirs):
        waiting = run(next, iter(theirs))
        waits(driver_of(theirs).receiver.waiters)
        with pytest.raises(RuntimeError, match="only one gets its messages in order"):
            next(iter(theirs))
        for number in range(4):
            ours.send(number)
        waiting.result(SECONDS)
        before, behind = iter(theirs), iter(theirs)
        next(before)
        next(behind)
        with pytest.raises(RuntimeError, match="only one gets its messages in order"):
            next(before)
        next(behind)


def test_one_iterator_after_the_other_goes_on_where_that_was_left():
    with pair() as (ours, theirs):
        for number in range(3):
            ours.send(number)
        got = []
        for _ in range(3):
            for message in theirs:
                got.append(message)
                break
        assert got == [0, 1, 2]


def test_deliveries_that_nobody_confirms_are_told_when_the_window_stands_still(monkeypatch, caplog):
    monkeypatch.setattr(window_watch, "STUCK_AFTER", 0.01)
    with pair(config=Config(window_messages=2, outbox_messages=9, idle_timeout=1.0)) as (
        ours,
        theirs,
    ):
        for n in range(3):
            ours.send(n)
        forgetting = run(list, theirs.deliveries())
        until(lambda: "2 deliveries are not confirmed and fill the window" in caplog.text)
        ours.abort()
        with pytest.raises(ConnectionClosed):
            forgetting.result(SECONDS)


def test_a_broadcast_reaches_all_and_skips_who_has_no_room(caplog):
    with (
        pair(config=SMALL) as (ours, theirs),
        pair(config=Config(max_message=1000)) as (small, other),
    ):
        broadcast([ours, small], LONG)
        assert theirs.recv(timeout=SECONDS) == LONG
        assert "broadcast() skipped 1 of 2 connections: <Connection" in caplog.text
        with pytest.raises(ExceptionGroup, match="skipped 1 of 2"):
            broadcast([ours, small], LONG, raise_exceptions=True)
        session_of(small).outbox.restore(MAX_NUMBER - 1, [])  # it has no number left
        with pytest.raises(ExceptionGroup, match="skipped 1 of 2"):
            broadcast([small, ours], "x", raise_exceptions=True)
        assert [theirs.recv(timeout=SECONDS) for _ in range(2)] == [LONG, "x"]
        other.abort()
        broadcast([ours, other], [1])
        assert theirs.recv(timeout=SECONDS) == [1]


def test_the_log_says_in_words_what_travels(caplog):
    caplog.set_level(logging.DEBUG, "reliable_ws")
    with pair() as (ours, theirs):
        ours.send("secret")
        assert theirs.recv(timeout=SECONDS) == "secret"
    name = f"session {ours.id.hex()[:8]}"
    for words in ("gets Welcome, new", "sends message 1", "gets message 1"):
        assert f"{name} {words}" in caplog.text
    assert "secret" not in caplog.text
