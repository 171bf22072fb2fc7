"""``Sessions``: what a server keeps, whatever its WebSockets come from.

Theory of operation. Each WebSocket has a thread, which runs :meth:`Sessions._serve`. The thread
reads the first message and gives it to the registry, which refuses the peer or returns the session
that the WebSocket is for (:meth:`Sessions._greet`). Then the thread reads until the WebSocket is
gone. A new session gets a second thread, which runs the application's handler.

All sessions of a server share one lock. The registry and the table of sessions belong to it too. No
thread holds it while it reads, writes, or runs a handler.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Literal

from reliable_ws.adapters import adapt_blocking as adapt
from reliable_ws.driver.call_spans import CallTracing
from reliable_ws.driver.close_plan import CLOSE_TIMEOUT, handshake_times
from reliable_ws.driver.figures import SLICE_PAUSE, Figures
from reliable_ws.driver.handler_end import HandlerEnd, already_served
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import SessionOptions, TraceOption
from reliable_ws.driver.ownership import release, take_over
from reliable_ws.driver.restored import (
    SERVER,
    about_acceptor,
    claims_of,
    read_stored,
    take_in,
)
from reliable_ws.driver.session_store import KEPT_FOR_NEXT
from reliable_ws.driver.session_table import EVICTION_INTERVAL, SessionTable
from reliable_ws.driver.status import ConnectionEvent, logger
from reliable_ws.driver.validation import (
    check_drain,
    check_handler,
    check_options,
    check_seconds,
    check_store,
)
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.errors import ConnectionClosed, DeliveryError, NotReliablePeer, StoreError
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.link import CloseAction
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.report import End, Ending, Report
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import Store
from reliable_ws.transport import SyncTransport, TransportClosed

from .call_tracing import trace_driver
from .connection import Connection
from .driver import Driver
from .link_io import LinkIO
from .store_port import StorePort
from .thread_pool import MAX_TOTAL_HANDLERS, HandlerThreads
from .timers import call_at, start
from .waiters import Condition

__all__ = ["Handler", "Sessions"]

Handler = Callable[[Connection], object]


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
        store: Keeps the sessions, so that they go on when this process has died: a
            :class:`~reliable_ws.SQLiteStore`, for example. A handler runs again when its peer is
            back, with ``conn.restored``.
        trace: Writes what every WebSocket carries, without payloads: the path of a file, or a
            :class:`~reliable_ws.WireTrace`. Default: nothing is written.
        max_total_handlers: How many handlers of requests run at the same time, over all sessions,
            each in a thread. ``Config.max_handlers`` bounds those of one session. Default: 1,000.
            Further requests wait, and those of the session that waits longest go first.

    Raises:
        OSError: The file of the trace cannot be written.
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        *,
        config: Config | None = None,
        methods: Methods | None = None,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
        store: Store | None = None,
        trace: TraceOption = None,
        max_total_handlers: int | None = None,
    ) -> None:
        check_store(store, None, named=False)
        check_options(max_total_handlers=max_total_handlers)
        self._options = SessionOptions.of(
            awaited=False,
            methods=methods,
            config=config,
            on_event=on_event,
            payload_codec=payload_codec,
            store=store,
            trace=trace,
        )
        self.config = self._options.config
        self._lock = threading.Lock()
        self._handlers = HandlerThreads(max_total_handlers or MAX_TOTAL_HANDLERS)
        self._registry = SessionRegistry(secrets.randbelow(2**48) + 1, self.config, payload_codec)
        self._table: SessionTable[Acceptor, threading.Thread] = SessionTable(self._registry)
        self._change = Condition(self._lock)  # a session ended, or a handler
        self._evicting = False
        self._port: StorePort | None = None
        self._opening = threading.Lock()  # held while the store is being opened
        self._release_store: Callable[[], None] = lambda: None
        self._unkept: set[Acceptor] = set()  # of sessions whose end the store does not have yet
        self._tracing: CallTracing | None = None  # of calls
        self.keeps = False
        "Whether sessions are left to the next process."

    def __repr__(self) -> str:
        """How many sessions live."""
        return f"<reliable_ws.sync.Sessions, {len(self)} alive>"

    def __len__(self) -> int:
        """How many sessions live."""
        return len(self._registry)

    @property
    def draining(self) -> bool:
        """Whether :meth:`drain` was called. New sessions are refused."""
        return self._registry.draining

    @property
    def methods(self) -> Methods | None:
        """What peers may request."""
        return self._options.methods

    @property
    def has_store(self) -> bool:
        """Whether a store keeps the sessions."""
        return self._options.store is not None

    @property
    def connections(self) -> list[Connection]:
        """The connections of all living sessions."""
        with self._lock:
            return [acceptor.connection for acceptor in self._table.acceptors.values()]

    def trace_calls(self, tracing: CallTracing) -> None:
        """Trace the calls of sessions that begin from now on, and of those from a store."""
        with self._lock:
            self._tracing = tracing
            for acceptor in self._table.acceptors.values():
                if acceptor.session.restored and acceptor.rpc_client is None:
                    trace_driver(acceptor, tracing)

    def figures(self) -> Figures:
        """Return what all sessions have done together: for metrics (docs/metrics.md).

        It may be called in any thread, and takes about 2 µs a session. It pauses for half a
        millisecond after every 250 sessions, so that other threads go on meanwhile.
        """
        figures = self._table.figures(partial(time.sleep, SLICE_PAUSE))
        figures.store = getattr(self._options.store, "stats", None)
        return figures

    def handle(self, websocket: Any, handler: Handler, *, principal: Hashable = None) -> None:
        """Serve one WebSocket. Return when it is gone.

        ``handler(conn)`` runs once per session, in a thread of its own. A later WebSocket of the
        same session is attached to the running handler. When the handler returns, its connection is
        closed with code 1000. When it raises, the connection is closed with code 1011 and the
        traceback is logged. A thread cannot be cancelled: a handler that waits for something else
        than its peer has to look at :attr:`Connection.ended`.

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
        """Greet on a transport and return the new session's connection, which reads by itself.

        A transport of a session whose connection was returned before, or that has a handler,
        carries it on. Then the call waits until the transport is gone.

        Raises:
            NotReliablePeer: No good Hello came in time.
            AlreadyServed: The transport has carried on a session that is served elsewhere.
        """
        acceptor, link_io = self._carry(transport, principal, resumable=resumable)
        if self._give(acceptor):
            start(link_io.read)
            return acceptor.connection
        link_io.read()
        raise already_served()

    def resume(self, acceptor: Acceptor, transport: SyncTransport) -> None:
        """Carry on a session over a transport, which reads by itself from then on.

        Raises:
            NotReliablePeer: The peer did not greet as the peer of this session.
        """
        other, link_io = self._carry(transport, acceptor.principal, resumable=True)
        start(link_io.read)
        if other is not acceptor:
            other.connection.abort()
            raise NotReliablePeer(
                "the peer began another session on this WebSocket, and did not resume this one"
            )

    def _carry(
        self, transport: SyncTransport, principal: Hashable, *, resumable: bool
    ) -> tuple[Acceptor, LinkIO]:
        """Greet; return what drives the session, and what is to read from the transport."""
        self._prepare(transport, principal)
        arrival = self._arrive(transport, principal)
        greeted = self._greet(transport, arrival, resumable=resumable)
        if greeted is None:
            start(lambda: self._refuse(transport, arrival))
            raise NotReliablePeer(arrival.refusal)
        return greeted

    def _give(self, acceptor: Acceptor) -> bool:
        """Whether the caller is the first that gets the connection, and may serve it."""
        with self._lock:
            first, acceptor.given = not acceptor.given, True
        return first

    def _serve(
        self,
        transport: SyncTransport,
        handler: Handler,
        principal: Hashable,
        on_greeted: Callable[[], object] = lambda: None,
    ) -> None:
        self._prepare(transport, principal)
        arrival = self._arrive(transport, principal)
        greeted = self._greet(transport, arrival, resumable=True)
        if greeted is None:
            self._refuse(transport, arrival)
            return
        on_greeted()
        acceptor, link_io = greeted
        if self._give(acceptor):
            self._handle(acceptor, handler)
        link_io.read()

    def _prepare(self, transport: SyncTransport, principal: Hashable) -> None:
        """See that the store is open, and can keep who the peer is."""
        if self._options.store is None:
            return
        try:
            about_acceptor(principal)
            self.open_store()
        except BaseException:
            transport.abort()
            release(transport)
            raise

    def _arrive(self, transport: SyncTransport, principal: Hashable) -> Arrival:
        with self._lock:
            return self._registry.arrive(time.monotonic(), principal, transport.max_frame)

    def _greet(
        self, transport: SyncTransport, arrival: Arrival, *, resumable: bool
    ) -> tuple[Acceptor, LinkIO] | None:
        """Read the Hello, let the registry answer it, and attach the transport to its session."""
        timer = call_at(arrival.deadline, lambda: self._dismiss(transport, arrival))
        try:
            data = transport.recv()
        except TransportClosed:
            return None
        finally:
            timer.cancel()
        with self._lock:
            events: list[Event] = arrival.receive(data, time.monotonic())
            if self._registry.evicted:
                self._table.tell_evicted()
            self._evict_soon()
            session, link = arrival.session, arrival.link
            if session is None:
                return None
            acceptor = self._table.acceptors.get(session.id)
            if acceptor is None:
                acceptor = Acceptor(
                    self, session, arrival.principal, resumable=resumable, port=self._port
                )
                self._table.acceptors[session.id] = acceptor
            acceptor.dispatch(events)
            return None if link is None else (acceptor, acceptor.attach(transport, link, data))

    def _dismiss(self, transport: SyncTransport, arrival: Arrival) -> None:
        """Refuse a WebSocket that has stayed silent."""
        with self._lock:
            if arrival.deadline >= NEVER:  # it has spoken, just in time
                return
            arrival.tick(max(time.monotonic(), arrival.deadline))

        def close() -> None:
            self._send_refusal(transport, arrival)
            transport.close(Code.NO_HELLO)

        start(close)
        call_at(time.monotonic() + CLOSE_TIMEOUT, transport.abort)

    def _refuse(self, transport: SyncTransport, arrival: Arrival) -> None:
        """Say why not, and let the peer close first (CLOSE-19)."""
        if arrival.note:
            logger.warning("%s", arrival.note)
        close_action = arrival.close_action or CloseAction(Code.FINISHED, "", linger=False)

        def close() -> None:
            start(lambda: transport.close(close_action.code, close_action.reason))

        linger, limit = handshake_times(close_action.code)
        timers = [
            call_at(time.monotonic() + linger, close),
            call_at(time.monotonic() + limit, transport.abort),
        ]
        self._send_refusal(transport, arrival)
        try:
            while True:
                transport.recv()
        except TransportClosed:
            for timer in timers:
                timer.cancel()

    def _send_refusal(self, transport: SyncTransport, arrival: Arrival) -> None:
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
                    self._table.handlers.discard(threading.current_thread())
                    self._change.notify_all()

        with self._lock:
            acceptor.handling = start(run)
            self._table.handlers.add(acceptor.handling)

    def _retire(self, acceptor: Acceptor) -> None:
        """Turn a session that has ended into a tombstone; with the lock held."""
        self._table.retire(acceptor, time.monotonic())
        if acceptor.store is not None and not acceptor.session.is_kept:
            self._unkept.add(acceptor)
        self._change.notify_all()

    def _has_kept(self, acceptor: Acceptor) -> None:
        """Take note that the store has the end of a session; with the lock held."""
        if acceptor in self._unkept:
            self._unkept.discard(acceptor)
            self._change.notify_all()

    def _store_failed(self) -> None:
        """Take no part any more: whoever comes is told to come again, to the next process."""
        self._registry.leaving = True

    def _evict_soon(self) -> None:
        """See within a second whether sessions hold too much (LIMIT-4)."""
        if not self._evicting:
            self._evicting = True
            call_at(time.monotonic() + EVICTION_INTERVAL, self._evict)

    def _evict(self) -> None:
        with self._lock:
            self._evicting = False
            if self._table.evict(time.monotonic()):
                self._evict_soon()

    # ------------------------------------------------------------------ a store

    def open_store(self) -> None:
        """Open the store, and take in its sessions. Again: no effect.

        Raises:
            StoreError: The store cannot be opened.
            ValueError: Other sessions of a server use this store.
        """
        store = self._options.store
        if store is None or self._port is not None:
            return
        port = StorePort(store, self._lock)
        with self._opening:
            if self._registry.about is None:
                self._open_store(port)

    def _open_store(self, port: StorePort) -> None:
        release = claims_of(port.store).claim(SERVER)
        try:
            kept = read_stored(port.open(), "acceptor")
            with self._lock:
                for one in kept:
                    self._take_in(one, port)
                self._registry.about = about_acceptor
                self._port = port
        except BaseException:
            release()
            raise
        self._release_store = release

    def _take_in(self, kept: StoredSession, port: StorePort) -> None:
        """Take in one session that an earlier process had. It waits for its peer."""
        taken_in = take_in(self._registry, kept, port.store, time.monotonic(), time.time())
        if taken_in is None:
            return
        session, restored = taken_in
        acceptor = Acceptor(self, session, kept.about["principal"], resumable=True, port=port)
        acceptor.restored = restored
        acceptor.given = kept.closing  # its handler had ended
        self._table.acceptors[session.id] = acceptor
        acceptor.pump.rearm()

    def _keep(self, timeout: float) -> dict[bytes, Report]:
        """Leave every session to the next process."""
        by = time.monotonic() + timeout
        with self._lock:
            self.keeps = self._registry.leaving = True
            reports = self._table.begin_drain()
            acceptors = list(self._table.acceptors.values())
            for acceptor in acceptors:
                acceptor.pump.flush()  # all of them share commits
            for acceptor in acceptors:
                if acceptor.store is not None and not acceptor.session.ended:
                    acceptor.store.keep(max(0.0, by - timeout / 2 - time.monotonic()))
            for acceptor in acceptors:
                if acceptor.store is not None and not acceptor.session.ended:
                    acceptor.store.leave(KEPT_FOR_NEXT)
            me = threading.current_thread()
            self._table.callers.add(me)
            try:
                self._is_empty_within(max(0.0, by - time.monotonic()))
            finally:
                self._table.callers.discard(me)
        return reports

    def drain(
        self, timeout: float = 10.0, *, sessions: Literal["close", "keep"] = "close"
    ) -> dict[bytes, Report]:
        """Close every session gracefully, and return one report per session id.

        New sessions are refused. Resumes are still answered. Every peer is told Finish with code
        1001 (protocol.md, section 9). A session ends when its peer finishes too and its handler
        returns. If the peer does not, a session in which nothing is owed, and whose handler waits
        for a message or for the end, ends within a second. Handlers that do something else are
        awaited. Four seconds before the end (after half of the time, if
        ``timeout`` is below 8) their connections are closed, and what they sent can still be
        delivered. Then sessions that have not ended are aborted.
        Draining is over after ``timeout`` seconds (below 8, up to four later). A thread cannot be
        stopped: a handler that does not end even then is left running. A second call joins the
        first.

        With ``sessions="keep"`` no session ends: what was accepted is kept, and WebSockets are
        closed with code 1012. Handlers that wait for their peer get ``ConnectionClosed``. Peers
        come back to the next process that opens the store. Messages that are not confirmed have the
        outcome ``KEPT``.

        Raises:
            TypeError: ``timeout`` is not a number.
            ValueError: There is no store to keep sessions in.
        """
        check_seconds(timeout)
        check_drain(sessions, can_keep=self.has_store)
        try:
            return self._keep(timeout) if sessions == "keep" else self._close_all(timeout)
        finally:
            self._leave_store()

    def _leave_store(self) -> None:
        """Return when the store has the ends of all sessions, and let others use it."""
        if self._port is None:
            return
        with self._lock:
            limit = self.config.close_cancelled_timeout
            if not self._change.wait_for(lambda: not self._unkept, limit):
                logger.warning("%r: the store has not kept the ends of all sessions in time", self)
        self._release_store()

    def _close_all(self, timeout: float) -> dict[bytes, Report]:
        with self._lock:
            reports = self._table.begin_drain()
            me = threading.current_thread()
            self._table.callers.add(me)
            try:
                for seconds in self._table.drain(timeout, self._close_attached):
                    if self._is_empty_within(seconds):
                        break
            finally:
                self._table.callers.discard(me)
        return reports

    def _close_attached(self) -> None:
        """Close the connections under handlers: a thread cannot be cancelled."""
        for acceptor in list(self._table.acceptors.values()):
            if acceptor.session.attached:
                acceptor.start_closing(1001)

    def _is_empty_within(self, seconds: float) -> bool:
        """Wait so long until no session lives, and no handler runs but for those that wait."""
        return self._change.wait_for(lambda: self._table.is_empty, seconds)


