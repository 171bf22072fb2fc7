"""Rules of protocol.md: how a session is closed."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import Code, Counters, Finish, Messages, Part, Refuse
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.state import Receiving
from tests.core.rules import connected, said


def test_the_end_is_seen_in_message_order():
    """CLOSE-14."""
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
    """CLOSE-8, TOMB-4: it knows every outcome already, the acceptor does not."""
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
    """CLOSE-9, CLOSE-19."""
    pair = connected()
    pair.client.close(pair.now)
    pair.run()
    assert pair.wire.dialer.close_action is not None
    assert pair.wire.dialer.close_action[::2] == (Code.FINISHED, False)
    assert pair.wire.listener.close_action is not None
    assert pair.wire.listener.close_action.linger


def test_a_hello_that_makes_the_acceptor_done_is_refused_with_counters():
    """CLOSE-18, CLOSE-19: the link was not open, so it is no Done; the last word is waited for."""
    pair = connected()
    pair.server.close(pair.now)
    pair.pull()
    pair.deliver_down()
    assert pair.client.inbox.state is Receiving.FINISHED
    pair.cut()
    pair.dial()
    pair.pull()
    pair.deliver_up()
    assert pair.server.ended is not None
    assert pair.server.ended.kind is End.FINISHED
    assert pair.wire.listener.close_action == (Code.ENDED, "", True)
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
    """CLOSE-23, LIVE-3: by default there is time to notice it, and to open another."""
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
