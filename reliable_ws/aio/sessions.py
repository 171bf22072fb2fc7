"""``Sessions``: every session of a server of any kind, and the side that waits for WebSockets."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from reliable_ws.adapters import adapt
from reliable_ws.driver.fork import mind_forks
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.ownership import take_over
from reliable_ws.driver.status import ConnectionEvent
from reliable_ws.driver.validation import (
    check_handler,
    check_options,
    check_seconds,
    check_unshared,
    expect,
)
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import NotReliablePeer
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.report import Report
from reliable_ws.transport import Transport, TransportClosed

from .acceptor import Acceptor, Handler
from .connection import Connection
from .link_io import CLOSE_TIMEOUT, LINGER, LinkIO

__all__ = ["Handler", "Sessions", "check_sessions", "check_shared"]

EVICTION_INTERVAL = 1.0
"""Seconds between two looks at what all sessions hold; each costs a microsecond a session."""


class Sessions:
    """The sessions of one server. They outlive its WebSockets.

    Use it in servers that are not made by :func:`~reliable_ws.serve`: in the endpoint of your web
    framework, call ``await sessions.handle(websocket, handler)``. Give the same object to every
    endpoint that resumes the same sessions.

    Args:
        methods: What peers may request. Default: nothing.
        config: Limits and timeouts. Default: ``Config()``.
        on_event: Called with each ``ConnectionEvent`` of every session.
        payload_codec: Packs messages that are neither ``str`` nor ``bytes``. Default: msgpack.

    Raises:
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        *,
        methods: Methods | None = None,
        config: Config | None = None,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
    ) -> None:
        check_options(
            methods=methods, config=config, on_event=on_event, payload_codec=payload_codec
        )
        self.config = config or Config()
        self._methods = methods
        if methods is not None:
            methods.check_loop()
        self._registry = SessionRegistry(secrets.randbelow(2**48) + 1, self.config, payload_codec)
        self._on_event = on_event
        self._acceptors: dict[bytes, Acceptor] = {}
        self._reports: dict[bytes, Report] | None = None
        self._handling: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()  # a session ended, or a handler
        self._eviction: asyncio.TimerHandle | None = None
        self._end_of_handler = self._handled  # one for all tasks
        mind_forks(self)

    def __repr__(self) -> str:
        """How many sessions live."""
        return f"<reliable_ws.Sessions, {len(self)} alive>"

    def __len__(self) -> int:
        """How many sessions live."""
        return len(self._registry)

    @property
    def draining(self) -> bool:
        """Whether :meth:`drain` was called. New sessions are refused."""
        return self._registry.draining

    @property
    def connections(self) -> list[Connection]:
        """The connections of all living sessions."""
        return [acceptor.connection for acceptor in self._acceptors.values()]

    def handle(
        self, websocket: Any, handler: Handler, *, principal: Hashable = None
    ) -> Coroutine[Any, Any, None]:
        """Serve one WebSocket. ``await`` this: it returns when the WebSocket is gone.

        The WebSocket is taken over at the call, before you await: a library with callbacks must not
        call your application any more. ``handler(conn)`` runs once per session, in a task of its
        own. A later WebSocket of the same session is attached to the running handler. When the
        handler returns, its connection is closed with code 1000. When it raises, the connection is
        closed with code 1011 and the traceback is logged.

        Args:
            websocket: An open WebSocket of a supported library, or a transport of your own.
            handler: A coroutine function, called with the :class:`Connection`.
            principal: Who your application found the peer to be. Only the same principal can resume
                a session.

        Raises:
            TypeError: The handler is no coroutine function, or no adapter knows the WebSocket.
            ValueError: The WebSocket is not open, or is wrapped already.
        """
        check_handler(handler, awaited=True)
        return self._serve(take_over(websocket, adapt), handler, principal)

    async def _serve(
        self,
        transport: Transport,
        handler: Handler | None,
        principal: Hashable,
        *,
        resumable: bool = True,
        ready: asyncio.Future[Acceptor] | None = None,
    ) -> None:
        link_io = await self._attach(transport, handler, principal, ready, resumable=resumable)
        if link_io is not None:
            await link_io.read()

    async def _attach(
        self,
        transport: Transport,
        handler: Handler | None,
        principal: Hashable,
        ready: asyncio.Future[Acceptor] | None,
        *,
        resumable: bool,
    ) -> LinkIO | None:
        """Greet; return what carries the session now, or ``None`` if the peer was refused."""
        loop = asyncio.get_running_loop()
        arrival = self._registry.arrive(loop.time(), principal, transport.max_frame)
        try:
            acceptor = await self._greet(transport, arrival, resumable=resumable)
            if acceptor is None or arrival.link is None:
                await self._leave(transport, arrival)
                return None
        except BaseException:  # cancelled: nobody else knows of this WebSocket
            transport.abort()
            raise
        link_io = acceptor.attach(transport, arrival.link)
        acceptor.pump.flush()
        if ready is not None and not ready.done():
            ready.set_result(acceptor)
        if arrival.fresh and handler is not None:
            handling = loop.create_task(acceptor.run(handler))
            acceptor.handling = handling
            self._handling.add(handling)
            handling.add_done_callback(self._end_of_handler)
        return link_io

    async def _greet(
        self, transport: Transport, arrival: Arrival, *, resumable: bool
    ) -> Acceptor | None:
        """Read the Hello and let the registry answer it."""
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
        self._evict_soon()
        session = arrival.session
        if session is None:
            return None
        acceptor = self._acceptors.get(session.id)
        if acceptor is None:
            acceptor = Acceptor(
                self,
                session,
                arrival.principal,
                resumable=resumable,
                methods=self._methods,
                on_event=self._on_event,
            )
            self._acceptors[session.id] = acceptor
        acceptor.dispatch(events)
        return acceptor

    async def accept(
        self, transport: Transport, principal: Hashable = None, *, resumable: bool = True
    ) -> Connection:
        """Greet on a transport and return its connection, which reads in the background.

        A transport of a living session gives the connection that the session has already.

        Raises:
            NotReliablePeer: No good Hello came in time.
        """
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Acceptor] = loop.create_future()
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
        acceptor = ready.result()
        acceptor.keep(serving)
        serving.add_done_callback(acceptor.served)
        return acceptor.connection

    def orphan(self) -> None:
        """Take no part any more: this process is a child of the sessions'."""
        for acceptor in list(self._acceptors.values()):
            acceptor.orphan()

    def _retire(self, acceptor: Acceptor) -> None:
        """Turn a session that has ended into a tombstone."""
        session = acceptor.session
        self._registry.retire(session, acceptor.loop.time())
        self._acceptors.pop(session.id, None)
        if self._reports is not None:
            self._reports[session.id] = session.report()
        self._change.set()

    def _handled(self, handling: asyncio.Task[None]) -> None:
        self._handling.discard(handling)
        if not handling.cancelled():
            handling.exception()  # SystemExit and its like have left the event loop already
        self._change.set()

    def _evict_soon(self) -> None:
        """See within a second whether detached sessions hold too much (LIMIT-4)."""
        if self._eviction is None:
            loop = asyncio.get_running_loop()
            self._eviction = loop.call_later(EVICTION_INTERVAL, self._evict)

    def _evict(self) -> None:
        self._eviction = None
        for session, events in self._registry.evict(asyncio.get_running_loop().time()):
            acceptor = self._acceptors.get(session.id)
            if acceptor is not None:
                acceptor.dispatch(events)
        if not all(acceptor.session.attached for acceptor in self._acceptors.values()):
            self._evict_soon()  # they may come to hold more

    @staticmethod
    async def _leave(transport: Transport, arrival: Arrival) -> None:
        """Say why not, and let the peer close first (CLOSE-19)."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LINGER):
                while (data := arrival.transmit(loop.time())) is not None:
                    await transport.send(data)
                while True:
                    await transport.recv()
        except (TransportClosed, TimeoutError):
            pass
        close_action = arrival.close_action
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await transport.close(*(close_action[:2] if close_action else (1000, "")))
        except TimeoutError:
            transport.abort()

    async def drain(self, timeout: float = 10.0) -> dict[bytes, Report]:
        """Close every session gracefully, and return one report per session id.

        New sessions are refused. Resumes are still answered. Every peer is told Finish with code
        1001 (protocol.md, section 9). Handlers are awaited, and cancelled after ``timeout``
        seconds. Sessions that have not ended soon after that are aborted. A second call joins the
        first.

        Raises:
            TypeError: ``timeout`` is not a number.
        """
        check_seconds(timeout)
        self._registry.draining = True
        if self._reports is None:
            self._reports = {}
        reports = self._reports
        acceptors = list(self._acceptors.values())
        for acceptor in acceptors:
            if acceptor.handling is None:
                acceptor.start_closing(1001)
            else:
                acceptor.finish(1001, "going away")
        if not await self._emptied(timeout):
            for handling in self._others():
                handling.cancel()
            for acceptor in acceptors:
                session = acceptor.session
                if not (session.ended or session.closing or session.attached):
                    acceptor.abort(1001, "going away")  # nobody is there to be asked
            if not await self._emptied(LINGER):
                for acceptor in acceptors:
                    acceptor.abort(1001, "going away")
                await self._emptied(LINGER)
        return reports

    def _others(self) -> set[asyncio.Task[None]]:
        """Handlers that run, but for the one that asks."""
        return {task for task in self._handling if task is not asyncio.current_task()}

    async def _emptied(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while self._acceptors or self._others():
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            return False
        return True


def check_sessions(sessions: object, **given: object) -> None:
    """Raise ``TypeError`` for what is no :class:`Sessions`: those of threads, for example.

    ``ValueError`` for options that are given beside it, and would have no effect.
    """
    expect("sessions", sessions, "a reliable_ws.Sessions", fits=isinstance(sessions, Sessions))
    check_unshared(**given)


def check_shared(sessions: object, **given: object) -> None:
    """Raise ``TypeError`` for options of sessions that do not fit.

    Beside ``sessions`` that are there already, if they are not ``None``, as :func:`check_sessions`.
    """
    check_options(**given)
    if sessions is not None:
        check_sessions(sessions, **given)
