"""The application's end of a session, for programs with threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from reliable_ws.protocol.errors import (
    ConnectionClosed,
    ConnectionClosedOK,
    DeliveryError,
    OutboxFull,
    PayloadError,
)
from reliable_ws.protocol.events import (
    Arrived,
    Confirmed,
    Detached,
    Ended,
    Event,
    Opened,
    PeerFinished,
    Requested,
    Settled,
)
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.inbox import NEVER
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.payload import open_payload, seal
from reliable_ws.protocol.report import End, Ending, Outcome, Report
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Sending
from reliable_ws.shared.facts import (
    ConnectionEvent,
    EventName,
    Facts,
    is_last_taken,
    logger,
    name_of,
    raise_undelivered,
)
from reliable_ws.transport import SyncTransport

from .carrier import Carrier
from .clock import Alarm, call_at, start
from .receipt import Receipt
from .waiting import Line, Milestones, until

__all__ = ["Connection", "Delivery"]


class Delivery:
    """A message that is confirmed when its work is done.

    ``with delivery as message: …`` confirms on a clean exit. On an exception it stays
    unconfirmed; ``confirm()`` may follow later. What is never confirmed is *unknown* to the
    sender in the end, and meanwhile holds back its window.
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
        self._connection._confirm(self.number)

    def __enter__(self) -> Any:
        """Return the message."""
        return self.message

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: object
    ) -> None:
        """Confirm unless the block raised."""
        if kind is None:
            self.confirm()


