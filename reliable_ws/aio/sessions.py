"""``Sessions``: every session of a server of any kind, and the side that waits for WebSockets.

Theory of operation. Each WebSocket has a task, which runs :meth:`Sessions._serve`. The task reads
the first message and gives it to the registry, which refuses the peer or returns the session that
the WebSocket is for (:meth:`Sessions._greet`). Then the task reads until the WebSocket is gone.

Each session has an :class:`Acceptor`, its driver, for as long as it lives. A new session gets a
second task, which runs the application's handler (:meth:`Acceptor.run`). That task outlives
WebSockets: a later WebSocket of the session is attached to the acceptor, and its own task reads.

When a session ends, the registry keeps its tombstone, and the acceptor goes.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, Literal

from reliable_ws.adapters import adapt
from reliable_ws.driver.call_spans import CallTracing
from reliable_ws.driver.close_plan import handshake_times
from reliable_ws.driver.figures import SLICE_PAUSE, Figures
from reliable_ws.driver.fork import watch_forks
from reliable_ws.driver.handler_end import HandlerEnd, already_served
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import SessionOptions, TraceOption
from reliable_ws.driver.ownership import take_over
from reliable_ws.driver.restored import (
    SERVER,
    Restored,
    about_acceptor,
    claims_of,
    read_stored,
    take_in,
)
from reliable_ws.driver.session_store import KEPT_FOR_NEXT
from reliable_ws.driver.session_table import EVICTION_INTERVAL, SessionTable
from reliable_ws.driver.status import ConnectionEvent, logger
from reliable_ws.driver.validation import (
    check_cluster,
    check_drain,
    check_handler,
    check_seconds,
    check_store,
)
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import DeliveryError, NotReliablePeer, StoreError
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.link import CloseAction
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.registry import Arrival, SessionRegistry, Tombstone
from reliable_ws.protocol.report import End, Ending, Report
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import Store
from reliable_ws.transport import Transport, TransportClosed

from .call_tracing import trace_driver
from .connection import Connection, abort_silently
from .driver import Driver
from .link_io import LinkIO
from .membership import LEVELS, Clustering, Level, Membership
from .pump import add_loop_stalls, look_at_loop
from .store_port import StorePort
from .waiters import Condition, is_cancelled, is_loop_ending

__all__ = ["Handler", "Sessions", "abort_all"]

Handler = Callable[[Connection], Awaitable[object]]


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
        store: Keeps the sessions, so that they go on when this process has died: a
            :class:`~reliable_ws.SQLiteStore`, for example. A handler runs again when its peer is
            back, with ``conn.restored``.
        trace: Writes what every WebSocket carries, without payloads: the path of a file, or a
            :class:`~reliable_ws.WireTrace`. Default: nothing is written.
        cluster: Lets a session's WebSockets reach any process of the cluster: a
            :class:`~reliable_ws.Cluster`.
        level: What the sessions survive with a cluster: see there.

    Raises:
        OSError: The file of the trace cannot be written.
        TypeError: An argument has the wrong type.
        ValueError: There is no such level, or both a store and a cluster are given.
    """

    def __init__(
        self,
        *,
        methods: Methods | None = None,
        config: Config | None = None,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
        store: Store | None = None,
        trace: TraceOption = None,
        cluster: Clustering | None = None,
        level: Level = "relay",
    ) -> None:
        check_store(store, None, named=False)
        check_cluster(cluster, level, LEVELS, store)
        self._options = SessionOptions.of(
            awaited=True,
            methods=methods,
            config=config,
            on_event=on_event,
            payload_codec=payload_codec,
            store=store,
            trace=trace,
        )
        self.config = self._options.config
        self._registry = SessionRegistry(secrets.randbelow(2**48) + 1, self.config, payload_codec)
        self._table: SessionTable[Acceptor, asyncio.Task[None]] = SessionTable(self._registry)
        self._change = Condition()  # a session ended, or a handler
        self._eviction: asyncio.TimerHandle | None = None
        self._end_of_handler = self._handled  # one for all tasks
        self._port: StorePort | None = None
        self._opening: asyncio.Task[None] | None = None  # of the store
        self._unkept: set[Acceptor] = set()  # of sessions whose end the store does not have yet
        self._release_store: Callable[[], None] = lambda: None
        self._tracing: CallTracing | None = None  # of calls
        self._cluster = cluster
        self._membership: Membership | None = None  # of a cluster
        if cluster is not None:
            self._registry.shared = True
            self._membership = cluster.join(ClusterHost(self), level)
            self._port = self._membership.port
            if self._port is not None:
                self._registry.about = about_acceptor
        self.keeps = False
        "Whether sessions are left to the next process when their handlers end."
        watch_forks(self)

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
    def methods(self) -> Methods | None:
        """What peers may request."""
        return self._options.methods

    @property
    def has_store(self) -> bool:
        """Whether a store keeps the sessions."""
        return self._options.store is not None

    @property
    def is_clustered(self) -> bool:
        """Whether the sessions are in a cluster."""
        return self._membership is not None

    @property
    def can_keep(self) -> bool:
        """Whether sessions can be left to another process: :meth:`drain` with ``"keep"``."""
        moves = self._membership is not None and self._membership.moves
        return self.has_store or moves

    @property
    def connections(self) -> list[Connection]:
        """The connections of all living sessions."""
        return [acceptor.connection for acceptor in self._table.acceptors.values()]

    def trace_calls(self, tracing: CallTracing) -> None:
        """Trace the calls of sessions that begin from now on, and of those from a store."""
        self._tracing = tracing
        for acceptor in self._table.acceptors.values():
            if acceptor.session.restored and acceptor.rpc_client is None:
                trace_driver(acceptor, tracing)

    def figures(self) -> Figures:
        """Return what all sessions have done together: for metrics (docs/metrics.md).

        It may be called in any thread, and takes about 2 µs a session. In the thread of the event
        loop it reads all sessions at once. In any other thread it pauses for half a millisecond
        after every 250 sessions, so that the event loop goes on meanwhile.
        """
        figures = self._table.figures(None if _runs_loop() else partial(time.sleep, SLICE_PAUSE))
        figures.store = getattr(self._options.store, "stats", None)
        figures.cluster = None if self._cluster is None else self._cluster.stats
        add_loop_stalls(figures)
        return figures

    def handle(
        self, websocket: Any, handler: Handler, *, principal: Hashable = None
    ) -> Coroutine[Any, Any, None]:
        """Serve one WebSocket. ``await`` this: it returns when the WebSocket is gone.

        The WebSocket is taken over at the call, before you await: a library with callbacks must not
        call your application any more. ``handler(conn)`` runs once per session, in a task of its
        own. A later WebSocket of the same session is attached to the running handler. When the
        handler returns, its connection is closed with code 1000. When it raises, the connection is
        closed with code 1011 and the traceback is logged. When the session ends before the handler,
        the handler is cancelled after ``Config.handler_grace`` seconds.

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
        acceptor, link_io = await self._attach(
            transport, handler, principal, ready, resumable=resumable
        )
        if acceptor is not None and link_io is not None:
            try:
                await link_io.read(acceptor)
            except asyncio.CancelledError:
                if acceptor.is_left:
                    acceptor.left_behind()
                raise

    async def _attach(
        self,
        transport: Transport,
        handler: Handler | None,
        principal: Hashable,
        ready: asyncio.Future[Acceptor] | None,
        *,
        resumable: bool,
    ) -> tuple[Acceptor, LinkIO] | tuple[None, None]:
        """Greet; return what carries the session now, or nothing if the peer was refused."""
        if self._options.store is not None or self._membership is not None:
            await self._prepare(transport, principal)
        now = asyncio.get_running_loop().time()
        arrival = self._registry.arrive(now, principal, transport.max_frame)
        # Greet. A peer that is refused is told, and so is whoever waits for the session.
        try:
            acceptor, hello = await self._greet(transport, arrival, resumable=resumable)
            if acceptor is None or arrival.link is None:
                if arrival.relayed:
                    error: Exception = already_served()
                else:
                    await self._refuse(transport, arrival)
                    error = NotReliablePeer(arrival.refusal)
                if ready is not None:
                    ready.set_exception(error)
                return None, None
        except BaseException:  # cancelled: nobody else knows of this WebSocket
            transport.abort()
            raise
        # Carry the session over this WebSocket, and answer the Hello.
        link_io = acceptor.attach(transport, arrival.link, hello)
        acceptor.pump.flush()
        if ready is not None and not ready.done():
            ready.set_result(acceptor)
        # A new session gets its handler.
        if handler is not None and not acceptor.given:
            self._handle(acceptor, handler)
        return acceptor, link_io

    async def _prepare(self, transport: Transport, principal: Hashable) -> None:
        """See that the store is open, or the cluster joined, and can keep who the peer is."""
        try:
            about_acceptor(principal)
            await self.open_store()
        except BaseException:
            transport.abort()
            raise

    def _handle(self, acceptor: Acceptor, handler: Handler) -> None:
        """Run the handler in a task."""
        acceptor.given = True
        handling = acceptor.loop.create_task(acceptor.run(handler))
        acceptor.handling = handling
        self._table.handlers.add(handling)
        handling.add_done_callback(self._end_of_handler, context=acceptor.pump.context)

    async def _greet(
        self, transport: Transport, arrival: Arrival, *, resumable: bool
    ) -> tuple[Acceptor, bytes | str] | tuple[None, None]:
        """Read the Hello and let the registry answer it; return what is for, and the Hello."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(arrival.deadline):
                data = await transport.recv()
        except TimeoutError:
            arrival.tick(max(loop.time(), arrival.deadline))
            return None, None
        except TransportClosed:
            return None, None
        if self._membership is not None:
            relay = await self._membership.place(arrival, data, transport)
            if relay is not None:
                arrival.relayed = True
                await relay.carry(transport)
                return None, None
        events = arrival.receive(data, loop.time())
        if self._registry.evicted:
            self._table.tell_evicted()
        self._evict_soon()
        session = arrival.session
        if session is None:
            if self._membership is not None:
                self._membership.not_made(arrival)
            return None, None
        acceptor = self._table.acceptors.get(session.id)
        if acceptor is None:
            acceptor = Acceptor(self, session, arrival.principal, resumable=resumable)
            self._table.acceptors[session.id] = acceptor
        acceptor.dispatch(events)
        return acceptor, data

    async def accept(
        self, transport: Transport, principal: Hashable = None, *, resumable: bool = True
    ) -> Connection:
        """Greet on a transport and return the new session's connection, which reads by itself.

        A transport of a session whose connection was returned before, or that has a handler,
        carries it on. Then the call waits until the transport is gone.

        Raises:
            NotReliablePeer: No good Hello came in time.
            AlreadyServed: The transport has carried on a session that is served elsewhere.
        """
        acceptor, serving = await self._carry(transport, principal, resumable=resumable)
        if not acceptor.given:
            acceptor.given = True
            return acceptor.connection
        try:
            await asyncio.wait((serving,))
        except BaseException:  # cancelled: the session goes on without this WebSocket
            transport.abort()
            raise
        raise already_served()

    async def resume(self, acceptor: Acceptor, transport: Transport) -> None:
        """Carry on a session over a transport, which reads by itself from then on.

        Raises:
            NotReliablePeer: The peer did not greet as the peer of this session.
        """
        other, _serving = await self._carry(transport, acceptor.principal, resumable=True)
        if other is not acceptor:
            other.connection.abort()
            raise NotReliablePeer(
                "the peer began another session on this WebSocket, and did not resume this one"
            )

    async def _carry(
        self, transport: Transport, principal: Hashable, *, resumable: bool
    ) -> tuple[Acceptor, asyncio.Task[None]]:
        """Greet; return what drives the session, and the task that reads from the transport."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Acceptor] = loop.create_future()
        serving = loop.create_task(
            self._serve(transport, None, principal, resumable=resumable, ready=ready)
        )
        try:
            await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:  # cancelled: a session that it carries on already loses it
            if not ready.done():
                serving.cancel()
            transport.abort()
            if not ready.cancel():
                ready.exception()  # nobody else looks at it
            raise
        if not ready.done():  # the task has failed
            await serving
        acceptor = ready.result()
        acceptor.hold_task(serving)
        return acceptor, serving

    def after_fork(self) -> None:
        """Take no part any more: this process is a child of the sessions'."""
        for acceptor in list(self._table.acceptors.values()):
            acceptor.after_fork()

    def _retire(self, acceptor: Acceptor) -> None:
        """Turn a session that has ended into a tombstone."""
        self._table.retire(acceptor, acceptor.loop.time())
        ending = acceptor.session.ended
        if self._membership is not None and ending is not None and ending.kind is not End.KEPT:
            self._membership.ended(acceptor.session)
        if acceptor.store is not None and not acceptor.session.is_kept:
            self._unkept.add(acceptor)
        self._change.notify_all()

    def _has_kept(self, acceptor: Acceptor) -> None:
        """Take note that the store has the end of a session."""
        if acceptor in self._unkept:
            self._unkept.discard(acceptor)
            self._change.notify_all()

    def _handled(self, handling: asyncio.Task[None]) -> None:
        self._table.handlers.discard(handling)
        if not handling.cancelled():
            handling.exception()  # SystemExit and its like have left the event loop already
        self._change.notify_all()

    def _evict_soon(self) -> None:
        """See within a second whether sessions hold too much (LIMIT-4)."""
        if self._eviction is None:
            loop = asyncio.get_running_loop()
            self._eviction = loop.call_later(EVICTION_INTERVAL, self._evict)

    def _evict(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._eviction is not None:
            look_at_loop(self._eviction.when(), now)
            self._eviction = None
        if self._table.evict(now):
            self._evict_soon()

    @staticmethod
    async def _refuse(transport: Transport, arrival: Arrival) -> None:
        """Say why not, and let the peer close first (CLOSE-19)."""
        if arrival.note:
            logger.warning("%s", arrival.note)
        loop = asyncio.get_running_loop()
        close_action = arrival.close_action or CloseAction(Code.FINISHED, "", linger=False)
        linger, limit = handshake_times(close_action.code)
        try:
            async with asyncio.timeout(linger):
                while (data := arrival.transmit(loop.time())) is not None:
                    await transport.send(data)
                while True:
                    await transport.recv()
        except (TransportClosed, TimeoutError):
            pass
        try:
            async with asyncio.timeout(limit):
                await transport.close(close_action.code, close_action.reason)
        except TimeoutError:
            transport.abort()

    # ------------------------------------------------------------------ a store

    async def open_store(self) -> None:
        """Open the store and take in its sessions, or join the cluster. Again: no effect.

        Raises:
            StoreError: The store cannot be opened.
            ValueError: Other sessions of a server use this store.
        """
        if self._membership is not None:
            await self._membership.start()
        store = self._options.store
        if store is None or self._port is not None:
            return
        if self._opening is None:
            loop = asyncio.get_running_loop()
            self._opening = loop.create_task(self._open_store(StorePort(store, loop)))
        opening = self._opening
        try:
            await asyncio.shield(opening)
        except BaseException:
            if opening.done():
                self._opening = None  # the next one tries again
            raise

    async def _open_store(self, port: StorePort) -> None:
        release = claims_of(port.store).claim(SERVER)
        try:
            kept = read_stored(await port.open(), "acceptor")
        except BaseException:
            release()
            raise
        self._release_store = release
        self._registry.about = about_acceptor
        self._port = port
        for one in kept:
            self._take_in(one, port)

    def _take_in(self, kept: StoredSession, port: StorePort) -> None:
        """Take in one session that an earlier process had. It waits for its peer."""
        now = asyncio.get_running_loop().time()
        taken_in = take_in(self._registry, kept, port.store, now, time.time())
        if taken_in is None:
            return
        session, restored = taken_in
        self._adopt(session, kept.about["principal"], restored)

    def _adopt(self, session: Session, principal: Hashable, restored: Restored) -> None:
        """Drive a session that another process had, and that the registry has now."""
        acceptor = Acceptor(self, session, principal, resumable=True)
        acceptor.restored = restored
        acceptor.given = session.closing  # its handler had ended
        self._table.acceptors[session.id] = acceptor
        acceptor.pump.rearm()

    async def _keep(self, timeout: float, within: float) -> None:
        """Leave every session to the next process."""
        loop = asyncio.get_running_loop()
        by = loop.time() + timeout
        self.keeps = True
        self._registry.leaving = True
        acceptors = list(self._table.acceptors.values())
        self._cancel_handlers()
        try:
            async with asyncio.timeout(timeout / 2):
                await self._change.wait_for(lambda: not self._table.waited_for)
        except TimeoutError:
            pass
        if self._membership is not None:
            living = [acceptor for acceptor in acceptors if not acceptor.session.ended]
            await self._membership.move(living, within, max(0.0, by - loop.time()))
            acceptors = []
        for acceptor in acceptors:
            if acceptor.store is not None and not acceptor.session.ended:
                await acceptor.store.keep(max(0.0, by - loop.time()))
                acceptor.store.leave(KEPT_FOR_NEXT)
        await self._is_empty_within(max(0.0, by - loop.time()))

    async def _leave_store(self, within: float) -> None:
        """Return when the store has the ends of all sessions, and let others use it."""
        if self._membership is not None:
            await self._membership.leave(within)
        if self._port is None:
            return
        try:
            async with asyncio.timeout(self.config.close_cancelled_timeout):
                await self._change.wait_for(lambda: not self._unkept)
        except TimeoutError:
            logger.warning("%r: the store has not kept the ends of all sessions in time", self)
        self._release_store()

    async def drain(
        self,
        timeout: float = 10.0,
        *,
        sessions: Literal["close", "keep"] | None = None,
        within: float = 1.0,
    ) -> dict[bytes, Report]:
        """Close every session gracefully, and return one report per session id.

        New sessions are refused. Resumes are still answered. Every peer is told Finish with code
        1001 (protocol.md, section 9). A session ends when its peer finishes too and its handler
        returns. If the peer does not, a session in which nothing is owed, and whose handler waits
        for a message or for the end, ends within a second. Handlers that do something else are
        awaited. Four seconds before the end (after half of the time, if ``timeout`` is below 8)
        they are cancelled, and what they sent can still be delivered. Then sessions that have not
        ended are aborted. Draining is over after ``timeout`` seconds (below 8, up to four later). A
        second call joins the first.

        With ``sessions="keep"`` no session ends: handlers are cancelled, what was accepted is kept,
        and WebSockets are closed with code 1012. Peers come back to the next process that opens the
        store. Messages that are not confirmed have the outcome ``KEPT``.

        With a cluster of level ``"park"`` or ``"log"``, ``"keep"`` is the default, and the sessions
        go on in other processes. Each peer is told a moment of its own to come back, spread evenly
        over ``within`` seconds, so that they do not come all at once.

        Raises:
            TypeError: ``timeout`` or ``within`` is not a number.
            ValueError: There is no store to keep sessions in, and no cluster that moves them.
        """
        check_seconds(timeout)
        check_seconds(within, name="within")
        moves = self._membership is not None and self._membership.moves
        if sessions is None:
            sessions = "keep" if moves else "close"
        check_drain(sessions, can_keep=self.can_keep)
        for acceptor in self._table.acceptors.values():
            acceptor.pump.check_thread()  # one loop has them all
            break
        reports = self._table.begin_drain()
        me: Any = asyncio.current_task()
        self._table.callers.add(me)
        try:
            if sessions == "keep":
                await self._keep(timeout, within)
                return reports
            for seconds in self._table.drain(timeout, self._cancel_handlers):
                if await self._is_empty_within(seconds):
                    break
        finally:
            self._table.callers.discard(me)
            await self._leave_store(within)
        return reports

    def _waits_for_drain(self, task: asyncio.Task[Any]) -> None:
        """Note that this task, which may be a handler, waits for a drain in another task."""
        self._table.callers.add(task)
        task.add_done_callback(self._table.callers.discard)

    def _cancel_handlers(self) -> None:
        """Cancel every handler that runs, but for those that wait for this."""
        for task in self._table.waited_for:
            task.cancel()

    async def _is_empty_within(self, seconds: float) -> bool:
        """Wait so long until no session lives, and no handler runs but for those that wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._change.wait_for(lambda: self._table.is_empty)
        except TimeoutError:
            return False
        return True


class ClusterHost:
    """The sessions of one server, as its cluster sees them (:class:`.membership.Host`)."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.config = sessions.config
        self.codec = sessions._options.codec

    def holds(self, session_id: bytes) -> bool:
        """Whether a Hello for this session is answered here."""
        return self._sessions._registry.holds(session_id)

    @property
    def served(self) -> Sequence[Acceptor]:
        """All living sessions."""
        return list(self._sessions._table.acceptors.values())

    def find(self, session_id: bytes) -> Acceptor | None:
        """Return a living session."""
        return self._sessions._table.acceptors.get(session_id)

    def ended(self, session_id: bytes) -> Session | None:
        """Return a session that had a store and has ended here, while it is remembered."""
        return self._sessions._registry.ended(session_id)

    def adopt(self, session: Session, principal: Hashable, restored: Restored) -> None:
        """Take in a session that another process had. It waits for its peer."""
        self._sessions._registry.restore(session, principal)
        self._sessions._adopt(session, principal, restored)

    def remember(self, session_id: bytes, tombstone: Tombstone) -> None:
        """Take in what another process knew of a session that has ended."""
        self._sessions._registry.restore_tombstone(session_id, tombstone)

    async def serve(self, transport: Transport, principal: Hashable) -> None:
        """Serve a WebSocket that another process has, of a session that is here."""
        await self._sessions._serve(transport, None, principal)


class Acceptor(Driver):
    """Drives a session from the side that waits for its WebSockets."""

    __slots__ = (
        "_overdue",
        "_running",
        "_sessions",
        "connection",
        "given",
        "handling",
    )

    def __init__(
        self, sessions: Sessions, session: Session, principal: Hashable, *, resumable: bool
    ) -> None:
        options = sessions._options
        super().__init__(session, resumable=resumable, methods=options.methods, port=sessions._port)
        self._sessions = sessions
        self.belong_to(principal)
        self.pump.wire = options.trace
        self.pump.confirm_timer.histogram = sessions._table.left.confirm_seconds
        self.connection = Connection(self, options.on_event)
        self.given = False
        "Whether a handler has the connection: no second one gets it."
        self.handling: asyncio.Task[None] | None = None
        "The task that runs the application's handler."
        self._running: asyncio.Task[None] | None = None  # the same, until the handler has ended
        self._overdue: asyncio.TimerHandle | None = None  # cancels the handler of an ended session
        if sessions._tracing is not None:
            trace_driver(self, sessions._tracing)

    def _on_ended(self, ending: Ending) -> None:
        if isinstance(self.session.cause, StoreError):  # this process takes no part any more
            self._sessions._registry.leaving = True
        self._sessions._retire(self)
        super()._on_ended(ending)
        self._limit_handler()

    def changed(self) -> None:
        """Wake the tasks that wait for the session's state."""
        super().changed()
        if self.store is not None and self.session.ended and self.session.is_kept:
            self._sessions._has_kept(self)

    @property
    def is_kept_when_interrupted(self) -> bool:
        """Whether a cancelled handler leaves its session to the next process.

        It does when the event loop ends. A handler that the application cancels ends its session.
        """
        return self.store is not None and is_loop_ending()

    def _limit_handler(self) -> None:
        """Cancel the handler in a while, if it runs and its session has ended."""
        if self._running is not None and self.session.ended and self._overdue is None:
            grace = self.session.config.handler_grace
            self._overdue = self.loop.call_later(grace, self._running.cancel)

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> list[Event]:
        following = super()._on_detached(code, reason, retry)
        self._sessions._evict_soon()
        return following

    def reads_on(self) -> bool:
        """Whether the task that reads goes on, now that it was cancelled.

        The task is the framework's, if a handler runs for the session. Then the session goes on
        without this WebSocket, unless the handler was cancelled as well: the event loop ends.
        """
        if self.handling is None or self.handling.done():  # done: it has ended the event loop
            return super().reads_on()
        return self.handling.cancelling() == 1

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        """Tell what ended a task that read in the background."""
        super().task_ended(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: reliable_ws failed, please report it", self.name, exc_info=error)

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, on which the peer has to greet."""
        if self.session.ended:
            raise self.session.error()
        await self._sessions.resume(self, take_over(websocket, adapt))

    async def run(self, handler: Handler) -> None:
        """Run the handler, then close; what it had sent is still delivered."""
        self._running = asyncio.current_task()
        self._limit_handler()  # the session may have ended before this task began
        try:
            await handler(self.connection)
        except BaseException as error:  # it ends its own session, and nothing else
            end = HandlerEnd(self)
            if self._sessions.keeps and isinstance(error, asyncio.CancelledError):
                return  # the next process goes on
            if not _is_from_outside(error):
                end.raised(error, self.over, is_finishing=self.is_finishing)
            elif self._sessions.draining and isinstance(error, asyncio.CancelledError):
                end.code = 1001
            elif isinstance(error, KeyboardInterrupt | SystemExit):  # it ends the event loop now
                raise
            elif self.session.ended and isinstance(error, asyncio.CancelledError):
                end.overdue(self.session.report())
                raise
            else:
                await self.close_interrupted(error)
                raise
        else:
            end = HandlerEnd(self)
        finally:
            self._running = None
            if self._overdue is not None:
                self._overdue.cancel()
        try:
            await self.connection.close(end.code)
        except DeliveryError as error:
            end.undelivered(error)


def abort_all(sessions: Sessions) -> None:
    """Abort every session and handler without a word: their process has died, in a test."""
    for task in sessions._table.handlers:
        task.cancel()
    for connection in sessions.connections:
        abort_silently(connection)


def _is_from_outside(error: BaseException) -> bool:
    """Whether it is meant for this task, or for all, and not only for what it waited for."""
    if isinstance(error, asyncio.CancelledError):
        return is_cancelled()
    return isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit)


def _runs_loop() -> bool:
    """Whether this is the thread of an event loop that runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
