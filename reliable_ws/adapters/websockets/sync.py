"""Transports over ``websockets.sync``, from release 13.1 on, client or server.

The library writes while it holds the lock that it reads under (see ``adapters/write_room.py``): so
a message that may be larger than the room in the socket's buffer goes as fragments.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Literal

from websockets.datastructures import Headers, HeadersLike
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection
from websockets.sync.server import Server, ServerConnection, serve

from reliable_ws.adapters.close_frame import code_of, reason_of
from reliable_ws.adapters.write_room import Room
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.protocol.session import Role
from reliable_ws.transport import TransportClosed

from .frames import MASKED, FrameReader, framed
from .options import (
    MAX_SIZE,
    MaxSize,
    max_frame_of,
    names_of,
    selecting,
    smallest,
    typed,
)

__all__ = [
    "GreetedServer",
    "WebSocketsSyncTransport",
    "adapt",
    "connect_options",
    "dial",
    "listen",
    "listen_options",
]

RECEIVE = 256 * 1024
"""Bytes that are read from the socket at a time; of the library: 64 KiB."""

PAYLOADS = (bytes, bytearray)
"Of messages that were taken out of what arrived."

OPEN = State.OPEN  # the lookup of an enum's member costs more than what is done with it

ProcessResponse = Callable[[ServerConnection, Request, Response], Response | None]

_CLIENT_OPTIONS = inspect.signature(connect).parameters
_SERVER_OPTIONS = inspect.signature(serve).parameters


class _Threaded(FrameReader):
    """Where one thread reads and another takes what was read.

    It reads as much at a time as asyncio does. The thread that takes messages is woken once for
    what was read together, and the interpreter goes from one to the other less often.

    The library parses under a lock, without which nobody may write. So what is taken out here
    becomes an event among the library's, in order, and is handed over as these are, without it.
    """

    __slots__ = ()

    recv_bufsize = RECEIVE

    mask: int
    "Of frames that are sent, as in :func:`~.frames.framed`."

    protocol_mutex: threading.Lock

    def recv_events(self) -> None:
        """Read until the end. The work of the library's thread."""
        self.protocol.receive_data = self.receive_data
        try:
            super().recv_events()  # type: ignore[misc]
        finally:
            del self.protocol.receive_data  # as it was: no circle is left behind

    def receive_data(self, data: bytes) -> None:
        """Take what was read, with the lock held; events follow from it."""
        if self.push is None or not (self.takes_frames or self.takes_over()):
            self.pass_on(data)
            return
        self.hand = self.protocol.events.append
        self.take_frames(data)
        self.hand = None  # else what it took stays until more arrives

    def pass_on(self, data: bytes) -> None:
        """Give the library what has arrived, or a part of it."""
        protocol = self.protocol
        type(protocol).receive_data(protocol, data)

    def process_event(self, event: Any) -> None:
        """Take one event: the payload of a message, or what the library made of a frame."""
        push = self.push
        if push is not None and type(event) in PAYLOADS:
            push(event)
        else:
            super().process_event(event)

    def write(self, data: bytes) -> None:
        """Send a binary message, as the library does while the connection is open."""
        protocol = self.protocol
        if self.takes_frames:
            header, rest = framed(data, self.mask)
            frame = header + rest
            with self.protocol_mutex:
                if protocol.state is OPEN and not protocol.expect_continuation_frame:
                    self.socket.sendall(frame)  # type: ignore[attr-defined]
                    return
        with self.protocol_mutex:
            protocol.send_binary(data)
            self.send_data()  # type: ignore[attr-defined]


class PushingClient(_Threaded, ClientConnection):
    """The client side."""

    mask = MASKED


class PushingServer(_Threaded, ServerConnection):
    """The server side."""

    mask = 0


class GreetedServer(PushingServer):
    """The server side where the first message is a greeting."""

    greeted = True


