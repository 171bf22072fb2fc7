"""Opening WebSockets with picows: what ``connect`` and ``serve`` do with ``transport="picows"``.

The options have the names and meanings that they have for websockets. picows does not know all of
those: :func:`connect_options` and :func:`listen_options` say which there are.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import re
import socket
import ssl as tls
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from socket import AF_INET, AF_INET6
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from picows import (
    WSAutoPingStrategy,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)
from python_socks import ProxyError
from websockets.datastructures import Headers, HeadersLike

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.protocol.registry import MAX_GREETING

from .picows import PicowsTransport
from .websockets.options import MAX_SIZE, MaxSize, names_of, smallest

__all__ = [
    "GREETED",
    "PicowsServer",
    "check_values",
    "connect_options",
    "cookies_set",
    "dial",
    "listen",
    "listen_options",
    "proxy_of",
]

GREETED: dict[str, Any] = {"max_first": MAX_GREETING}
"""Options of :func:`listen` where the first message is a greeting, which is short."""

HUNG_UP = "the server hung up during the handshake"

OPTIONS_LEFT_OUT = frozenset(
    {
        "auto_ping_idle_timeout",
        "auto_ping_reply_timeout",
        "auto_ping_strategy",
        "disconnect_on_exception",
        "enable_auto_ping",
        "enable_auto_pong",
        "extra_headers",
        "host",
        "logger_name",
        "max_first",
        "max_frame_size",
        "port",
        "protocol_factory",
        "proxy_ssl_context",
        "socket_factory",
        "ssl_context",
        "url",
        "websocket_handshake_timeout",
        "ws_listener_factory",
    }
)
"""Options of picows that :func:`dial` and :func:`listen` set, some of them from options of ours."""


# ---------------------------------------------------------------------- clients


async def dial(
    uri: str,
    *,
    subprotocols: Sequence[str] | None = (SUBPROTOCOL,),
    compression: None = None,  # noqa: ARG001 - nothing else passes check_values()
    additional_headers: HeadersLike | None = None,
    origin: str | None = None,
    user_agent_header: str | None = None,
    proxy: str | bool | None = True,
    proxy_ssl: tls.SSLContext | None = None,
    ssl: tls.SSLContext | bool | None = None,
    sock: socket.socket | None = None,
    open_timeout: float | None = 10,
    ping_interval: float | None = None,
    ping_timeout: float | None = 20,
    max_size: MaxSize = MAX_SIZE,
    **options: Any,
) -> PicowsTransport:
    """Connect to ``uri``; further ``options`` are those of picows and of ``create_connection``.

    ``proxy=True`` means what the environment says. ``max_size`` is in bytes, times are in seconds.

    Raises:
        OSError: There is no network, nobody listens, or the connection was cut.
        TimeoutError: There was no answer within ``open_timeout``.
        WSHandshakeError: The server refuses (of ``picows``).
    """
    # What the request says.
    uri, headers = _without_user(uri)
    headers += Headers(additional_headers or {}).raw_items()
    offered = None if subprotocols is None else ", ".join(subprotocols)
    for name, value in (
        ("Origin", origin),
        ("User-Agent", user_agent_header),
        ("Sec-WebSocket-Protocol", offered),
    ):
        if value is not None:
            headers.append((name, value))
    # Where it goes: over a socket that was given, through a proxy, or directly.
    if sock is not None:
        options["socket_factory"] = partial(_given, sock)
    else:
        options["proxy"] = proxy_of(uri) if proxy is True else proxy or None
        options["proxy_ssl_context"] = proxy_ssl
    max_frame = smallest(max_size) or sys.maxsize
    opened: list[PicowsTransport] = []
    given_up = False

    def listener() -> PicowsTransport:
        if given_up:  # picows goes on with the handshake: an exception ends it
            raise ConnectionAbortedError
        opened.append(PicowsTransport(max_frame=max_frame))
        return opened[-1]

    # Connect. Whatever was opened when that fails is dropped.
    try:
        async with asyncio.timeout(open_timeout):
            await ws_connect(
                listener,
                uri,
                ssl_context=ssl if isinstance(ssl, tls.SSLContext) else None,
                extra_headers=headers,
                websocket_handshake_timeout=open_timeout,
                max_frame_size=max_frame,
                enable_auto_pong=False,  # the transport answers
                **_pings(ping_interval, ping_timeout),
                **options,
            )
        if not opened:
            raise ConnectionResetError(HUNG_UP)
    except BaseException as error:
        given_up = True
        for transport in opened:
            transport.abort()
        if isinstance(error, TimeoutError):
            raise TimeoutError("timed out during opening handshake") from error
        if isinstance(error, ProxyError):
            raise ConnectionError(f"the proxy does not connect: {error}") from error
        raise
    return opened[-1]


def _given(sock: socket.socket, _uri: object) -> socket.socket:
    """Return a connected socket, where picows asks for one."""
    return sock


@functools.cache
def connect_options() -> frozenset[str]:
    """Return the names of all options of :func:`dial`, also those that only picows knows."""
    return (
        names_of(dial, ws_connect, asyncio.AbstractEventLoop.create_connection) - OPTIONS_LEFT_OUT
    )


def cookies_set(ws: WSTransport) -> list[str]:
    """Return the ``Set-Cookie`` lines of a client's handshake."""
    return list(ws.response.headers.getall("Set-Cookie", ()))


