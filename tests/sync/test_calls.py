"""Requests and streams between two connections with threads, over a pipe."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import threading

import pytest

from reliable_ws import (
    Config,
    ConnectionClosed,
    InvalidParams,
    MethodNotFound,
    Methods,
    NotTaken,
    OutcomeUnknown,
    RemoteError,
    RequestTimeout,
)
from reliable_ws.sync import Connection, Sessions, connect
from tests.support.codecs import NoNone, Odd, Unsayable
from tests.support.inside import driver_of

from .conftest import SECONDS, pair, run, until, waits


class Handlers:
    """Methods that tests use, and what they wait for."""

    def __init__(self) -> None:
        self.methods = Methods()
        self.begun, self.go = threading.Event(), threading.Event()
        self.ended = threading.Event()
        self.added = []
        for method in (self.add, self.hold, self.fail, self.refuse, self.ask_back, self.count):
            self.methods.add(method)

    def add(self, first: int, second: int = 1):
        self.added.append(first)
        return first + second

    def hold(self):
        self.begun.set()
        assert self.go.wait(SECONDS)
        return "held"

    def fail(self):
        raise ZeroDivisionError

    def refuse(self, data):
        raise RemoteError("no", "never", data)

    def ask_back(self, conn: Connection, depth: int):
        return conn.request("ask_back", [depth - 1], timeout=SECONDS) + 1 if depth else 0

    def count(self, upto: int, size: int = 0):
        try:
            for number in range(upto):
                yield [number, "x" * size]
        finally:
            self.ended.set()


@pytest.fixture
def handlers():
    handlers = Handlers()
    yield handlers
    handlers.go.set()


@pytest.fixture
def conns(handlers):
    with pair(methods=handlers.methods) as conns:
        yield conns


def test_requests_are_answered_in_both_directions(conns):
    for conn in conns:
        assert conn.request("add", [1, 2], timeout=SECONDS) == 3
        assert conn.request("add", {"first": 5}) == 6
        assert conn.request("add", 7) == 8


def test_a_handler_may_ask_the_peer(conns):
    assert conns[0].request("ask_back", [9], timeout=SECONDS) == 9


def test_many_threads_ask_at_once(conns):
    futures = [run(conns[0].request, "add", [n, n]) for n in range(50)]
    assert [future.result(SECONDS) for future in futures] == [2 * n for n in range(50)]


def test_what_goes_wrong_is_told_without_a_traceback(conns, caplog):
    ours, _ = conns
    with pytest.raises(MethodNotFound, match="there is no method 'none'"):
        ours.request("none")
    with pytest.raises(InvalidParams):
        ours.request("add", ["text"])
    with pytest.raises(InvalidParams, match="use stream"):
        ours.request("count", [1])
    with pytest.raises(RemoteError, match="the handler failed") as raised:
        ours.request("fail")
    assert raised.value.code == "internal"
    with pytest.raises(RemoteError) as raised:
        ours.request("refuse", [{"a": 1}])
    assert (raised.value.code, raised.value.message, raised.value.data) == ("no", "never", {"a": 1})
    with pytest.raises(ValueError, match="at most"):
        ours.request("x" * 1000)
    assert "ZeroDivisionError" in caplog.text


def test_a_request_that_times_out_is_not_waited_for_and_its_answer_is_dropped(conns, handlers):
    ours, theirs = conns
    taken, timeout = None, 0.05
    while taken is None:  # until the peer was quick enough to say that it has the request
        with pytest.raises(RequestTimeout) as raised:
            ours.request("hold", timeout=timeout)
        taken, timeout = raised.value.taken, 2 * timeout
    assert taken is True
    assert handlers.begun.wait(SECONDS)
    handlers.go.set()
    assert ours.request("add", [1, 1]) == 2
    assert driver_of(theirs).rpc_server.running == {}


def test_a_thread_that_nobody_waits_for_keeps_its_place(handlers):
    """Else a peer that asks and cancels could have any number of them run."""
    with pair(methods=handlers.methods, config=Config(max_requests=1)) as (ours, theirs):
        with pytest.raises(RequestTimeout):
            ours.request("hold", timeout=0.02)
        with pytest.raises(RequestTimeout) as raised:
            ours.request("add", [1], timeout=0.05)
        assert raised.value.taken is False
        handlers.go.set()
        assert ours.request("add", [2], timeout=SECONDS) == 3
        assert not driver_of(theirs).rpc_server._abandoned


def test_a_last_word_does_not_wait_for_a_thread_that_nobody_waits_for(conns, handlers):
    ours, theirs = conns
    with pytest.raises(RequestTimeout):
        ours.request("hold", timeout=0.02)
    until(lambda: driver_of(theirs).rpc_server._abandoned)
    theirs.finish()
    assert list(ours) == []


def test_requests_wait_for_room_at_the_peer_first_come_first_served(handlers):
    with pair(methods=handlers.methods, config=Config(max_requests=1)) as (ours, _):
        held = run(ours.request, "hold")
        assert handlers.begun.wait(SECONDS)
        with pytest.raises(RequestTimeout) as raised:
            ours.request("add", [1], timeout=0.02)
        assert raised.value.taken is False
        second = run(ours.request, "add", [2])
        waits(driver_of(ours).rpc_client.waiters)
        third = run(ours.request, "add", [3])
        waits(driver_of(ours).rpc_client.waiters, 2)
        handlers.go.set()
        assert held.result(SECONDS) == "held"
        assert (second.result(SECONDS), third.result(SECONDS)) == (3, 4)
        assert handlers.added == [2, 3]


def test_a_stream_brings_every_item_in_order_and_is_bounded(conns):
    ours, _ = conns
    items = list(ours.stream("count", [300, 10_000]))
    assert [number for number, _ in items] == list(range(300))
    assert list(ours.stream("add", [1, 2])) == [3]
    with pytest.raises(MethodNotFound):
        list(ours.stream("none"))


def test_leaving_a_stream_stops_its_handler(conns, handlers):
    ours, _ = conns
    with contextlib.closing(ours.stream("count", [10**9, 1000])) as items:
        assert next(items)[0] == 0
    assert handlers.ended.wait(SECONDS)
    assert driver_of(ours).rpc_client._open == {}


def test_a_stream_that_is_collected_as_garbage_in_the_midst_of_a_step_is_left(conns, handlers):
    """A finalizer runs wherever an object is made, also where the lock is held."""
    ours, _ = conns
    items = ours.stream("count", [10**9, 1000])
    next(items)
    cycle = [items]
    cycle.append(cycle)
    gc.disable()
    try:
        del items, cycle
        with ours._lock:
            gc.collect()
    finally:
        gc.enable()
    assert ours.request("add", [1, 1]) == 2  # the next step
    assert handlers.ended.wait(SECONDS)


def test_ctrl_c_as_a_stream_is_left_leaves_no_lock_taken(conns):
    class Lock:
        def __init__(self, lock):
            self.locked, self.release, self._lock = lock.locked, lock.release, lock

        def acquire(self, *args, **kwargs):
            assert self._lock.acquire(*args, **kwargs)
            raise KeyboardInterrupt

        def __enter__(self):
            return self._lock.__enter__()  # nothing interrupts a `with` where it takes the lock

        def __exit__(self, *error):
            self._lock.__exit__(*error)

    ours, _ = conns
    items = ours.stream("count", [10**9, 1000])
    next(items)
    driver_of(ours).rpc_client._lock = Lock(ours._lock)
    with contextlib.suppress(KeyboardInterrupt):
        items.close()
    until(lambda: not ours._lock.locked())


def test_a_stream_times_out(conns):
    ours, _ = conns
    items = ours.stream("hold", timeout=0.05)
    with pytest.raises(RequestTimeout):
        next(items)


def test_a_peer_that_is_gone_ends_requests_at_once(conns, handlers):
    ours, theirs = conns
    asking = run(ours.request, "hold")
    assert handlers.begun.wait(SECONDS)
    theirs.abort()
    with pytest.raises(OutcomeUnknown):
        asking.result(SECONDS)
    with pytest.raises(ConnectionClosed):
        ours.request("add", [1])


def test_close_waits_for_handlers_and_answers_them(conns, handlers):
    ours, theirs = conns
    asking = run(ours.request, "hold")
    assert handlers.begun.wait(SECONDS)
    closing = run(theirs.close)
    while not driver_of(theirs).rpc_server.closing:
        assert ours.request("add", [1], timeout=SECONDS) == 2
    with pytest.raises(NotTaken):  # turned away
        ours.request("add", [1], timeout=SECONDS)
    handlers.go.set()
    assert asking.result(SECONDS) == "held"
    ours.close()
    closing.result(SECONDS)


def test_close_gives_up_a_handler_that_does_not_end(conns, handlers):
    ours, theirs = conns
    asking = run(ours.request, "hold")
    assert handlers.begun.wait(SECONDS)
    closing = run(lambda: theirs.close(timeout=0.4))
    with pytest.raises(RemoteError, match="it does not end"):
        asking.result(SECONDS)
    ours.close()
    closing.result(SECONDS)


def test_start_closing_waits_for_nothing(conns, handlers):
    ours, theirs = conns
    asking = run(ours.request, "hold")
    assert handlers.begun.wait(SECONDS)
    theirs.start_closing()
    handlers.go.set()
    assert asking.result(SECONDS) == "held"
    ours.close()
    assert theirs.wait_closed(SECONDS)


def test_a_handler_may_close_its_own_connection(handlers):
    @handlers.methods.register
    def leave(conn: Connection):
        conn.close(timeout=SECONDS)

    with pair(methods=handlers.methods) as (ours, theirs):
        with pytest.raises(RemoteError, match="its handler closed the connection"):
            ours.request("leave")
        ours.close()
        assert theirs.wait_closed(SECONDS)


def test_coroutine_functions_are_refused_with_the_reason():
    methods = Methods()

    @methods.register
    async def wait():
        """Need an event loop."""

    for refused in (lambda: Sessions(methods=methods), lambda: connect("ws://x", methods=methods)):
        with pytest.raises(TypeError, match="wait: coroutine functions need an event loop"):
            refused()


def test_one_that_is_registered_later_is_the_handlers_failure(conns, handlers, caplog):
    @handlers.methods.register
    async def late():
        """Need an event loop."""

    with pytest.raises(RemoteError, match="the handler failed"):
        conns[0].request("late")
    assert "it needs an event loop" in caplog.text


@pytest.mark.parametrize("codec", [None, NoNone(), Odd()])
def test_an_error_is_told_whatever_the_codec_cannot_pack(codec):
    """CALL-11."""
    methods = Methods()

    @methods.register
    def refuse(code):
        raise RemoteError(code, "never")

    @methods.register
    def unsayable():
        raise Unsayable("no")

    @methods.register
    def result():
        return object()

    with pair(methods=methods, payload_codec=codec) as (conn, _peer):
        for method, params, code in [
            ("refuse", ["no"], "no"),
            ("refuse", ["closing"], "closing"),
            ("unsayable", [], "internal"),
            ("result", [], "internal"),
        ]:
            with pytest.raises(RemoteError) as caught:
                conn.request(method, params, timeout=SECONDS)
            assert (caught.value.code, caught.value.data) == (code, None)


def test_what_is_annotated_is_built_and_its_results_are_packed_and_decorated_generators_stream():
    methods = Methods()

    @dataclasses.dataclass
    class Dot:
        x: int

    def double(dot):
        return Dot(dot.x * 2)

    double.__annotations__ = {"dot": Dot}
    methods.add(double)

    def passing_on(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    @methods.register
    @passing_on
    def dots(upto: int):
        for x in range(upto):
            yield Dot(x)

    with pair(methods=methods) as (conn, _peer):
        assert conn.request("double", [Dot(2)], timeout=SECONDS) == {"x": 4}
        assert list(conn.stream("dots", [2])) == [{"x": 0}, {"x": 1}]
        for method, params in [("double", [{"x": "2"}]), ("dots", [1])]:
            with pytest.raises(InvalidParams):
                conn.request(method, params, timeout=SECONDS)
