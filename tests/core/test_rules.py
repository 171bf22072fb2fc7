"""One small test for each rule of protocol.md that is about how two sides behave together."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import PayloadError
from reliable_ws.protocol.events import Detached, Ended
from reliable_ws.protocol.frames import (
    SUBPROTOCOL,
    Ack,
    Code,
    Counters,
    Finish,
    Frame,
    Hello,
    Messages,
    Part,
    Refuse,
)
from reliable_ws.protocol.payload import MsgpackCodec, open_payload
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving
from tests.support.pair import ID, KEY, Pair, Wire

MAX_FRAME = Config().max_frame


def said(pair: Pair, side: str = "client", wire: Wire | None = None) -> list[Frame]:
    """What one side wants to say now; it gets lost."""
    wire = wire or pair.wire
    end: Any = wire.dialer if side == "client" else wire.listener
    frames: list[Frame] = []
    while (data := end.transmit(pair.now)) is not None:
        frames += decode(data, MAX_FRAME)
    return frames


def connected(config: Config | None = None, server: Config | None = None) -> Pair:
    pair = Pair(config, server)
    pair.connect()
    return pair


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
    pair.client_events += pair.wire.dialer.lost(code, "", pair.now)
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
    assert len(pair.book) == 1
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
    arrival = pair.book.arrive(pair.now)
    link = rival.dial(pair.now)
    hello = link.transmit(pair.now)
    assert hello is not None
    arrival.receive(hello, pair.now)
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended[:2] == (End.SUPERSEDED, Code.SUPERSEDED)
    assert pair.server.ended is None
    assert pair.server.link is arrival.link
    assert old.listener.leaving is not None
    assert old.listener.leaving.code == Code.SUPERSEDED


def test_an_initiator_that_dials_anew_says_nothing_on_its_older_link():
    """RESUME-2."""
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
    pair.book.config = pair.server.config = Config(window_messages=7, max_frame=8192)
    pair.connect()
    assert pair.client.peer.window_messages == Config().window_messages
    assert pair.client.framing.limit == 8192


# -------------------------------------------------------------------------- close


def test_the_end_is_seen_in_message_order():
    """CLOSE-5."""
    pair = connected()
    pair.server.send("before the end")
    pair.run()
    pair.server.close(pair.now)
    pair.run()
    number = pair.client.send("too late, and the application cannot know")
    assert pair.client.outcome(number) is Outcome.NOT_TAKEN
    assert said(pair) == []
    assert pair.client_take() == ["before the end"]
    pair.run()
    assert pair.client.ended is not None
    assert pair.server.report().confirmed == 1


def test_nothing_sequenced_goes_behind_the_peers_stop():
    """CLOSE-5."""
    pair = connected(Config(window_messages=2, outbox_messages=10))
    for word in ("a", "b", "c"):
        pair.client.send(word)
    pair.server.send("keep the client from being done")
    pair.run()
    pair.server.close(pair.now)
    pair.pull()
    while pair.wire.down:
        pair.deliver_down()
    pair.client.finish(pair.now)
    kinds = {type(frame) for frame in said(pair)}
    assert not kinds & {Messages, Part, Finish}


def test_the_initiator_comes_back_until_it_hears_done():
    """CLOSE-8, TOMB-1: it knows every outcome already, the acceptor does not."""
    pair = connected()
    pair.client.close(pair.now)
    pair.server.close(pair.now)
    pair.pull()
    pair.deliver_down()
    assert pair.client.done
    assert pair.client.ended is None
    pair.cut()
    assert pair.client.ended is None
    pair.connect()
    assert pair.client.ended is not None
    assert pair.server.ended is not None
    assert pair.client.ended.kind is End.FINISHED
    assert pair.server.ended.kind is End.FINISHED


def test_who_hears_the_last_word_closes_first():
    """CLOSE-9."""
    pair = connected()
    pair.client.close(pair.now)
    pair.run()
    assert pair.wire.dialer.leaving is not None
    assert pair.wire.dialer.leaving[::2] == (Code.FINISHED, False)
    assert pair.wire.listener.leaving is not None
    assert pair.wire.listener.leaving.linger


def test_a_hello_that_makes_the_acceptor_done_is_refused_with_counters():
    """CLOSE-7, CLOSE-9: the link was not open, so it is no Done; the last word is waited for."""
    pair = connected()
    pair.server.close(pair.now)
    pair.pull()
    pair.deliver_down()
    assert pair.client.receiving is Receiving.FINISHED
    pair.cut()
    pair.dial()
    pair.pull()
    pair.deliver_up()
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.FINISHED
    assert pair.wire.listener.leaving == (Code.ENDED, "", True)
    final = Counters(0, 0, 0, stopped=True)
    assert said(pair, "server") == [Refuse(Code.ENDED, "", 0, final)]


def test_a_close_that_stands_still_is_given_up():
    """CLOSE-10, END-2: and the peer is told the final counters."""
    pair = connected(Config(close_progress_timeout=5, close_timeout=100))
    pair.client.send("never taken")
    pair.client.close(pair.now)
    pair.run()
    pair.advance(4)
    assert pair.client.ended is None
    pair.advance(2)
    assert pair.client.ended is not None
    assert pair.client.ended[:2] == (End.EXPIRED, Code.ENDED)
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.REFUSED
    assert pair.server.ended.code == Code.ENDED


@pytest.mark.parametrize("before", [0.0, 0.1, 5.0, 19.9])
def test_a_link_that_died_unnoticed_does_not_take_close_with_it(before):
    """CLOSE-10, LIVE-3: by default there is time to notice it, and to open another."""
    config = Config()
    pair = connected(config)
    pair.client.send("still on its way")
    pair.wire.alive = False  # nothing gets through from now on, and nobody says so
    pair.advance(before)
    pair.client.close(pair.now)
    pair.advance(config.idle_timeout - before)
    assert not pair.client.attached
    pair.now += config.open_timeout - 0.1  # so long the next WebSocket takes
    pair.client_events += pair.client.tick(pair.now)
    pair.connect()
    assert pair.server_take() == ["still on its way"]
    pair.server_events += pair.server.close(pair.now)
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.FINISHED
    assert pair.client.report().undelivered == ()


def test_a_close_that_crawls_has_a_limit():
    """CLOSE-10."""
    pair = connected(Config(close_progress_timeout=5, close_timeout=30))
    for n in range(100):
        pair.client.send(n)
    pair.run()
    pair.client.close(pair.now)
    for _ in range(29):
        pair.server.inbox.take()
        pair.advance(1)
    assert pair.client.ended is None
    pair.server.inbox.take()
    pair.advance(2)
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.EXPIRED


# -------------------------------------------------------------------------- ends


@pytest.mark.parametrize("code", [1001, 1012, 4508, 4529])
def test_a_refuse_that_means_later(code):
    """REFUSE-1, REFUSE-2, REFUSE-3."""
    pair = Pair()
    wire = pair.dial()
    pair.pull()
    wire.arrival.refuse(code, "come again")
    pair.run()
    assert pair.client.ended is None
    retry = 1.0 if code >= 4500 else 0.0
    assert pair.client_events == [Detached(code, "come again", retry)]


@pytest.mark.parametrize("code", [4401, 4404, 4409, 4426])
def test_a_refuse_that_is_final(code):
    """REFUSE-2: what was transmitted stays unknown."""
    pair = connected()
    pair.client.send("hi")
    pair.pull()
    pair.cut()
    pair.client.send("never transmitted")
    wire = pair.dial()
    wire.arrival.refuse(code, "no")
    pair.run()
    assert pair.client.ended is not None
    assert pair.client.ended.code == code
    assert pair.client.outcome(1) is Outcome.UNKNOWN
    assert pair.client.outcome(2) is Outcome.NOT_TAKEN


def test_a_book_that_is_full_says_when_to_come_again():
    """REFUSE-3, LIMIT-3."""
    pair = Pair(Config(max_sessions=1))
    pair.connect()
    other = Session("initiator", bytes(16), KEY, pair.now, pair.config)
    arrival = pair.book.arrive(pair.now)
    hello = other.dial(pair.now).transmit(pair.now)
    assert hello is not None
    arrival.receive(hello, pair.now)
    data = arrival.transmit(pair.now)
    assert data is not None
    (refuse,) = decode(data, MAX_FRAME)
    assert isinstance(refuse, Refuse)
    assert refuse.code == Code.BUSY
    assert refuse.retry_ms > 0
    pair.cut()
    pair.connect()
    assert pair.client.attached, "a session that is held is resumed all the same"


def test_a_book_that_holds_too_much_ends_what_is_detached():
    """LIMIT-3."""
    pair = connected(Config(max_bytes=100))
    pair.server.send("x" * 200)
    assert pair.book.relieve(pair.now) == []
    pair.cut()
    assert pair.book.relieve(pair.now) == [pair.server]
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.EXPIRED


def test_an_end_freezes_intake_and_says_so():
    """END-1, END-2."""
    pair = connected()
    pair.client.send("a")
    pair.client.send("b")
    pair.run()
    pair.server.inbox.take()
    pair.server.abort(pair.now, reason="enough")
    assert len(pair.server.inbox) == 0
    (refuse,) = said(pair, "server")
    assert isinstance(refuse, Refuse)
    assert refuse.code == Code.ABORTED
    assert refuse.counters == pair.server.inbox.counters()
    assert refuse.counters[:4] == (2, 1, 1, True)


def test_without_the_peers_last_word_transmitted_means_unknown():
    """END-3."""
    pair = connected(Config(window_messages=1, outbox_messages=5))
    pair.client.send("a")
    pair.client.send("b")
    pair.pull()
    pair.client.abort(pair.now)
    assert pair.client.outcome(1) is Outcome.UNKNOWN
    assert pair.client.outcome(2) is Outcome.NOT_TAKEN


def test_no_contact_ends_a_session():
    """END-4: on both sides."""
    pair = connected(Config(session_ttl=60))
    pair.cut()
    pair.advance(59)
    assert pair.client.ended is None
    assert pair.server.ended is None
    pair.advance(2)
    assert pair.client.ended is not None
    assert pair.server.ended is not None
    assert pair.client.ended.kind is pair.server.ended.kind is End.EXPIRED


def test_a_websocket_on_which_nobody_answers_is_no_contact():
    """END-4."""
    pair = connected(Config(session_ttl=60, open_timeout=10))
    pair.cut()
    for _ in range(8):
        pair.client.dial(pair.now)
        pair.now += 10
        pair.client_events += pair.client.tick(pair.now)
    assert pair.client.ended is not None
    assert pair.client.ended.kind is End.EXPIRED


def test_a_tombstone_answers_its_holder_only_and_not_for_ever():
    """TOMB-1, TOMB-2."""
    pair = connected(Config(session_ttl=60))
    pair.client.send("hi")
    pair.run()
    pair.server_take()
    final = pair.server.inbox.counters()
    pair.cut()
    pair.server.abort(pair.now)
    pair.book.bury(pair.server, pair.now)

    def ask(attempt: int, key: bytes = KEY) -> Refuse:
        asker = Session("initiator", ID, key, pair.now, pair.config)
        asker.attempt, asker.incarnation = attempt - 1, pair.server.incarnation
        arrival = pair.book.arrive(pair.now)
        hello = asker.dial(pair.now).transmit(pair.now)
        assert hello is not None
        arrival.receive(hello, pair.now)
        data = arrival.transmit(pair.now)
        assert data is not None
        (refuse,) = decode(data, MAX_FRAME)
        assert isinstance(refuse, Refuse)
        return refuse

    assert ask(2) == Refuse(Code.ENDED, "this session has ended", 0, final._replace(stopped=True))
    assert ask(2).code == Code.SUPERSEDED
    assert ask(3, bytes(32)).code == Code.UNKNOWN
    pair.now += 119
    pair.book.relieve(pair.now)
    assert ask(3).code == Code.ENDED
    pair.now += 2
    pair.book.relieve(pair.now)
    assert ask(4).code == Code.UNKNOWN


def test_tombstones_are_bounded_in_number():
    """TOMB-2."""
    pair = Pair(Config(max_tombstones=2))
    for number in range(4):
        other = Session("initiator", bytes([number] * 16), KEY, pair.now, pair.config)
        hello = other.dial(pair.now).transmit(pair.now)
        assert hello is not None
        arrival = pair.book.arrive(pair.now)
        arrival.receive(hello, pair.now)
        assert arrival.session is not None
        arrival.session.abort(pair.now)
        pair.book.bury(arrival.session, pair.now)
    assert [key[0] for key in pair.book._tombstones] == [2, 3]


# -------------------------------------------------------------------------- time


def test_a_websocket_without_a_hello_is_refused():
    """LIVE-1."""
    pair = Pair()
    arrival = pair.book.arrive(pair.now)
    arrival.tick(pair.now + 9.9)
    assert arrival.leaving is None
    arrival.tick(pair.now + 10)
    assert arrival.leaving is not None
    assert arrival.leaving.code == Code.NO_HELLO


def test_an_initiator_does_not_wait_for_ever_for_an_answer():
    """LIVE-1."""
    pair = Pair()
    pair.dial()
    pair.now += 10
    pair.client_events += pair.client.tick(pair.now)
    assert isinstance(pair.client_events[-1], Detached)


def test_silence_is_broken_every_third_of_the_peers_idle_time():
    """LIVE-2."""
    pair = connected(Config(idle_timeout=30), Config(idle_timeout=9))
    lines = (pair.wire.up, pair.wire.down)
    beats = []
    for _ in range(10):
        pair.now += 1
        pair.tick()
        pair.pull()
        beats.append([[decode(data, MAX_FRAME) for data in line] for line in lines])
        pair.run()
    heart = [[Ack(0, 0)]]
    assert [up for up, _ in beats] == [[], [], heart, [], [], heart, [], [], heart, []]
    assert [down for _, down in beats] == [[]] * 9 + [heart]


def test_a_link_on_which_nothing_is_heard_is_dropped():
    """LIVE-3: the session lives on."""
    pair = connected(Config(idle_timeout=9))
    wire = pair.wire
    wire.alive = False
    pair.advance(9)
    assert pair.client.ended is None
    assert not pair.client.attached
    assert wire.dialer.leaving is not None
    assert wire.dialer.leaving.code == Code.SILENT


def test_a_sleeper_does_not_blame_its_peer():
    """LIVE-4."""
    pair = connected(Config(idle_timeout=9))
    pair.now += 3600
    pair.tick()
    assert pair.client.attached
    assert pair.client.ended is None
    pair.run()
    pair.advance(3600)
    assert pair.client.attached
    assert not any(isinstance(event, Ended) for event in pair.client_events)