def proxy_of(uri: str) -> str | None:
    """Return the proxy that the environment names for a URI; websockets has the same order."""
    parts = urlsplit(uri)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.netloc):
        return None
    kinds = ("wss", "socks", "https") if parts.scheme == "wss" else ("ws", "socks", "https", "http")
    proxies = urllib.request.getproxies()
    for kind in kinds:
        if proxy := proxies.get(kind):
            is_socks = kind == "socks" and proxy.startswith("http://")
            return f"socks5h://{proxy[7:]}" if is_socks else proxy
    return None


def _without_user(uri: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a URI without its user and password, and the header that says them."""
    parts = urlsplit(uri)
    if parts.username is None:
        return uri, []
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    basic = base64.b64encode(user.encode()).decode()
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return urlunsplit(bare), [("Authorization", f"Basic {basic}")]


# ---------------------------------------------------------------------- servers


class PicowsServer:
    """A listening server of picows, and the connections that it has. :func:`listen` makes it."""

    def __init__(self) -> None:
        self._listener: asyncio.Server | None = None
        self._open: set[PicowsTransport] = set()
        self._closers: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self.closed = False
        "Whether :meth:`close` was called."

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets; none once it is closed."""
        return () if self._listener is None else tuple(self._listener.sockets)

    def listens(self, listener: asyncio.Server) -> None:
        """Note what accepts connections."""
        self._listener = listener

    async def serve(
        self, handler: Callable[[PicowsTransport], Awaitable[None]], transport: PicowsTransport
    ) -> None:
        """Run the handler of a connection."""
        self._open.add(transport)
        try:
            await handler(transport)
        finally:
            self._open.discard(transport)
            self._look()

    def close(self) -> None:
        """Listen no more, and close all connections with code 1001. Again: no effect."""
        if self.closed:
            return
        self.closed = True
        if self._listener is not None:
            self._listener.close()
        for transport in self._open:
            closer = asyncio.get_running_loop().create_task(transport.close(1001))
            self._closers.add(closer)
            closer.add_done_callback(self._closers.discard)
        self._look()

    async def wait_closed(self) -> None:
        """Wait until it is closed, and every handler has ended."""
        await self._over.wait()

    def _look(self) -> None:
        if self.closed and not self._open:
            self._over.set()


async def listen(
    handler: Callable[[PicowsTransport], Awaitable[None]],
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    subprotocols: Sequence[str] | None = (SUBPROTOCOL,),
    compression: None = None,  # noqa: ARG001 - nothing else passes check_values()
    additional_headers: HeadersLike | None = None,
    origins: Sequence[str | re.Pattern[str] | None] | None = None,
    open_timeout: float | None = 10,
    ping_interval: float | None = None,
    ping_timeout: float | None = 20,
    max_size: MaxSize = MAX_SIZE,
    max_first: int | None = None,
    **options: Any,
) -> PicowsServer:
    """Accept connections; further ``options`` are those of picows and of ``create_server``.

    Each connection is given to ``handler`` as a transport, and dropped when ``handler`` returns.
    A request from none of the ``origins`` is answered with HTTP 403. ``max_size`` is in bytes, and
    so is ``max_first``: how much may come before the first message is whole. Times are in seconds.

    Raises:
        OSError: The address cannot be listened on.
    """
    headers = list(Headers(additional_headers or {}).raw_items())
    max_frame = smallest(max_size) or sys.maxsize
    server = PicowsServer()

    def route(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        if server.closed:
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, b"The server is going away.\n")
        if origins is not None and not _is_one_of(origins, request.headers.get("Origin")):
            return _refused(HTTPStatus.FORBIDDEN, b"This origin is not allowed.\n")
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        names = {name.strip() for name in offered}
        selected = next((name for name in subprotocols or () if name in names), None)
        protocol = [] if selected is None else [("Sec-WebSocket-Protocol", selected)]
        transport = PicowsTransport(
            partial(server.serve, handler), max_frame=max_frame, max_first=max_first
        )
        response = WSUpgradeResponse.create_101_response([*headers, *protocol])
        return WSUpgradeResponseWithListener(response, transport)

    listener = await ws_create_server(
        route,
        host,
        port,
        websocket_handshake_timeout=open_timeout,
        max_frame_size=max_frame,
        enable_auto_pong=False,  # the transport answers
        **_pings(ping_interval, ping_timeout),
        **options,
    )
    server.listens(listener)
    return server


@functools.cache
def listen_options() -> frozenset[str]:
    """Return the names of all options of :func:`listen`, also those that only picows knows."""
    create_server = asyncio.AbstractEventLoop.create_server
    return names_of(listen, ws_create_server, create_server) - OPTIONS_LEFT_OUT


def _refused(status: HTTPStatus, why: bytes) -> WSUpgradeResponseWithListener:
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(status, why), None)


