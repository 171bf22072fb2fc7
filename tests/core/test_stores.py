"""What a side that keeps its sessions says, and when; and what is so after its process died."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.durable import BYTES_AT_ONCE, pack_payload
from reliable_ws.protocol.errors import Kept, StoreFull
from reliable_ws.protocol.events import Detached, EndKept, Replied, Requested, Stored, Withdrawn
from reliable_ws.protocol.frames import (
    KIND_BYTES,
    Ack,
    CallAck,
    Calls,
    Code,
    Done,
    Finish,
    Hello,
    Messages,
    Part,
    Refuse,
    Request,
    Stop,
    Void,
    Welcome,
)
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.payload import seal
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.stored import KeptSend
from reliable_ws.protocol.stored_session import StoredSession
from tests.support.stores import WALL, StoredPair

from .two_sides import MAX_FRAME

CODEC = None


def by_hand(**sides: bool) -> StoredPair:
    """Two sides that have greeted; from now on the test says when something is kept."""
    pair = StoredPair(**sides)
    pair.connect()
    pair.automatic = False
    return pair


def say(pair: StoredPair, who: str) -> list:
    """Return the frames that a side says now, and put them in flight."""
    pair.submit(who)
    wire = pair.wire
    end, line = (wire.dialer, wire.up) if who == "client" else (wire.listener, wire.down)
    frames = []
    while (data := end.transmit(pair.now)) is not None:
        frames += decode(data, MAX_FRAME)
        line.append(data)
    return frames


def kinds(frames: list) -> list[type]:
    return [type(frame) for frame in frames]


def arrive(pair: StoredPair) -> None:
    """Deliver everything that is in flight."""
    while pair.deliver_up() or pair.deliver_down():
        pass


def settle(pair: StoredPair) -> None:
    """Go on until both sides are silent, with stores that keep everything."""
    for who in pair.stores:
        pair.keep(who)
    pair.automatic = True
    pair.run()


# ---------------------------------------------------------------- 1: the session, its attempt


def test_hello_waits_until_its_attempt_is_kept():
    """STORE-1"""
    pair = StoredPair(automatic=False)
    pair.dial()
    assert say(pair, "client") == []
    pair.keep("client")
    assert kinds(say(pair, "client")) == [Hello]
    assert pair.stores["client"].open()[0].session == pair.client.id


def test_welcome_waits_until_the_session_is_kept():
    """STORE-1"""
    pair = StoredPair(automatic=False)
    pair.dial()
    say(pair, "client")
    pair.keep("client")
    say(pair, "client")
    pair.deliver_up()
    assert say(pair, "server") == []
    pair.keep("server")
    assert kinds(say(pair, "server")) == [Welcome]


def test_nothing_follows_the_first_welcome_before_the_incarnation_is_kept():
    """STORE-1"""
    pair = StoredPair(server=False, automatic=False)
    pair.client.send(b"early")
    pair.dial()
    say(pair, "client")
    pair.keep("client")
    say(pair, "client")
    pair.deliver_up()
    say(pair, "server")
    pair.deliver_down()
    assert say(pair, "client") == []
    pair.keep("client")
    assert Messages in kinds(say(pair, "client"))
    kept = StoredSession(pair.stores["client"].open()[0])
    assert kept.facts["incarnation"] == pair.server.incarnation


@pytest.mark.parametrize("crashes", [False, True])
def test_a_message_that_the_peer_does_not_take_ends_the_session_unsent(crashes):
    """PART-5, where it was accepted before the first Welcome."""
    pair = StoredPair(Config(max_message=2000), server=False)
    pair.registry.config = Config(max_message=1000)
    pair.client.send(b"small")
    pair.client.send(b"x" * 1500)
    pair.submit("client")
    if crashes:
        pair.dial()
        pair.crash("client")
    pair.connect()
    assert pair.client.ended.kind is End.ABORTED
    assert "message 2 is larger" in pair.client.ended.reason
    assert pair.client.report().confirmed == 0
    assert pair.server.inbox.received == 0
    assert pair.server.ended.code == Code.ABORTED


def test_an_attempt_that_was_said_is_not_said_again_after_a_crash():
    """RESUME-1"""
    pair = by_hand()
    pair.automatic = True
    pair.crash("client")
    assert pair.client.attempt == 1
    pair.connect()
    assert pair.client.attempt == 2
    assert pair.server.attached


def test_a_held_link_that_is_replaced_says_its_last_word():
    pair = by_hand()
    pair.client.send(b"x")
    pair.dial()  # takes over while the first link is open
    assert not pair.wires[0].dialer.held
    assert pair.wires[1].dialer.held


# ---------------------------------------------------------------- 2: what was accepted


def test_a_message_waits_until_it_is_kept():
    """STORE-2"""
    pair = by_hand()
    pair.client.send(b"one")
    assert say(pair, "client") == []
    pair.client.send(b"two")  # while the store works
    pair.keep("client")
    assert pair.client_events[-1] == Stored(1)
    frames = say(pair, "client")
    assert frames[-1] == Messages(1, [b"one"])
    pair.keep("client")
    assert say(pair, "client")[-1] == Messages(2, [b"two"])


def test_a_message_larger_than_a_frame_waits_too():
    """STORE-2"""
    pair = by_hand()
    pair.client.send(b"x" * 3_000_000)
    assert say(pair, "client") == []
    settle(pair)
    assert pair.server_take() == [b"x" * 3_000_000]


def test_an_accepted_message_that_is_not_kept_never_went():
    """STORE-2"""
    pair = by_hand()
    pair.client.send(b"lost")
    say(pair, "client")
    pair.crash("client")
    pair.client.send(b"other")  # the same number, which nobody has seen
    pair.automatic = True
    pair.connect()
    assert pair.server_take() == [b"other"]


@pytest.mark.parametrize("taken", [False, True])
def test_what_is_kept_arrives_once_though_the_sender_dies(taken):
    pair = by_hand()
    pair.automatic = True
    for number in range(5):
        pair.client.send(str(number))
    pair.pull()
    pair.deliver_up()
    if taken:
        assert len(pair.server_take()) == 5
    pair.crash("client")
    pair.client.send("5")
    pair.connect()
    assert pair.server_take() == (["5"] if taken else [*"012345"])
    pair.advance(2)
    assert pair.client.report().confirmed == 6
    assert pair.stores["client"].open()[0].messages == ()


def test_finish_waits_until_it_is_kept():
    """STORE-2, STORE-4"""
    pair = by_hand()
    pair.client.finish(pair.now)
    assert say(pair, "client") == []
    pair.keep("client")
    assert kinds(say(pair, "client")) == [Finish]


def test_finish_rides_only_if_it_is_kept_with_the_last_message():
    """STORE-2"""
    pair = by_hand()
    pair.client.send(b"x")
    pair.submit("client")
    pair.client.finish(pair.now)
    pair.keep("client")
    assert kinds(say(pair, "client")) == [Messages]
    pair.keep("client")
    assert kinds(say(pair, "client")) == [Finish]


def test_entries_of_calls_wait_until_they_are_kept():
    """CALL-12"""
    pair = by_hand()
    pair.client.request("method", *seal(b"x", pair.client.codec))
    assert say(pair, "client") == []
    pair.keep("client")
    assert kinds(say(pair, "client")) == [Calls]


# ---------------------------------------------------------------- 3: what was confirmed


def test_a_confirmation_waits_until_it_is_kept():
    """STORE-3"""
    pair = by_hand(client=False)
    number = pair.client.send(b"x")
    pair.client.want(number)
    say(pair, "client")
    arrive(pair)
    assert pair.server_take() == [b"x"]
    assert not [frame for frame in say(pair, "server") if type(frame) is Ack and frame.confirmed]
    pair.keep("server")
    assert say(pair, "server") == [Ack(1, 1)]


def test_nothing_is_said_until_that_is_kept_which_the_peer_waits_for():
    """ACK-3, STORE-3: that it was received alone is no news."""
    pair = by_hand(client=False)
    pair.client.want(pair.client.send(b"x"))
    say(pair, "client")
    arrive(pair)
    assert pair.server_take() == [b"x"]
    assert say(pair, "server") == []
    pair.server.poll(pair.now)
    assert say(pair, "server") == []
    pair.keep("server")
    assert say(pair, "server") == [Ack(1, 1)]


def test_while_the_store_works_no_message_is_looked_at_by_itself():
    """STORE-3: what is taken meanwhile goes to the store together, and the next one wakes it."""
    pair = by_hand(client=False)
    pair.client.want(pair.client.send(b"x"))
    for _ in range(3):
        pair.client.send(b"x")
    say(pair, "client")
    arrive(pair)
    session = pair.server

    def take() -> bool:
        session.take()
        due = session.due
        session.poll(pair.now)
        return due

    assert take()
    pair.submit("server")
    assert not take()
    assert not take()
    pair.keep("server")
    assert say(pair, "server") == [Ack(4, 1)]
    pair.keep("server")
    assert say(pair, "server") == [Ack(4, 3)]
    assert take()


def test_what_is_taken_without_a_link_goes_to_the_store():
    """STORE-3"""
    pair = by_hand(client=False)
    pair.client.want(pair.client.send(b"x"))
    pair.client.send(b"x")
    say(pair, "client")
    arrive(pair)
    assert pair.server.take() == b"x"
    pair.server.poll(pair.now)
    pair.submit("server")
    pair.cut()
    pair.keep("server")
    assert pair.server.take() == b"x"
    assert pair.server.due


def test_a_heartbeat_tells_only_what_is_kept():
    """STORE-3"""
    pair = by_hand(client=False)
    pair.client.send(b"x")
    say(pair, "client")
    arrive(pair)
    pair.server_take()
    pair.submit("server")
    pair.now += 8
    pair.tick()
    assert say(pair, "server") == [Ack(1, 0)]


def test_nothing_is_said_again_and_again_while_a_store_is_slow():
    """STORE-3"""
    pair = by_hand(client=False)
    pair.client.send(b"x")
    say(pair, "client")
    arrive(pair)
    pair.server_take()
    said = []
    for _ in range(10):
        pair.now += 0.03
        pair.tick()
        said += say(pair, "server")
    assert said == [Ack(1, 0)]
    pair.keep("server")
    assert say(pair, "server") == [Ack(1, 1)]


def test_a_greeting_tells_only_what_is_kept():
    """STORE-3"""
    pair = by_hand(client=False)
    for number in range(4):
        pair.client.send(str(number))
    say(pair, "client")
    arrive(pair)
    pair.server_take()
    say(pair, "server")
    pair.cut()
    pair.keep("server")  # what is kept is told
    wire = pair.dial()
    say(pair, "client")
    pair.deliver_up()
    assert say(pair, "server") == []
    pair.keep("server")
    welcome, _ack = say(pair, "server")
    assert welcome.position.counters.confirmed == 4
    assert wire.arrival.link is not None


def test_a_greeting_does_not_tell_of_an_end_of_intake_that_is_not_kept():
    """STORE-4"""
    pair = by_hand(client=False)
    pair.client.send(b"x")
    say(pair, "client")
    arrive(pair)
    pair.cut()
    pair.dial()
    say(pair, "client")
    pair.deliver_up()
    pair.submit("server")
    pair.server.close(pair.now)  # behind the change that the greeting waits for
    pair.keep("server")
    frames = say(pair, "server")
    assert not frames[0].position.counters.stopped
    assert Stop not in kinds(frames)
    pair.keep("server")
    assert Stop in kinds(say(pair, "server"))


def test_what_was_confirmed_and_not_kept_comes_again_and_is_flagged():
    """RESUME-7, STORE-3"""
    pair = by_hand(client=False)
    pair.client.send(b"a")
    pair.client.send(b"b")
    say(pair, "client")
    arrive(pair)
    assert pair.server_take() == [b"a", b"b"]
    pair.crash("server")
    pair.automatic = True
    pair.connect()
    assert pair.server_take() == [b"a", b"b"]
    assert pair.server.inbox.redelivered_upto == 2


def test_what_was_confirmed_out_of_order_is_not_handed_over_again():
    """STORE-8"""
    pair = by_hand(client=False)
    pair.automatic = True
    for number in range(4):
        pair.client.send(str(number))
    pair.run()
    for _ in range(3):
        pair.server.deliver()
    pair.server.confirm(2)
    pair.submit("server")
    pair.crash("server")
    pair.connect()
    assert [pair.server.deliver()[0] for _ in range(3)] == [1, 3, 4]
    with pytest.raises(IndexError):
        pair.server.deliver()
    for number in (1, 3, 4):
        pair.server.confirm(number)
    assert pair.server.inbox.confirmed == 4


@pytest.mark.parametrize("ahead", [[2, 3], [2, 4], [3, 4]])
def test_recv_leaves_out_what_was_confirmed_out_of_order(ahead):
    """STORE-8"""
    pair = by_hand(client=False)
    pair.automatic = True
    for number in range(1, 5):
        pair.client.send(str(number))
    pair.run()
    for _ in range(4):
        pair.server.deliver()
    for number in ahead:
        pair.server.confirm(number)
    pair.submit("server")
    pair.crash("server")
    pair.connect()
    left = [str(number) for number in range(1, 5) if number not in ahead]
    assert pair.server_take() == left
    assert pair.server.inbox.confirmed == 4


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_was_confirmed_ahead_is_left_out_when_it_arrives_later(in_parts):
    """STORE-8"""
    inbox = Inbox(Config())
    inbox.restore(0)
    inbox.applied = frozenset((2,))
    inbox.arrived(1, [b"a"], 1)
    assert inbox.deliver() == (1, b"a")
    if in_parts:
        assert inbox.arrived_part(Part(2, 0, 1, KIND_BYTES, b"b"))
    else:
        inbox.arrived(2, [b"b"], 1)
    assert len(inbox) == 0
    assert inbox.counters().ranges == ((2, 2),)
    inbox.arrived(3, [b"c"], 1)
    assert inbox.deliver() == (3, b"c")
    inbox.confirm(1)
    assert inbox.confirmed == 2


def test_a_greeting_names_no_ranges_that_are_not_kept():
    """STORE-3"""
    pair = by_hand(client=False)
    pair.automatic = True
    for number in range(3):
        pair.client.send(str(number))
    pair.run()
    pair.server.deliver()
    pair.server.deliver()
    pair.automatic = False
    pair.server.confirm(2)
    assert pair.server.inbox.told().ranges == ()
    assert pair.server.inbox.counters().ranges == ((2, 2),)


# ---------------------------------------------------------------- calls


def asked(pair: StoredPair) -> int:
    number = pair.client.request("method", *seal(b"x", pair.client.codec))
    say(pair, "client")
    if "client" in pair.stores:
        pair.keep("client")
        say(pair, "client")
    arrive(pair)
    return number


def test_a_request_begins_to_run_when_it_is_kept():
    """CALL-12"""
    pair = by_hand(client=False)
    asked(pair)
    assert not [event for event in pair.server_events if isinstance(event, Requested)]
    pair.submit("server")
    pair.keep("server")
    assert [event.id for event in pair.server_events if isinstance(event, Requested)] == [1]


def test_a_call_is_acked_when_it_is_kept():
    """CALL-12"""
    pair = by_hand(client=False)
    asked(pair)
    pair.now += 1
    pair.tick()
    acks = [frame for frame in say(pair, "server") if type(frame) is CallAck]
    assert all(ack.received == 0 for ack in acks)
    pair.keep("server")
    assert CallAck(1) in say(pair, "server")


def test_an_answer_is_handed_over_at_once():
    pair = by_hand(server=False)
    number = asked(pair)
    pair.server.reply(number, *seal(b"y", pair.server.codec))
    say(pair, "server")
    arrive(pair)
    assert Replied(number, b"y") in pair.client_events


def test_a_request_never_runs_twice():
    """CALL-12, CALL-40"""
    pair = by_hand()
    pair.automatic = True
    number = asked(pair)
    pair.run()
    assert [event.id for event in pair.server_events if isinstance(event, Requested)] == [number]
    pair.crash("server")
    pair.connect()
    assert len([event for event in pair.server_events if isinstance(event, Requested)]) == 1
    assert pair.client_events[-1].code == "cancelled"


def test_what_a_crash_has_answered_survives_the_next_one():
    """CALL-12, CALL-40, STORE-2"""
    pair = by_hand()
    pair.automatic = True
    number = asked(pair)
    pair.run()
    pair.crash("server")
    pair.submit("server")
    pair.crash("server")
    pair.connect()
    assert pair.client_events[-1].code == "cancelled"
    assert number not in pair.client.outgoing_calls.open


def test_what_was_accepted_before_there_was_a_store_is_kept_too():
    """STORE-2"""
    pair = StoredPair(client=False, automatic=False)
    pair.client.send(b"early")
    pair.client.keep_in_store({})
    change = pair.client.take_change(pair.now, WALL)
    assert change.messages.length == 1


def test_an_answer_survives():
    """CALL-12"""
    pair = by_hand()
    pair.automatic = True
    number = asked(pair)
    pair.run()
    pair.server.reply(number, *seal(b"y", pair.server.codec))
    pair.submit("server")
    pair.crash("server")
    pair.connect()
    assert Replied(number, b"y") in pair.client_events


def test_a_request_that_was_taken_back_stays_so():
    pair = by_hand()
    number = pair.client.request("method", *seal(b"x", pair.client.codec))
    pair.submit("client")
    pair.keep("client")
    assert pair.client.cancel(number)  # it never went
    pair.client.send(b"x")
    pair.submit("client")
    pair.keep("client")
    pair.crash("client")
    pair.automatic = True
    pair.connect()
    assert not [event for event in pair.server_events if isinstance(event, Requested)]
    assert pair.server_take() == [b"x"]


@pytest.mark.parametrize("when", ["submitted", "kept"])
def test_a_place_is_taken_back_when_that_is_kept(when):
    """CALL-12: else the next process waits for ever for an answer to what the peer never got."""
    pair = by_hand(server=False)
    number = pair.client.request("method", *seal(b"x", CODEC))
    pair.submit("client")
    if when == "kept":
        pair.keep("client")
    assert pair.client.cancel(number)
    pair.keep("client")
    assert say(pair, "client") == []
    pair.keep("client")
    assert say(pair, "client") == [Calls(1, [Void()])]
    arrive(pair)
    pair.crash("client")
    pair.automatic = True
    pair.connect()
    assert not pair.client.outgoing_calls.open


def test_what_is_taken_back_while_it_is_sent_waits_until_that_is_kept():
    """CALL-9, CALL-12"""
    pair = by_hand(server=False)
    pair.client.request("early", *seal(b"w", CODEC))
    pair.client.request("method", *seal(b"x", CODEC), pair.now + 1)
    pair.submit("client")
    pair.keep("client")
    pair.now += 2
    (calls,) = say(pair, "client")
    assert [type(entry) for entry in calls.entries] == [Request]
    assert say(pair, "client") == []
    pair.keep("client")
    assert say(pair, "client") == [Calls(2, [Void()])]


def test_nothing_is_sent_for_what_is_taken_back_while_it_is_sent():
    """CALL-9, CALL-12"""
    pair = by_hand(server=False)
    pair.client.request("method", *seal(b"x", CODEC), pair.now + 1)
    pair.submit("client")
    pair.keep("client")
    pair.now += 2
    assert say(pair, "client") == []
    assert not pair.client.is_kept
    assert say(pair, "client") == []
    pair.keep("client")
    assert say(pair, "client") == [Calls(1, [Void()])]


# ---------------------------------------------------------------- 4: the end


def test_stop_waits_until_the_end_of_intake_is_kept():
    """STORE-4"""
    pair = by_hand()
    pair.automatic = True
    pair.client.send(b"x")
    pair.run()
    pair.automatic = False
    pair.server.close(pair.now)
    assert Stop not in kinds(say(pair, "server"))
    pair.keep("server")
    assert Stop in kinds(say(pair, "server"))


def test_done_waits_until_the_tombstone_is_kept():
    """STORE-4"""
    pair = by_hand()
    pair.automatic = True
    pair.server.finish(pair.now)
    pair.run()
    pair.client.close(pair.now)
    pair.automatic = False
    pair.submit("client")
    pair.keep("client")
    say(pair, "client")
    while pair.deliver_up():
        pass
    assert pair.server.ended is not None
    assert Done not in kinds(say(pair, "server"))
    pair.keep("server")
    assert Done in kinds(say(pair, "server"))


def test_no_hello_is_answered_from_a_tombstone_that_is_not_kept():
    """STORE-4"""
    pair = by_hand(client=False)
    pair.cut()
    pair.dial()
    pair.server.abort(pair.now)
    pair._server_said([])
    say(pair, "client")
    pair.deliver_up()
    (refuse,) = say(pair, "server")
    assert refuse.code == Code.BUSY
    pair.keep("server")
    pair.cut()
    pair.dial()
    say(pair, "client")
    pair.deliver_up()
    (refuse,) = say(pair, "server")
    assert refuse.code == Code.ENDED
    assert refuse.counters is not None


def test_a_tombstone_survives():
    """STORE-4, TOMB-4"""
    pair = by_hand()
    pair.automatic = True
    pair.client.send(b"x")
    pair.run()
    pair.cut()
    pair.server.abort(pair.now)
    pair._server_said([])
    pair.submit("server")
    pair.crash("server")
    pair.connect()
    assert pair.client.ended.kind is End.REFUSED
    assert pair.client.outcome(1) is Outcome.NOT_TAKEN


def test_a_side_that_dies_while_closing_goes_on_closing():
    pair = by_hand()
    pair.automatic = True
    pair.client.send(b"x")
    pair.client.close(pair.now)
    pair.submit("client")
    pair.crash("client")
    pair.connect()
    assert pair.server_take() == [b"x"]
    pair.server.close(pair.now)
    pair.run()
    assert pair.client.ended.kind is End.FINISHED
    assert pair.client.outcome(1) is Outcome.CONFIRMED
    kept = StoredSession(pair.stores["client"].open()[0])
    assert kept.ending.kind is End.FINISHED
    assert kept.report().confirmed == 1


def test_final_counters_survive():
    pair = by_hand()
    pair.automatic = True
    for number in range(3):
        pair.client.send(str(number))
    pair.run()
    pair.server.take()
    pair.server.close(pair.now)
    pair.run()
    expected = [Outcome.CONFIRMED, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN]
    assert [pair.client.outcome(number) for number in (1, 2, 3)] == expected
    pair.submit("client")
    pair.crash("client")
    assert [pair.client.outcome(number) for number in (1, 2, 3)] == expected
    kept = StoredSession(pair.stores["client"].open()[0])
    assert [kept.outcome(number) for number in (1, 2, 3)] == expected
    assert kept.report().count(Outcome.NOT_TAKEN) == 2


def test_a_change_says_what_is_remembered_and_for_how_long():
    """TOMB-2"""
    pair = StoredPair(Config(stored_ttl=500, max_tombstones=7, stored_keys=2), server=False)
    pair.connect()
    for _ in range(5):
        pair.client.want(pair.client.send(b"x"))
    pair.run()
    pair.server_take()
    pair.run()
    pair.client.finish(pair.now)
    change = pair.client.take_change(pair.now, WALL)
    assert (change.confirmed, change.keys_upto) == (5, 3)
    assert (change.until, change.most_ended) == (None, None)
    pair.client.kept(pair.now)
    pair.client.abort(pair.now)
    change = pair.client.take_change(pair.now, WALL)
    assert (change.until, change.most_ended) == (WALL + 500, 7)


# ---------------------------------------------------------------- 5: what need not be kept


def test_what_the_peer_has_confirmed_is_kept_later():
    """STORE-5"""
    pair = by_hand(server=False)
    number = pair.client.send(b"x")
    pair.client.want(number)
    settle(pair)
    pair.server_take()
    pair.run()
    assert pair.client.report().confirmed == 1
    assert StoredSession(pair.stores["client"].open()[0]).outcome(1) is Outcome.KEPT
    pair.advance(1.5)
    assert StoredSession(pair.stores["client"].open()[0]).outcome(1) is Outcome.CONFIRMED
    assert pair.stores["client"].open()[0].messages == ()


def test_confirmations_are_kept_once_in_a_while():
    """STORE-5"""
    pair = by_hand(server=False)
    pair.client.send(b"x")
    pair.client.want(pair.client.send(b"y"))
    settle(pair)
    for _ in range(2):
        pair.server.take()
        pair.server.poll(pair.now)
        pair.wire.listener.acks.now = True
        pair.run()
    due = pair.client.durable.deadline
    assert pair.now < due <= pair.now + 1
    pair.advance(1.5)
    assert StoredSession(pair.stores["client"].open()[0]).outcome(2) is Outcome.CONFIRMED


def test_a_confirmation_that_is_forgotten_is_told_again():
    """STORE-5"""
    pair = by_hand(server=False)
    number = pair.client.send(b"x")
    pair.client.want(number)
    settle(pair)
    assert pair.server_take() == [b"x"]
    pair.run()
    pair.crash("client")
    assert pair.client.outcome(1) is Outcome.PENDING
    pair.connect()
    assert pair.client.outcome(1) is Outcome.CONFIRMED
    assert pair.server_take() == []


# ---------------------------------------------------------------- kept sends, applied deliveries


def kept_send(pair: StoredPair, message: object, key: str | None = None) -> int:
    from reliable_ws.store import Apply

    payload, weight = seal(message, pair.client.codec)
    rows: list[int] = []
    apply = Apply(pair.client.id, lambda db: None, send=pack_payload(payload), key=key)
    pair.stores["client"].apply(apply, lambda result, error: rows.append(result[0]))
    return pair.client.accept_kept(rows[0], payload, weight, key)


def test_a_kept_send_goes_once_it_has_a_number_that_is_kept():
    """STORE-6"""
    pair = by_hand()
    pair.client.send(b"first")
    assert kept_send(pair, b"second", "k") == 2
    pair.submit("client")
    assert pair.stores["client"].open()[0].sends
    settle(pair)
    assert pair.stores["client"].open()[0].sends == ()
    assert pair.stores["client"].open()[0].keys == (("k", 2),)
    assert pair.server_take() == [b"first", b"second"]


def test_a_kept_send_survives_without_a_number():
    """STORE-6"""
    pair = by_hand()
    kept_send(pair, b"x")
    pair.crash("client")
    settle(pair)
    pair.connect()
    assert pair.server_take() == [b"x"]


def test_a_kept_send_goes_before_a_finish_that_is_queued():
    """STORE-6"""
    pair = by_hand()
    pair.client.durable.applying += 1
    pair.client.finish(pair.now)
    assert say(pair, "client") == []
    assert not pair.stores["client"].pending
    assert kept_send(pair, b"x") == 1
    pair.client.durable.applying -= 1
    settle(pair)
    assert pair.server_take() == [b"x"]
    assert pair.server.inbox.finish.number == 2


def test_a_kept_send_that_the_end_has_overtaken_is_reported():
    """STORE-6"""
    pair = by_hand(server=False)
    pair.client.send(b"first")
    pair.client.abort(pair.now)
    settle(pair)
    row = pair.stores["client"].rows[pair.client.id]
    late = KeptSend(1, pack_payload(b"late"), None)
    report = StoredSession(row._replace(sends=(late,))).report()
    assert [entry.message for entry in report.undelivered] == [b"first", b"late"]
    assert report.count(Outcome.NOT_TAKEN) == 2


def applied(pair: StoredPair, number: int) -> None:
    from reliable_ws.store import Apply

    apply = Apply(pair.server.id, lambda db: None, delivery=number)
    pair.stores["server"].apply(apply, lambda result, error: None)


@pytest.mark.parametrize("order", [(1, 2, 3), (2, 1), (3, 2)])
def test_a_delivery_that_was_applied_never_comes_again(order):
    """STORE-8"""
    pair = by_hand(client=False)
    pair.automatic = True
    for number in range(3):
        pair.client.send(str(number))
    pair.run()
    for _ in range(3):
        pair.server.deliver()
    for number in order:
        applied(pair, number)  # and the process dies before the session hears of it
    pair.crash("server")
    pair.connect()
    left = []
    while True:
        try:
            left.append(pair.server.deliver()[0])
        except IndexError:
            break
    assert left == [number for number in (1, 2, 3) if number not in order]
    assert pair.client.outbox.confirmed == (0 if 1 not in order else max(order))


def test_an_applied_delivery_may_be_told_at_once():
    """STORE-3"""
    pair = by_hand(client=False)
    pair.client.want(pair.client.send(b"a"))
    pair.client.send(b"b")
    say(pair, "client")
    arrive(pair)
    pair.server.deliver()
    pair.server.deliver()
    applied(pair, 2)
    pair.server.confirm_applied(2, pair.now)
    assert Ack(2, 2) not in say(pair, "server")
    applied(pair, 1)
    pair.server.confirm_applied(1, pair.now)
    assert Ack(2, 2) in say(pair, "server")
    settle(pair)
    assert pair.stores["server"].open()[0].applied == ()


def test_an_applied_delivery_that_comes_too_late_changes_no_counters():
    pair = by_hand(client=False)
    pair.client.send(b"a")
    say(pair, "client")
    arrive(pair)
    pair.server.deliver()
    pair.server.close(pair.now)
    before = pair.server.inbox.counters()
    pair.server.confirm_applied(1, pair.now)
    assert pair.server.inbox.counters() == before


# ---------------------------------------------------------------- a store that is full, or fails


def test_what_has_no_room_is_taken_back():
    """STORE-7"""
    pair = by_hand(server=False)
    pair.client.send(b"kept")
    pair.submit("client")
    pair.keep("client")
    say(pair, "client")
    pair.client.durable.keys["k"] = pair.client.send(b"no room")
    pair.submit("client")
    pair.client.send(b"neither")
    pair.stores["client"].fail(StoreFull("full"))
    assert pair.client_events[-1] == Withdrawn(1)
    assert pair.client.outbox.last == 1
    assert pair.client.durable.keys == {}
    with pytest.raises(StoreFull):
        pair.client.send([1])
    with pytest.raises(StoreFull):
        pair.client.send(b"x")
    assert say(pair, "client") == []  # not before a while


def test_a_full_store_is_tried_again():
    """STORE-7"""
    pair = by_hand(server=False)
    pair.client.send(b"no room")
    pair.submit("client")
    pair.client.finish(pair.now)
    pair.stores["client"].fail(StoreFull("full"))
    assert pair.client.outbox.finish.number == 1
    assert pair.client.outbox.messages == 0
    pair.now += 1.5
    pair.tick()
    settle(pair)
    assert pair.server.inbox.finish.number == 1
    assert not pair.client.durable.is_full


def test_after_it_was_full_messages_go_again():
    """STORE-7"""
    pair = by_hand(server=False)
    pair.client.send(b"no room")
    pair.submit("client")
    pair.stores["client"].fail(StoreFull("full"))
    pair.automatic = True
    pair.now += 1.5
    pair.tick()
    pair.submit("client")
    pair.client.send(b"x")
    pair.run()
    assert pair.server_take() == [b"x"]


def test_nobody_asks_for_what_was_taken_back():
    """STORE-7, ACK-5"""
    pair = by_hand(server=False)
    pair.client.want(pair.client.send(b"no room"))
    pair.submit("client")
    pair.client.finish(pair.now)
    pair.stores["client"].fail(StoreFull("full"))
    assert pair.client.outbox.wanted == 0


def test_kept_sends_are_not_taken_back():
    pair = by_hand(server=False)
    kept_send(pair, b"kept")
    pair.client.send(b"no room")
    pair.submit("client")
    pair.stores["client"].fail(StoreFull("full"))
    assert pair.client.outbox.last == 1


def test_a_full_store_without_messages_takes_nothing_back():
    pair = by_hand(client=False)
    pair.client.send(b"x")
    say(pair, "client")
    arrive(pair)
    pair.server_take()
    pair.submit("server")
    pair.stores["server"].fail(StoreFull("full"))
    assert not [event for event in pair.server_events if isinstance(event, Withdrawn)]
    pair.advance(2)
    settle(pair)
    assert pair.client.outbox.confirmed == 1


def test_a_session_is_left_to_the_next_process():
    """STORE-9"""
    pair = by_hand(server=False)
    pair.client.send(b"kept")
    pair.submit("client")
    pair.keep("client")
    pair.client.send(b"on its way to the store")
    pair.submit("client")
    pair.client.send(b"accepted only")
    pair.client.leave(pair.now, "the process ends")
    wanted = [Outcome.KEPT, Outcome.UNKNOWN, Outcome.NOT_TAKEN]
    assert [pair.client.outcome(number) for number in (1, 2, 3)] == wanted
    assert not pair.client.report().final
    assert say(pair, "client") == []  # no Refuse
    assert pair.wire.dialer.close_action.code == Code.RESTART
    assert not pair.wire.dialer.held
    assert pair.client.is_kept
    assert pair.client.kept(pair.now) == []
    pair.crash("client")
    pair.automatic = True
    pair.connect()
    assert pair.server_take() == [b"kept"]


def test_what_is_kept_raises_kept():
    pair = by_hand(server=False)
    pair.client.send(b"kept")
    pair.submit("client")
    pair.keep("client")
    pair.client.leave(pair.now, "the process ends")
    error = Kept.of(pair.client.report())
    assert type(error) is Kept
    assert "1 kept" in str(error)
    assert type(pair.client.error()).__name__ == "ConnectionClosedError"


def test_a_failed_store_says_no_last_word():
    pair = by_hand()
    pair.automatic = True
    pair.client.send(b"x")
    pair.run()
    pair.automatic = False
    pair.server.abort(pair.now)
    assert say(pair, "server") == []
    pair.server.leave(pair.now, "the store has failed")
    assert say(pair, "server") == []
    assert pair.wire.listener.close_action is not None


def test_a_hello_for_a_session_that_was_left_is_told_to_come_again():
    """STORE-9"""
    pair = by_hand()
    pair.automatic = True
    pair.client.send(b"x")
    pair.run()
    pair.server.leave(pair.now, "the store has failed")
    pair.run()
    pair.connect()
    assert pair.client.ended is None
    assert [event.code for event in pair.client_events if isinstance(event, Detached)][-1] == 4529
    pair.crash("server")
    pair.connect()
    assert pair.server_take() == [b"x"]


def test_a_close_that_takes_too_long_is_left_to_the_next_process():
    """STORE-9"""
    pair = by_hand()
    pair.automatic = True
    pair.client.send(b"x")
    pair.run()
    pair.cut()
    pair.client.close(pair.now, timeout=2)
    pair.advance(3)
    assert pair.client.ended.kind is End.KEPT
    assert pair.client.outcome(1) is Outcome.KEPT


def done_and_unheard(pair: StoredPair) -> None:
    """The client has everything but the server's Done, and closes."""
    pair.automatic = True
    pair.server.send(b"last")
    pair.server.close(pair.now)
    pair.run()
    pair.automatic = False
    pair.client.take()
    pair.client.close(pair.now, timeout=2)
    assert pair.client.done
    assert pair.client.ended is None


