"""Transports over the library ``websocket-client`` (``import websocket``), its ``WebSocket``."""

from __future__ import annotations

import socket
import struct
from typing import Any

from websocket import ABNF, WebSocket

from reliable_ws.transport import TransportClosed

from .blocking import BlockingTransport
from .close_frame import code_of
from .write_room import Room

__all__ = ["WebSocketClientTransport", "adapt"]


class WebSocketClientTransport(BlockingTransport):
    """A ``websocket.WebSocket`` as an :class:`~reliable_ws.transport.EagerTransport`.

    The library answers pings under the lock that it writes under.
    """

    def __init__(self, ws: Any, max_frame: int | None) -> None:
        super().__init__(ws, "initiator", max_frame)
        self._sock: Any = ws.sock
        self._room = Room(self._sock)
        ws.settimeout(None)

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message if the socket has room for it, else return ``False``."""
        if not self._gone and not self._room.has(len(data)):
            return False
        self.send(data)
        return True

    def _recv(self) -> bytes | str:
        opcode, data = self.websocket.recv_data()
        if opcode == ABNF.OPCODE_TEXT:
            return data if isinstance(data, str) else str(data, errors="replace")
        if opcode == ABNF.OPCODE_BINARY:
            return bytes(data)
        raise _closed(data)

    def _send(self, data: bytes) -> None:
        opcode, left = ABNF.OPCODE_BINARY, len(data)
        for piece in self._room.pieces(data, lambda: self._gone):
            left -= len(piece)
            self.websocket.send_frame(ABNF.create_frame(piece, opcode, int(left == 0)))
            opcode = ABNF.OPCODE_CONT

    def _close(self, code: int, reason: str) -> None:
        self.websocket.send_close(code_of(code), reason.encode())
        self.drain()

    def _drop(self) -> None:
        socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # of TLS, too, only the TCP connection

    def _free(self) -> None:
        self.websocket.shutdown()


def adapt(ws: Any, *, max_frame: int | None = None) -> WebSocketClientTransport:
    """Return a transport for a connected ``websocket.WebSocket``.

    From then on it belongs to the transport. ``max_frame`` is the largest message in bytes to
    announce; the library has no limit.

    Raises:
        TypeError: ``ws`` is something else (a ``WebSocketApp`` reads by itself).
        ValueError: It is not open, or was made with ``enable_multithread=False`` or
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
