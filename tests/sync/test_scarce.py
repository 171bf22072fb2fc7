"""A server with threads when descriptors or threads are scarce, and how many it takes at most."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading

import pytest

from reliable_ws import Config, Methods, RequestTimeout, ServerBusy
from reliable_ws.adapters.websockets import listener
from reliable_ws.sync import Sessions, serve, wrap
from tests.support.inside import driver_of

from .conftest import SECONDS, pair, run, until
from .pipe import EagerPipe, pipe
from .sockets import echo, local, over_sockets


def knock(server):
    """Open a TCP connection on which nothing comes."""
    return socket.create_connection(("127.0.0.1", server.port))


class TestAccepting:
    pytestmark = over_sockets

    @pytest.fixture(autouse=True)
    def hasty(self, monkeypatch):
        monkeypatch.setattr(listener, "RETRY_INTERVAL", 0.005)

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
    def test_goes_on_when_there_was_no_descriptor(self, monkeypatch, caplog, number):
        left = [5]
        really_accept = socket.socket.accept

        def accept(listening):
            if left[0]:
                left[0] -= 1
                raise OSError(number, "scarce")
            return really_accept(listening)

        monkeypatch.setattr(socket.socket, "accept", accept)
        with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
            conn.send("still there")
            assert conn.recv(timeout=SECONDS) == "still there"
        assert left == [0]
        warnings = [record for record in caplog.records if "trying again" in record.message]
        assert len(warnings) == 1

    def test_goes_on_when_there_was_no_thread(self, monkeypatch, caplog):
        left = [5]
        really_start = threading.Thread.start

        def start(thread):
            target = getattr(thread, "_target", None)
            if left[0] and getattr(target, "__func__", None) is listener.Listener._run:
                left[0] -= 1
                raise RuntimeError("can't start new thread")
            really_start(thread)

        monkeypatch.setattr(threading.Thread, "start", start)
        with serve(echo, "127.0.0.1", 0) as server, local(server) as conn:
            conn.send("still there")
            assert conn.recv(timeout=SECONDS) == "still there"
        assert left == [0]
        assert "can't start new thread" in caplog.text

    def test_a_peer_that_is_gone_already_holds_back_nobody(self, monkeypatch, caplog):
        left = [5]
        really_accept = socket.socket.accept

        def accept(listening):
            if left[0]:
                left[0] -= 1
                raise ConnectionAbortedError("gone")
            return really_accept(listening)

        monkeypatch.setattr(socket.socket, "accept", accept)
        with serve(echo, "127.0.0.1", 0) as server, local(server):
            pass
        assert "trying again" not in caplog.text

    def test_closing_ends_a_wait_for_a_descriptor_and_for_a_thread(self, monkeypatch):
        monkeypatch.setattr(listener, "RETRY_INTERVAL", SECONDS)
        failed = threading.Event()

        def accept(_):
            failed.set()
            raise OSError(errno.EMFILE, "scarce")

        with serve(echo, "127.0.0.1", 0) as server:
            monkeypatch.setattr(socket.socket, "accept", accept)
            with knock(server):
                assert failed.wait(SECONDS)
                run(server.close).result(SECONDS / 2)
                until(lambda: server.listener._waking.fileno() == -1)

    def test_closing_ends_a_wait_for_a_thread(self, monkeypatch):
        monkeypatch.setattr(listener, "RETRY_INTERVAL", SECONDS)
        failed = threading.Event()
        really_start = threading.Thread.start

        def start(thread):
            target = getattr(thread, "_target", None)
            if getattr(target, "__func__", None) is listener.Listener._run:
                failed.set()
                raise RuntimeError("can't start new thread")
            really_start(thread)

        monkeypatch.setattr(threading.Thread, "start", start)
        with serve(echo, "127.0.0.1", 0) as server, knock(server) as stranger:
            assert failed.wait(SECONDS)
            run(server.close).result(SECONDS / 2)
            stranger.settimeout(SECONDS)
            assert stranger.recv(1) == b""

    def test_closing_drops_who_has_not_greeted(self):
        config = Config(open_timeout=4 * SECONDS)
        with serve(echo, "127.0.0.1", 0, config=config) as server, knock(server) as stranger:
            until(lambda: server.listener._opening)
            run(server.close).result(SECONDS / 2)
            stranger.settimeout(SECONDS)
            assert stranger.recv(1) == b""


class TestBounds:
    pytestmark = over_sockets

    def test_the_oldest_that_has_not_greeted_makes_room(self, monkeypatch):
        monkeypatch.setattr(listener, "MAX_OPENING", 2)
        monkeypatch.setattr(listener, "SLOW_OPENING", 0.02)
        with serve(echo, "127.0.0.1", 0) as server:
            strangers = [knock(server) for _ in range(5)]
            with local(server) as conn:
                conn.send("honest")
                assert conn.recv(timeout=SECONDS) == "honest"
                assert len(server.listener._opening) <= 2
            for stranger in strangers:
                stranger.close()

    def test_those_that_have_greeted_stay_however_many_are_opening(self, monkeypatch):
        monkeypatch.setattr(listener, "MAX_OPENING", 1)
        monkeypatch.setattr(listener, "SLOW_OPENING", 0.05)
        with serve(echo, "127.0.0.1", 0) as server, local(server) as one, local(server) as other:
            until(lambda: not server.listener._opening)
            with knock(server), knock(server):
                for conn in (one, other):
                    conn.send("still there")
                    assert conn.recv(timeout=SECONDS) == "still there"
                    assert conn.stats.resumes == 0

    def test_connections_above_the_bound_wait(self, caplog):
        with serve(echo, "127.0.0.1", 0, max_connections=1) as server:
            first = local(server)
            waiting = run(local, server)
            until(lambda: "max_connections=1 are open" in caplog.text)
            assert not waiting.done()
            first.close()
            waiting.result(SECONDS).close()

    @pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "many"])
    def test_a_bound_is_a_number_of_connections(self, wrong):
        with pytest.raises(TypeError, match="max_connections= must be an int above 0"):
            serve(echo, "127.0.0.1", 0, sessions=Sessions(), max_connections=wrong)


class Crowd:
    """A method whose handlers wait to be let go."""

    def __init__(self):
        self.inside = 0
        self.most = 0
        self.go = threading.Event()
        self._lock = threading.Lock()
        self.methods = Methods()
        self.methods.register(self.enter, name="enter")

    def enter(self, number):
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.go.wait(SECONDS)
        with self._lock:
            self.inside -= 1
        return number


class TestHandlers:
    def test_more_requests_than_threads_wait_for_one(self):
        crowd = Crowd()
        config = Config(max_handlers=2)
        with pair(methods=crowd.methods, config=config) as (ours, _):
            answers = [run(ours.request, "enter", [number]) for number in range(7)]
            until(lambda: crowd.inside == 2)
            crowd.go.set()
            assert sorted(answer.result(SECONDS) for answer in answers) == list(range(7))
        assert crowd.most == 2

    def test_a_request_that_is_cancelled_while_it_waits_is_not_run(self):
        crowd = Crowd()
        ran = []
        crowd.methods.register(ran.append, name="note")
        config = Config(max_handlers=1)
        with pair(methods=crowd.methods, config=config) as (ours, theirs):
            first = run(ours.request, "enter", [1])
            until(lambda: crowd.inside == 1)
            with pytest.raises(RequestTimeout):
                ours.request("note", [2], timeout=0.02)
            until(lambda: len(driver_of(theirs).rpc_server.running) == 1)
            crowd.go.set()
            assert first.result(SECONDS) == 1
            assert ours.request("note", [3], timeout=SECONDS) is None
        assert ran == [3]

    def test_a_request_whose_time_is_up_while_it_waits_is_not_run(self):
        crowd = Crowd()
        ran = []
        crowd.methods.register(ran.append, name="note")
        config = Config(max_handlers=1)
        with pair(methods=crowd.methods, config=config) as (ours, theirs):
            first = run(ours.request, "enter", [1])
            until(lambda: crowd.inside == 1)
            server = driver_of(theirs).rpc_server
            late = run(ours.request, "note", [2])
            until(lambda: server._waiting)
            with driver_of(theirs).lock:
                event, method, running = server._waiting.popleft()
                server._waiting.append((event._replace(by=0.0), method, running))
            crowd.go.set()
            assert first.result(SECONDS) == 1
            with pytest.raises(RequestTimeout):
                late.result(SECONDS)
        assert ran == []

    def test_what_waits_for_a_thread_is_forgotten_with_the_session(self):
        crowd = Crowd()
        with pair(methods=crowd.methods, config=Config(max_handlers=1)) as (ours, theirs):
            for number in range(3):
                run(ours.request, "enter", [number])
            server = driver_of(theirs).rpc_server
            until(lambda: crowd.inside == 1 and len(server._waiting) == 2)
            theirs.abort()
            assert not server._waiting
            crowd.go.set()
            until(lambda: server._threads == 0)
        assert crowd.most == 1


@contextlib.contextmanager
def peers(methods, count, **options):
    """Sessions of one server, and so many clients of theirs."""
    sessions = Sessions(methods=methods, **options)
    ours, ends = [], []
    for _ in range(count):
        near, far = pipe(EagerPipe)
        ends.append(run(sessions.handle, far, list))
        ours.append(wrap(near))
    try:
        yield sessions, ours
    finally:
        for conn in ours:
            conn.abort()
        for end in ends:
            end.result(SECONDS)


def servers(sessions):
    return [driver_of(conn).rpc_server for conn in sessions.connections]


class TestHandlersOfAllSessions:
    """`max_total_handlers`: what waits is served in order, and nothing is lost."""

    @pytest.fixture
    def crowd(self):
        crowd = Crowd()
        yield crowd
        crowd.go.set()

    def test_there_is_a_total_over_all_sessions(self, crowd):
        with peers(crowd.methods, 3, max_total_handlers=2) as (sessions, ours):
            answers = [run(one.request, "enter", [number]) for number in range(4) for one in ours]
            until(lambda: crowd.inside == 2 and len(sessions._handlers.waiting) >= 9)
            assert sessions._handlers.taken == 2
            crowd.go.set()
            got = sorted(answer.result(SECONDS) for answer in answers)
            assert got == sorted(list(range(4)) * 3)
            until(lambda: sessions._handlers.taken == 0)
        assert crowd.most == 2

    def test_the_log_says_once_that_the_total_is_reached(self, crowd, caplog):
        def said():  # threads of an earlier test may still log how their handlers ended
            return [one for one in caplog.records if "requests wait" in one.getMessage()]

        with peers(crowd.methods, 2, max_total_handlers=2) as (sessions, ours):
            first = [run(one.request, "enter", [0]) for one in ours]
            until(lambda: crowd.inside == 2)
            assert not said()
            more = [run(one.request, "enter", [1]) for one in ours]
            until(lambda: len(sessions._handlers.waiting) == 2)
            until(said)
            crowd.go.set()
            for answer in (*first, *more):
                answer.result(SECONDS)
        [record] = said()
        assert record.levelname == "WARNING"
        assert "all 2 threads" in record.getMessage()
        assert "max_total_handlers=" in record.getMessage()

    def test_a_session_with_many_requests_does_not_keep_the_others_waiting(self, crowd):
        ran = []
        crowd.methods.register(ran.append, name="note")
        with peers(crowd.methods, 2, max_total_handlers=1) as (sessions, (busy, other)):
            first = run(busy.request, "enter", [0])
            until(lambda: crowd.inside == 1)
            # One thread of its own: what it asks more waits in the session.
            many = [run(busy.request, "note", [f"busy {number}"]) for number in range(5)]
            until(lambda: len(sessions._handlers.waiting) == 5)
            late = run(other.request, "note", ["other"])
            until(lambda: len(sessions._handlers.waiting) == 6)
            crowd.go.set()
            for answer in (first, *many, late):
                answer.result(SECONDS)
        assert sorted(ran[:5]) == [f"busy {number}" for number in range(5)]
        assert ran[5] == "other"

    def test_a_thread_goes_to_the_session_that_waits_longest(self, crowd):
        ran = []
        crowd.methods.register(ran.append, name="note")
        config = Config(max_handlers=1)
        with peers(crowd.methods, 2, config=config, max_total_handlers=1) as (sessions, ours):
            busy, other = ours
            first = run(busy.request, "enter", [0])
            until(lambda: crowd.inside == 1)
            many = [run(busy.request, "note", ["busy"]) for _ in range(5)]
            (server,) = [one for one in servers(sessions) if one.running]
            until(lambda: len(server._waiting) == 5)
            late = run(other.request, "note", ["other"])
            until(lambda: len(sessions._handlers.waiting) == 1)
            crowd.go.set()
            for answer in (first, *many, late):
                answer.result(SECONDS)
        assert ran.index("other") == 0

    def test_a_session_that_ends_while_it_waits_frees_its_place(self, crowd):
        config = Config(max_handlers=1)
        with peers(crowd.methods, 3, config=config, max_total_handlers=1) as (sessions, ours):
            first = run(ours[0].request, "enter", [0])
            until(lambda: crowd.inside == 1)
            run(ours[1].request, "enter", [1])
            until(lambda: len(sessions._handlers.waiting) == 1)
            last = run(ours[2].request, "enter", [2])
            until(lambda: len(sessions._handlers.waiting) == 2)
            ours[1].abort()
            until(lambda: len(sessions) == 2)
            crowd.go.set()
            assert (first.result(SECONDS), last.result(SECONDS)) == (0, 2)
            until(lambda: sessions._handlers.taken == 0)

    @pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "many"])
    def test_it_is_a_number_of_threads(self, wrong):
        for make in (Sessions, lambda **options: serve(echo, "127.0.0.1", 0, **options)):
            with pytest.raises(TypeError, match="max_total_handlers= must be an int above 0"):
                make(max_total_handlers=wrong)

    def test_shared_sessions_bring_their_own(self):
        with pytest.raises(ValueError, match="max_total_handlers"):
            serve(echo, "127.0.0.1", 0, sessions=Sessions(), max_total_handlers=5)


def test_a_server_that_is_full_says_when_to_come_again():
    """REFUSE-3, REFUSE-5"""
    sessions = Sessions(config=Config(max_sessions=1))
    near, far = pipe(EagerPipe)
    serving = run(sessions.handle, far, list)
    with wrap(near):
        near, far = pipe(EagerPipe)
        refusing = run(sessions.handle, far, list)
        with pytest.raises(ServerBusy, match="later, after 1 s") as busy:
            wrap(near)
        assert busy.value.retry_after == 1
        refusing.result(SECONDS)
    serving.result(SECONDS)
