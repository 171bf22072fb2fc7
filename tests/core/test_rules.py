"""One small test for each rule of protocol.md that is about how two sides behave together."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import PayloadError
from reliable_ws.protocol.events import Detached
from reliable_ws.protocol.frames import SUBPROTOCOL, Ack, Code, Hello, Messages, Part
from reliable_ws.protocol.payload import MsgpackCodec, open_payload
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from tests.core.rules import MAX_FRAME, connected, said
from tests.support.pair import ID, KEY, Pair

# -------------------------------------------------------------------------- link


def test_the_subprotocol_has_this_name():
    """LINK-1."""
    assert SUBPROTOCOL == "reliable-ws.v1"


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1011])
def test_the_end_of_a_websocket_settles_nothing(code):
    """LINK-3, CODE-1."""
    pair = connected()
    pair.client.send("hi")
    pair.pull()
    pair.client_events += pair.client.lost(pair.wire.dialer, code, "", pair.now)
    assert pair.client.ended is None
    assert pair.client.outcome(1) is Outcome.PENDING
    assert Detached(code, "", None) in pair.client_events


def test_a_first_number_and_payloads_behind_it():
    """MSG-1, ACK-1."""
    pair = connected()
    for word in ("a", "b", "c"):
        pair.client.send(word)
    assert said(pair) == [Messages(1, ["a", "b", "c"])]


def test_a_payload_that_cannot_be_decoded_counts_as_taken():
    """MSG-4."""
    pair = connected()
    pair.client.send_sealed(msgpack.ExtType(1, b"\xc1"), 7)
    pair.client.send("next")
    pair.run()
    payload = pair.server.inbox.take()
    with pytest.raises(PayloadError):
        open_payload(payload, 1, MsgpackCodec())
    assert pair.server.inbox.confirmed == 1
    assert pair.server_take() == ["next"]


# -------------------------------------------------------------------------- acks and windows


def test_only_confirmed_releases():
    """ACK-1, ACK-4: what nobody waits for is told after a short delay."""
    pair = connected()
    pair.client.send("hi")
    pair.run()
    pair.advance(0.03)
    assert pair.client.outbox.acked == 1
    assert len(pair.client.outbox) == 1
    pair.server_take()
    pair.run()
    assert len(pair.client.outbox) == 1, "it is not due"
    pair.advance(0.03)
    assert len(pair.client.outbox) == 0


def test_an_ack_rides_first():
    """ACK-2."""
    pair = connected()
    pair.client.send("question")
    pair.run()
    pair.server_take()
    pair.server.send("answer")
    assert said(pair, "server") == [Ack(1, 1), Messages(1, ["answer"])]


def test_a_confirmed_send_takes_one_round_trip():
    """ACK-5, ACK-8: one Ack, and nothing because of it."""
    pair = connected()
    pair.client.want(pair.client.send("hi"))
    pair.pull()
    pair.deliver_up()
    pair.server_take()
    pair.pull()
    assert [decode(data, MAX_FRAME) for data in pair.wire.down] == [[Ack(1, 1)]]
    pair.deliver_down()
    assert said(pair) == []
    pair.advance(1)
    assert said(pair) == []


def test_finish_needs_no_credit():
    """WINDOW-5: full windows on both sides do not keep them from closing."""
    pair = connected(Config(window_messages=2))
    for _ in range(2):
        pair.client.send("x")
        pair.server.send("y")
    pair.run()
    pair.client.close(pair.now)
    pair.server.close(pair.now)
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.FINISHED


def test_a_slow_application_slows_its_peer_only():
    """WINDOW-1, WINDOW-6: acks are read while messages wait."""
    config = Config(window_messages=2)
    pair = connected(config, Config(window_messages=2, outbox_messages=100))
    pair.server.send("not taken")
    pair.server.send("nor this")
    pair.server.send("waits for the window")
    pair.client.send("a")
    pair.run()
    assert len(pair.client.inbox) == 2
    assert pair.server.outbox.transmitted == 2
    pair.server_take()
    pair.advance(1)
    assert len(pair.client.outbox) == 0


# -------------------------------------------------------------------------- greeting and resume


def test_id_and_key_are_the_initiators_and_a_greeting_can_be_repeated():
    """HELLO-2: a lost Welcome leaves no orphan."""
    pair = Pair()
    wire = pair.dial()
    pair.pull()
    pair.deliver_up()
    pair.cut(wire)
    pair.connect()
    assert len(pair.registry) == 1
    assert pair.client.attached
    assert (pair.server.id, pair.client.key) == (ID, KEY)


def test_a_greeting_is_built_when_it_is_sent():
    """HELLO-4, RESUME-5."""
    pair = connected()
    pair.client.send("a")
    pair.client.send("b")
    pair.run()
    pair.server.send("c")
    pair.run()
    pair.cut()
    pair.dial()
    pair.client_take()
    (hello,) = said(pair)
    assert isinstance(hello, Hello)
    assert hello.attempt == 2
    assert hello.incarnation == pair.server.incarnation
    assert hello.position.counters[:4] == (1, 1, 1, False)
    assert (hello.position.sent, hello.position.first, hello.position.partial) == (2, 1, 0)


def test_the_older_link_is_fenced():
    """RESUME-2, RESUME-6: whoever holds it is told, and must not come back."""
    pair = connected()
    old = pair.wire
    rival = Session("initiator", ID, KEY, pair.now, pair.config)
    rival.attempt, rival.incarnation = 5, pair.client.incarnation
    arrival = pair.registry.arrive(pair.now)
    link = rival.dial(pair.now)
    hello = link.transmit(pair.now)
    assert hello is not None
    arrival.receive(hello, pair.now)
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended[:2] == (End.SUPERSEDED, Code.SUPERSEDED)
    assert pair.server.ended is None
    assert pair.server.link is arrival.link
    assert old.listener.close_action is not None
    assert old.listener.close_action.code == Code.SUPERSEDED


def test_an_initiator_that_dials_anew_says_nothing_on_its_older_link():
    """RESUME-10."""
    pair = connected()
    old = pair.wire
    pair.dial()
    assert said(pair, wire=old) == []
    pair.run()
    assert pair.client.ended is None
    assert pair.client.attached


def test_replay_starts_behind_what_was_received():
    """RESUME-4: and goes on within a large message, cut anew."""
    pair = connected(Config(max_frame=8192))
    pair.client.send("a")
    pair.client.send("b")
    pair.client.send(b"x" * 20_000)
    pair.pull()
    pair.deliver_up()
    pair.deliver_up()
    pair.cut()
    pair.dial()
    pair.pull()
    pair.deliver_up()
    held = pair.server.inbox.partial
    assert held > 0
    pair.pull()
    pair.deliver_down()
    frames = said(pair)
    assert {type(frame) for frame in frames} == {Part}
    assert frames[0][:2] == (3, held)


def test_what_a_side_received_may_fall_to_what_it_confirmed():
    """RESUME-5: a receiver that restarts has only what was taken."""
    pair = connected()
    for word in ("a", "b", "c"):
        pair.client.send(word)
    pair.run()
    pair.server.inbox.take()
    pair.advance(1)
    assert pair.client.outbox.acked == 3
    pair.cut()
    wire = pair.dial()
    pair.server.inbox.received = 1
    pair.server.inbox.queue.clear()
    pair.run()
    assert pair.client.attached
    assert wire.dialer.cursor.number == 4
    assert pair.server_take() == ["b", "c"]


def test_limits_are_those_of_the_first_greetings():
    """LIMIT-2."""
    pair = connected()
    pair.cut()
    pair.registry.config = pair.server.config = Config(window_messages=7, max_frame=8192)
    pair.connect()
    assert pair.client.outbox.peer.window_messages == Config().window_messages
    assert pair.client.frame_size.limit == 8192
