"""simple-websocket, and Flask-Sock, which hands out its ``Server``: both sides, with threads.

The library has a thread that receives and answers pings. Nothing of it may be called by two threads
at a time: neither ``send``, nor ``send`` while that thread answers a ping. So its socket is
replaced by one with a lock around every write, and a message that may be larger than the room in
the socket's buffer goes as fragments (see ``write_room.py``): that thread must go on receiving.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from simple_websocket import Client, ConnectionClosed, Server
from wsproto.events import BytesMessage

from reliable_ws.transport import TransportClosed

from .blocking import BlockingTransport
from .checks import check_open
from .close_frame import code_of
from .write_room import Room

__all__ = ["SimpleWebSocketTransport", "adapt"]

OVER_CHECK_INTERVAL = 1.0
"""Seconds between two looks whether the WebSocket is over: it does not wake who receives always."""


def adapt(ws: Any, *, max_frame: int | None = None) -> SimpleWebSocketTransport:
    """Return a transport for a ``Server`` or ``Client`` of simple-websocket, or of Flask-Sock.

    From then on it belongs to the transport. ``max_frame`` is the largest message that it takes, in
    bytes; by default its ``max_message_size``, which is no limit unless it is set.

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is closed.
    """
    if not isinstance(ws, Server | Client):
        raise TypeError(f"not a Server or Client of simple_websocket: {type(ws).__name__}")
    check_open(closed=not ws.connected)
    return SimpleWebSocketTransport(ws, ws.max_message_size if max_frame is None else max_frame)


class _LockedSocket:
    """A socket that one thread writes to at a time, and whole."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.lock = threading.RLock()

    def send(self, data: bytes) -> int:
        with self.lock:
            self._sock.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class SimpleWebSocketTransport(BlockingTransport):
    """A WebSocket of simple-websocket as an :class:`~reliable_ws.transport.EagerTransport`."""

    def __init__(self, ws: Any, max_frame: int | None) -> None:
        super().__init__(ws, "acceptor" if isinstance(ws, Server) else "initiator", max_frame)
        self._sock: Any = self.websocket.sock
        self._room = Room(self._sock)
        self._locked = _LockedSocket(self._sock)
        self.websocket.sock = self._locked

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message if the socket has room for it, else return ``False``."""
        if not self._gone and not self._room.has(len(data)):
            return False
        self.send(data)
        return True

    def _recv(self) -> bytes | str:
        try:
            while True:
                message: bytes | str | None = self.websocket.receive(timeout=OVER_CHECK_INTERVAL)
                if message is not None:
                    return message
        except ConnectionClosed as end:
            raise TransportClosed(int(end.reason), end.message or "") from None

    def _send(self, data: bytes) -> None:
        left = len(data)
        for piece in self._room.pieces(data, lambda: self._gone):
            left -= len(piece)
            with self._locked.lock:  # packed and written at once: compression has a state
                if not self.websocket.connected:
                    raise TransportClosed
                frame = BytesMessage(data=piece, message_finished=left == 0)
                self._locked.send(self.websocket.ws.send(frame))

    def _close(self, code: int, reason: str) -> None:
        with self._locked.lock:
            self.websocket.close(code_of(code), reason)
        self.websocket.event.set()  # else a receiver learns it only at its next look
        self.websocket.thread.join()  # until the peer's close frame; an abort ends it, too

    def _drop(self) -> None:
        with contextlib.suppress(OSError):  # its thread has closed it already
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # of TLS, too, only TCP
        self.websocket.connected = False
        self.websocket.event.set()

    def _free(self) -> None:
        self._sock.close()  # its thread does it, too, unless it has died
