"""Transports over the library ``websockets``, from release 13.1 on.

``adapt`` takes an open connection over, of its asyncio or its legacy implementation, client or
server; ``dial`` and ``listen`` open connections, always with the asyncio implementation, and look
the same whatever release is installed.

The legacy implementation is never imported from here (that warns): if an object of it exists, it
has been imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.datastructures import Headers, HeadersLike
from websockets.exceptions import ConnectionClosed, ProtocolError, WebSocketException
from websockets.http11 import Request, Response
from websockets.protocol import State

from reliable_ws.adapters.close_frame import code_of, reason_of
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.protocol.session import Role
from reliable_ws.protocol.unused import UNUSED_LIST
from reliable_ws.transport import LONGEST_STEP, TransportClosed

from .frames import MASKED, WRITE_APART, FrameReader, framed
from .options import (
    MAX_SIZE,
    MaxSize,
    cookies_set,
    max_frame_of,
    names_of,
    selecting,
    smallest,
    typed,
)

__all__ = [
    "GREETED",
    "HAS_PROXY",
    "SEND_NOW_LIMIT",
    "GreetedServer",
    "WebSocketsTransport",
    "adapt",
    "connect_options",
    "cookies_set",
    "dial",
    "listen",
    "listen_options",
]

SEND_NOW_LIMIT = 256 * 1024
"""``send_now`` refuses while the write buffer holds this many bytes or more."""

SLICE = 16 * 1024
"""Bytes that the library parses between two looks at the clock. Some 1,600 messages fit in."""

PONG = b"\x8a"
"First byte of a pong."

ProcessResponse = Callable[
    [ServerConnection, Request, Response], Awaitable[Response | None] | Response | None
]

OPEN = State.OPEN  # the lookup of an enum's member costs more than what is done with it

HAS_PROXY = "proxy" in inspect.signature(connect).parameters
"""Whether this release knows of proxies (from 15.0 on), and uses those of the environment."""


class _Direct(FrameReader):
    """Where one thread does everything, a write and the end need not wait for another.

    What the event loop hands over at once, up to 256 KiB, may be 25,000 messages, and nobody else
    is served while they are parsed. So that takes several turns of the loop if it takes long. What
    waits for its turn is bounded, because nothing is read meanwhile.
    """

    __slots__ = ("_pong", "_rest", "gone")

    mask: int
    "Of frames that are sent, as in :func:`~.frames.framed`."

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.gone: asyncio.Future[None] | None = None
        "Who waits for the end."
        self._rest: bytearray | None = None  # what waits for its turn
        self._pong: bytes | None = None  # the last of those that wait for room
        # The library sets these once it is connected. Python keeps the attributes of all objects of
        # a class in one table, which is closed when a crowd of them was made: after a restart, when
        # all clients come at once. What is set for the first time after that takes a dictionary for
        # each connection, for good: 1.5 KiB.
        connection: Any = self
        connection.recv_messages = connection.transport = None
        super().__init__(*arguments, **options)

    def data_received(self, data: bytes) -> None:
        """Take bytes, as any asyncio protocol does."""
        if self._rest is not None:
            self._rest += data
        elif self.push is None:  # then the library's queue has its own bound
            self.pass_on(data)
        elif self.takes_frames or self.takes_over():
            if self.header:
                data = self.header + data
                self.header = b""
            at = self.take_frame(data, 0)
            if at < len(data):  # else the usual frame, alone
                self._take(data, at, self.take_frame)
        else:
            self._take(data, 0, self._take_slice)

    def pass_on(self, data: bytes) -> None:
        """Give the library what has arrived, or a part of it."""
        super().data_received(data)  # type: ignore[misc]

    def eof_received(self) -> None:
        """Take the end of what is read, after what is left of it."""
        self._take_all()
        super().eof_received()  # type: ignore[misc]

    def _take_slice(self, data: bytes, at: int) -> int:
        """Have the library parse a slice; return where it ends."""
        self.pass_on(data[at : at + SLICE])
        return at + SLICE

    def _take(self, data: bytes, at: int, take: Callable[[bytes, int], int]) -> None:
        """Take one piece after another, for so long; then go on in the next turn of the loop."""
        by, end = time.monotonic() + LONGEST_STEP, len(data)
        while at < end:
            if at and time.monotonic() >= by:
                self._rest = bytearray(memoryview(data)[at:])
                self.loop.call_soon(self._take_rest)  # type: ignore[attr-defined]
                self._reads(on=False)
                return
            at = take(data, at)

    def _take_rest(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:  # else the end has come
            self.data_received(bytes(rest))
            if self._rest is None:
                self._reads(on=True)

    def _take_all(self) -> None:
        """Take what is left, because the end has come."""
        rest, self._rest = self._rest, None
        if rest is not None:
            take = self.take_frames if self.takes_frames else self.pass_on
            take(bytes(rest))

    def _reads(self, *, on: bool) -> None:
        """Read, or do not; a transport that is closing may raise, and reads nothing."""
        transport = self.transport  # type: ignore[attr-defined]
        # AttributeError: of asyncio, over TLS, once it was closed twice.
        with contextlib.suppress(RuntimeError, AttributeError):
            if on:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end, as any asyncio protocol does, after what is left of what was read."""
        if self._rest is not None:  # others are served between its turns now, too
            self.loop.call_soon(self.connection_lost, exc)  # type: ignore[attr-defined]
            return
        super().connection_lost(exc)  # type: ignore[misc]
        if self.gone is not None and not self.gone.done():
            self.gone.set_result(None)

    def send_data(self) -> None:
        """Send what the library has to send; of pongs that have no room, the last one, later.

        A peer could send pings and read nothing, and have all their pongs kept. One is enough for
        all of them (RFC 6455, 5.5.3).
        """
        connection: Any = self
        protocol = self.protocol
        if connection.transport.is_closing():
            protocol.data_to_send()  # nobody gets it, and asyncio would log a line for each piece
            return
        if connection.paused:
            pieces = protocol.data_to_send()
            protocol.writes = [piece for piece in pieces if piece[:1] != PONG]
            for piece in pieces:
                if piece[:1] == PONG:
                    self._pong = piece
        super().send_data()  # type: ignore[misc]

    def resume_writing(self) -> None:
        """Learn that there is room again, as any asyncio protocol does."""
        super().resume_writing()  # type: ignore[misc]
        if self._pong is not None:
            # TLS may call this in the middle of a frame that is written in two pieces.
            self.loop.call_soon(self._send_pong)  # type: ignore[attr-defined]

    def _send_pong(self) -> None:
        pong, self._pong = self._pong, None
        if pong is not None and self.protocol.state is OPEN:
            self.protocol.writes.append(pong)
            self.send_data()

    def write(self, data: bytes) -> None:
        """Send a binary message without waiting, as the library's ``broadcast`` does."""
        protocol = self.protocol
        if not self.takes_frames or protocol.expect_continuation_frame:
            protocol.send_binary(data)
            self.send_data()
            return
        header, data = framed(data, self.mask)
        write = self.transport.write  # type: ignore[attr-defined]
        if len(data) < WRITE_APART:
            write(header + data)
        else:
            write(header)
            write(data)


