"""BlockingTransport: what libraries whose methods block share."""

from __future__ import annotations

import queue
import socket
import threading

import pytest

from reliable_ws.adapters.blocking import BlockingTransport
from reliable_ws.adapters.write_room import Room
from reliable_ws.transport import SyncTransport, TransportClosed
from tests.sync.conftest import SECONDS, run


class Blocking(BlockingTransport):
    """Over a queue; what is not bytes is raised."""

    def __init__(self):
        super().__init__(None, "acceptor", None)
        self.arrived = queue.SimpleQueue()
        self.calls = []
        self.answered = threading.Event()

    def _recv(self):
        message = self.arrived.get()
        if isinstance(message, Exception):
            raise message
        return message

    def _send(self, data):
        if data == b"fail":
            raise OSError("gone")
        self.calls.append(data)

    def _close(self, code, reason):
        self.calls.append((code, reason))
        assert self.answered.wait(SECONDS)

    def _drop(self):
        self.calls.append("drop")
        self.arrived.put(OSError("shut down"))

    def _free(self):
        self.calls.append("free")


@pytest.fixture
def blocking():
    return Blocking()


def test_it_is_a_transport(blocking):
    assert isinstance(blocking, SyncTransport)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (TransportClosed(4000, "bye"), (4000, "bye")),
        (TransportClosed(1006, "no close frame"), (None, "")),
        (OSError("reset"), (None, "")),
    ],
)
def test_the_end_comes_last_and_stays(blocking, end, told):
    for item in (b"one", "two", end):
        blocking.arrived.put(item)
    assert [blocking.recv(), blocking.recv()] == [b"one", "two"]
    for _ in range(2):
        with pytest.raises(TransportClosed) as caught:
            blocking.recv()
        assert (caught.value.code, caught.value.reason) == told
    with pytest.raises(TransportClosed):
        blocking.send(b"late")
    assert blocking.calls == ["free"]


def test_a_send_that_fails_is_the_end(blocking):
    receiving = run(blocking.recv)
    with pytest.raises(TransportClosed):
        blocking.send(b"fail")
    with pytest.raises(TransportClosed):
        receiving.result(SECONDS)
    with pytest.raises(TransportClosed):
        blocking.send(b"late")


def test_an_abort_wakes_a_reader_and_frees_once(blocking):
    receiving = run(blocking.recv)
    blocking.abort()
    with pytest.raises(TransportClosed):
        receiving.result(SECONDS)
    blocking.abort()
    blocking.close()
    assert blocking.calls.count("free") == 1


def test_whoever_closes_too_returns_when_the_first_has_closed(blocking):
    closing = [run(blocking.close, 4001, "x" * 200) for _ in range(3)]
    blocking.answered.set()
    for close in closing:
        close.result(SECONDS)
    assert blocking.calls[0] == (4001, "x" * 123)
    assert blocking.calls.count("drop") == 3
    with pytest.raises(TransportClosed):
        blocking.send(b"late")


def test_a_close_may_wait_for_the_end_in_turns_with_the_reader(blocking):
    receiving = run(blocking.recv)
    blocking.arrived.put(b"one")
    assert receiving.result(SECONDS) == b"one"
    blocking.arrived.put(b"unwanted")
    blocking.arrived.put(TransportClosed(1000))
    blocking.drain()
    with pytest.raises(TransportClosed):
        blocking.recv()


def test_a_socket_that_is_closed_already_has_room():
    """A write to it raises what it has to: how the WebSocket ended, and not that of a socket."""
    sock = socket.socket()
    sock.close()
    room = Room(sock)
    assert room.has(10)
    assert list(room.pieces(b"data", lambda: False)) == [b"data"]


def test_room_is_looked_for_once_for_as_much_as_may_be_written_at_once():
    near, far = socket.socketpair()
    with near, far:
        room, looks = Room(near), []
        look = room._is_there
        room._is_there = lambda timeout: looks.append(timeout) or look(timeout)
        size = room.small // 6
        assert [room.has(size) for _ in range(3)] == [True] * 3
        assert len(looks) == 1
        assert not room.has(room.small + 1)
        assert list(room.pieces(b"x" * size, lambda: False)) == [b"x" * size]
        assert len(looks) == 2
        assert room.has(size)  # what the pieces took may have been that room
        assert len(looks) == 3


def test_a_socket_that_is_not_read_is_never_found_to_have_room_for_what_would_block():
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)  # a write that would block raises
        room = Room(near)
        for size in (1, 100, room.small // 3, room.small):
            while room.has(size):
                assert near.send(b"x" * size) == size