class Connection(Facts):
    """One session with a peer: made by ``connect``, ``serve`` and ``wrap``.

    Messages arrive in the order in which they were sent, each once, however many WebSockets it
    takes. Every method may be called in any thread. Of several threads that wait for the same,
    the first one is served first. Every ``timeout`` is in seconds, ``None`` means: as long as the
    session lives.
    """

    def __init__(
        self,
        session: Session,
        lock: threading.Lock,
        *,
        resumable: bool = True,
        on_event: Callable[[ConnectionEvent], object] | None = None,
    ) -> None:
        self._session = session
        self._lock = lock
        self._offer = session.outbox.offer
        self._inbox = session.inbox
        self._outbox = session.outbox
        self._queue = session.inbox.queue
        self._resumable = resumable
        self._on_event = on_event
        self._to_tell: deque[ConnectionEvent] = deque()
        self._telling = False
        self._carrier: Carrier | None = None
        self._alarms: list[tuple[float, Alarm]] = []  # the next one is the last
        self._readers = Line(lock)
        self._senders = Line(lock)
        self._confirmations = Milestones(lock)
        self._change = threading.Condition(lock)  # opened, detached, or over
        self._met = False  # opened or detached since the last WebSocket was begun with
        self._retry: float | None = None  # seconds that the peer asked us to wait
        self._reported = False  # close() has raised a DeliveryError

    @property
    def _current(self) -> SyncTransport | None:
        return self._carrier.transport if self._carrier is not None else None

    @property
    def report(self) -> Report:
        """What is known of every message that was sent."""
        with self._lock:
            return self._session.report()

    # ------------------------------------------------------------------ sending

    def send(self, message: Any, *, timeout: float | None = None) -> Receipt:
        """Accept one message; it will be confirmed, or reported.

        Returns as soon as there is room in the outbox, at most ``timeout`` seconds later, else
        raises ``TimeoutError``. ``str`` and ``bytes`` arrive as sent, other values as msgpack
        makes them. Raises ``NotSerializable``, ``MessageTooLarge`` and ``ConnectionClosed``.
        Whenever it raises, nothing was accepted.
        """
        with self._lock:
            number = self._offer(message)
            if number:
                self._wake()
                return Receipt(self, number)
        payload, weight = seal(message, self._session.codec)
        with self._lock:
            if self._senders or not self._has_room(weight):
                self._wait_for_room(weight, until(timeout))
            number = self._session.send_sealed(payload, weight)
            self._wake()
        return Receipt(self, number)

    def send_nowait(self, message: Any) -> Receipt:
        """Accept one message now, or raise: ``OutboxFull``, or as :meth:`send`."""
        payload, weight = seal(message, self._session.codec)
        with self._lock:
            if self._senders:
                raise OutboxFull(f"{len(self._senders)} callers of send() are before this one")
            number = self._session.send_sealed(payload, weight)
            self._wake()
        return Receipt(self, number)

    def _has_room(self, weight: int) -> bool:
        """Whether a message is accepted, or refused for another reason, at once."""
        return self._session.sending is not Sending.OPEN or self._outbox.has_room(weight)

    def _wait_for_room(self, weight: int, by: float) -> None:
        """Stand behind those that wait; meanwhile the gate is shut: nobody overtakes."""
        self._session.outgoing.shut()
        try:
            self._senders.wait(lambda: self._has_room(weight), by)
        finally:
            if not self._senders:
                self._session.outgoing.unshut()

    def flush(self, *, timeout: float | None = None) -> None:
        """Wait until everything sent so far is confirmed.

        Raises ``TimeoutError`` after ``timeout`` seconds, and ``DeliveryError`` if any of it
        never will be.
        """
        with self._lock:
            number = self._outbox.messages
            self._know(number, until(timeout))
            report = self._session.report(upto=number)
        raise_undelivered(report)

    def _confirmation(self, number: int, timeout: float | None) -> None:
        """Wait for one message (see :class:`Receipt`)."""
        with self._lock:
            if self._outbox.confirmed >= number:
                return
            self._know(number, until(timeout))
            if self._outbox.confirmed >= number:
                return
            report = self._session.report_of(number)
        raise_undelivered(report)

    def _know(self, number: int, by: float) -> None:
        """Wait until the outcome of everything up to ``number`` is known."""
        session = self._session
        while session.outcome(number) is Outcome.PENDING:
            session.want(number)
            self._flush()
            if session.outcome(number) is Outcome.PENDING:
                self._confirmations.wait(number, by)

    def _outcome(self, number: int) -> Outcome:
        with self._lock:
            return self._session.outcome(number)

    # ------------------------------------------------------------------ receiving

    def recv(self, *, timeout: float | None = None) -> Any:
        """Return the next message. Taking it confirms it, in the same step.

        Waits at most ``timeout`` seconds, else raises ``TimeoutError``. Raises
        ``ConnectionClosed`` when the peer has finished or the session is over, and
        ``PayloadError`` for a message that cannot be decoded. Timed out, it has taken nothing.
        """
        inbox = self._inbox
        with self._lock:
            if not self._queue or self._readers:
                self._arrival(until(timeout))
            payload = inbox.take()
            number = inbox.handed
            if inbox.due:
                self._settle()
        return open_payload(payload, number, self._session.codec)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over messages as :meth:`recv` returns them, until the peer has finished.

        Ends quietly after the peer's Finish with 1000 or 1001, or our own ``close()``;
        otherwise raises as ``recv`` does. A message is confirmed when it is handed over: for
        confirmation after the work, see :meth:`deliveries`.
        """
        while True:
            try:
                message = self.recv()
            except ConnectionClosed as error:
                if self._is_quiet(error):
                    return
                raise
            yield message

    def deliveries(self) -> Iterator[Delivery]:
        """Iterate over messages that are confirmed when their work is done.

        ``for d in conn.deliveries(): with d as message: …``. Ends as iterating over the
        connection does.
        """
        while True:
            try:
                with self._lock:
                    if not self._queue or self._readers:
                        self._arrival(NEVER)
                    number, payload = self._inbox.deliver()
            except ConnectionClosed as error:
                if self._is_quiet(error):
                    return
                raise
            try:
                message = open_payload(payload, number, self._session.codec)
            except PayloadError:
                self._confirm(number)
                raise
            yield Delivery(self, number, message)

    def _is_quiet(self, error: ConnectionClosed) -> bool:
        """Whether this end of messages is one that iterators do not raise."""
        return isinstance(error, ConnectionClosedOK) or self._session.closing

    def _arrival(self, by: float) -> None:
        """Return when a message can be taken, first come first served."""
        if not self._can_read():
            self._flush()  # nobody in this thread adds anything before the next message
        self._readers.wait(self._can_read, by)
        if not self._queue:
            raise self._session.error()

    def _can_read(self) -> bool:
        return bool(self._queue) or is_last_taken(self._session)

    def _confirm(self, number: int) -> None:
        """Confirm a delivery."""
        with self._lock:
            if self._inbox.confirm(number) and self._inbox.due:
                self._settle()

    def _settle(self) -> None:
        """Something was taken or confirmed that somebody waits for, or the session was told."""
        self._dispatch(self._session.settle(time.monotonic()))

    # ------------------------------------------------------------------ ending

    def finish(self, code: int = 1000, reason: str = "") -> None:
        """Send nothing after what was sent, and go on receiving (half-close). Never waits."""
        with self._lock:
            self._dispatch(self._session.finish(time.monotonic(), code, reason))
            self._senders.call()

    def close(self, code: int = 1000, reason: str = "", *, timeout: float | None = None) -> None:
        """Return when the peer's application has taken every message; else raise.

        Raises :class:`~reliable_ws.DeliveryError` with the report. Gives up after
        ``Config.close_progress_timeout`` without progress, ``Config.close_timeout`` in all, or
        ``timeout`` seconds if that is less. From the call on nothing more is taken here: threads
        that wait to receive or to send learn that it is over. A second call joins the first.
        """
        by = until(timeout)
        with self._lock:
            self._close(code, reason, timeout)
            try:
                self._change.wait_for(lambda: self._session.ended)
                if self._carrier is not None and not self._carrier.wait_over(by):
                    self._carrier.transport.abort()
            except BaseException:  # Ctrl-C: nobody waits any more
                self._abort(Code.ABORTED, "")
                raise
            report = self._session.report()
        self._reported = bool(report.undelivered)
        raise_undelivered(report)

    def _close(self, code: int, reason: str, timeout: float | None) -> None:
        self._dispatch(self._session.close(time.monotonic(), code, reason, timeout))
        self._senders.call()  # who waits to send or to receive learns that it is too late
        self._readers.call()

    def abort(self, code: int = Code.ABORTED, reason: str = "") -> None:
        """End at once, waiting for nothing; :attr:`report` says what is known."""
        with self._lock:
            self._abort(code, reason)

    def _abort(self, code: int, reason: str) -> None:
        self._dispatch(self._session.abort(time.monotonic(), code, reason))
        if self._carrier is not None:
            self._carrier.transport.abort()

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin what :meth:`close` does, and wait for nothing."""
        with self._lock:
            self._close(code, reason, timeout)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Return when the session is over; ``False`` after ``timeout`` seconds."""
        with self._lock:
            return bool(self._change.wait_for(lambda: self._session.ended, timeout))

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close: raising on a clean exit, quietly after an exception, abort after Ctrl-C."""
        if kind is None:
            if not self._reported:  # else the body has caught what close() raised
                self.close()
            return
        if not issubclass(kind, Exception):
            self.abort()
            return
        try:
            self.close(1011)
        except DeliveryError as error:
            if value is not None and not isinstance(value, DeliveryError | ConnectionClosed):
                value.add_note(f"reliable_ws: {error.report}")

    # ------------------------------------------------------------------ the driver

    # What follows is called with the lock held.

    def attach(self, transport: SyncTransport, link: Link) -> Carrier:
        """Carry the session over this transport from now on; read with ``carrier.read()``."""
        old, self._carrier = self._carrier, Carrier(transport, link, self._lock, self._dispatch)
        if old is not None:
            old.flush()  # says superseded, and closes
        self._flush()
        self._rearm()
        return self._carrier

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket; return when the session is open on it.

        For connections made by ``wrap(…, resume_within=…)``. Raises ``RuntimeError`` for one that
        opens its WebSockets by itself (``connect``, ``reopen=``), ``ConnectionClosed`` if the
        session is over, ``NotReliablePeer`` if no greeting comes on this WebSocket.
        """
        raise NotImplementedError

    def _lose(self, why: str) -> None:
        """There is no way to open another WebSocket."""
        self._session.end(Ending(End.LOST, 1006, why))
        self._settle()

    def _wake(self) -> None:
        """Send what was accepted: a lone message now, of many what the writer finds together."""
        carrier, outbox = self._carrier, self._outbox
        if carrier is None:
            return
        if outbox.last == outbox.confirmed + 1:
            carrier.flush()
        else:
            carrier.wake()

    def _flush(self) -> None:
        """Send now what there is: this thread is about to wait."""
        if self._carrier is not None:
            self._carrier.flush()

    def _rearm(self) -> None:
        due = self._session.deadline
        alarms = self._alarms
        if due < NEVER and (not alarms or due < alarms[-1][0]):
            alarms.append((due, call_at(due, self._tick)))  # the later ones will be of use, too

    def _tick(self) -> None:
        """Do what is due; in the clock's thread."""
        with self._lock:
            if not self._alarms:  # cancelled too late
                return
            now = max(time.monotonic(), self._alarms.pop()[0])  # clocks may disagree by a hair
            if now >= self._session.deadline:
                self._dispatch(self._session.tick(now))
            self._rearm()

    def _dispatch(self, events: list[Event]) -> None:
        """Tell everybody whom it concerns what happened, then send what follows from it.

        The last thing in every step: the lock is free while it sends.
        """
        while events:
            is_rare = False
            for event in events:
                if type(event) is Arrived:
                    self._readers.call()
                elif type(event) is Confirmed:
                    self._confirmations.reach(event.number)
                    self._senders.call()
                else:
                    is_rare = True
                    self._on_rare(event)
            events = self._session.settle(time.monotonic()) if is_rare else []
        self._rearm()
        carrier = self._carrier
        if carrier is not None and carrier.link.restless:
            if carrier.link.at_end or carrier.link.leaving is not None:
                carrier.flush()
            else:
                carrier.wake()

    def _on_rare(self, event: Event) -> None:
        """Deal with what happens a few times in a session's life."""
        match event:
            case Opened(resumed, replayed):
                self._met = True
                self._tell("resumed" if resumed else "opened", replayed=replayed)
            case Settled():
                self._all_known()
            case Detached(code, reason, retry):
                self._on_detached(code, reason, retry)
            case PeerFinished():
                self._readers.call()
            case Requested(number):
                self._session.calls.fault(number, "method-not-found", "there are no methods here")
            case Ended(ending):
                self._on_ended(ending)
        self._change.notify_all()

    def _all_known(self) -> None:
        self._confirmations.reach(NEVER)
        self._senders.call()
        self._readers.call()

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> None:
        self._retry = retry
        self._met = True
        self._tell("detached", code=code, reason=reason)
        if not self._resumable:
            words = "the WebSocket is gone and there is no way to open another"
            self._session.end(Ending(End.LOST, 1006, words))

    def _on_ended(self, ending: Ending) -> None:
        self._met = True
        self._all_known()
        for _due, alarm in self._alarms:
            alarm.cancel()
        self._alarms.clear()
        if ending.kind is End.EXPIRED and self._carrier is not None:
            self._carrier.transport.abort()  # nobody there would answer a closing handshake
        name = name_of(ending)
        if name is not None:
            self._tell(name, code=ending.code, reason=ending.reason)
        self._tell("closed", code=ending.code, reason=ending.reason)

    def _tell(
        self, name: EventName, code: int | None = None, reason: str = "", replayed: int = 0
    ) -> None:
        """Have ``on_event`` called soon, in order, in a thread that nobody waits for."""
        if self._on_event is None:
            return
        over = self._session.ended is not None
        report = self._session.report() if over else None
        self._to_tell.append(ConnectionEvent(name, self, code, reason, replayed, report))
        if not self._telling:
            self._telling = True
            start(self._tell_all)

    def _tell_all(self) -> None:
        while True:
            with self._lock:
                if not self._to_tell or self._on_event is None:
                    self._telling = False
                    return
                event = self._to_tell.popleft()
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001 - it must not keep the next event from being told
                logger.exception("on_event raised at %r", event.name)
