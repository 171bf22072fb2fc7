"""The application's end of a session. It survives the WebSockets that carry it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from functools import partial
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
from reliable_ws.protocol.errors import ConnectionClosed, DeliveryError, OutboxFull
from reliable_ws.transport import Transport

from .driver import Driver
from .receiver import Delivery
from .sender import Receipt

__all__ = ["Connection"]


class Connection(Status):
    """One session with a peer: made by ``connect``, ``serve`` and ``wrap``.

    Messages arrive in the order in which they were sent, each once, however many WebSockets it
    takes. All methods are to be called in the event loop's thread. In a forked process nothing can
    be done with the parent's connections: every use raises ``SessionLost``.
    """

    __slots__ = (
        "__weakref__",
        "_driver",
        "_outbox",
        "_pump",
        "_receiver",
        "_reported",
        "_sender",
        "_session",
    )

    def __init__(
        self, driver: Driver, on_event: Callable[[ConnectionEvent], object] | None = None
    ) -> None:
        self._driver = driver
        self._session = driver.session
        self._outbox = driver.session.outbox
        self._pump = driver.pump
        self._sender = driver.sender
        self._receiver = driver.receiver
        self._reported = False  # close() has raised a DeliveryError
        driver.rpc_server.connection = self
        if on_event is not None:
            driver.tell = partial(self._tell, on_event)

    @property
    def _current(self) -> Transport | None:
        link_io = self._pump.link_io
        return None if link_io is None else link_io.transport

    # ------------------------------------------------------------------ sending

    async def send(self, message: Any, *, timeout: float | None = None) -> Receipt:
        """Accept one message; it will be confirmed, or reported.

        Returns as soon as there is room in the outbox: at most ``timeout`` seconds later
        (default: as long as it takes), else raises ``TimeoutError``. ``str`` and ``bytes``
        arrive as sent, other values as msgpack makes them. Raises ``NotSerializable``,
        ``MessageTooLarge`` and ``ConnectionClosed``. Whenever it raises, cancelled included,
        nothing was accepted.
        """
        if timeout is not None:
            check_seconds(timeout)
        sender = self._sender
        number = self._session.offer(message) or await sender.accept(message, timeout)
        pump = self._pump
        if not pump.awake:
            pump.wake()
        if number >= pump.yield_at or self._outbox.total >= pump.flush_at:
            sender.crowded()
        return Receipt(sender, number)

    def send_nowait(self, message: Any) -> Receipt:
        """Accept one message now, or raise: ``OutboxFull``, or as :meth:`send`."""
        sender = self._sender
        if sender.waiting:
            raise OutboxFull(f"{sender.waiting} callers of send() are before this one")
        number = self._session.send(message)
        self._pump.wake()
        return Receipt(sender, number)

    async def flush(self, *, timeout: float | None = None) -> None:
        """Wait until everything sent so far is confirmed.

        Raises ``TimeoutError`` after ``timeout`` seconds (default: as long as the session
        lives), and ``DeliveryError`` if any of it never will be. Cancelling loses nothing.
        """
        check_seconds(timeout)
        await self._sender.flush(timeout)

    # ------------------------------------------------------------------ calls

    def request(
        self, method: str, params: Any = None, *, timeout: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Have the peer run its method of this name, and return the answer.

        Run at most once in the session's life, also when the network drops in between. A list
        of ``params`` becomes positional arguments, a dict keyword arguments, anything else the one
        argument. Waits its turn while the peer's limit of open requests is reached, ``timeout``
        seconds in all (default: as long as the session lives). Cancelled, the request is taken
        back or its handler cancelled.

        Raises ``RemoteError`` (``MethodNotFound``, ``InvalidParams``) as answered,
        ``RequestTimeout``, ``NotTaken`` (never reached the peer's application: safe to repeat),
        ``OutcomeUnknown``, ``NotSerializable``, ``MessageTooLarge``, ``ConnectionClosed``.
        """
        if timeout is not None:
            check_seconds(timeout)
        rpc_client = self._driver.rpc_client or self._driver.start_asking()
        return rpc_client.request(method, params, timeout)

    def stream(
        self, method: str, params: Any = None, *, timeout: float | None = None
    ) -> AsyncGenerator[Any, None]:
        """Have the peer run a generator method, and iterate over its items.

        The peer is ahead by at most 256 KiB of items that were not taken. Leaving the loop
        early stops the handler, once the iterator is closed (:func:`contextlib.aclosing`).
        ``timeout`` is for the whole stream. A method that streams nothing gives its one result.
        Raises as :meth:`request` does, at any item.
        """
        check_seconds(timeout)
        rpc_client = self._driver.rpc_client or self._driver.start_asking()
        return rpc_client.stream(method, params, timeout)

    # ------------------------------------------------------------------ receiving

    async def recv(self, *, timeout: float | None = None) -> Any:
        """Return the next message. Taking it confirms it, in the same step.

        Waits at most ``timeout`` seconds (default: as long as the session lives), else raises
        ``TimeoutError``. Raises ``ConnectionClosed`` when the peer has finished or the session
        is over, and ``PayloadError`` for a message that cannot be decoded. Cancelled or timed
        out, it has taken nothing.
        """
        if timeout is not None:
            check_seconds(timeout)
        await self._receiver.arrival(timeout)
        return self._receiver.take()

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over messages as :meth:`recv` returns them, until the peer has finished.

        Ends quietly after the peer's Finish with 1000 or 1001, or our own ``close()``;
        otherwise raises as ``recv`` does. A message is confirmed when it is handed over: for
        confirmation after the work, see :meth:`deliveries`.
        """
        return self._receiver.messages()

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Iterate over messages that are confirmed when their work is done.

        ``async for d in conn.deliveries(): async with d: …``. Ends as ``async for`` over the
        connection does.
        """
        return self._receiver.deliveries()

    # ------------------------------------------------------------------ ending

    async def finish(self, code: int = 1000, reason: str = "") -> None:
        """Send nothing after what was sent, and go on receiving (half-close). Never waits.

        Handlers of requests that run still answer; new requests are turned away.
        """
        self._driver.finish(code, reason)

    async def close(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Return when the peer's application has taken every message; else raise.

        Raises :class:`~reliable_ws.DeliveryError` with the report. Gives up after
        ``Config.close_progress_timeout`` without progress, ``Config.close_timeout`` in all, or
        ``timeout`` seconds if that is less. From the call on nothing more is taken here.
        Handlers of requests that run may end first, in most of that time: three quarters, and
        all but the last ``close_progress_timeout`` seconds of a longer one. Then they are
        cancelled, and their callers told. Until then no lack of progress counts.
        Cancelled, closing goes on in the background within its limits; a second call joins it.
        """
        check_seconds(timeout)
        await self._driver.close(code, reason, timeout)
        report = self._session.report()
        self._reported = bool(report.undelivered)
        raise_undelivered(report)

    def abort(self, code: int = 4499, reason: str = "") -> None:
        """End at once, waiting for nothing; :attr:`report` says what is known."""
        self._driver.abort(code, reason)

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin what :meth:`close` does, and wait for nothing."""
        check_seconds(timeout)
        self._driver.start_closing(code, reason, timeout=timeout)

    async def wait_closed(self) -> None:
        """Return when the session is over."""
        await self._driver.wait_ended()

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

    # ------------------------------------------------------------------ WebSockets and events

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket; return when the session is open on it.

        For connections made by ``wrap(…, resume_within=…)``. Raises ``RuntimeError`` for one that
        opens its WebSockets by itself (``connect``, ``reopen=``), ``ConnectionClosed`` if the
        session is over, ``NotReliablePeer`` if no greeting comes on this WebSocket.
        """
        await self._driver.resume(websocket)

    def _tell(
        self,
        on_event: Callable[[ConnectionEvent], object],
        name: EventName,
        code: int | None,
        reason: str,
        replayed: int,
    ) -> None:
        """Call ``on_event`` soon, outside of the step that it tells of."""
        report = self.report if name in ("closed", "session_lost", "superseded") else None
        event = ConnectionEvent(name, self, code, reason, replayed, report)
        self._pump.loop.call_soon(_call, on_event, event)


def _call(on_event: Callable[[ConnectionEvent], object], event: ConnectionEvent) -> None:
    try:
        on_event(event)
    except Exception:  # noqa: BLE001 - the application's, and nobody waits for it
        logger.exception("on_event raised at %r", event.name)