class WebSocketsSyncTransport:
    """One connection of ``websockets.sync`` as an :class:`~reliable_ws.transport.EagerTransport`.

    The code of its ``TransportClosed`` is that of the close frame which the peer sent, ``None``
    if none came or it had no code.
    """

    __slots__ = ("__weakref__", "_gone", "_pushing", "_room", "_ws", "max_frame")

    def __init__(self, ws: Any, max_frame: int | None) -> None:
        self._ws = ws
        self._gone = False
        self._pushing = isinstance(ws, _Threaded)
        self.max_frame = max_frame
        self._room = Room(ws.socket)

    @property
    def websocket(self) -> object:
        """The connection object of websockets."""
        return self._ws

    @property
    def role(self) -> Role:
        """``"initiator"`` for a client, ``"acceptor"`` for a server."""
        return "initiator" if isinstance(self._ws, ClientConnection) else "acceptor"

    def send(self, data: bytes, /) -> None:
        """Send one binary message, as fast as the socket has room for it.

        Raises:
            TransportClosed: The end is known, or the closing handshake has begun.
        """
        pieces = self._room.pieces(data, lambda: self._gone)
        self._send(pieces if len(data) > self._room.small else next(pieces))

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message if the socket has room for it, else return ``False``.

        Raises:
            TransportClosed: The end is known.
        """
        if not self._gone and not self._room.has(len(data)):
            return False
        self._send(data)
        return True

    def _send(self, data: bytes | Iterator[bytes]) -> None:
        if self._gone or self._ws.protocol.state is not OPEN:
            raise self._closed()
        try:
            if self._pushing and type(data) is bytes:
                self._ws.write(data)
            else:
                self._ws.send(data)
        except ConnectionClosed as exc:
            raise self._closed(exc) from exc
        except Exception as exc:
            self.abort()
            raise self._closed() from exc

    def push_to(self, receiver: Callable[[bytes], None], /) -> None:
        """Hand each message to ``receiver`` as it arrives, where the connection can."""
        if self._pushing:
            self._ws.push = receiver

    def recv(self) -> bytes | str:
        """Return the next message: ``bytes`` for a binary one, ``str`` for a text.

        Everything already received comes before ``TransportClosed``.
        """
        try:
            message: bytes | str = self._ws.recv()
        except ConnectionClosed as exc:
            raise self._closed(exc) from exc
        except Exception as exc:  # messages may be missing from here on
            self.abort()
            raise self._closed() from exc
        return message

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Run the closing handshake, for the library's ``close_timeout`` at most.

        Idempotent, never raises. ``code`` may be 1000, 1001, 1011, 1012 or 3000-4999, any other
        becomes 1011; ``reason`` is cut to 123 bytes.
        """
        with contextlib.suppress(Exception):
            self._ws.close(code_of(code), reason_of(reason))
        self.abort()

    def abort(self) -> None:
        """Drop the TCP connection at once. Idempotent, never raises."""
        self._gone = True
        with contextlib.suppress(OSError):  # closed already. Of TLS, too, only the TCP connection
            socket.socket.shutdown(self._ws.socket, socket.SHUT_RDWR)

    def _closed(self, exc: ConnectionClosed | None = None) -> TransportClosed:
        self._gone = True
        close = exc.rcvd if exc is not None else self._ws.protocol.close_rcvd
        if close is None or close.code in {1005, 1006}:
            return TransportClosed()
        return TransportClosed(close.code, close.reason)


def adapt(ws: Any, *, max_frame: int | None = None) -> WebSocketsSyncTransport:
    """Return a transport for an open connection of ``websockets.sync``, either side.

    From then on the connection belongs to the transport. ``max_frame`` is the ``max_size`` that
    the connection was opened with, in bytes; by default it is read from the connection.

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: It is not open, or another thread is receiving from it.
    """
    if not isinstance(ws, Connection):
        name = f"{type(ws).__module__}.{type(ws).__qualname__}"
        raise TypeError(f"not a connection of websockets.sync: {name}")
    if ws.protocol.state is not State.OPEN:
        raise ValueError(
            f"the WebSocket is not open but {ws.protocol.state.name}: pass one that is open"
        )
    if getattr(ws.recv_messages, "get_in_progress", False):
        raise ValueError("another thread is receiving from the WebSocket: it must have one reader")
    return WebSocketsSyncTransport(ws, max_frame_of(ws) if max_frame is None else max_frame)