class Acceptor(Driver):
    """Drives a session from the side to which its WebSockets come."""

    def __init__(
        self,
        sessions: Sessions,
        session: Session,
        principal: Hashable,
        *,
        resumable: bool,
        port: StorePort | None,
    ) -> None:
        options = sessions._options
        super().__init__(
            session,
            sessions._lock,
            resumable=resumable,
            methods=options.methods,
            handlers=sessions._handlers,
            port=port,
        )
        self._sessions = sessions
        self.belong_to(principal)
        self.pump.wire = options.trace
        self.pump.confirm_timer.histogram = sessions._table.left.confirm_seconds
        self.connection = Connection(self, options.on_event)
        self.given = False
        "Whether a handler has the connection: no second one gets it."
        self.handling: threading.Thread | None = None
        "The thread that runs the application's handler."
        if sessions._tracing is not None:
            trace_driver(self, sessions._tracing)

    def _on_ended(self, ending: Ending) -> None:
        if isinstance(self.session.cause, StoreError):
            self._sessions._store_failed()
        self._sessions._retire(self)
        super()._on_ended(ending)

    def changed(self) -> None:
        """Wake the threads that wait for the session's state."""
        super().changed()
        if self.store is not None and self.session.ended and self.session.is_kept:
            self._sessions._has_kept(self)

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> list[Event]:
        following = super()._on_detached(code, reason, retry)
        self._sessions._evict_soon()
        return following

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, on which the peer has to greet. Without lock."""
        if self.session.ended:
            raise self.session.error()
        self._sessions.resume(self, take_over(websocket, adapt))

    @property
    def _is_left(self) -> bool:
        """Whether the session was left to the next process by a drain."""
        ending = self.session.ended
        return self._sessions.keeps and ending is not None and ending.kind is End.KEPT

    def run(self, handler: Handler) -> None:
        """Run the handler, then close; what it had sent is still delivered."""
        end = HandlerEnd(self)
        try:
            handler(self.connection)
        except BaseException as error:  # noqa: BLE001 - it ends its own session, and nothing else
            with self.lock:
                over, is_finishing = self.over, self.is_finishing
            if self._is_left and isinstance(error, ConnectionClosed | DeliveryError):
                return  # the next process goes on
            end.raised(error, over, is_finishing=is_finishing)
        if self._is_left:
            return
        try:
            self.connection.close(end.code)
        except DeliveryError as error:
            end.undelivered(error)
