"""``serve``: a server of sessions over websockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from types import TracebackType
from typing import Any, Literal

from reliable_ws.adapters.opener import TransportName, opener
from reliable_ws.driver.figures import Figures
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import TraceOption
from reliable_ws.driver.status import ConnectionEvent, describe_server, tell_principal_raised
from reliable_ws.driver.validation import (
    check_handler,
    check_options,
    check_shared,
)
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.report import Report
from reliable_ws.store import Store
from reliable_ws.transport import Transport

from .connection import Connection
from .membership import Clustering, Level
from .sessions import Handler, Sessions
from .transport_options import check_opening
from .unopened import Unopened

__all__ = ["Server", "serve", "unix_serve"]


class Server:
    """A running server. :func:`serve` makes it."""

    inner: Any
    "The WebSocket library's own server."
    sessions: Sessions
    "What it serves."

    def __init__(self, sessions: Sessions, drain_timeout: float) -> None:
        self.sessions = sessions
        self._drain_timeout = drain_timeout
        self._closing: asyncio.Task[dict[bytes, Report]] | None = None  # once close() was called

    def __repr__(self) -> str:
        """Where it listens, and how many sessions live."""
        return describe_server([s.getsockname() for s in self.sockets], len(self.sessions))

    @property
    def sockets(self) -> Any:
        """The listening sockets."""
        return self.inner.sockets

    @property
    def port(self) -> int:
        """The port of the first listening socket. A Unix socket has none."""
        port: int = self.inner.sockets[0].getsockname()[1]
        return port

    def figures(self) -> Figures:
        """Return what all sessions have done together: see :meth:`Sessions.figures`."""
        return self.sessions.figures()

    @property
    def connections(self) -> list[Connection]:
        """The connections of all living sessions."""
        return self.sessions.connections

    async def drain(
        self,
        timeout: float | None = None,
        *,
        sessions: Literal["close", "keep"] | None = None,
        within: float = 1.0,
    ) -> dict[bytes, Report]:
        """Drain all sessions (see :meth:`Sessions.drain`), then close the server.

        ``timeout`` and ``within`` are in seconds. Default: the server's ``drain_timeout``, and 1.
        Returns one report per session id.
        """
        seconds = self._drain_timeout if timeout is None else timeout
        reports = await self.sessions.drain(seconds, sessions=sessions, within=within)
        self.inner.close()
        await self.inner.wait_closed()
        return reports

    def close(self) -> Awaitable[dict[bytes, Report]]:
        """Begin what :meth:`drain` does, and return at once. To wait for the end, await the result.

        You can call it in a signal handler: ``loop.add_signal_handler(signal.SIGTERM,
        server.close)``, and then ``await server.wait_closed()``. A second call joins the first. A
        handler that calls it is not waited for, and not cancelled.
        ``server.inner.close()`` closes the sockets at once, and the sessions are not told.
        """
        caller = asyncio.current_task()  # none in a signal handler
        if caller is not None:
            self.sessions._waits_for_drain(caller)
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.drain())
        return asyncio.shield(self._closing)

    async def wait_closed(self) -> None:
        """Wait until the server is closed. Cancelling changes nothing."""
        await self.inner.wait_closed()

    async def serve_forever(self) -> None:
        """Run until cancelled.

        SIGTERM kills the process before anything is drained. To drain first, call
        :func:`~reliable_ws.drain_on_sigterm` with :attr:`sessions`. Without ``then=`` the process
        dies of the signal when all is drained, and nothing behind this call runs.
        """
        await asyncio.get_running_loop().create_future()


KEEP_TIMEOUT = 3.0
"""Seconds that a server has to leave its sessions to the next process, after a cancellation."""


class serve(Unopened):  # noqa: N801 - looks and behaves like its namesake in websockets
    """Serve sessions: ``handler(conn)`` runs once per session, not once per WebSocket.

    ``async with serve(handler, host, port) as server``, or ``server = await serve(…)``. Leaving the
    block drains: see :meth:`Sessions.drain`. When the handler returns, its connection is closed
    with code 1000. When the handler raises, the connection is closed with code 1011 and the
    traceback is logged.

    Args:
        handler: A coroutine function, called with the :class:`Connection`.
        host: Where to listen, as in websockets.
        port: Where to listen. With 0 the system chooses: see :attr:`Server.port`.
        methods: What peers may request. Default: nothing.
        config: Limits and timeouts. Default: ``Config()``.
        sessions: Sessions to share with other endpoints. They bring their own ``methods``,
            ``config``, ``on_event``, ``payload_codec``, ``store`` and ``trace``.
        principal: Called with the WebSocket of every arrival. Returns who the peer is, or an
            awaitable of it. Only the same principal can resume a session.
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
        drain_timeout: Seconds that draining takes at most: see :meth:`Sessions.drain`.
        transport: The library that listens: ``"websockets"``, or ``"picows"``, which is faster and
            needs the extra ``reliable-ws[fast]``. docs/transports.md has its options.
        transport_options: All other keywords go to websockets' ``serve``.

    Raises:
        OSError: The address cannot be listened on, or the file of the trace cannot be written.
        TypeError: An argument has the wrong type, there is no option of this name, or the handler
            is no coroutine function.
        ImportError: The library of ``transport`` is not installed, or too old.
        ValueError: ``sessions`` is given together with an option that it brings itself, or an
            option has a value that the library of ``transport`` cannot serve.
    """

    verb = "serve"

    def __init__(
        self,
        handler: Handler,
        host: str | None = None,
        port: int | None = None,
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
        drain_timeout: float = 10.0,
        transport: TransportName = "websockets",
        **transport_options: Any,
    ) -> None:
        check_handler(handler, awaited=True)
        check_options(principal=principal, drain_timeout=drain_timeout)
        check_opening("serve()", transport, transport_options)
        new_sessions = {
            "methods": methods,
            "config": config,
            "on_event": on_event,
            "payload_codec": payload_codec,
            "store": store,
            "trace": trace,
            "cluster": cluster,
            "level": level,
        }
        check_shared(sessions, Sessions, **new_sessions)
        new_sessions["level"] = level or "relay"
        self._handler = handler
        self._host = host
        self._port = port
        self._sessions = sessions
        self._new_sessions: dict[str, Any] = new_sessions  # options of those that _start() makes
        self._principal = principal
        self._drain_timeout = drain_timeout
        self._transport = transport
        self._options = transport_options
        self._server: Server | None = None

    async def _start(self) -> Server:
        sessions = self._sessions
        if sessions is None:  # `or` would take an empty one for none
            sessions = Sessions(**self._new_sessions)
        await sessions.open_store()
        server = Server(sessions, self._drain_timeout)

        server.inner = await self._listen(self._serving(sessions))
        return server

    def _serving(self, sessions: Sessions) -> Callable[[Transport], Awaitable[None]]:
        """Return what serves a WebSocket: with no coroutine of ours around that of each session."""
        if self._principal is None:
            return partial(sessions._serve, handler=self._handler, principal=None)
        return partial(self._ask, sessions, self._principal)

    async def _ask(
        self, sessions: Sessions, who: Callable[[Any], Any], transport: Transport
    ) -> None:
        """Serve a WebSocket once it is known who the peer is."""
        try:
            principal = who(transport.websocket)
            if isinstance(principal, Awaitable):
                principal = await principal
        except Exception as error:  # noqa: BLE001 - the application's
            await transport.close(1011, tell_principal_raised(error))
            return
        await sessions._serve(transport, self._handler, principal)

    async def _listen(self, on_transport: Callable[[Transport], Awaitable[None]]) -> Any:
        library = opener(self._transport)
        options = {**library.GREETED, **self._options}
        return await library.listen(on_transport, self._host, self._port, **options)

    def __await__(self) -> Generator[Any, None, Server]:
        """Start the server."""
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        """Start the server; leaving the block drains it."""
        self._server = await self._start()
        return self._server

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Drain. If the block was left by cancellation: at once, and a store keeps the sessions."""
        if self._server is not None:
            if kind is None or issubclass(kind, Exception):
                await self._server.drain()
            elif self._server.sessions.can_keep:
                await self._server.drain(KEEP_TIMEOUT, sessions="keep")
            else:
                await self._server.drain(0.0)


def unix_serve(handler: Handler, path: Any = None, **options: Any) -> serve:
    """Serve sessions at a Unix socket: as :func:`serve`, with a path instead of host and port.

    Args:
        handler: A coroutine function, called with the :class:`Connection`.
        path: The path of the socket. It is made. ``None``: pass an open one as ``sock=``.
        options: As for :func:`serve`.

    Raises:
        OSError: The address cannot be listened on.
        TypeError: An argument has the wrong type, or there is no option of this name.
    """
    return serve(handler, unix=True, path=path, **options)