def test_a_last_word_that_will_not_be_kept_is_not_said():
    """STORE-4, STORE-9"""
    pair = by_hand()
    done_and_unheard(pair)
    pair.client.leave(pair.now, "the process ends")
    assert pair.client.ended.kind is End.FINISHED
    assert say(pair, "client") == []
    assert pair.wire.dialer.close_action.code == Code.RESTART


def test_a_close_that_lacks_only_done_is_not_left_to_the_next_process():
    """STORE-9"""
    pair = by_hand()
    done_and_unheard(pair)
    pair.now += 3
    pair.tick()
    assert pair.client.ended.kind is End.FINISHED
    for _ in range(2):  # the change that was taken before, and that of the end
        pair.submit("client")
        pair.keep("client")
    assert kinds(say(pair, "client")) == [Refuse]
    assert StoredSession(pair.stores["client"].open()[0]).ending.kind is End.FINISHED


# ---------------------------------------------------------------- time


@pytest.mark.parametrize(("outage", "lives"), [(60, True), (130, False), (-1000, True)])
def test_an_outage_counts(outage, lives):
    """END-4"""
    pair = by_hand()
    pair.automatic = True
    pair.client.send(b"x")
    pair.submit("client")
    stored = pair.stores["client"].open()[0]
    session = StoredSession(stored).revive(5.0, WALL + pair.now + outage, None, pair.config)
    session.tick(5.0)
    session.tick(5.0 + pair.config.open_timeout)  # it was not running: the peer is given a while
    assert (session.ended is None) is lives


