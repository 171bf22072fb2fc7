"""The application's end of a session. It survives the WebSockets that carry it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Self

from reliable_ws.driver.failures import FailedAttempt
from reliable_ws.driver.figures import Figures
from reliable_ws.driver.status import (
    ConnectionEvent,
    EventName,
    Status,
    explain,
    logger,
    raise_undelivered,
)
from reliable_ws.driver.validation import check_seconds
from reliable_ws.protocol.errors import ConnectionClosed, DeliveryError, behind
from reliable_ws.transport import Transport

from .driver import Driver
from .pump import add_loop_stalls
from .receiver import Delivery
from .sender import Receipt

__all__ = ["Connection", "abort_silently", "call_on_event"]


class Connection(Status):
    """One session with a peer. ``connect``, ``serve`` and ``wrap`` make it.

    Messages arrive in the order in which they were sent, each once (protocol.md, section 4).
    The session continues while WebSockets break and are replaced. Every ``timeout`` is in seconds.
    ``None`` means: as long as the session lives.

    Call all methods in the event loop's thread. Most of them raise ``RuntimeError`` in another
    thread and in another event loop, and change nothing. In a forked process you cannot use the
    parent's connections: every use raises ``SessionLost``.
    """

    _driver: Driver

    __slots__ = (
        "__weakref__",
        "_driver",
        "_offer",
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
        self._offer = driver.session.offer if driver.store is None else offer_nothing
        self._outbox = driver.session.outbox
        self._pump = driver.pump
        self._sender = driver.sender
        self._receiver = driver.receiver
        self._reported = False  # close() has raised a DeliveryError
        driver.rpc_server.connection = self
        if on_event is not None:
            driver.notify = partial(self._notify, on_event)

    @property
    def _current(self) -> Transport | None:
        link_io = self._pump.link_io
        return None if link_io is None else link_io.transport

    # ------------------------------------------------------------------ sending

    async def send(
        self,
        message: Any,
        timeout: float | None = None,  # not after a *: Python is slow with calls that have one
        key: str | None = None,
        apply: Callable[[Any], object] | None = None,
    ) -> Receipt:
        """Accept one message and return a receipt for it.

        The call returns as soon as the outbox has room. It does not wait for the peer. Every
        accepted message ends as confirmed, or it is named in a report. ``str`` and ``bytes`` arrive
        as they are. Other values arrive as msgpack makes them: a tuple arrives as a list. If the
        call raises, also when it is cancelled, the message was not accepted and will not be sent.

        With a store, the call returns when the store has the message. If it is cancelled
        while the store works, the message stays accepted. A message with a ``key`` is accepted
        once: a later call with the same key, also in another process, sends nothing and returns the
        receipt of that message. With ``apply``, the store calls ``apply(db)`` in its thread and
        keeps what it writes and the message in one commit, both or neither. If it raises, nothing
        is kept, the message was not accepted, and the exception comes out of the call.

        Raises:
            TimeoutError: There was no room for ``timeout`` seconds.
            StoreSlow: The store has not kept the message in time. It stays accepted.
            StoreFull: There is no room on the store's disk. The message was not accepted.
            NotSerializable: The payload codec cannot pack this value.
            MessageTooLarge: The message is larger than the peer's ``max_message``.
            NumbersExhausted: The session has used all its numbers: begin another one.
            ConnectionClosed: The session, or this direction of it, has ended.
            RuntimeError: This is not the event loop's thread.
            TypeError: ``timeout`` is not a number, or ``key`` and ``apply`` are of the wrong kind,
                or there is no store for them.
            ValueError: ``key`` is empty, or longer than 512 characters.
        """
        if timeout is not None:
            check_seconds(timeout)
        offer, pump = self._offer, self._pump
        if not pump.check_at:  # the first one of a turn: before it is accepted
            pump.check_thread()
        if key is not None or apply is not None:
            return await self._sender.send_durably(message, timeout, key, apply)
        number = offer(message) or await self._sender.accept(message, timeout)
        if number >= pump.check_at:
            self._sender.check_turn()
        receipt = Receipt()  # as `Sender.receipt`, without a call
        receipt._sender = self._sender
        receipt._number = number
        return receipt

    def send_nowait(self, message: Any) -> Receipt:
        """Accept one message without waiting for room.

        Raises:
            OutboxFull: The outbox has no room, or other callers wait for room.
            NotSerializable: The payload codec cannot pack this value.
            MessageTooLarge: The message is larger than the peer's ``max_message``.
            NumbersExhausted: The session has used all its numbers: begin another one.
            ConnectionClosed: The session, or this direction of it, has ended.
            RuntimeError: This is not the event loop's thread.
        """
        sender, pump, session = self._sender, self._pump, self._session
        if not pump.check_at:  # the first one of a turn: before it is accepted
            pump.check_thread()
        if sender.waiting:
            raise behind(sender.waiting)
        number = session.offer(message) or session.send(message)
        if number >= pump.check_at:
            sender.check_turn(yields=False)
        return sender.receipt(number)

    async def flush(self, *, timeout: float | None = None) -> None:
        """Wait until every message sent so far is confirmed.

        Cancelling changes nothing for the messages.

        Raises:
            TimeoutError: Some messages were still unconfirmed after ``timeout`` seconds. They stay
                accepted.
            DeliveryError: Some of these messages will never be confirmed. ``report`` names them.
            StoreFull: The store had no room for some, and they were not accepted.
            TypeError: ``timeout`` is not a number.
        """
        check_seconds(timeout)
        await self._sender.flush(timeout)

    # ------------------------------------------------------------------ calls

    def request(
        self, method: str, params: Any = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Let the peer run its method of this name, and return the result.

        The peer runs the method at most once in the session, also when the network fails in
        between. A list of ``params`` becomes positional arguments and a dict becomes
        keyword arguments. Any other value is the one argument, and ``None`` means no argument.
        While the peer's ``max_requests`` are open, the call waits for its turn. ``timeout`` covers
        the whole call. If you cancel the call, an unsent request is withdrawn and a running handler
        is cancelled (protocol.md, CALL-8, CALL-30).

        Raises:
            MethodNotFound: The peer has no method of this name.
            InvalidParams: ``params`` do not fit the peer's method. It was not run.
            RemoteError: The peer's method raised. ``code``, ``message`` and ``data`` come from the
                peer.
            RequestTimeout: There was no answer within ``timeout`` seconds. ``taken`` says whether
                the peer got the request.
            NotTaken: The request never reached the peer's application. You can safely repeat it.
            OutcomeUnknown: The session ended before the answer came.
            NotSerializable: The payload codec cannot pack ``params``.
            MessageTooLarge: The request is larger than the peer's ``max_message``.
            NumbersExhausted: The session has used all its numbers: begin another one.
            ConnectionClosed: The session, or this direction of it, has ended.
            TypeError: ``timeout`` is not a number, or ``method`` is no text.
            ValueError: ``method`` is longer than 255 bytes.
        """
        if timeout is not None:
            check_seconds(timeout)
        rpc_client = self._driver.rpc_client or self._driver.create_rpc_client()
        return rpc_client.request(method, params, timeout)

    def stream(
        self, method: str, params: Any = None, *, timeout: float | None = None
    ) -> AsyncGenerator[Any, None]:
        """Let the peer run a generator method, and iterate over its items.

        The peer is ahead of you by at most 256 KiB of items. ``timeout`` covers the whole stream.
        To stop early, close the iterator (:func:`contextlib.aclosing`): this stops the peer's
        handler. Leaving the loop alone does not close the iterator. A method that returns one value
        gives one item.

        Raises:
            RemoteError: As for :meth:`request`. Every exception of :meth:`request` can come at any
                item.
            TypeError: ``timeout`` is not a number.
        """
        check_seconds(timeout)
        rpc_client = self._driver.rpc_client or self._driver.create_rpc_client()
        return rpc_client.stream(method, params, timeout)

    # ------------------------------------------------------------------ receiving

    async def recv(self, *, timeout: float | None = None) -> Any:
        """Return the next message.

        Taking the message confirms it in the same step. If the call times out or is cancelled, it
        has taken no message.

        Raises:
            TimeoutError: No message came within ``timeout`` seconds.
            ConnectionClosed: The peer has finished, or the session has ended. There are no more
                messages.
            PayloadError: The payload codec cannot unpack this message. The message counts as taken.
            TypeError: ``timeout`` is not a number.
        """
        if timeout is not None:
            check_seconds(timeout)
        await self._receiver.arrival(timeout)
        return self._receiver.take()

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over messages until the peer has finished.

        Each message is confirmed when you get it. To confirm a message after your work, use
        :meth:`deliveries`. The iteration ends without an exception when the peer finishes with code
        1000 or 1001, and when this side closes. Only one task can iterate at a time, since two
        would get the messages out of order. Let it hand them on to others. A message that the
        payload codec cannot unpack is left out. It counts as taken, and one line is logged.
        :meth:`recv` raises ``PayloadError``.

        Raises:
            ConnectionClosed: The session ended in any other way.
            RuntimeError: Another task iterates over this connection.
        """
        return self._receiver.messages()

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Iterate over messages that you confirm when your work is done.

        ``async for d in conn.deliveries(): async with d as message: …``. The iteration ends as
        iterating over the connection does. Several tasks may share the deliveries, as workers do.

        Raises:
            ConnectionClosed: The session ended, but not with code 1000 or 1001.
        """
        return self._receiver.deliveries(self._driver.name)

    # ------------------------------------------------------------------ ending

    def figures(self) -> Figures:
        """Return what this session has done, as figures for metrics (docs/metrics.md)."""
        figures = super().figures()
        add_loop_stalls(figures)
        return figures

    async def finish(self, code: int = 1000, reason: str = "") -> None:
        """Send nothing after what was sent, and go on receiving (a half-close).

        The call returns at once. Running request handlers still answer. New requests are turned
        away (protocol.md, section 9). A second call has no effect.
        """
        self._pump.check_thread()
        self._driver.finish(code, reason)

    async def close(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Return when the peer's application has taken every message; else raise.

        From the call on, this side takes no more messages. Closing gives up after
        ``Config.close_progress_timeout`` seconds without progress, after ``Config.close_timeout``
        seconds in which nothing new arrived at the peer, or after ``timeout`` seconds in all.
        Running request handlers may end first. They have three quarters of ``close_timeout`` or
        ``timeout``, or all of it but the last ``close_progress_timeout`` seconds if that is longer.
        After that, they are cancelled and their callers are told. The other limits count only from
        then on. A second call joins the first. If you cancel the call, closing continues in the
        background within its limits.

        Raises:
            DeliveryError: Some messages will never be confirmed. ``report`` names them.
            TypeError: ``timeout`` is not a number.
        """
        check_seconds(timeout)
        await self._driver.close(code, reason, timeout)
        report = self._session.report()
        self._reported = report.confirmed < report.sent
        raise_undelivered(self._session, report)

    async def keep(self) -> None:
        """Leave the session to the next process that opens its store, and return.

        What was accepted is kept first, for at most ``Config.close_cancelled_timeout`` seconds. The
        peer sees that the WebSocket was lost, and waits. Afterwards this connection is closed, and
        messages that are not confirmed have the outcome ``KEPT``. Leaving the block of a connection
        with a store by an exception, a cancellation or Ctrl-C does the same.

        Raises:
            RuntimeError: The session has no store.
        """
        await self._driver.keep()
        self._reported = True  # leaving the block raises nothing for what is kept

    def abort(self, code: int = 4499, reason: str = "") -> None:
        """End the session at once, and wait for nothing.

        :attr:`report` says what is known of each message. A second call has no effect.
        """
        self._pump.check_thread()
        self._driver.abort(code, reason)

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin what :meth:`close` does, and return at once.

        The outcome is in :attr:`report` when the session has ended.

        Raises:
            TypeError: ``timeout`` is not a number.
        """
        check_seconds(timeout)
        self._pump.check_thread()
        self._driver.start_closing(code, reason, timeout=timeout)

    async def wait_closed(self) -> None:
        """Wait until the session has ended. Cancelling changes nothing."""
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
        """Close. After an exception no ``DeliveryError`` is raised.

        After a cancellation, ``SystemExit`` or Ctrl-C, closing takes no longer than
        ``Config.close_cancelled_timeout``. So it is when this is cancelled while it waits.
        """
        if value is not None and (
            self._driver.store is not None or not isinstance(value, Exception)
        ):
            explain(value)
            await self._driver.close_interrupted(value)
            return
        if value is not None:
            explain(value)
        try:
            if value is not None:
                await self.close(1011)
            elif not self._reported:  # else the body has caught what close() raised
                await self.close()
        except DeliveryError as error:
            if value is None:
                raise
            if not isinstance(value, DeliveryError | ConnectionClosed):
                value.add_note(f"reliable_ws: {error.report}")
        except asyncio.CancelledError as error:
            await self._driver.close_interrupted(error)
            raise

    # ------------------------------------------------------------------ WebSockets and events

    async def resume(self, websocket: Any) -> None:
        """Continue over this open WebSocket. Return when the session is open on it.

        This is for connections made by ``wrap(…, resume_within=…)``.

        Raises:
            RuntimeError: The connection opens its WebSockets by itself (``connect``, ``reopen=``).
            ConnectionClosed: The session has ended.
            NotReliablePeer: The peer did not greet on this WebSocket.
            TypeError: The object is no WebSocket that an adapter knows.
            ValueError: The WebSocket belongs to a connection already, or is not open.
        """
        await self._driver.resume(websocket)

    def reconnect_now(self) -> None:
        """Begin the next attempt to open a WebSocket at once, for example when a network is back.

        It has no effect while a WebSocket carries the session, and after the end. An attempt that
        is under way goes on. If it fails, the next one follows at once.

        Raises:
            RuntimeError: The connection opens no WebSockets by itself (see ``reopen=`` of
                ``wrap()``), or this is not the event loop's thread.
        """
        self._pump.check_thread()
        self._driver.reconnect_now()

    def _notify(
        self,
        on_event: Callable[[ConnectionEvent], object],
        name: EventName,
        code: int | None,
        reason: str,
        replayed: int,
        *,
        attempt: FailedAttempt | None = None,
    ) -> None:
        """Call ``on_event`` soon, outside of the step that it is about."""
        report = self.report if name in ("closed", "session_lost", "superseded") else None
        event = ConnectionEvent(name, self, code, reason, replayed, report, attempt)
        self._pump.loop.call_soon(call_on_event, on_event, event)


def offer_nothing(_message: object) -> int:
    """Accept nothing at once: with a store, ``send()`` waits until a message is kept."""
    return 0


def abort_silently(connection: Connection) -> None:
    """Abort a connection without calling its ``on_event``: its process has died, in a test."""
    connection._driver.notify = None
    connection.abort()


def call_on_event(on_event: Callable[[ConnectionEvent], object], event: ConnectionEvent) -> None:
    """Call the application's ``on_event``; log what it raises."""
    try:
        on_event(event)
    except Exception:  # noqa: BLE001 - the application's, and nobody waits for it
        logger.exception("on_event raised at %r of %r", event.name, event.connection)
