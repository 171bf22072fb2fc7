"""The application's end of a session. It survives the WebSockets that carry it."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import msgpack

from reliable_ws.protocol.errors import (
    ConnectionClosed,
    ConnectionClosedOK,
    DeliveryError,
    OutboxFull,
    PayloadError,
)
from reliable_ws.protocol.events import (
    Arrived,
    Cancelled,
    Confirmed,
    Detached,
    Eased,
    Ended,
    Event,
    Faulted,
    Granted,
    Itemized,
    Opened,
    PeerFinished,
    Replied,
    Requested,
    Settled,
)
from reliable_ws.protocol.inbox import NEVER
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.payload import open_payload, seal
from reliable_ws.protocol.report import End, Ending, Outcome, Report
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving
from reliable_ws.transport import Transport

from .calling import Caller
from .carrier import LINGER, Carrier
from .methods import Methods
from .receipt import Receipt
from .serving import Servant
from .waiting import Line, Milestones, Signal

__all__ = ["Connection", "ConnectionEvent", "Delivery", "State", "Stats"]

logger = logging.getLogger("reliable_ws")

BURST = 1024
"""Calls in a row that do not suspend before one yields to the event loop.

Without it a loop over 32 k queued messages starves acks, heartbeats and timeouts for a second.
"""

CROWD = 64 * 1024
"""Bytes queued in one turn of the loop that are sent at once, from the caller: it keeps the
socket busy while more is produced, and what is copied still warm."""

EventName = Literal["opened", "detached", "resumed", "session_lost", "superseded", "closed"]


class Watcher(Protocol):
    """Who wants to know what becomes of messages: a group's member."""

    def confirmed(self, number: int, /) -> None:
        """Everything up to ``number`` is confirmed."""

    def settled(self) -> None:
        """Every outcome is known."""