def test_a_session_that_was_attached_was_in_contact_while_its_process_lived():
    pair = by_hand()
    pair.automatic = True
    pair.client.send(b"x")
    pair.submit("client")
    kept = StoredSession(pair.stores["client"].open()[0])
    died = WALL + pair.now + 10_000
    session = kept.revive(5.0, died + 60, died, pair.config)
    assert session.timers.contact_at == 5.0 - 60


def test_facts_of_something_else_are_refused():
    pair = by_hand()
    stored = pair.stores["client"].open()[0]
    for facts in (b"", b"\x80", b"\x01"):
        with pytest.raises(ValueError, match="no facts"):
            StoredSession(stored._replace(facts=facts))


def test_what_a_store_has_can_be_looked_at():
    pair = by_hand()
    pair.client.send(b"x")
    pair.client.durable.keys["k"] = pair.client.send([1])
    pair.submit("client")
    pair.keep("client")
    kept = StoredSession(pair.stores["client"].open()[0])
    assert kept.role == "initiator"
    assert kept.about == {"name": "test"}
    assert kept.keys == {"k": 2}
    assert kept.attached
    assert [entry.message for entry in kept.report().undelivered] == [b"x", [1]]
    assert kept.report().count(Outcome.KEPT) == 2
    assert kept.outcome(0) is Outcome.KEPT


