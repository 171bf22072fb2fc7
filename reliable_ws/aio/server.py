"""``serve``, and ``Sessions`` for servers of any other kind."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from types import TracebackType
from typing import Any

from reliable_ws.adapters import adapt
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import ConnectionClosed, DeliveryError, NotReliablePeer
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.report import Report
from reliable_ws.protocol.sessions import Arrival
from reliable_ws.protocol.sessions import Sessions as Book
from reliable_ws.transport import Transport, TransportClosed

from .carrier import CLOSE_TIMEOUT, LINGER
from .connection import Connection, ConnectionEvent, State, logger
from .methods import Methods

__all__ = ["Server", "Sessions", "serve"]

RELIEF_INTERVAL = 1.0
"""Seconds between two looks at what all sessions hold; each costs a microsecond a session."""

Handler = Callable[[Connection], Awaitable[object]]


class Acceptor(Connection):
    """A connection whose peer opens the WebSockets."""

    sessions: Sessions
    principal: Hashable = None
    "Who the application found the peer to be."
    handling: asyncio.Task[None] | None = None
    "The task that runs the application's handler."

    def _on_ended(self) -> None:
        self.sessions._bury(self)
        super()._on_ended()

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> None:
        super()._on_detached(code, reason, retry)
        self.sessions._relieve_soon()

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, on which the peer has to greet."""
        if self._session.ended:
            raise self._session.error()
        other = await self.sessions.accept(adapt(websocket), self.principal)
        if other is not self:
            other.abort()
            raise NotReliablePeer("the peer began another session on this WebSocket")


