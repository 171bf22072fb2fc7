"""``connect``: a session that opens its WebSockets by itself."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any

from reliable_ws.backoff import Backoff
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import (
    ConnectionClosed,
    DeliveryError,
    NotReliablePeer,
    closed,
)
from reliable_ws.protocol.frames import Code, may_resume
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport, TransportClosed

from .connection import Connection, ConnectionEvent, logger
from .methods import Methods

__all__ = ["Initiator", "connect"]

Open = Callable[[], Awaitable[Transport]]


class Initiator(Connection):
    """A connection whose side opens the WebSockets."""

    def __init__(
        self,
        config: Config,
        codec: PayloadCodec | None,
        *,
        reopen: Open | None,
        backoff: Backoff | None,
        resumable: bool,
        methods: Methods | None,
        on_event: Callable[[ConnectionEvent], object] | None,
    ) -> None:
        now = asyncio.get_running_loop().time()
        session = Session(
            "initiator", secrets.token_bytes(16), secrets.token_bytes(32), now, config, codec
        )
        super().__init__(session, resumable=resumable, methods=methods, on_event=on_event)
        self._reopen = reopen
        self._backoff = backoff or Backoff()
        self._unwelcome: Exception | None = None
        "How the newest WebSocket was lost."
        self._opening: asyncio.Timeout | None = None
        self._pause: asyncio.Timeout | None = None  # before the next attempt

    async def start(self, transport: Transport) -> None:
        """Greet on the first WebSocket; return after Welcome, raise if there is none."""
        self._spawn(self._keep(transport))
        try:
            await self._opened_or_detached()
        except BaseException:
            self.abort()
            raise
        session = self._session
        ending = session.ended
        if session.incarnation and ending is None:
            return  # welcomed, even if the WebSocket is gone again
        self.abort()
        strange = "the peer does not speak reliable-ws.v1: "
        if ending is None or ending.kind is End.LOST:
            raise NotReliablePeer(f"{strange}no Welcome in time, or closed") from self._unwelcome
        if ending.kind is End.VIOLATION or ending.code == Code.VERSION:
            raise NotReliablePeer(f"{strange}{ending.reason} ({ending.code})")
        raise closed(ending, session.report())

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> None:
        if code in (Code.BUSY, Code.NO_HELLO) and not self._session.incarnation:
            # "not now" to a first Hello: start() does not try again
            self._session.end(Ending(End.REFUSED, code, reason))
            self._dispatch(self._session.settle(self._loop.time()))
        is_silent = code == Code.SILENT
        self._unwelcome = TimeoutError(reason) if is_silent else TransportClosed(code, reason)
        super()._on_detached(code, reason, retry)

    async def _opened_or_detached(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._opened, self._detached)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        """A task that dies of a bug ends the session: waiters must not wait for ever."""
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("reliable_ws failed", exc_info=error)
            self.resume_failed("internal error")

    async def _keep(self, transport: Transport) -> None:
        """Carry the session over one transport after the other until it ends."""
        attempt = 0
        while True:
            began = self._loop.time()
            await self.carry(transport)
            if self._session.ended or self._reopen is None:
                return
            if self._loop.time() - began >= self._backoff.stable:
                attempt = 0
            next_transport = await self._open_another(attempt)
            if next_transport is None:
                return
            transport = next_transport
            attempt += 1

    async def carry(self, transport: Transport) -> None:
        """Carry the session over this transport until the transport is gone."""
        if self._session.ended:
            transport.abort()
            return
        link = self._session.dial(self._loop.time(), transport.max_frame)
        carrier = self.attach(transport, link)
        self._flush()
        await carrier.read()

    async def _open_another(self, attempt: int) -> Transport | None:
        """Open a WebSocket, with back-off, as long as the session lives."""
        if self._reopen is None:
            return None
        while True:
            delay = self._backoff.delay(attempt, random.random(), self.retry)  # noqa: S311
            self.retry = None
            if await self._ends_within(min(delay, self._patience())):
                return None
            try:
                async with asyncio.timeout(self._session.config.open_timeout) as self._opening:
                    transport = await self._reopen()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next may succeed
                logger.debug("opening a WebSocket failed: %r", error)
                attempt += 1
                continue
            finally:
                self._opening = None
            if self._session.ended:
                transport.abort()
                return None
            return transport

    def _on_ended(self) -> None:
        super()._on_ended()
        if self._opening is not None and not self._opening.expired():
            self._opening.reschedule(self._loop.time())  # nobody needs another WebSocket

    async def _ends_within(self, delay: float) -> bool:
        try:
            async with asyncio.timeout(delay) as self._pause:
                await self._ended.wait()
        except TimeoutError:
            return False
        finally:
            self._pause = None
        return True

    def _patience(self) -> float:
        """Longest pause before the next attempt: closing leaves time for a few, not for many."""
        session = self._session
        if not session.closing or session.ended:
            return math.inf
        left = session.deadline - self._loop.time()
        return max(left / 4, 0.2)

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin to close; a pause between attempts that is too long for that is cut short."""
        super().start_closing(code, reason, timeout=timeout)
        pause = self._pause
        if pause is not None and not pause.expired() and (when := pause.when()) is not None:
            pause.reschedule(min(when, self._loop.time() + self._patience()))

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, greeting on it first."""
        from reliable_ws.adapters import adapt

        if self._session.ended:
            raise self._session.error()
        transport = adapt(websocket)
        self._detached.clear()
        self._opened.clear()
        self._spawn(self.carry(transport))
        await self._opened_or_detached()
        if self._session.ended:
            raise self._session.error()
        if not self._session.attached:
            raise NotReliablePeer("no Welcome on this WebSocket")


class connect:  # noqa: N801 - looks and behaves like its namesake in websockets
    """Open a session with a server, and keep it over any number of WebSockets.

    ``async with connect(uri) as conn``, ``conn = await connect(uri)``, or
    ``async for conn in connect(uri)``, which begins a new session, with back-off, after each
    ``SessionLost``. Returns after the greeting; a first attempt that fails raises what the
    WebSocket library raises, ``NotReliablePeer`` if the server does not speak the protocol, or
    ``ConnectionClosed`` if it refuses. After that a lost WebSocket is replaced, with jittered
    back-off, for ``config.session_ttl`` seconds since the last contact.

    ``reconnect``: ``True``, ``False`` (a lost WebSocket ends the session) or a
    :class:`~reliable_ws.Backoff`. ``on_event`` is called with a ``ConnectionEvent``.
    ``payload_codec`` packs messages that are neither ``str`` nor ``bytes`` (default: msgpack).
    Everything else goes to websockets' ``connect``; ``additional_headers`` and ``proxy`` work on
    every supported release, ``compression`` is off unless given.
    """

    def __init__(
        self,
        uri: str,
        *,
        methods: Methods | None = None,
        config: Config | None = None,
        reconnect: bool | Backoff = True,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
        **transport_options: Any,
    ) -> None:
        self._uri = uri
        self._methods = methods
        self._config = config or Config()
        self._reconnect = reconnect
        self._on_event = on_event
        self._codec = payload_codec
        options: dict[str, Any] = {"open_timeout": self._config.open_timeout}
        self._options = options | transport_options
        self._connection: Initiator | None = None

    async def _dial(self) -> Transport:
        from reliable_ws.adapters import websockets

        return await websockets.dial(self._uri, **self._options)

    async def _open(self) -> Initiator:
        transport = await self._dial()
        backoff = self._reconnect if isinstance(self._reconnect, Backoff) else None
        connection = Initiator(
            self._config,
            self._codec,
            reopen=self._dial if self._reconnect else None,
            backoff=backoff,
            resumable=bool(self._reconnect),
            methods=self._methods,
            on_event=self._on_event,
        )
        await connection.start(transport)
        return connection

    def __await__(self) -> Generator[Any, None, Connection]:
        """Open the session."""
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        """Open the session; leaving the block closes it."""
        self._connection = await self._open()
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """As leaving the connection's own block."""
        if self._connection is not None:
            await self._connection.__aexit__(kind, value, tb)

    async def __aiter__(self) -> AsyncIterator[Connection]:
        """Begin a new session whenever the body of the loop comes to its end.

        Attempts that fail for a passing reason (no network, HTTP 5xx, a busy server) are
        repeated with back-off, and so are sessions that are lost soon after they began; what
        cannot get better is raised. A greeting that is cut off is a matter of the network; one
        that is not answered, only if the server has answered one before.
        """
        loop = asyncio.get_running_loop()
        backoff = self._reconnect if isinstance(self._reconnect, Backoff) else Backoff()
        attempt = 0
        welcomed = False
        while True:
            try:
                connection = await self._open()
            except Exception as error:
                if not _may_pass(error, welcomed=welcomed):
                    raise
                await asyncio.sleep(backoff.delay(attempt, random.random()))  # noqa: S311
                attempt += 1
                continue
            welcomed = True
            began = loop.time()
            try:
                yield connection
            except GeneratorExit:  # the loop was left: nobody is there to be told
                try:
                    await connection.close()
                except DeliveryError as error:
                    logger.warning("a session ended with undelivered messages: %s", error.report)
                raise
            report = connection.report
            if report.ending is None:
                await connection.close()
            elif report.undelivered:  # the body has most likely been told
                logger.warning("a session ended with undelivered messages: %s", report)
            is_lost = report.ending is not None and report.ending.kind is not End.FINISHED
            if not is_lost or loop.time() - began >= backoff.stable:
                attempt = 0
            else:
                await asyncio.sleep(backoff.delay(attempt, random.random()))  # noqa: S311
                attempt += 1


def _may_pass(error: Exception, *, welcomed: bool) -> bool:
    """Whether the next attempt may succeed after one that failed like this."""
    from reliable_ws.adapters import websockets

    if isinstance(error, ConnectionClosed):
        return may_resume(error.code)
    if isinstance(error, NotReliablePeer):
        cause = error.__cause__
        is_cut = isinstance(cause, TransportClosed) and cause.code is None
        return is_cut or (welcomed and cause is not None)
    return websockets.is_transient(error)