def test_without_a_store_there_is_nothing_to_keep():
    pair = StoredPair(client=False, server=False)
    pair.connect()
    assert pair.client.take_change(pair.now, WALL) is None
    assert pair.client.is_kept
    assert pair.client.kept(pair.now) == []
    assert pair.client.unkept(pair.now) == []
    assert pair.client.accept_kept(1, b"x", 4, None) == 1
    assert pair.client.confirm_applied(1, pair.now) == []
    pair.client.leave(pair.now, "")
    assert pair.client.ended.kind is End.KEPT


def test_a_lone_refuse_is_no_end_of_a_kept_session():
    pair = by_hand(server=False)
    assert Refuse not in kinds(say(pair, "client"))
    assert Config().stored_ttl == 7 * 86_400


def test_a_held_link_has_no_output():
    pair = StoredPair(automatic=False)
    wire = pair.dial()
    assert not wire.dialer.has_output
    pair.submit("client")
    pair.keep("client")
    assert wire.dialer.has_output


def test_what_an_aborted_session_had_sent_is_unknown_in_its_store():
    pair = by_hand(server=False)
    pair.client.send(b"sent")
    say(pair, "client")
    pair.keep("client")
    say(pair, "client")
    pair.client.send(b"never went")
    pair.client.abort(pair.now)
    settle(pair)
    kept = StoredSession(pair.stores["client"].open()[0])
    wanted = [Outcome.UNKNOWN, Outcome.NOT_TAKEN, Outcome.NOT_TAKEN]
    assert [kept.outcome(number) for number in (1, 2, 0)] == wanted
    assert kept.ending.kind is End.ABORTED
    assert kept.report().count(Outcome.UNKNOWN) == 1


