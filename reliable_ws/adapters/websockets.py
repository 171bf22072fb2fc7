"""Transports over the library ``websockets``, from release 13.1 on.

``adapt`` takes an open connection over, of its asyncio or its legacy implementation, client or
server; ``dial`` and ``listen`` open connections, always with the asyncio implementation, and look
the same whatever release is installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Literal

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers, HeadersLike
from websockets.http11 import Request, Response
from websockets.protocol import State

from reliable_ws.adapters.websockets_options import (
    MAX_SIZE,
    MaxSize,
    max_frame_of,
    selecting,
    smallest,
    typed,
)
from reliable_ws.adapters.websockets_push import PushingClient, PushingServer
from reliable_ws.adapters.websockets_transport import WebSocketsTransport, is_legacy
from reliable_ws.protocol.frames import SUBPROTOCOL

__all__ = [
    "HAS_PROXY",
    "SEND_NOW_LIMIT",
    "WebSocketsTransport",
    "adapt",
    "dial",
    "listen",
]

SEND_NOW_LIMIT = 256 * 1024
"""``send_now`` refuses while the write buffer holds this many bytes or more."""

ProcessResponse = Callable[
    [ServerConnection, Request, Response], Awaitable[Response | None] | Response | None
]

HAS_PROXY = "proxy" in inspect.signature(connect).parameters
"""Whether this release knows of proxies (from 15.0 on), and uses those of the environment."""


def adapt(
    ws: Any, *, max_frame: int | None = None, send_now_limit: int = SEND_NOW_LIMIT
) -> WebSocketsTransport:
    """Return a transport for an open connection of websockets, asyncio or legacy, either side.

    From then on the connection belongs to the transport. ``max_frame`` is the ``max_size`` that
    the connection was opened with, in bytes; by default it is read from the connection.

    Raises ``TypeError`` if ``ws`` is something else, ``ValueError`` if it is not open or another
    task is receiving from it.
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

    Raises what ``connect`` raises: ``OSError``, ``TimeoutError``, ``InvalidHandshake``,
    ``InvalidURI``.
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


def is_transient(error: Exception) -> bool:
    """Whether a failed :func:`dial` may succeed later: no network, no answer, HTTP 5xx."""
    response = getattr(error, "response", None)
    return (
        isinstance(error, OSError | EOFError)
        or isinstance(error.__cause__, EOFError)
        or getattr(response, "status_code", 0) in (500, 502, 503, 504)
    )


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

    def handle(ws: ServerConnection) -> Awaitable[None]:
        # a closure of 0.3 KiB around `select`, which is not needed any more
        vars(ws.protocol).pop("select_subprotocol", None)
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
