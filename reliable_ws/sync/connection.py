"""The application's end of a session, for programs with threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Self

from reliable_ws.driver.status import (
    ConnectionEvent,
    EventName,
    Status,
    logger,
    raise_undelivered,
)
from reliable_ws.driver.validation import check_seconds
from reliable_ws.protocol.errors import ConnectionClosed, DeliveryError
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.report import Report
from reliable_ws.transport import SyncTransport

from .driver import Driver
from .receiver import Delivery
from .rpc_client import RpcClient
from .sender import Receipt
from .timers import start

__all__ = ["Connection"]


class Connection(Status):
    """One session with a peer: made by ``connect``, ``serve`` and ``wrap``.

    Messages arrive in the order in which they were sent, each once, however many WebSockets it
    takes. Every method may be called in any thread. Of several threads that wait for the same,
    the first one is served first. Every ``timeout`` is in seconds, ``None`` means: as long as the
    session lives.
    """

    def __init__(
        self, driver: Driver, on_event: Callable[[ConnectionEvent], object] | None = None
    ) -> None:
        self._driver = driver
        self._session = driver.session
        self._lock = driver.lock
        self._offer = driver.session.offer
        self._pump = driver.pump
        self._sender = driver.sender
        self._receiver = driver.receiver
        self._reported = False  # close() has raised a DeliveryError
        driver.rpc_server.connection = self
        if on_event is not None:
            driver.tell = Teller(self, on_event).tell

    @property
    def _current(self) -> SyncTransport | None:
        link_io = self._pump.link_io
        return link_io.transport if link_io is not None else None

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
        if timeout is not None:
            check_seconds(timeout)
        with self._lock:
            number = self._offer(message)
            if number:
                self._sender.accepted(number)
        return Receipt(self._sender, number or self._sender.send(message, timeout))

    def send_nowait(self, message: Any) -> Receipt:
        """Accept one message now, or raise: ``OutboxFull``, or as :meth:`send`."""
        return Receipt(self._sender, self._sender.send_nowait(message))

    def flush(self, *, timeout: float | None = None) -> None:
        """Wait until everything sent so far is confirmed.

        Raises ``TimeoutError`` after ``timeout`` seconds, and ``DeliveryError`` if any of it
        never will be.
        """
        check_seconds(timeout)
        self._sender.flush(timeout)

    # ------------------------------------------------------------------ calls

    def request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """Have the peer run its method of this name, and return the answer.

        Run at most once in the session's life, also when the network drops in between. A list
        of ``params`` becomes positional arguments, a dict keyword arguments, anything else the one
        argument. Waits its turn while the peer's limit of open requests is reached, ``timeout``
        seconds in all.

        Raises ``RemoteError`` (``MethodNotFound``, ``InvalidParams``) as answered,
        ``RequestTimeout``, ``NotTaken`` (never reached the peer's application: safe to repeat),
        ``OutcomeUnknown``, ``NotSerializable``, ``MessageTooLarge``, ``ConnectionClosed``.
        """
        if timeout is not None:
            check_seconds(timeout)
        rpc_client = self._driver.rpc_client or self._requests()
        return rpc_client.request(method, params, timeout)

    def stream(
        self, method: str, params: Any = None, *, timeout: float | None = None
    ) -> Generator[Any, None, None]:
        """Have the peer run a generator method, and iterate over its items.

        The peer is ahead by at most 256 KiB of items that were not taken. Leaving the loop
        early stops the handler, once the iterator is closed (:func:`contextlib.closing`).
        ``timeout`` is for the whole stream. A method that streams nothing gives its one result.
        Raises as :meth:`request` does, at any item.
        """
        check_seconds(timeout)
        rpc_client = self._driver.rpc_client or self._requests()
        return rpc_client.stream(method, params, timeout)

    def _requests(self) -> RpcClient:
        with self._lock:
            return self._driver.start_asking()

    # ------------------------------------------------------------------ receiving

    def recv(self, *, timeout: float | None = None) -> Any:
        """Return the next message. Taking it confirms it, in the same step.

        Waits at most ``timeout`` seconds, else raises ``TimeoutError``. Raises
        ``ConnectionClosed`` when the peer has finished or the session is over, and
        ``PayloadError`` for a message that cannot be decoded. Timed out, it has taken nothing.
        """
        if timeout is not None:
            check_seconds(timeout)
        return self._receiver.take(timeout)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over messages as :meth:`recv` returns them, until the peer has finished.

        Ends quietly after the peer's Finish with 1000 or 1001, or our own ``close()``;
        otherwise raises as ``recv`` does. A message is confirmed when it is handed over: for
        confirmation after the work, see :meth:`deliveries`.
        """
        return self._receiver.messages()

    def deliveries(self) -> Iterator[Delivery]:
        """Iterate over messages that are confirmed when their work is done.

        ``for d in conn.deliveries(): with d as message: …``. Ends as iterating over the
        connection does.
        """
        return self._receiver.deliveries()

    # ------------------------------------------------------------------ ending

    def finish(self, code: int = 1000, reason: str = "") -> None:
        """Send nothing after what was sent, and go on receiving (half-close). Never waits.

        Handlers of requests that run still answer; new requests are turned away.
        """
        with self._lock:
            self._driver.finish(code, reason)

    def close(self, code: int = 1000, reason: str = "", *, timeout: float | None = None) -> None:
        """Return when the peer's application has taken every message; else raise.

        Raises :class:`~reliable_ws.DeliveryError` with the report. Gives up after
        ``Config.close_progress_timeout`` without progress, ``Config.close_timeout`` in all, or
        ``timeout`` seconds if that is less. From the call on nothing more is taken here: threads
        that wait to receive or to send learn that it is over. Handlers of requests that run may
        end first, in most of that time: three quarters, and all but the last
        ``close_progress_timeout`` seconds of a longer one. Then their callers are told. A second
        call joins the first. Interrupted (Ctrl-C), it aborts.
        """
        check_seconds(timeout)
        with self._lock:
            self._driver.close(code, reason, timeout)
            report = self._session.report()
        self._reported = bool(report.undelivered)
        raise_undelivered(report)

    def abort(self, code: int = Code.ABORTED, reason: str = "") -> None:
        """End at once, waiting for nothing; :attr:`report` says what is known."""
        with self._lock:
            self._driver.abort(code, reason)

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin what :meth:`close` does, and wait for nothing."""
        check_seconds(timeout)
        with self._lock:
            self._driver.start_closing(code, reason, timeout=timeout)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Return when the session is over; ``False`` after ``timeout`` seconds."""
        check_seconds(timeout)
        with self._lock:
            return bool(self._driver.change.wait_for(lambda: self._session.ended, timeout))

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket; return when the session is open on it.

        For connections made by ``wrap(…, resume_within=…)``. Raises ``RuntimeError`` for one that
        opens its WebSockets by itself (``connect``, ``reopen=``), ``ConnectionClosed`` if the
        session is over, ``NotReliablePeer`` if no greeting comes on this WebSocket.
        """
        self._driver.resume(websocket)

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


class Teller:
    """Calls ``on_event`` soon, in order, in a thread that nobody waits for."""

    def __init__(
        self, connection: Connection, on_event: Callable[[ConnectionEvent], object]
    ) -> None:
        self._connection = connection
        self._on_event = on_event
        self._events: deque[ConnectionEvent] = deque()
        self._is_telling = False

    def tell(self, name: EventName, code: int | None, reason: str, replayed: int) -> None:
        """Note what happened; with the lock held."""
        session = self._connection._session
        report = session.report() if session.ended else None
        event = ConnectionEvent(name, self._connection, code, reason, replayed, report)
        self._events.append(event)
        if not self._is_telling:
            self._is_telling = True
            start(self._tell_all)

    def _tell_all(self) -> None:
        while (event := self._next()) is not None:
            try:
                self._on_event(event)
            except BaseException:  # noqa: BLE001 - the next event is told all the same
                logger.exception("on_event raised at %r", event.name)

    def _next(self) -> ConnectionEvent | None:
        with self._connection._lock:
            self._is_telling = bool(self._events)
            return self._events.popleft() if self._events else None