def test_a_link_that_ends_behind_the_store_is_not_held():
    pair = by_hand(server=False)
    pair.client.leave(pair.now, "the process ends")
    link = pair.wire.dialer
    pair.client.durable.hold(link)
    assert not link.held


def test_a_link_that_takes_over_lets_the_held_one_go():
    pair = StoredPair(automatic=False)
    first = pair.dial()
    second = pair.dial()
    assert not first.dialer.held
    assert second.dialer.held


def test_a_session_that_was_left_is_answered_by_the_next_process():
    """STORE-9"""
    pair = by_hand(client=False)
    pair.cut()
    pair.server.leave(pair.now, "the process ends")
    pair._server_said([])
    pair.dial()
    say(pair, "client")
    pair.deliver_up()
    (refuse,) = say(pair, "server")
    assert (refuse.code, refuse.counters) == (Code.BUSY, None)
    pair.registry.leaving = True
    pair.cut()
    pair.dial()
    say(pair, "client")
    pair.deliver_up()
    assert say(pair, "server")[0].code == Code.BUSY


def test_until_the_end_is_kept_another_process_could_go_on():
    """STORE-4: what is told to the application is not contradicted by the next process."""
    pair = by_hand(server=False)
    pair.client.send(b"kept")
    pair.submit("client")
    pair.keep("client")
    pair.cut()
    pair.submit("client")
    pair.keep("client")
    pair.client.abort(pair.now)
    assert pair.client.outcome(1) is Outcome.KEPT
    pair.submit("client")
    pair.keep("client")
    assert pair.client.outcome(1) is Outcome.NOT_TAKEN
    assert EndKept() in pair.client_events
    assert pair.client.deadline == NEVER


