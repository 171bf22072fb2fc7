"""What the simulator and the explorer found, each as small as it could be made."""

from __future__ import annotations

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored_session import restore
from tests.support.pair import Pair
from tests.support.snapshots import snapshot


def crash_client(pair: Pair) -> None:
    """The initiator's process dies and comes back with what its store kept."""
    kept = snapshot(pair.client)
    pair.cut_server()
    pair.client = restore(kept, pair.now, pair.config)


def crash_server(pair: Pair) -> None:
    """The same at the acceptor."""
    kept = snapshot(pair.server)
    pair.cut_client()
    session = restore(kept, pair.now, pair.config)
    pair.registry = SessionRegistry(1000, pair.config)
    pair.registry._sessions[session.id] = session
    pair.registry._principals[session.id] = None
    pair.registry._by_principal.setdefault(None, {})[session.id] = session
    pair._server = session


def close_both(pair: Pair) -> None:
    """Read to the end at both sides, then close."""
    pair.run()
    pair.client_take()
    pair.server_take()
    pair.client_events += pair.client.close(pair.now)
    pair._server_said(pair.server.close(pair.now))
    pair.run()


class TestDialling:
    def test_over_an_open_link_keeps_the_session(self):
        pair = Pair()
        pair.connect()
        pair.client.send("hello")
        old = pair.wire
        new = pair.dial()
        pair.run()
        assert pair.server.ended is None
        assert pair.server.link is new.arrival.link
        assert old.dialer.close_action is not None
        assert pair.server_take() == ["hello"]


class TestDoneBeforeWelcome:
    def test_on_the_first_link(self):
        pair = Pair()
        pair.client.close(pair.now)
        wire = pair.dial()
        pair.pull(wire)
        pair.deliver_up(wire)
        pair._server_said(pair.server.close(pair.now))  # nothing stands open, and no Welcome went
        pair.run()
        assert pair.server.ended.kind is End.FINISHED
        assert pair.client.ended.kind is End.FINISHED

    def test_when_the_greeting_brings_the_last_ack(self):
        pair = Pair()
        pair.connect()
        pair.client.finish(pair.now)
        pair.server.finish(pair.now)
        pair.pull()
        while pair.deliver_down():
            pass
        while pair.deliver_up():
            pass
        pair.cut()  # both Finish have arrived, both acks are lost
        pair.connect()
        assert pair.server.ended.kind is End.FINISHED
        assert pair.client.ended.kind is End.FINISHED
        assert len(pair.wires) == 2, "one more WebSocket was enough"


class TestFrameLimit:
    def test_finish_with_a_long_reason_rides_within_it(self):
        pair = Pair(Config(max_frame=4096))
        pair.connect()
        for length in range(3900, 4096):
            pair.client.send(b"." * length)
        pair.client.finish(pair.now, reason="why" * 41)
        pair.run()
        assert pair.server.ended is None
        assert len(pair.server.inbox) == 196

    def test_finish_behind_a_full_frame(self):
        for length in range(3850, 4096):
            pair = Pair(Config(max_frame=4096))
            pair.connect()
            pair.client.send(b"." * length)
            pair.client.finish(pair.now, reason="why" * 41)
            pair.run()
            assert pair.server.ended is None, length

    def test_stop_with_many_ranges_rides_within_it(self):
        for length in (3900, 4000, 9000):
            pair = Pair(Config(max_frame=4096, window_messages=1024))
            pair.connect()
            for number in range(140):
                pair.client.send(number)
            pair.run()
            for _ in range(140):
                pair.server.deliver()
            for number in range(2, 141, 2):
                pair.server.confirm(number)
            pair.server.send(b"." * length)
            pair.server.close(pair.now)
            pair.run()
            assert pair.client.ended is None, pair.client.ended
            assert len(pair.client.inbox) == 1


