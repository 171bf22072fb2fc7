"""``Sessions``: what a server keeps, whatever its WebSockets come from."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from reliable_ws.adapters.blocking import adapt
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
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.errors import NotReliablePeer
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.link import CloseAction
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.report import Report
from reliable_ws.transport import SyncTransport, TransportClosed

from .acceptor import Acceptor, Handler
from .connection import Connection
from .link_io import CLOSE_TIMEOUT, LINGER, LinkIO
from .timers import call_at, start
from .waiters import Change

__all__ = ["Handler", "Sessions", "check_sessions", "check_shared"]

EVICTION_INTERVAL = 1.0
"""Seconds between two looks at what all sessions hold; each costs a microsecond a session."""


class Sessions:
    """The sessions of one server. They outlive its WebSockets.

    Use it in servers that are not made by :func:`~reliable_ws.sync.serve`: in the endpoint of your
    threaded server, call ``sessions.handle(websocket, handler)``. Give the same object to every
    endpoint that resumes the same sessions. All its connections share one lock, which is held for
    microseconds. So no two connections can wait for each other.

    Args:
        config: Limits and timeouts. Default: ``Config()``.
        methods: What peers may request. Default: nothing.
        on_event: Called with each ``ConnectionEvent`` of every session.
        payload_codec: Packs messages that are neither ``str`` nor ``bytes``. Default: msgpack.

    Raises:
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        *,
        config: Config | None = None,
        methods: Methods | None = None,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
    ) -> None:
        check_options(
            config=config, methods=methods, on_event=on_event, payload_codec=payload_codec
        )
        self.config = config or Config()
        self._lock = threading.Lock()
        self._methods = methods
        if methods is not None:
            methods.check_threads()
        self._registry = SessionRegistry(secrets.randbelow(2**48) + 1, self.config, payload_codec)
        self._on_event = on_event
        self._acceptors: dict[bytes, Acceptor] = {}
        self._reports: dict[bytes, Report] | None = None
        self._handling: set[threading.Thread] = set()
        self._change = Change(self._lock)  # a session ended, or a handler
        self._evicting = False

    def __repr__(self) -> str:
        """How many sessions live."""
        return f"<reliable_ws.sync.Sessions, {len(self)} alive>"

    def __len__(self) -> int:
        """How many sessions live."""
        return len(self._registry)

    @property
    def connections(self) -> list[Connection]:
        """The connections of all living sessions."""
        with self._lock:
            return [acceptor.connection for acceptor in self._acceptors.values()]

    def handle(self, websocket: Any, handler: Handler, *, principal: Hashable = None) -> None:
        """Serve one WebSocket. Return when it is gone.

        ``handler(conn)`` runs once per session, in a thread of its own. A later WebSocket of the
        same session is attached to the running handler. When the handler returns, its connection is
        closed with code 1000. When it raises, the connection is closed with code 1011 and the
        traceback is logged.

        Args:
            websocket: An open WebSocket of a supported library, or a transport of your own.
            handler: A plain function, called with the :class:`Connection`.
            principal: Who your application found the peer to be. Only the same principal can resume
                a session.

        Raises:
            TypeError: The handler is no plain function, or no adapter knows the WebSocket.
            ValueError: The WebSocket is not open, or is wrapped already.
        """
        check_handler(handler, awaited=False)
        self._serve(take_over(websocket, adapt), handler, principal)

    def accept(
        self, transport: SyncTransport, principal: Hashable = None, *, resumable: bool = True
    ) -> Connection:
        """Greet on a transport and return its connection, which reads in the background.

        A transport of a living session gives the connection that the session has already.

        Raises:
            NotReliablePeer: No good Hello came in time.
        """
        arrival = self._arrive(transport, principal)
        met = self._greet(transport, arrival, resumable=resumable)
        if met is None:
            start(lambda: self._leave(transport, arrival))
            raise NotReliablePeer("the peer did not greet with a good Hello")
        acceptor, link_io = met
        start(link_io.read)
        return acceptor.connection

    def _serve(self, transport: SyncTransport, handler: Handler, principal: Hashable) -> None:
        arrival = self._arrive(transport, principal)
        met = self._greet(transport, arrival, resumable=True)
        if met is None:
            self._leave(transport, arrival)
            return
        acceptor, link_io = met
        if arrival.fresh:
            self._handle(acceptor, handler)
        link_io.read()

    def _arrive(self, transport: SyncTransport, principal: Hashable) -> Arrival:
        with self._lock:
            return self._registry.arrive(time.monotonic(), principal, transport.max_frame)

    def _greet(
        self, transport: SyncTransport, arrival: Arrival, *, resumable: bool
    ) -> tuple[Acceptor, LinkIO] | None:
        """Read the Hello, let the registry answer it, and attach the transport to its session."""
        alarm = call_at(arrival.deadline, lambda: self._dismiss(transport, arrival))
        try:
            data = transport.recv()
        except TransportClosed:
            return None
        finally:
            alarm.cancel()
        with self._lock:
            events: list[Event] = arrival.receive(data, time.monotonic())
            self._evict_soon()
            session, link = arrival.session, arrival.link
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
            return None if link is None else (acceptor, acceptor.attach(transport, link))

    def _dismiss(self, transport: SyncTransport, arrival: Arrival) -> None:
        """Refuse a WebSocket that has stayed silent."""
        with self._lock:
            if arrival.deadline >= NEVER:  # it has spoken, just in time
                return
            arrival.tick(max(time.monotonic(), arrival.deadline))

        def close() -> None:
            self._refuse(transport, arrival)
            transport.close(Code.NO_HELLO)

        start(close)
        call_at(time.monotonic() + CLOSE_TIMEOUT, transport.abort)

    def _leave(self, transport: SyncTransport, arrival: Arrival) -> None:
        """Say why not, and let the peer close first (CLOSE-19)."""
        close_action = arrival.close_action or CloseAction(Code.FINISHED, "", linger=False)

        def close() -> None:
            start(lambda: transport.close(close_action.code, close_action.reason))

        alarms = [
            call_at(time.monotonic() + LINGER, close),
            call_at(time.monotonic() + CLOSE_TIMEOUT, transport.abort),
        ]
        self._refuse(transport, arrival)
        try:
            while True:
                transport.recv()
        except TransportClosed:
            for alarm in alarms:
                alarm.cancel()

    def _refuse(self, transport: SyncTransport, arrival: Arrival) -> None:
        """Say why not."""
        with self._lock:
            data = arrival.transmit(time.monotonic())
        if data is not None:
            with contextlib.suppress(TransportClosed):
                transport.send(data)

    def _handle(self, acceptor: Acceptor, handler: Handler) -> None:
        """Run the handler in a thread."""

        def run() -> None:
            try:
                acceptor.run(handler)
            finally:
                with self._lock:
                    self._handling.discard(threading.current_thread())
                    self._change.notify_all()

        with self._lock:
            acceptor.handling = start(run)
            self._handling.add(acceptor.handling)

    def _retire(self, acceptor: Acceptor) -> None:
        """Turn a session that has ended into a tombstone; with the lock held."""
        session = acceptor.session
        self._registry.retire(session, time.monotonic())
        self._acceptors.pop(session.id, None)
        if self._reports is not None:
            self._reports[session.id] = session.report()
        self._change.notify_all()

    def _evict_soon(self) -> None:
        """See within a second whether detached sessions hold too much (LIMIT-4)."""
        if not self._evicting:
            self._evicting = True
            call_at(time.monotonic() + EVICTION_INTERVAL, self._evict)

    def _evict(self) -> None:
        with self._lock:
            self._evicting = False
            for session, events in self._registry.evict(time.monotonic()):
                acceptor = self._acceptors.get(session.id)
                if acceptor is not None:
                    acceptor.dispatch(events)
            if not all(acceptor.session.attached for acceptor in self._acceptors.values()):
                self._evict_soon()  # they may come to hold more

    def drain(self, timeout: float = 10.0) -> dict[bytes, Report]:
        """Close every session gracefully, and return one report per session id.

        New sessions are refused. Resumes are still answered. Every peer is told Finish with code
        1001 (protocol.md, section 9). Handlers are awaited. After ``timeout`` seconds their
        connections are closed. Sessions that have not ended soon after that are aborted. A thread
        cannot be stopped: a handler that does not end even then is left running. A second call
        joins the first.

        Raises:
            TypeError: ``timeout`` is not a number.
        """
        check_seconds(timeout)
        with self._lock:
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
        if not self._emptied(timeout):
            with self._lock:
                for acceptor in acceptors:
                    if acceptor.session.attached:
                        acceptor.start_closing(1001)
                    else:  # nobody is there to be asked
                        acceptor.abort(1001, "going away")
            if not self._emptied(LINGER):
                with self._lock:
                    for acceptor in acceptors:
                        acceptor.abort(1001, "going away")
                self._emptied(LINGER)
        return reports

    def _emptied(self, timeout: float) -> bool:
        """Wait until no session lives and no handler runs, but for the one that asks."""
        me = {threading.current_thread()}
        with self._lock:
            return self._change.wait_for(
                lambda: not self._acceptors and not self._handling - me, timeout
            )


def check_sessions(sessions: object, **given: object) -> None:
    """Raise ``TypeError`` for what is no :class:`Sessions`: those of asyncio, for example.

    ``ValueError`` for options that are given beside it, and would have no effect.
    """
    expect("sessions", sessions, "a reliable_ws.sync.Sessions", fits=isinstance(sessions, Sessions))
    check_unshared(**given)


def check_shared(sessions: object, **given: object) -> None:
    """Raise ``TypeError`` for options of sessions that do not fit.

    Beside ``sessions`` that are there already, if they are not ``None``, as :func:`check_sessions`.
    """
    check_options(**given)
    if sessions is not None:
        check_sessions(sessions, **given)