class State(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    "No greeting has been completed yet."
    OPEN = "open"
    DETACHED = "detached"
    "Between two WebSockets: messages are accepted and wait."
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """What ``on_event`` is called with."""

    name: EventName
    connection: Connection
    code: int | None = None
    reason: str = ""
    replayed: int = 0
    "Of ``resumed``: how many messages are sent again."
    report: Report | None = None
    "Of ``closed``, ``session_lost`` and ``superseded``."


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the session began."""

    sent: int
    confirmed: int
    received: int
    taken: int
    resumes: int
    "How many WebSockets carried the session after the first."
    outbox_bytes: int
    inbox_bytes: int


class Delivery:
    """A message that is confirmed when its work is done.

    ``async with delivery: …`` confirms on a clean exit. On an exception it stays unconfirmed;
    ``confirm()`` may follow later. What is never confirmed is *unknown* to the sender in the
    end, and meanwhile holds back its window.
    """

    __slots__ = ("_connection", "message", "number", "redelivered")

    def __init__(self, connection: Connection, number: int, message: Any) -> None:
        self._connection = connection
        self.number = number
        self.message = message
        self.redelivered = number <= connection._session.inbox.redelivered_upto
        "Whether it may have been handed over before, to a process of ours that died."

    def confirm(self) -> None:
        """Confirm; again: no effect. Raises :class:`~reliable_ws.ConfirmTooLate`."""
        inbox = self._connection._session.inbox
        if inbox.confirm(self.number) and inbox.due:
            self._connection._taken()

    async def __aenter__(self) -> Any:
        """Return the message."""
        return self.message

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: object
    ) -> None:
        """Confirm unless the block raised."""
        if kind is None:
            self.confirm()


class Connection:
    """One session with a peer: made by ``connect``, ``serve`` and ``wrap``.

    Messages arrive in the order in which they were sent, each once, however many WebSockets it
    takes. All methods are to be called in the event loop's thread.
    """

    __slots__ = (
        "__weakref__",
        "_awake",
        "_caller",
        "_carrier",
        "_close_by",
        "_confirmations",
        "_detached",
        "_draining",
        "_due",
        "_ended",
        "_inbox",
        "_loop",
        "_members",
        "_offer",
        "_on_event",
        "_opened",
        "_outbox",
        "_queue",
        "_readers",
        "_reported",
        "_resumable",
        "_resumes",
        "_room",
        "_senders",
        "_sending",
        "_servant",
        "_session",
        "_timer",
        "_turns",
        "retry",
        "tasks",
    )

    def __init__(
        self,
        session: Session,
        *,
        resumable: bool = True,
        methods: Methods | None = None,
        on_event: Callable[[ConnectionEvent], object] | None = None,
    ) -> None:
        self._session = session
        self._offer = session.outbox.offer
        self._inbox = session.inbox
        self._outbox = session.outbox
        self._queue = session.inbox.queue
        self._loop = asyncio.get_running_loop()
        self._resumable = resumable
        self._on_event = on_event
        self._carrier: Carrier | None = None
        self._awake = False
        self._timer: asyncio.TimerHandle | None = None
        self._due: float = NEVER  # when it fires
        self._turns = BURST
        self._readers = Line()
        self._room = Line()  # the first of the senders that wait, for room in the outbox
        self._sending = asyncio.Lock()
        self._senders = 0  # how many wait for their turn, or for room
        self._confirmations = Milestones()
        self._members: tuple[Watcher, ...] = ()  # of groups
        self._draining = False
        self._close_by: float = NEVER
        self._caller = Caller(self)
        self._servant = Servant(self, methods)
        self._opened = Signal()
        self._ended = Signal()
        self._detached = Signal()
        self.retry: float | None = None
        "Seconds that the peer asked us to wait before the next WebSocket."
        self._resumes = 0
        self._reported = False  # close() has raised a DeliveryError
        self.tasks: set[asyncio.Task[Any]] = set()
        "What works for this connection in the background."

    def __repr__(self) -> str:
        """State and short id."""
        return f"<Connection {self.id.hex()[:8]} {self._session.role} {self.state.value}>"

    # ------------------------------------------------------------------ facts

    @property
    def id(self) -> bytes:
        """The session's id: public, the same at both ends."""
        return self._session.id

    @property
    def state(self) -> State:
        """Where it stands."""
        session = self._session
        if session.ended:
            return State.CLOSED
        if session.closing:
            return State.CLOSING
        if session.attached:
            return State.OPEN
        return State.DETACHED if session.incarnation else State.CONNECTING

    @property
    def report(self) -> Report:
        """What is known of every message that was sent."""
        return self._session.report()

    @property
    def stats(self) -> Stats:
        """Counts since the session began."""
        outbox, inbox = self._session.outbox, self._inbox
        finish = inbox.finish is not None
        return Stats(
            sent=outbox.messages,
            confirmed=min(outbox.confirmed, outbox.messages),
            received=inbox.received - finish,
            taken=inbox.handed,
            resumes=self._resumes,
            outbox_bytes=outbox.held,
            inbox_bytes=inbox.held,
        )

    @property
    def transport(self) -> Transport | None:
        """The transport that carries the session; ``None`` while detached."""
        session, carrier = self._session, self._carrier
        alive = session.attached or session.ended is not None
        return carrier.transport if carrier is not None and alive else None

    @property
    def websocket(self) -> Any:
        """The library's current WebSocket (path, headers); ``None`` while detached.

        After the end of the session it is the last one.
        """
        transport = self.transport
        return transport.websocket if transport is not None else None

    @property
    def remote_address(self) -> Any:
        """Address of the peer's current socket, as the library tells it, or ``None``."""
        return getattr(self.websocket, "remote_address", None)

    @property
    def subprotocol(self) -> str | None:
        """Subprotocol of the current WebSocket, as the library tells it, or ``None``."""
        return getattr(self.websocket, "subprotocol", None)

    @property
    def close_code(self) -> int | None:
        """The code that the session ended with; ``None`` while it lives."""
        return self._session.ended.code if self._session.ended else None

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it; ``None`` while it lives."""
        return self._session.ended.reason if self._session.ended else None

    # ------------------------------------------------------------------ sending

    async def send(self, message: Any, *, timeout: float | None = None) -> Receipt:
        """Accept one message; it will be confirmed, or reported.

        Returns as soon as there is room in the outbox: at most ``timeout`` seconds later
        (default: as long as it takes), else raises ``TimeoutError``. ``str`` and ``bytes``
        arrive as sent, other values as msgpack makes them. Raises ``NotSerializable``,
        ``MessageTooLarge`` and ``ConnectionClosed``. Whenever it raises, cancelled included,
        nothing was accepted.
        """
        number = self._offer(message) or await self._send_in_turn(message, timeout)
        if not self._awake:
            self._wake()
        return Receipt(self, number)

    def send_nowait(self, message: Any) -> Receipt:
        """Accept one message now, or raise: ``OutboxFull``, or as :meth:`send`."""
        if self._senders:
            raise OutboxFull(f"{self._senders} callers of send() are before this one")
        number = self._session.send(message)
        if not self._awake:
            self._wake()
        return Receipt(self, number)

    async def _send_in_turn(self, message: Any, timeout: float | None) -> int:
        """Accept what :meth:`Outbox.offer` did not: behind those that wait, when there is room.

        Sends are accepted in call order: while anybody waits here, the gate is shut.
        """
        payload, weight = seal(message, self._session.codec)
        outbox = self._outbox
        if not self._senders and outbox.rested and outbox.has_room(weight):
            number = self._session.send_sealed(payload, weight)
            if outbox.crowded:
                outbox.allow_weight(CROWD)
                if self._carrier is not None:
                    self._carrier.flush()
            return number
        self._senders += 1
        self._session.outgoing.shut()
        try:
            async with asyncio.timeout(timeout) as limit, self._sending:
                if not outbox.rested:
                    by = limit.when()
                    limit.reschedule(None)  # letting others run is not waiting for room
                    await asyncio.sleep(0)
                    limit.reschedule(by)
                    outbox.allow(BURST, CROWD)
                while True:
                    try:
                        return self._session.send_sealed(payload, weight)
                    except OutboxFull:
                        await self._room.wait()
        finally:
            self._senders -= 1
            if not self._senders:
                self._session.outgoing.unshut()

    async def flush(self, *, timeout: float | None = None) -> None:
        """Wait until everything sent so far is confirmed.

        Raises ``TimeoutError`` after ``timeout`` seconds (default: as long as the session
        lives), and ``DeliveryError`` if any of it never will be. Cancelling loses nothing.
        """
        number = self._session.outbox.messages
        async with asyncio.timeout(timeout):
            await _Awaitable(self._known(number))
        self._raise_undelivered(self._session.report(upto=number))

    def _confirmation(self, number: int) -> Generator[object, None, None]:
        """Wait for one message (see :class:`Receipt`)."""
        if self._outbox.confirmed < number:
            yield from self._known(number)
            if self._outbox.confirmed < number:
                self._raise_undelivered(self._session.report_of(number))

    def _known(self, number: int) -> Generator[object, None, None]:
        """Wait until the outcome of everything up to ``number`` is known."""
        session = self._session
        while session.outcome(number) is Outcome.PENDING:
            session.want(number)
            self._flush()
            yield from self._confirmations.wait(number)

    @staticmethod
    def _raise_undelivered(report: Report) -> None:
        if report.undelivered:
            raise DeliveryError.of(report)

    # ------------------------------------------------------------------ calls

    async def request(
        self, method: str, params: Any = None, *, timeout: float | None = None
    ) -> Any:
        """Have the peer run its method of this name, and return the answer.

        Run at most once in the session's life, also when the network drops in between. A list
        of ``params`` becomes positional arguments, a dict keyword arguments. Waits its turn
        while the peer's limit of open requests is reached, ``timeout`` seconds in all (default:
        as long as the session lives). Cancelled, the request is taken back or its handler
        cancelled. Raises ``RemoteError`` (``MethodNotFound``, ``InvalidParams``) as answered,
        ``RequestTimeout``, ``NotTaken`` (never reached the peer's application: safe to repeat),
        ``OutcomeUnknown``, ``NotSerializable``, ``MessageTooLarge``, ``ConnectionClosed``.
        """
        return await self._caller.request(method, params, timeout)

    def stream(
        self, method: str, params: Any = None, *, timeout: float | None = None
    ) -> AsyncGenerator[Any, None]:
        """Have the peer run a generator method, and iterate over its items.

        The peer is ahead by at most 256 KiB of items that were not taken. Leaving the loop
        early stops the handler, once the iterator is closed (:func:`contextlib.aclosing`).
        Raises as :meth:`request` does, at any item.
        """
        return self._caller.stream(method, params, timeout)

    # ------------------------------------------------------------------ receiving

    async def recv(self, *, timeout: float | None = None) -> Any:
        """Return the next message. Taking it confirms it, in the same step.

        Waits at most ``timeout`` seconds (default: as long as the session lives), else raises
        ``TimeoutError``. Raises ``ConnectionClosed`` when the peer has finished or the session
        is over, and ``PayloadError`` for a message that cannot be decoded. Cancelled or timed
        out, it has taken nothing.
        """
        await self._arrival(timeout)
        return self._take()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over messages as :meth:`recv` returns them, until the peer has finished.

        Ends quietly after the peer's Finish with 1000 or 1001, or our own ``close()``;
        otherwise raises as ``recv`` does. A message is confirmed when it is handed over: for
        confirmation after the work, see :meth:`deliveries`.
        """
        queue, readers, inbox = self._queue, self._readers, self._inbox
        while True:
            try:
                await self._arrival(None)
            except ConnectionClosedOK:
                return
            except ConnectionClosed:
                if self._session.closing:
                    return
                raise
            yield self._take()
            turns = self._turns
            while turns > 0 and len(queue) > readers.called and not readers:
                turns -= 1
                payload = inbox.take()
                if inbox.due:
                    self._taken()
                if type(payload) is msgpack.ExtType:
                    payload = open_payload(payload, inbox.handed, self._session.codec)
                yield payload
            self._turns = turns

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Iterate over messages that are confirmed when their work is done.

        ``async for d in conn.deliveries(): async with d: …``. Ends as ``async for`` over the
        connection does.
        """
        while True:
            try:
                await self._arrival(None)
            except ConnectionClosedOK:
                return
            except ConnectionClosed:
                if self._session.closing:
                    return
                raise
            number, payload = self._inbox.deliver()
            if self._readers:
                self._call_if_over()
            try:
                message = open_payload(payload, number, self._session.codec)
            except PayloadError:
                self._inbox.confirm(number)
                self._taken()
                raise
            yield Delivery(self, number, message)

    async def _arrival(self, timeout: float | None) -> None:
        """Return when a message can be taken; no await may stand between this and taking it."""
        self._turns -= 1
        if self._turns < 0:
            self._turns = BURST
            await asyncio.sleep(0)
        readers, queue = self._readers, self._queue
        while len(queue) <= readers.called or readers:
            if not queue and self._is_last_taken():
                raise self._session.error()
            if self._awake:
                self._flush()  # nobody in this task adds anything before the next message
            if timeout is None:
                await readers.wait()
            else:
                async with asyncio.timeout(timeout):
                    await readers.wait()
            if queue:
                return

    def _take(self) -> Any:
        inbox = self._inbox
        payload = inbox.take()
        if inbox.due:
            self._taken()
        if inbox.finish is not None and self._readers:
            self._call_if_over()
        if type(payload) is msgpack.ExtType:
            return open_payload(payload, inbox.handed, self._session.codec)
        return payload

    def _taken(self) -> None:
        """Something was confirmed that somebody waits for."""
        self._dispatch(self._session.settle(self._loop.time()))

    # ------------------------------------------------------------------ ending

    async def finish(self, code: int = 1000, reason: str = "") -> None:
        """Send nothing after what was sent, and go on receiving (half-close). Never waits.

        Handlers of requests that run still answer; new requests are turned away.
        """
        self._servant.closing = True
        self._dispatch(self._session.finish(self._loop.time(), code, reason))
        self._room.call()

    async def close(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Return when the peer's application has taken every message; else raise.

        Raises :class:`~reliable_ws.DeliveryError` with the report. Gives up after
        ``Config.close_progress_timeout`` without progress, ``Config.close_timeout`` in all, or
        ``timeout`` seconds if that is less. From the call on nothing more is taken here.
        Handlers of requests that run may end first: for ``close_progress_timeout`` seconds,
        or most of ``timeout``, then they are cancelled and their callers told.
        Cancelled, closing goes on in the background within its limits; a second call joins it.
        """
        by = None if timeout is None else self._loop.time() + timeout
        self._servant.release(asyncio.current_task())
        self.start_closing(code, reason, timeout=timeout)
        await self._ended.wait()
        if self._carrier is not None:
            try:
                async with asyncio.timeout_at(by):
                    await self._carrier.closed()
            except TimeoutError:
                self._carrier.abort()
        report = self._session.report()
        self._reported = bool(report.undelivered)
        self._raise_undelivered(report)

    def abort(self, code: int = 4499, reason: str = "") -> None:
        """End at once, waiting for nothing; :attr:`report` says what is known."""
        self._dispatch(self._session.abort(self._loop.time(), code, reason))
        if self._carrier is not None:
            self._carrier.flush()
            self._carrier.abort()

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin what :meth:`close` does, and wait for nothing."""
        if self._servant.busy and not self._session.closing:
            self._drain(code, reason, timeout)
        else:
            self._close(code, reason, timeout)

    def _drain(self, code: int, reason: str, timeout: float | None) -> None:
        """Let the handlers of requests end, then close; in the background."""
        now = self._loop.time()
        limit = self._session.config.close_progress_timeout
        if timeout is not None:  # keep some of it for the end itself
            limit = min(limit, max(0.0, timeout - min(timeout / 4, LINGER)))
            self._close_by = min(self._close_by, now + timeout)
        self._servant.hurry(now + limit)
        if self._draining:
            return
        self._draining = True

        async def work() -> None:
            await self._servant.drain()
            left = max(0.0, self._close_by - self._loop.time())
            self._close(code, reason, left if self._close_by < NEVER else None)

        task = self._loop.create_task(work())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _close(self, code: int, reason: str, timeout: float | None) -> None:
        self._dispatch(self._session.close(self._loop.time(), code, reason, timeout))
        self._rearm()
        self._room.call()  # who waits to send learns that it is too late
        self._caller.settle()

    async def wait_closed(self) -> None:
        """Return when the session is over."""
        await self._ended.wait()

    async def __aenter__(self) -> Self:
        """Return the connection itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close: raising on a clean exit, quietly after an exception, abort if cancelled."""
        if kind is None:
            if not self._reported:  # else the body has caught what close() raised
                await self.close()
            return
        if not issubclass(kind, Exception):
            self.abort()
            return
        try:
            await self.close(1011)
        except DeliveryError as error:
            if value is not None and not isinstance(value, DeliveryError | ConnectionClosed):
                value.add_note(f"reliable_ws: {error.report}")

    # ------------------------------------------------------------------ the driver

    def attach(self, transport: Transport, link: Link) -> Carrier:
        """Carry the session over this transport from now on; read with ``carrier.read()``."""
        old, self._carrier = self._carrier, Carrier(transport, link, self._dispatch)
        if old is not None:
            old.flush()  # says superseded, and closes
        self._rearm()
        return self._carrier

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket; return when the session is open on it.

        For connections made by ``wrap(…, resume_within=…)``. Raises ``ConnectionClosed`` if
        the session is over, ``NotReliablePeer`` if no greeting comes on this WebSocket.
        """
        raise NotImplementedError

    def resume_failed(self, ending_reason: str) -> None:
        """There is no way to open another WebSocket."""
        self._session.end(Ending(End.LOST, 1006, ending_reason))
        self._dispatch(self._session.settle(self._loop.time()))

    def _wake(self) -> None:
        """Flush at the end of this turn of the loop: what is queued in one turn goes together."""
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._end_of_turn)

    def _end_of_turn(self) -> None:
        if self._awake:  # else somebody could not wait, and has flushed
            self._flush()

    def _flush(self) -> None:
        self._awake = False
        carrier = self._carrier
        if carrier is not None:
            carrier.flush()
        self._outbox.allow(BURST, CROWD)
        if carrier is None or carrier.link.ack_by < self._due:
            self._rearm()

    def _rearm(self) -> None:
        due = self._session.deadline
        if self._due <= due < NEVER:
            return  # it will look again when it fires: cheaper than a new timer each time
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due < NEVER:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        now = max(self._loop.time(), self._due)  # clocks may disagree by a hair
        self._timer = None
        self._due = NEVER
        if now >= self._session.deadline:
            self._dispatch(self._session.tick(now))
            self._flush()
        self._rearm()

    def _dispatch(self, events: list[Event]) -> None:
        """Tell everybody whom it concerns what happened."""
        for event in events:
            if type(event) is Arrived:
                self._readers.call(event.messages)
            elif type(event) is Confirmed:
                self._confirmations.reach(event.number)
                self._room.call()
                for member in self._members:
                    member.confirmed(event.number)
            elif (deal := CALLS.get(type(event))) is not None:
                deal(self, event)
            else:
                self._on_rare(event)
        if self._readers:
            self._call_if_over()
        if self._caller.line:
            self._caller.admit()
        if self._carrier is None:
            return
        link = self._carrier.link
        if events or link.restless:
            # whom this wakes runs in the next turn, and the flush behind it in the same one
            self._wake()
        elif link.ack_by < self._due:
            self._rearm()

    def _on_rare(self, event: Event) -> None:
        """Deal with what happens a few times in a session's life."""
        match event:
            case Opened(resumed, replayed):
                self._detached.clear()
                self._opened.set()
                self._resumes += resumed
                self._tell("resumed" if resumed else "opened", replayed=replayed)
            case Settled():
                self._all_known()
                self._servant.abort()  # nobody hears the answers
            case Detached(code, reason, retry):
                self._on_detached(code, reason, retry)
            case Ended():
                self._on_ended()
            case PeerFinished():
                self._caller.settle()  # readers find it out when nothing is left to take
            case Eased():
                self._servant.eased()
        self._rearm()

    def _call_if_over(self) -> None:
        """Wake readers that nothing more can come for."""
        if not self._queue and self._is_last_taken():
            self._readers.call_all()

    def _is_last_taken(self) -> bool:
        """With nothing in the inbox: whether nothing will come any more."""
        session = self._session
        return session.ended is not None or session.receiving in LAST_WORD_CAME

    def _all_known(self) -> None:
        self._confirmations.reach(NEVER)
        self._room.call()
        self._caller.settle()
        members, self._members = self._members, ()
        for member in members:
            member.settled()

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> None:
        self.retry = retry
        self._detached.set()
        self._tell("detached", code=code, reason=reason)
        if not self._resumable and not self._session.ended:
            self.resume_failed("the WebSocket is gone and there is no way to open another")

    def _on_ended(self) -> None:
        ending = self._session.ended
        self._all_known()
        self._readers.call_all()
        self._servant.abort()
        self._flush()  # the last word goes before anybody hears of the end
        if ending is not None and ending.kind is End.EXPIRED and self._carrier is not None:
            self._carrier.abort()  # nobody there would answer a closing handshake
        self._ended.set()
        self._opened.set()
        self._detached.set()
        if ending is None:
            return
        if ending.kind is End.SUPERSEDED:
            self._tell("superseded", code=ending.code, reason=ending.reason)
        elif ending.kind not in (End.FINISHED, End.ABORTED):
            self._tell("session_lost", code=ending.code, reason=ending.reason)
        self._tell("closed", code=ending.code, reason=ending.reason)

    def _tell(
        self, name: EventName, code: int | None = None, reason: str = "", replayed: int = 0
    ) -> None:
        """Call ``on_event`` soon, outside of the step that it tells of."""
        if self._on_event is None:
            return
        report = self.report if name in ("closed", "session_lost", "superseded") else None
        event = ConnectionEvent(name, self, code, reason, replayed, report)
        self._loop.call_soon(self._call_on_event, self._on_event, event)

    @staticmethod
    def _call_on_event(
        on_event: Callable[[ConnectionEvent], object], event: ConnectionEvent
    ) -> None:
        try:
            on_event(event)
        except Exception:
            logger.exception("on_event raised at %r", event.name)


class _Awaitable:
    """A generator that yields futures, to be awaited."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Generator[object, None, None]) -> None:
        self._steps = steps

    def __await__(self) -> Generator[object, None, None]:
        return self._steps


CALLS: dict[type[Event], Callable[[Connection, Any], None]] = {
    Replied: lambda connection, event: connection._caller.replied(event),
    Faulted: lambda connection, event: connection._caller.faulted(event),
    Itemized: lambda connection, event: connection._caller.itemized(event),
    Requested: lambda connection, event: connection._servant.requested(event),
    Granted: lambda connection, event: connection._servant.granted(event),
    Cancelled: lambda connection, event: connection._servant.cancelled(event),
}
"""Who deals with what calls bring."""

LAST_WORD_CAME = (Receiving.FINISHING, Receiving.FINISHED, Receiving.STOPPED)
"""Nothing more comes behind what the inbox holds; deliveries may still be unconfirmed."""