def _is_one_of(origins: Sequence[str | re.Pattern[str] | None], origin: str | None) -> bool:
    for allowed in origins:
        if isinstance(allowed, re.Pattern):
            if origin is not None and allowed.fullmatch(origin):
                return True
        elif allowed == origin:
            return True
    return False


# ---------------------------------------------------------------------- both


def check_values(options: Mapping[str, object]) -> None:
    """Raise ``ValueError`` for an option that has a value here which picows cannot serve."""
    family = getattr(options.get("sock"), "family", None)
    if "unix" in options or (family is not None and family not in (AF_INET, AF_INET6)):
        raise ValueError(
            "transport='picows' has no Unix sockets, as it sets an option of TCP for each "
            "connection: use TCP, or leave out transport="
        )
    if options.get("compression") is not None:
        raise ValueError(
            "compression= must be None with transport='picows', which does not compress: leave it "
            "out, or leave out transport="
        )
    if options.get("ping_interval") is not None and options.get("ping_timeout", 20) is None:
        raise ValueError(
            "ping_timeout= must be a number of seconds with transport='picows', which waits for an "
            "answer before the next ping"
        )


def _pings(interval: float | None, timeout: float | None) -> dict[str, Any]:
    """Return what picows calls the options of pings. It waits for an answer before the next one."""
    if interval is None:
        return {}
    return {
        "enable_auto_ping": True,
        "auto_ping_idle_timeout": interval,
        "auto_ping_reply_timeout": interval if timeout is None else min(interval, timeout),
        "auto_ping_strategy": WSAutoPingStrategy.PING_PERIODICALLY,
    }