class Sessions:
    """The sessions of one server, which outlive its WebSockets.

    For servers that are not made by :func:`~reliable_ws.serve`: in the endpoint of any web
    framework, ``await sessions.handle(websocket, handler)``. Give every endpoint that shall
    resume the same sessions the same object.
    """

    def __init__(
        self,
        *,
        methods: Methods | None = None,
        config: Config | None = None,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
    ) -> None:
        self.config = config or Config()
        self._methods = methods
        self._book = Book(secrets.randbelow(2**48) + 1, self.config, payload_codec)
        self._on_event = on_event
        self._connections: dict[bytes, Acceptor] = {}
        self._reports: dict[bytes, Report] | None = None
        self._handling: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()  # a session ended, or a handler
        self._relief: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Sessions that live."""
        return len(self._book)

    @property
    def connections(self) -> list[Connection]:
        """The connections of all sessions that live."""
        return list(self._connections.values())

    def handle(
        self, websocket: Any, handler: Handler, *, principal: Hashable = None
    ) -> Coroutine[Any, Any, None]:
        """Serve one WebSocket: ``await`` this, it returns when the WebSocket is gone.

        Takes it over at once, before it is awaited: a library with callbacks must not call the
        application's any more. Runs ``handler(conn)`` once per session, in a task of its own; a
        later WebSocket of the same session is attached to the running one. ``principal`` is who
        the application found the peer to be: only the same one can resume a session. When the
        handler returns, its connection is closed with 1000, when it raises with 1011 and a logged
        traceback.
        """
        return self._serve(adapt(websocket), handler, principal)

    async def _serve(
        self,
        transport: Transport,
        handler: Handler | None,
        principal: Hashable,
        *,
        resumable: bool = True,
        ready: asyncio.Future[Connection] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        arrival = self._book.arrive(loop.time(), principal, transport.max_frame)
        try:
            connection = await self._greet(transport, arrival, resumable=resumable)
            if connection is None or arrival.link is None:
                await self._leave(transport, arrival)
                return
        except BaseException:  # cancelled: nobody else knows of this WebSocket
            transport.abort()
            raise
        carrier = connection.attach(transport, arrival.link)
        connection._flush()
        if ready is not None and not ready.done():
            ready.set_result(connection)
        if arrival.fresh and handler is not None:
            handling = loop.create_task(self._run(connection, handler))
            connection.handling = handling
            self._handling.add(handling)
            handling.add_done_callback(self._handled)
        await carrier.read()

    async def _greet(
        self, transport: Transport, arrival: Arrival, *, resumable: bool
    ) -> Acceptor | None:
        """Read the Hello and let the book answer it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(arrival.deadline):
                data = await transport.recv()
        except TimeoutError:
            arrival.tick(max(loop.time(), arrival.deadline))
            return None
        except TransportClosed:
            return None
        events = arrival.receive(data, loop.time())
        self._relieve_soon()
        session = arrival.session
        if session is None:
            return None
        connection = self._connections.get(session.id)
        if connection is None:
            connection = Acceptor(
                session, resumable=resumable, methods=self._methods, on_event=self._on_event
            )
            connection.sessions = self
            connection.principal = arrival.principal
            self._connections[session.id] = connection
        connection._dispatch(events)
        return connection

    async def accept(
        self, transport: Transport, principal: Hashable = None, *, resumable: bool = True
    ) -> Connection:
        """Greet on a transport and return its connection, which reads in the background.

        A transport of a session that lives gives the connection that it has already. Raises
        ``NotReliablePeer`` if no good Hello comes in time.
        """
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Connection] = loop.create_future()
        serving = loop.create_task(
            self._serve(transport, None, principal, resumable=resumable, ready=ready)
        )
        try:
            await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            serving.cancel()
            transport.abort()
            raise
        if not ready.done():
            ready.cancel()
            await serving
            raise NotReliablePeer("the peer did not greet with a good Hello")
        connection = ready.result()
        connection.tasks.add(serving)
        serving.add_done_callback(connection.tasks.discard)
        serving.add_done_callback(self._served)
        return connection

    def _bury(self, connection: Acceptor) -> None:
        """Turn a session that has ended into a tombstone."""
        self._book.bury(connection._session, asyncio.get_running_loop().time())
        self._connections.pop(connection.id, None)
        if self._reports is not None:
            self._reports[connection.id] = connection.report
        self._change.set()

    @staticmethod
    def _served(serving: asyncio.Task[None]) -> None:
        if not serving.cancelled() and (error := serving.exception()) is not None:
            logger.error("reliable_ws failed", exc_info=error)

    def _handled(self, handling: asyncio.Task[None]) -> None:
        self._handling.discard(handling)
        if not handling.cancelled():
            handling.exception()  # SystemExit and its like have left the event loop already
        self._change.set()

    def _relieve_soon(self) -> None:
        """See within a second whether detached sessions hold too much (LIMIT-3)."""
        if self._relief is None:
            loop = asyncio.get_running_loop()
            self._relief = loop.call_later(RELIEF_INTERVAL, self._relieve)

    def _relieve(self) -> None:
        self._relief = None
        for session in self._book.relieve(asyncio.get_running_loop().time()):
            connection = self._connections.get(session.id)
            if connection is not None:
                connection._taken()

    @staticmethod
    async def _leave(transport: Transport, arrival: Arrival) -> None:
        """Say why not, and let the peer close first (CLOSE-9)."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LINGER):
                while (data := arrival.transmit(loop.time())) is not None:
                    await transport.send(data)
                while True:
                    await transport.recv()
        except (TransportClosed, TimeoutError):
            pass
        leaving = arrival.leaving
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await transport.close(*(leaving[:2] if leaving else (1000, "")))
        except TimeoutError:
            transport.abort()

    @staticmethod
    async def _run(connection: Acceptor, handler: Handler) -> None:
        """Run the handler, then close; what it had sent is still delivered."""
        code = 1000
        try:
            await handler(connection)
        except asyncio.CancelledError:
            if not connection.sessions._book.draining:  # the event loop ends: wait for nobody
                connection.abort(1001, "going away")
                raise
            code = 1001
        except ConnectionClosed as error:
            logger.warning("a handler gave up: %s", error)  # a client that is gone is no bug
            code = 1011
        except Exception:  # noqa: BLE001 - it ends its own session, and nothing else
            logger.exception("a handler raised")
            code = 1011
        try:
            await connection.close(code)
        except DeliveryError as error:
            logger.warning("a session ended with undelivered messages: %s", error.report)

    async def drain(self, timeout: float = 10.0) -> dict[bytes, Report]:
        """Close every session gracefully; return one report per session id.

        No new sessions are made, resumes are still answered. Every peer is told Finish(1001);
        handlers are awaited, after ``timeout`` seconds cancelled; sessions that have not ended
        soon after that are aborted. A second call joins the first.
        """
        self._book.draining = True
        if self._reports is None:
            self._reports = {}
        reports = self._reports
        connections = list(self._connections.values())
        for connection in connections:
            if connection.handling is None:
                connection.start_closing(1001)
            else:
                await connection.finish(1001, "going away")
        if not await self._emptied(timeout):
            for handling in self._others():
                handling.cancel()
            for connection in connections:
                if connection.state is State.DETACHED:  # nobody is there to be asked
                    connection.abort(1001, "going away")
            if not await self._emptied(LINGER):
                for connection in connections:
                    connection.abort(1001, "going away")
                await self._emptied(LINGER)
        return reports

    def _others(self) -> set[asyncio.Task[None]]:
        """Handlers that run, but for the one that asks."""
        return {task for task in self._handling if task is not asyncio.current_task()}

    async def _emptied(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while self._connections or self._others():
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            return False
        return True


class Server:
    """A running server: made by :func:`serve`."""

    inner: Any
    "The WebSocket library's own server."

    def __init__(self, sessions: Sessions, drain_timeout: float) -> None:
        self.sessions = sessions
        self._drain_timeout = drain_timeout

    @property
    def sockets(self) -> Any:
        """The listening sockets."""
        return self.inner.sockets

    @property
    def port(self) -> int:
        """The port of the first listening socket."""
        port: int = self.inner.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> list[Connection]:
        """The connections of all sessions that live."""
        return self.sessions.connections

    async def drain(self, timeout: float | None = None) -> dict[bytes, Report]:
        """Close every session gracefully (see :meth:`Sessions.drain`), then the server."""
        reports = await self.sessions.drain(self._drain_timeout if timeout is None else timeout)
        await self.close()
        return reports

    async def close(self) -> None:
        """Close the listening sockets and every WebSocket. Sessions are not told: see drain."""
        self.inner.close()
        await self.inner.wait_closed()

    async def wait_closed(self) -> None:
        """Return when the server is closed."""
        await self.inner.wait_closed()

    async def serve_forever(self) -> None:
        """Run until cancelled."""
        await asyncio.get_running_loop().create_future()


class serve:  # noqa: N801 - looks and behaves like its namesake in websockets
    """Serve sessions: ``handler(conn)`` runs once per session, not once per WebSocket.

    ``async with serve(handler, host, port) as server`` or ``server = await serve(…)``. Leaving
    the block drains: see :meth:`Sessions.drain`. ``sessions`` shares sessions with other
    endpoints; else ``config``, ``on_event`` and ``payload_codec`` are those of new ones.
    ``principal`` is called with the WebSocket of every arrival and returns who it is (or an
    awaitable of it): only the same principal can resume a session. Everything else goes to
    websockets' ``serve``.
    """

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
        drain_timeout: float = 10.0,
        **transport_options: Any,
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._sessions = sessions
        self._methods = methods
        self._config = config
        self._principal = principal
        self._on_event = on_event
        self._codec = payload_codec
        self._drain_timeout = drain_timeout
        self._options = transport_options
        self._server: Server | None = None

    async def _start(self) -> Server:
        sessions = self._sessions
        if sessions is None:  # `or` would take an empty one for none
            sessions = self._make_sessions()
        server = Server(sessions, self._drain_timeout)

        async def on_transport(transport: Transport) -> None:
            principal = None
            if self._principal is not None:
                principal = self._principal(transport.websocket)
                if isinstance(principal, Awaitable):
                    principal = await principal
            await server.sessions._serve(transport, self._handler, principal)

        server.inner = await self._listen(on_transport)
        return server

    def _make_sessions(self) -> Sessions:
        return Sessions(
            methods=self._methods,
            config=self._config,
            on_event=self._on_event,
            payload_codec=self._codec,
        )

    async def _listen(self, on_transport: Callable[[Transport], Awaitable[None]]) -> Any:
        from reliable_ws.adapters import websockets

        return await websockets.listen(on_transport, self._host, self._port, **self._options)

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
        """Drain; at once if the block was left by cancellation."""
        if self._server is not None:
            graceful = kind is None or issubclass(kind, Exception)
            await self._server.drain(None if graceful else 0.0)
