"""``ASGIApp``: an endpoint for any ASGI server, by itself or mounted in any framework."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

from reliable_ws.adapters.asgi import MAX_FRAME, ASGITransport, Receive, Send
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import TraceOption
from reliable_ws.driver.status import ConnectionEvent, logger
from reliable_ws.driver.validation import (
    check_handler,
    check_options,
    check_seconds,
    check_shared,
)
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.store import Store
from reliable_ws.transport import select_subprotocol

from .membership import Clustering, Level
from .serve import KEEP_TIMEOUT
from .sessions import Handler, Sessions
from .sigterm import drain_on_sigterm

__all__ = ["ASGIApp"]

UPGRADE = b"This is a WebSocket endpoint.\n"


class ASGIApp:
    """An ASGI application that serves sessions: ``handler(conn)`` runs once per session.

    Run it by itself (``uvicorn module:app``), or mount it in an application of any framework. It
    accepts WebSockets at every path, and selects ``reliable-ws.v1`` where the client offers it. It
    answers plain HTTP requests with status 426. ``conn.websocket`` is the ASGI scope of the current
    WebSocket.

    Args:
        handler: A coroutine function, called with the :class:`Connection`.
        methods: What peers may request. Default: nothing.
        config: Limits and timeouts. Default: ``Config()``.
        sessions: Sessions to share with other endpoints. They bring their own ``methods``,
            ``config``, ``on_event``, ``payload_codec``, ``store`` and ``trace``.
        principal: Called with the scope of every arrival. Returns who the peer is, or an awaitable
            of it. Only the same principal can resume a session. If it raises ``PermissionError``,
            the WebSocket is refused with HTTP status 403.
        on_event: Called with each ``ConnectionEvent``.
        payload_codec: Packs messages that are neither ``str`` nor ``bytes``. Default: msgpack.
        store: Keeps the sessions, so that they go on when this process has died: a
            :class:`~reliable_ws.SQLiteStore`, for example. A handler runs again when its peer is
            back, with ``conn.restored``.
        trace: Writes what every WebSocket carries, without payloads: the path of a file, or a
            :class:`~reliable_ws.WireTrace`. Default: nothing is written.
        cluster: Lets a session's WebSockets reach any process of the cluster: a
            :class:`~reliable_ws.Cluster`.
        level: What the sessions survive with a cluster: see there.
        max_frame: The largest WebSocket message that the ASGI server takes, in bytes.
        drain_timeout: On SIGTERM the sessions drain for so many seconds before the server gets the
            signal (see :func:`~reliable_ws.drain_on_sigterm`). With a store they are kept for the
            next process, and with a cluster that moves sessions they go to others; and so it is at
            the end of lifespan. With ``None`` they do not drain.
        drain_within: Seconds over which peers are spread that come back, if a cluster moves the
            sessions on SIGTERM.

    Attributes:
        sessions: The sessions that the application serves.

    Raises:
        OSError: The file of the trace cannot be written.
        TypeError: An argument has the wrong type.
        ValueError: ``sessions`` is given together with an option that it brings itself.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        methods: Methods | None = None,
        config: Config | None = None,
        sessions: Sessions | None = None,
        principal: Callable[[Any], Any] | None = None,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
        store: Store | None = None,
        trace: TraceOption = None,
        cluster: Clustering | None = None,
        level: Level | None = None,
        max_frame: int = MAX_FRAME,
        drain_timeout: float | None = 10.0,
        drain_within: float = 1.0,
    ) -> None:
        check_handler(handler, awaited=True)
        check_options(principal=principal, drain_timeout=drain_timeout)
        check_seconds(drain_within, name="drain_within")
        check_shared(
            sessions,
            Sessions,
            methods=methods,
            config=config,
            on_event=on_event,
            payload_codec=payload_codec,
            store=store,
            trace=trace,
            cluster=cluster,
            level=level,
        )
        if sessions is None:  # `or` would take an empty one for none
            sessions = Sessions(
                methods=methods,
                config=config,
                on_event=on_event,
                payload_codec=payload_codec,
                store=store,
                trace=trace,
                cluster=cluster,
                level=level or "relay",
            )
        self.sessions = sessions
        self._handler = handler
        self._principal = principal
        self._max_frame = max_frame
        self._drain_timeout = drain_timeout
        self._drain_within = drain_within

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one scope: a WebSocket, an HTTP request, or the life of the server."""
        match scope["type"]:
            case "websocket":
                self._watch_sigterm()
                await self._serve(scope, receive, send)
            case "http":
                await _refuse(scope, send)
            case "lifespan":
                await self._live(receive, send)
            case other:
                raise ValueError(
                    f"no ASGI scope that is known here: {other!r} (websocket, http and lifespan "
                    "are)"
                )

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        principal = None
        if self._principal is not None:
            try:
                principal = self._principal(scope)
                if isinstance(principal, Awaitable):
                    principal = await principal
            except PermissionError:
                await send({"type": "websocket.close"})  # before it is accepted: HTTP 403
                return
        subprotocol = select_subprotocol(scope.get("subprotocols") or ())
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        transport = ASGITransport(receive, send, scope, max_frame=self._max_frame)
        await self.sessions.handle(transport, self._handler, principal=principal)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            match (await receive())["type"]:  # Falcon's test client sends one of its own
                case "lifespan.startup":
                    self._watch_sigterm()
                    if self.sessions.is_clustered:
                        await self.sessions.open_store()
                    await send({"type": "lifespan.startup.complete"})
                case "lifespan.shutdown":
                    # No WebSocket is left, and none can come.
                    if self.sessions.can_keep:
                        await self.sessions.drain(KEEP_TIMEOUT, sessions="keep")
                    else:
                        await self.sessions.drain(0.0)
                    await send({"type": "lifespan.shutdown.complete"})
                    return

    def _watch_sigterm(self) -> None:
        """Do it once the server has its handlers: it is told to start, or has a WebSocket."""
        timeout, self._drain_timeout = self._drain_timeout, None
        if timeout is None or threading.current_thread() is not threading.main_thread():
            return
        try:
            drain_on_sigterm(
                self.sessions,
                timeout=timeout,
                keep=self.sessions.can_keep,
                within=self._drain_within,
            )
        except RuntimeError as error:
            logger.warning("SIGTERM will not drain: %s", error)


async def _refuse(scope: Any, send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(UPGRADE))]
    if scope["http_version"].startswith("1"):  # HTTP/2 forbids these
        headers += [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": UPGRADE})
