"""Transports over the library ``websocket-client`` (``import websocket``), its ``WebSocket``."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Any, Literal

from websocket import ABNF, WebSocket

from reliable_ws.transport import TransportClosed

from .websockets.options import code_of, reason_of
from .write_room import Room

__all__ = ["WebSocketClientTransport", "adapt"]


class WebSocketClientTransport:
    """A ``websocket.WebSocket`` as an :class:`~reliable_ws.transport.EagerTransport`.

    The library answers pings under the lock that it writes under.
    """

    def __init__(self, ws: Any, max_frame: int | None) -> None:
        self._ws = ws
        self._sock: Any = ws.sock
        self._room = Room(self._sock)
        self._end: TransportClosed | None = None
        self._gone = False  # nothing can be sent any more
        self._reading = threading.Lock()  # the library must have one reader
        self.max_frame = max_frame
        self.role: Literal["initiator"] = "initiator"
        ws.settimeout(None)

    @property
    def websocket(self) -> object:
        """The library's object."""
        return self._ws

    def send(self, data: bytes, /) -> None:
        """Send one binary message, as fast as the socket has room for it."""
        opcode, left = ABNF.OPCODE_BINARY, len(data)
        for piece in self._room.pieces(data, lambda: self._gone):
            left -= len(piece)
            self._send(ABNF.create_frame(piece, opcode, int(left == 0)))
            opcode = ABNF.OPCODE_CONT

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message if the socket has room for it, else return ``False``."""
        if not self._gone and not self._room.has(len(data)):
            return False
        self._send(ABNF.create_frame(data, ABNF.OPCODE_BINARY))
        return True

    def _send(self, frame: ABNF) -> None:
        if self._gone:
            raise self._end or TransportClosed()
        try:
            self._ws.send_frame(frame)
        except Exception as exc:
            self.abort()
            raise TransportClosed from exc

    def recv(self) -> bytes | str:
        """Return the next message: ``bytes`` for a binary one, ``str`` for a text."""
        with self._reading:
            if self._end is None:
                try:
                    opcode, data = self._ws.recv_data()
                except Exception:  # noqa: BLE001 - whatever it is, nothing more comes
                    self._end = TransportClosed()
                else:
                    if opcode == ABNF.OPCODE_TEXT:
                        return data if isinstance(data, str) else str(data, errors="replace")
                    if opcode == ABNF.OPCODE_BINARY:
                        return bytes(data)
                    self._end = _closed(data)
                self._gone = True
                self._ws.shutdown()
            raise self._end

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Run the closing handshake. Idempotent, never raises."""
        was_gone, self._gone = self._gone, True
        if not was_gone:
            with contextlib.suppress(Exception):  # closed already
                self._ws.send_close(code_of(code), reason_of(reason))
        with contextlib.suppress(TransportClosed):
            while True:  # in turns with the reader, if there is one; nobody wants what comes
                self.recv()

    def abort(self) -> None:
        """Drop the connection at once. Idempotent, never raises."""
        self._gone = True
        with contextlib.suppress(OSError):  # closed already. Of TLS, too, only the TCP connection
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        if self._reading.acquire(blocking=False):  # else the reader closes it
            self._ws.shutdown()
            self._reading.release()


def adapt(ws: Any, *, max_frame: int | None = None) -> WebSocketClientTransport:
    """Return a transport for a connected ``websocket.WebSocket``.

    From then on it belongs to the transport. ``max_frame`` is the largest message in bytes to
    announce; the library has no limit.

    Raises ``TypeError`` if ``ws`` is something else (a ``WebSocketApp`` reads by itself), and
    ``ValueError`` if it is not open, or was made with ``enable_multithread=False`` or
    ``fire_cont_frame=True``.
    """
    if not isinstance(ws, WebSocket):
        name = f"{type(ws).__module__}.{type(ws).__qualname__}"
        raise TypeError(f"{name} is no websocket.WebSocket: use websocket.create_connection")
    if not ws.connected:
        raise ValueError("the WebSocket is not open: pass what create_connection() returned")
    if not hasattr(ws.lock, "acquire"):
        raise ValueError(
            "made with enable_multithread=False: leave that out, several threads use it"
        )
    if ws.cont_frame.fire_cont_frame:
        raise ValueError(
            "made with fire_cont_frame=True: leave that out, it hides where messages end"
        )
    return WebSocketClientTransport(ws, max_frame)


def _closed(data: bytes) -> TransportClosed:
    """Return what a close frame said."""
    if len(data) < 2:
        return TransportClosed()
    return TransportClosed(struct.unpack("!H", data[:2])[0], data[2:].decode(errors="replace"))