class TestDeadlines:
    def test_they_pass_at_the_very_moment_that_was_announced(self):
        for step in range(2000):
            now = 1000 + step * 0.0371
            session = Session("initiator", bytes(16), bytes(32), now)
            assert session.deadline > now
            session.tick(session.deadline)
            assert session.ended is not None

    def test_also_on_a_link(self):
        for step in range(500):
            pair = Pair()
            pair.now += step * 0.0371
            wire = pair.connect()
            while pair.client.link is not None:
                due = pair.client.deadline
                pair.client.tick(due)
                pair.client.link is not None and wire.dialer.transmit(due)
                assert pair.client.deadline > due

    def test_also_while_closing(self):
        for step in range(500):
            pair = Pair()
            pair.now += step * 0.0371
            pair.connect()
            pair.client.close(pair.now)
            while pair.client.ended is None:
                due = pair.client.deadline
                pair.client.tick(due)
                assert pair.client.deadline > due


class TestRestoring:
    def test_a_finish_that_was_confirmed_keeps_its_number(self):
        for restart in (crash_client, crash_server):
            pair = Pair()
            pair.connect()
            side = pair.client if restart is crash_client else pair.server
            side.send("hello")
            side.finish(pair.now)
            pair.run()
            pair.client_take()
            pair.server_take()
            pair.run()
            restart(pair)
            side = pair.client if restart is crash_client else pair.server
            assert side.outbox.last == 2
            assert side.outbox.messages == 1
            pair.connect()
            close_both(pair)
            assert pair.client.ended.kind is End.FINISHED
            assert pair.server.ended.kind is End.FINISHED
            assert side.report().confirmed == 1

    def test_the_peers_finish_that_was_taken_is_not_forgotten(self):
        for restart in (crash_client, crash_server):
            pair = Pair()
            pair.connect()
            side = pair.server if restart is crash_client else pair.client
            side.send("hello")
            side.finish(pair.now)
            pair.run()
            pair.client_take()
            pair.server_take()
            pair.run()
            restart(pair)
            pair.connect()
            close_both(pair)
            assert pair.client.ended.kind is End.FINISHED
            assert pair.server.ended.kind is End.FINISHED

    def test_a_stop_that_was_told_still_holds(self):
        for restart in (crash_client, crash_server):
            pair = Pair()
            pair.connect()
            first = pair.client if restart is crash_client else pair.server
            second = pair.server if restart is crash_client else pair.client
            second.send("not to be taken")
            pair.run()
            first.close(pair.now)
            pair.run()
            assert second.outcome(1) is Outcome.NOT_TAKEN
            restart(pair)
            pair.connect()
            restored = pair.client if restart is crash_client else pair.server
            assert restored.inbox.stopped
            assert not len(restored.inbox)
            close_both(pair)
            assert pair.client.ended.kind is End.FINISHED
            assert pair.server.ended.kind is End.FINISHED

    def test_what_was_handed_over_before_the_crash_is_not_called_not_taken(self):
        for restart in (crash_client, crash_server):
            pair = Pair()
            pair.connect()
            receiver = pair.client if restart is crash_client else pair.server
            sender = pair.server if restart is crash_client else pair.client
            sender.send("handed over, and perhaps worked on")
            pair.run()
            receiver.deliver()
            restart(pair)
            receiver = pair.client if restart is crash_client else pair.server
            receiver.close(pair.now)
            pair.connect()
            assert sender.outcome(1) is Outcome.UNKNOWN

    def test_nor_when_the_end_comes_before_they_meet_again(self):
        pair = Pair()
        pair.connect()
        pair.client.send("handed over")
        pair.run()
        pair.server.deliver()
        crash_server(pair)
        pair._server_said(pair.server.abort(pair.now))
        pair.connect()
        assert pair.client.ended is not None
        assert pair.client.outcome(1) is Outcome.UNKNOWN

    def test_what_the_peer_sends_first_after_the_crash_can_still_be_not_taken(self):
        pair = Pair()
        pair.connect()
        crash_server(pair)
        pair.connect()
        pair.client.send("new")
        pair.run()
        pair.server.close(pair.now)
        pair.run()
        assert pair.client.outcome(1) is Outcome.NOT_TAKEN