def test_no_end_waits_for_a_store_for_ever():
    pair = by_hand(server=False)
    pair.client.send(b"kept")
    pair.submit("client")
    pair.keep("client")
    pair.client.abort(pair.now)
    pair.submit("client")  # and the store never answers
    pair.advance(pair.config.close_progress_timeout - 1)
    assert EndKept() not in pair.client_events
    pair.advance(2)
    assert EndKept() in pair.client_events
    assert pair.client.outcome(1) is Outcome.KEPT
    assert pair.client.ended.kind is End.ABORTED


def test_a_store_that_was_rolled_back_ends_its_session_with_a_report():
    """CLOSE-13, RESUME-3: else the client would try again for as long as it keeps sessions."""
    pair = StoredPair()
    pair.connect()
    before = dict(pair.stores["client"].rows)
    pair.client.send(b"x")
    pair.run()
    assert pair.server_take() == [b"x"]
    pair.run()
    pair.stores["client"].rows = before  # from a backup, or after a power cut
    pair.crash("client")
    pair.connect()
    assert (pair.client.ended.kind, pair.client.ended.code) == (End.VIOLATION, Code.VIOLATION)
    assert pair.client.report().sent == 0


def test_whether_a_delivery_is_confirmed_can_be_asked():
    pair = by_hand(client=False)
    pair.automatic = True
    pair.client.send(b"x")
    pair.run()
    pair.server.deliver()
    assert not pair.server.is_confirmed(1)
    pair.server.confirm(1)
    assert pair.server.is_confirmed(1)
    with pytest.raises(ValueError, match="never handed over"):
        pair.server.is_confirmed(2)