class PushingClient(_Direct, ClientConnection):
    """The client side."""

    mask = MASKED


class PushingServer(_Direct, ServerConnection):
    """The server side."""

    mask = 0


class GreetedServer(PushingServer):
    """The server side where the first message is a greeting."""

    greeted = True


GREETED: dict[str, Any] = {"create_connection": GreetedServer}
"""Options of :func:`listen` where the first message is a greeting."""

PUSHING = (PushingClient, PushingServer)


class WebSocketsTransport:
    """One connection of websockets as a :class:`~reliable_ws.transport.Transport`.

    Made by :func:`dial`, :func:`listen` and :func:`adapt`. The code of its ``TransportClosed`` is
    that of the close frame which the peer sent, ``None`` if none came or it had no code.
    """

    __slots__ = (
        "__weakref__",
        "_broadcast",
        "_closing",
        "_code",
        "_drained",
        "_gone",
        "_limit",
        "_protocol",
        "_pushing",
        "_reason",
        "_tcp",
        "_ws",
        "max_frame",
    )

    def __init__(self, ws: Any, max_frame: int | None, send_now_limit: int) -> None:
        self._ws = ws
        self._protocol = getattr(ws, "protocol", ws)  # what knows the state
        self._tcp = ws.transport
        self._limit = send_now_limit
        self._broadcast: Any = _legacy().broadcast if is_legacy(ws) else broadcast
        self._pushing = isinstance(ws, PUSHING)
        self._gone = False  # nothing can be sent any more
        self._drained = False  # nothing can be received any more
        self._code: int | None = None
        self._reason = ""
        self._closing: asyncio.Task[None] | None = None
        self.max_frame = max_frame

    @property
    def websocket(self) -> object:
        """The connection object of websockets."""
        return self._ws

    @property
    def role(self) -> Role | None:
        """``"initiator"`` for a client, ``"acceptor"`` for a server."""
        if isinstance(self._ws, ClientConnection):
            return "initiator"
        if isinstance(self._ws, ServerConnection):
            return "acceptor"
        if is_legacy(self._ws):
            return "initiator" if self._ws.is_client else "acceptor"
        return None

    async def send(self, data: bytes, /) -> None:
        """Send one binary message; wait while the library's write buffer is above its limit.

        Raises:
            TransportClosed: The end is known, or the closing handshake has begun.
        """
        if self._gone or self._ws.state is not OPEN:
            raise self._closed()
        try:
            if (
                self._pushing
                and self._ws.takes_frames
                and not self._protocol.expect_continuation_frame
            ):
                self._ws.write(data)
                await self._ws.drain()
            else:
                await self._ws.send(data)  # behind the fragments of another, if it must be
        except ConnectionClosed as exc:
            raise self._closed(exc) from exc
        except (WebSocketException, OSError, EOFError, RuntimeError, AssertionError) as exc:
            self.abort()
            raise self._closed() from exc

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message at once, or return ``False`` if the write buffer is full.

        Also ``False`` while somebody else sends a fragmented message on the same connection.

        Raises:
            TransportClosed: The end is known.
        """
        tcp = self._tcp
        if self._gone or self._protocol.state is not OPEN or tcp.is_closing():
            raise self._closed()  # a transport that failed tells the library a turn later
        if tcp.get_write_buffer_size() >= self._limit:
            return False
        try:
            if self._pushing:
                self._ws.write(data)
            else:
                self._broadcast((self._ws,), data, raise_exceptions=True)
        except ExceptionGroup as group:
            if group.exceptions[0].__cause__ is None:  # fragments are being sent
                return False
            self.abort()
            raise self._closed() from group
        except ProtocolError:  # fragments are being sent
            return False
        except Exception as exc:
            self.abort()
            raise self._closed() from exc
        return True

    def push_to(self, receiver: Callable[[bytes], None]) -> asyncio.Future[None] | None:
        """Hand each message to ``receiver`` as it arrives, where the connection can.

        Returns a future that is done at the end, if nothing else is left for :meth:`recv`.
        """
        ws = self._ws
        if not self._pushing:
            return None
        ws.push = receiver
        if ws.queued or ws.state is State.CLOSED:
            return None
        with contextlib.suppress(AttributeError):
            # A deque takes 0.6 KiB, and the library has two. Writers that wait for room are few:
            # a list will do. Messages are queued no more.
            if not ws.drain_waiters:
                ws.drain_waiters = []
            if not (frames := ws.recv_messages.frames).queue:
                frames.queue = UNUSED_LIST  # releases 13.1 and 14.0 clear it at the end
        return self._end()

    def _end(self) -> asyncio.Future[None]:
        """Return what is done once all that was to be pushed has been."""
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ws.gone = gone
        return gone

    async def recv(self) -> bytes | str:
        """Return the next message: ``bytes`` for a binary one, ``str`` for a text.

        Everything already received comes before ``TransportClosed``; releases 13.1 and 14.0 drop
        what is unread when the connection ends.
        """
        ws = self._ws
        if self._pushing and ws.push is not None and not ws.queued:
            if ws.state is not State.CLOSED:  # all that may come is pushed, but for the end
                await self._end()
            self._drained = True
        if self._drained:
            raise self._closed()
        try:
            message: bytes | str = await ws.recv()
        except ConnectionClosed as exc:
            self._drained = True
            raise self._closed(exc) from exc
        except Exception as exc:
            # A text that is no UTF-8 (13.1), messages and the end in one packet (13.1 and 14.0:
            # IndexError), a second reader. Whatever it is, messages may be missing from here on.
            self._drained = True
            self.abort()
            raise self._closed() from exc
        if self._pushing:
            ws.queued -= 1
        return message

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float = 10.0) -> None:
        """Run the closing handshake; after ``timeout`` seconds drop the connection.

        Idempotent, never raises. ``code`` may be 1000, 1001, 1011, 1012 or 3000-4999, any other
        becomes 1011; ``reason`` is cut to 123 bytes. If the caller is cancelled, closing goes on.
        """
        await asyncio.shield(self._close_in_task(code, reason, timeout))

    def begin_close(self, code: int, reason: str, timeout: float, /) -> None:
        """Begin the closing handshake, and return at once; otherwise as :meth:`close`."""
        self._close_in_task(code, reason, timeout)

    def _close_in_task(self, code: int, reason: str, timeout: float) -> asyncio.Task[None]:
        self._gone = True
        if self._closing is None:
            self._closing = asyncio.create_task(
                self._close(code_of(code), reason_of(reason), timeout)
            )
        return self._closing

    def abort(self) -> None:
        """Drop the TCP connection at once. Idempotent, never raises."""
        self._gone = True
        with contextlib.suppress(Exception):
            self._tcp.abort()
            if is_legacy(self._ws):
                # Otherwise its reading task, and its server, wait for a full queue to be read.
                self._ws.fail_connection()

    async def _close(self, code: int, reason: str, timeout: float) -> None:
        # The library's own limit does not hold while its write buffer is full, and the legacy
        # close() swallows a cancellation: only the abort ends both.
        timer = asyncio.get_running_loop().call_later(timeout, self.abort)
        try:
            with contextlib.suppress(Exception):
                try:
                    await self._ws.close(code, reason)
                except AssertionError:
                    # Legacy from 16.0 on, while a send() waits for room. The close frame is
                    # on its way nevertheless.
                    await self._ws.wait_closed()
        finally:
            timer.cancel()
            self.abort()

    def _closed(self, exc: ConnectionClosed | None = None) -> TransportClosed:
        self._gone = True
        close = exc.rcvd if exc is not None else getattr(self._protocol, "close_rcvd", None)
        if close is not None and close.code not in {1005, 1006}:
            self._code, self._reason = close.code, close.reason
        return TransportClosed(self._code, self._reason)


def adapt(
    ws: Any, *, max_frame: int | None = None, send_now_limit: int = SEND_NOW_LIMIT
) -> WebSocketsTransport:
    """Return a transport for an open connection of websockets, asyncio or legacy, either side.

    From then on the connection belongs to the transport. ``max_frame`` is the ``max_size`` that
    the connection was opened with, in bytes; by default it is read from the connection.

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: It is not open, or another task is receiving from it.
    """
    if not isinstance(ws, Connection) and not is_legacy(ws):
        raise TypeError(_what_is_wrong(ws))
    if ws.state is not State.OPEN:
        raise ValueError(f"the WebSocket is not open but {ws.state.name}: pass one that is open")
    if _is_being_read(ws):
        raise ValueError("another task is receiving from the WebSocket: it must have one reader")
    if max_frame is None:
        max_frame = max_frame_of(ws)
    return WebSocketsTransport(ws, max_frame, send_now_limit)


async def dial(
    uri: str,
    *,
    subprotocols: Sequence[str] | None = (SUBPROTOCOL,),
    compression: str | None = None,
    additional_headers: HeadersLike | None = None,
    proxy: str | Literal[True] | None = True,
    open_timeout: float | None = 10,
    ping_interval: float | None = None,
    max_size: MaxSize = MAX_SIZE,
    send_now_limit: int = SEND_NOW_LIMIT,
    **options: Any,
) -> WebSocketsTransport:
    """Connect to ``uri``; further ``options`` are those of ``websockets.asyncio.client.connect``.

    Other defaults than there: offers ``reliable-ws.v1`` (and takes a server that selects none),
    does not compress, sends no pings. ``proxy=True`` means what the environment says; before
    websockets 15.0 there are no proxies: ``True`` and ``None`` connect directly, an address is a
    ``ValueError``. ``open_timeout`` is in seconds, ``max_size`` in bytes.

    Raises:
        OSError: There is no network, or nobody listens.
        TimeoutError: There was no answer within ``open_timeout``.
        InvalidHandshake: The server refuses (of ``websockets``).
        InvalidURI: ``uri`` is no URI of a WebSocket (of ``websockets``).
        ValueError: ``proxy`` is an address, and this release of websockets has no proxies.
    """
    if HAS_PROXY:
        options["proxy"] = proxy
    elif isinstance(proxy, str):
        raise ValueError("proxy needs websockets 15.0 or later; use proxy=None with this release")
    options.setdefault("create_connection", PushingClient)
    ws = await connect(
        uri,
        subprotocols=typed(subprotocols),
        compression=compression,
        additional_headers=additional_headers,
        open_timeout=open_timeout,
        ping_interval=ping_interval,
        max_size=max_size,
        **options,
    )
    return WebSocketsTransport(ws, smallest(max_size), send_now_limit)


@functools.cache
def connect_options() -> frozenset[str]:
    """Return the names of all options of :func:`dial`, also those that only websockets knows."""
    loop = asyncio.AbstractEventLoop
    own = names_of(dial, connect, loop.create_connection, loop.create_unix_connection)
    return own | {"unix", "path"}


@functools.cache
def listen_options() -> frozenset[str]:
    """Return the names of all options of :func:`listen`, also those that only websockets knows."""
    loop = asyncio.AbstractEventLoop
    return names_of(listen, serve, loop.create_server, loop.create_unix_server) | {"unix", "path"}


def listen(
    handler: Callable[[WebSocketsTransport], Awaitable[None]],
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
    send_now_limit: int = SEND_NOW_LIMIT,
    **options: Any,
) -> Server:
    """Accept connections; await the result or enter it with ``async with`` to get the server.

    Each connection is given to ``handler`` as a transport and closed when ``handler`` returns.
    Further ``options`` are those of ``websockets.asyncio.server.serve``. Other defaults than
    there: selects ``reliable-ws.v1`` where it is offered and refuses nobody who does not offer
    it, does not compress, sends no pings. ``additional_headers`` are added to the response that
    opens the connection. ``open_timeout`` is in seconds, ``max_size`` in bytes.
    """
    max_frame = smallest(max_size)
    known = typed(subprotocols)

    def handle(ws: Any) -> Awaitable[None]:
        with contextlib.suppress(AttributeError):
            # What selected the subprotocol is a closure of 0.3 KiB, and has done its work.
            del ws.protocol.select_subprotocol
        return handler(WebSocketsTransport(ws, max_frame, send_now_limit))

    options.setdefault("select_subprotocol", selecting(known))
    options.setdefault("create_connection", PushingServer)
    return serve(
        handle,
        host,
        port,
        subprotocols=known,
        compression=compression,
        process_response=_adding(additional_headers, process_response),
        open_timeout=open_timeout,
        ping_interval=ping_interval,
        max_size=max_size,
        **options,
    )


def _adding(headers: HeadersLike | None, then: ProcessResponse | None) -> ProcessResponse | None:
    if headers is None:
        return then
    added = list(Headers(headers).raw_items())  # an iterator would serve one connection only

    async def process_response(
        ws: ServerConnection, request: Request, response: Response
    ) -> Response:
        if then is not None:
            other = then(ws, request, response)
            if isinstance(other, Awaitable):
                other = await other
            response = other or response
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            for name, value in added:
                response.headers[name] = value
        return response

    return process_response


def _is_being_read(ws: object) -> bool:
    # Looked at where it is found; where it is not, the library's own error comes at recv().
    if is_legacy(ws):
        return getattr(ws, "_pop_message_waiter", None) is not None
    return bool(getattr(getattr(ws, "recv_messages", None), "get_in_progress", False))


def _what_is_wrong(ws: object) -> str:
    name = f"{type(ws).__module__}.{type(ws).__qualname__}"
    if name.startswith("websockets.sync."):
        return f"{name} does not run on asyncio: use reliable_ws.sync"
    if isinstance(ws, Awaitable):
        return f"{name} is not a connection yet: await it and pass what it returns"
    return f"not a connection of websockets.asyncio or websockets.legacy: {name}"


def is_legacy(ws: object) -> bool:
    """Return whether ``ws`` is a connection of ``websockets.legacy``, without importing that."""
    legacy = _legacy()
    return legacy is not None and isinstance(ws, legacy.WebSocketCommonProtocol)


def _legacy() -> Any:
    return sys.modules.get("websockets.legacy.protocol")