def dial(
    uri: str,
    *,
    subprotocols: Sequence[str] | None = (SUBPROTOCOL,),
    compression: str | None = None,
    additional_headers: HeadersLike | None = None,
    proxy: str | Literal[True] | None = True,
    open_timeout: float | None = 10,
    ping_interval: float | None = None,
    max_size: MaxSize = MAX_SIZE,
    **options: Any,
) -> WebSocketsSyncTransport:
    """Connect to ``uri``; further ``options`` are those of ``websockets.sync.client.connect``.

    It has the defaults of :func:`reliable_ws.adapters.websockets.asyncio.dial`. As there, a
    ``proxy`` needs websockets 15.0.

    Raises:
        OSError: There is no network, or nobody listens.
        TimeoutError: There was no answer within ``open_timeout``.
        InvalidHandshake: The server refuses (of ``websockets``).
        InvalidURI: ``uri`` is no URI of a WebSocket (of ``websockets``).
        ValueError: ``proxy`` is an address, and this release of websockets has no proxies.
    """
    if "proxy" in _CLIENT_OPTIONS:
        options["proxy"] = proxy
    elif isinstance(proxy, str):
        raise ValueError("proxy needs websockets 15.0 or later; use proxy=None with this release")
    if "legacy" in _CLIENT_OPTIONS:
        options["legacy"] = True  # from 17.1 on, else a warning where no block is entered
    options.setdefault("create_connection", PushingClient)
    ws = connect(
        uri,
        subprotocols=typed(subprotocols),
        compression=compression,
        additional_headers=additional_headers,
        open_timeout=open_timeout,
        max_size=max_size,
        **_pinging(_CLIENT_OPTIONS, ping_interval),
        **options,
    )
    return WebSocketsSyncTransport(ws, smallest(max_size))


def listen(
    handler: Callable[[WebSocketsSyncTransport], None],
    host: str | None = None,
    port: int | None = None,
    *,
    subprotocols: Sequence[str] | None = (SUBPROTOCOL,),
    compression: str | None = None,
    additional_headers: HeadersLike | None = None,
    process_response: ProcessResponse | None = None,
    open_timeout: float | None = 10,
    ping_interval: float | None = None,
    max_size: MaxSize = MAX_SIZE,
    **options: Any,
) -> Server:
    """Listen; ``serve_forever()`` of the result accepts connections.

    Each connection is given to ``handler`` as a transport, in a thread of its own, and closed
    when ``handler`` returns. The same defaults as
    :func:`reliable_ws.adapters.websockets.listen`; further ``options`` are those of
    ``websockets.sync.server.serve``.
    """
    max_frame = smallest(max_size)
    known = typed(subprotocols)

    options.setdefault("select_subprotocol", selecting(known))
    options.setdefault("create_connection", PushingServer)
    return serve(
        lambda ws: handler(WebSocketsSyncTransport(ws, max_frame)),
        host,
        port,
        subprotocols=known,
        compression=compression,
        process_response=_adding(additional_headers, process_response),
        open_timeout=open_timeout,
        max_size=max_size,
        **_pinging(_SERVER_OPTIONS, ping_interval),
        **options,
    )


@functools.cache
def connect_options() -> frozenset[str]:
    """Return the names of all options of :func:`dial`, also those that only websockets knows."""
    return names_of(dial, connect, socket.create_connection) | {"unix", "path", "ssl_context"}


@functools.cache
def listen_options() -> frozenset[str]:
    """Return the names of all options of :func:`listen`, also those that only websockets knows."""
    return names_of(listen, serve, socket.create_server) | {"unix", "path", "ssl_context"}


def _pinging(known: Any, interval: float | None) -> dict[str, Any]:
    if "ping_interval" in known:  # from 15.0 on
        return {"ping_interval": interval}
    if interval is not None:
        raise ValueError("ping_interval needs websockets 15.0 or later")
    return {}


def _adding(headers: HeadersLike | None, then: ProcessResponse | None) -> ProcessResponse | None:
    if headers is None:
        return then
    added = list(Headers(headers).raw_items())  # an iterator would serve one connection only

    def process_response(ws: ServerConnection, request: Request, response: Response) -> Response:
        if then is not None:
            response = then(ws, request, response) or response
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            for name, value in added:
                response.headers[name] = value
        return response

    return process_response