def test_facts_alone_say_what_became_of_a_message():
    pair = by_hand(server=False)
    pair.client.send(b"x")
    pair.submit("client")
    pair.keep("client")
    (stored,) = pair.stores["client"].open()
    assert StoredSession.outcome_of(stored.facts, 1) is Outcome.KEPT


def test_entries_beyond_what_is_kept_do_not_go():
    """CALL-12"""
    pair = by_hand(server=False)
    for _ in range(2):
        pair.client.request("method", *seal(b"x", pair.client.codec))
        if pair.client.call_queue.last == 1:
            pair.submit("client")
    pair.keep("client")
    (frame,) = [frame for frame in say(pair, "client") if type(frame) is Calls]
    assert len(frame.entries) == 1


# ---------------------------------------------------------------- what one change has at most


def submitted(pair: StoredPair) -> tuple[int, int]:
    """Let the client's store work on what changed; return the messages that it was given."""
    change = pair.client.take_change(pair.now, WALL)
    assert change is not None
    assert change.messages is not None
    pair.stores["client"].submit([change], lambda error: pair.said("client", pair.client, error))
    return change.messages.first, change.messages.last


def test_the_peer_takes_the_first_ones_while_a_store_keeps_the_next():
    """STORE-2"""
    pair = by_hand(server=False)
    for _ in range(6):
        pair.client.send(bytes(BYTES_AT_ONCE // 4))
    assert submitted(pair) == (1, 3)
    pair.keep("client")
    assert not pair.client.is_kept
    assert submitted(pair) == (4, 6)
    assert kinds(say(pair, "client"))
    assert 1 <= pair.client.outbox.transmitted <= 3
    pair.keep("client")
    assert pair.client.is_kept


def test_a_message_that_is_larger_is_kept_alone():
    """STORE-2"""
    pair = by_hand(server=False)
    pair.client.send(bytes(2 * BYTES_AT_ONCE))
    pair.client.send(b"x")
    assert submitted(pair) == (1, 1)
    pair.keep("client")
    assert submitted(pair) == (2, 2)


def test_a_key_and_the_row_of_a_send_are_kept_with_their_message():
    """STORE-6"""
    pair = by_hand(server=False)
    large = bytes(BYTES_AT_ONCE - 100)
    pair.client.durable.keys["first"] = pair.client.send(large)
    pair.client.accept_kept(7, *seal(large, CODEC), "second")
    change = pair.client.take_change(pair.now, WALL)
    assert (change.messages.last, change.keys, change.sends) == (1, (("first", 1),), ())
    pair.client.kept(pair.now)
    change = pair.client.take_change(pair.now, WALL)
    assert (change.messages.last, change.keys, change.sends) == (2, (("second", 2),), (7,))


def test_the_last_messages_are_kept_with_the_finish_behind_them():
    """STORE-2"""
    pair = by_hand(server=False)
    for _ in range(6):
        pair.client.send(bytes(BYTES_AT_ONCE // 4))
    pair.client.finish(pair.now)
    assert submitted(pair) == (1, 6)
    pair.keep("client")
    assert pair.client.is_kept
