"""One connection of the library ``websockets`` as a transport: asyncio or legacy, either side.

The legacy implementation is never imported from here (that warns): if an object of it exists, it
has been imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed, ProtocolError, WebSocketException
from websockets.protocol import State

from reliable_ws.transport import TransportClosed

from .websockets_options import code_of, reason_of
from .websockets_push import PushingClient, PushingServer

__all__ = ["Role", "WebSocketsTransport", "is_legacy"]

PUSHING = (PushingClient, PushingServer)

Role = Literal["initiator", "acceptor"]


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
        "_pushing",
        "_reason",
        "_ws",
        "max_frame",
    )

    def __init__(self, ws: Any, max_frame: int | None, send_now_limit: int) -> None:
        self._ws = ws
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

        Raises ``TransportClosed``, at once if the closing handshake has begun.
        """
        if self._gone or self._ws.state is not State.OPEN:
            raise self._closed()
        try:
            await self._ws.send(data)
        except ConnectionClosed as exc:
            raise self._closed(exc) from exc
        except (WebSocketException, OSError, EOFError, RuntimeError, AssertionError) as exc:
            self.abort()
            raise self._closed() from exc

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message at once, or return ``False`` if the write buffer is full.

        Also ``False`` while somebody else sends a fragmented message on the same connection.
        Raises ``TransportClosed``.
        """
        ws = self._ws
        if self._gone or ws.state is not State.OPEN or ws.transport.is_closing():
            raise self._closed()  # a transport that failed tells the library a turn later
        if ws.transport.get_write_buffer_size() >= self._limit:
            return False
        try:
            if self._pushing:
                ws.write(data)
            else:
                self._broadcast((ws,), data, raise_exceptions=True)
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

    def push_to(self, receiver: Callable[[bytes], None]) -> None:
        """Hand each message to ``receiver`` as it arrives, where the connection can."""
        if self._pushing:
            self._ws.push = receiver

    async def recv(self) -> bytes | str:
        """Return the next message: ``bytes`` for a binary one, ``str`` for a text.

        Everything already received comes before ``TransportClosed``; releases 13.1 and 14.0 drop
        what is unread when the connection ends.
        """
        ws = self._ws
        if self._pushing and ws.push is not None and not ws.queued:
            if ws.state is not State.CLOSED:  # all that may come is pushed, but for the end
                ws.gone = asyncio.get_running_loop().create_future()
                await ws.gone
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
        self._gone = True
        if self._closing is None:
            self._closing = asyncio.create_task(
                self._close(code_of(code), reason_of(reason), timeout)
            )
        await asyncio.shield(self._closing)

    def abort(self) -> None:
        """Drop the TCP connection at once. Idempotent, never raises."""
        self._gone = True
        with contextlib.suppress(Exception):
            self._ws.transport.abort()
            if is_legacy(self._ws):
                # Otherwise its reading task, and its server, wait for a full queue to be read.
                self._ws.fail_connection()

    async def _close(self, code: int, reason: str, timeout: float) -> None:
        # The library's own limit does not hold while its write buffer is full, and the legacy
        # close() swallows a cancellation: only the abort ends both.
        timer = asyncio.get_running_loop().call_later(timeout, self.abort)
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(timeout):
                    try:
                        await self._ws.close(code, reason)
                    except AssertionError:
                        # Legacy from 16.0 on, while a send() waits for room. The close frame is
                        # on its way all the same.
                        await self._ws.wait_closed()
        finally:
            timer.cancel()
            self.abort()

    def _closed(self, exc: ConnectionClosed | None = None) -> TransportClosed:
        self._gone = True
        if exc is not None:
            close = exc.rcvd
        else:
            close = getattr(getattr(self._ws, "protocol", self._ws), "close_rcvd", None)
        if close is not None and close.code not in {1005, 1006}:
            self._code, self._reason = close.code, close.reason
        return TransportClosed(self._code, self._reason)


def is_legacy(ws: object) -> bool:
    """Return whether ``ws`` is a connection of ``websockets.legacy``, without importing that."""
    legacy = _legacy()
    return legacy is not None and isinstance(ws, legacy.WebSocketCommonProtocol)


def _legacy() -> Any:
    return sys.modules.get("websockets.legacy.protocol")
