"""``connect``: a session that opens its WebSockets by itself."""

from __future__ import annotations

import asyncio
import inspect
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from reliable_ws.adapters.opener import TransportName, opener
from reliable_ws.backoff import Backoff
from reliable_ws.driver.cookies import Cookies
from reliable_ws.driver.failures import (
    FailedAttempt,
    FailedAttempts,
    RetryPolicy,
    Stage,
    explain,
)
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import PER_ATTEMPT, SessionOptions, TraceOption, unix_uri
from reliable_ws.driver.reconnect import is_ended_by_peer
from reliable_ws.driver.status import ConnectionEvent, logger
from reliable_ws.driver.validation import (
    check_headers_now,
    check_offline,
    check_options,
    check_store,
    check_uri,
    check_uri_now,
)
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import DeliveryError
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.store import Store
from reliable_ws.transport import Transport

from .connection import Connection, call_on_event
from .initiator import Initiator
from .open_kept import open_kept
from .transport_options import check_in_browser, check_opening
from .unopened import UnopenedConnection

__all__ = ["connect", "unix_connect"]

IN_BROWSER: bool = sys.platform == "emscripten"
"""Whether this is Pyodide, where JavaScript has the WebSockets, and nobody else has sockets."""


class connect(UnopenedConnection):  # noqa: N801 - looks and behaves like its namesake in websockets
    """Open a session with a server, and keep it over any number of WebSockets.

    ``async with connect(uri) as conn``, or ``conn = await connect(uri)`` and later ``await
    conn.close()``. It returns after the greeting. ``async for conn in connect(uri)`` begins a new
    session, with back-off, after each ``SessionLost``. It also repeats an attempt that failed for a
    passing reason. Close the connection before you leave that loop. Leaving the block closes
    the session. A lost WebSocket is replaced, with jittered back-off, until ``config.session_ttl``
    seconds have passed since the last contact.

    Args:
        uri: Where the server is: ``ws://…`` or ``wss://…``, or a function that returns that. It is
            called for each attempt, as are functions for ``additional_headers`` and
            ``subprotocols``, because tokens expire. Coroutine functions are
            awaited, within ``config.open_timeout``.
        methods: What the peer may request. Default: nothing.
        config: Limits and timeouts. Default: ``Config()``.
        reconnect: ``True``, a :class:`~reliable_ws.Backoff`, or ``False``: then a lost WebSocket
            ends the session.
        retry: Called with each :class:`~reliable_ws.FailedAttempt`, if something repeats attempts:
            ``True`` goes on, ``False`` gives up, ``None`` does as by default. The default for a
            session that reconnects: HTTP 401, 403 and 407, a redirect away from WebSockets and a
            certificate that is not trusted are final with the fifth time. Everything else is
            repeated as long as the session lives.
        on_event: Called with each ``ConnectionEvent``.
        payload_codec: Packs messages that are neither ``str`` nor ``bytes``. Default: msgpack.
        store: Keeps the session, so that it goes on when this process has died: a
            :class:`~reliable_ws.SQLiteStore`, for example. ``name`` says which session of the store
            this is. If the store has one of this name that has not ended, that is resumed, and
            ``conn.restored`` says what it owes. Leaving the block by an exception keeps the session
            for the next process: see :meth:`Connection.keep`.
        name: The name of the session in the store.
        offline: Whether to return as soon as the store is open. What is sent is kept, and goes when
            the server can be reached: ``conn.state`` is ``CONNECTING`` until then. Attempts that
            fail are events. Only a session that an earlier process was closing needs the server
            first.
        trace: Writes what every WebSocket carries, without payloads: the path of a file, or a
            :class:`~reliable_ws.WireTrace`. Default: nothing is written.
        transport: The library that opens the WebSockets: ``"websockets"``, or ``"picows"``, which
            is faster and needs the extra ``reliable-ws[fast]``. docs/transports.md has its options.
        transport_options: All other keywords go to websockets' ``connect``. ``additional_headers``
            and ``proxy`` work on every supported release. ``compression`` is off unless you give
            it. Cookies that the server sets in a handshake are sent in the handshakes that follow.
            In Pyodide there are only ``subprotocols`` and ``open_timeout``.

    Raises:
        OSError: The first attempt failed, or the file of the trace cannot be written. Other
            exceptions of the WebSocket library come out as they are, with a note where they do not
            say what was wrong.
        NotReliablePeer: The server does not speak this protocol.
        SessionLost: The network failed during the greeting.
        ServerBusy: The server takes no new session now: ``retry_after`` says when to come again.
        ConnectionClosed: The server refused the session.
        StoreError: The store cannot be opened. The subclass and the message say why.
        ImportError: The library of ``transport`` is not installed, or too old.
        ValueError: The session of this name is in use in this process, or an option has a value
            that the library of ``transport`` cannot serve.
        TypeError: An argument has the wrong type, or there is no option of this name.
    """

    verb = "connect"

    def __init__(
        self,
        uri: str | Callable[[], str | Awaitable[str]],
        *,
        methods: Methods | None = None,
        config: Config | None = None,
        reconnect: bool | Backoff = True,
        retry: RetryPolicy | None = None,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
        store: Store | None = None,
        name: str | None = None,
        offline: bool = False,
        trace: TraceOption = None,
        transport: TransportName = "websockets",
        **transport_options: Any,
    ) -> None:
        check_uri(uri)
        check_store(store, name, named=True)
        check_options(reconnect=reconnect)
        check_offline(offline, store, reconnects=bool(reconnect))
        if IN_BROWSER:
            check_in_browser(transport, transport_options)
        else:
            check_opening("connect()", transport, transport_options)
        self._uri = uri
        self._transport = transport
        self._cookies = Cookies()
        self._options = SessionOptions.of(
            awaited=True,
            methods=methods,
            config=config,
            on_event=on_event,
            payload_codec=payload_codec,
            resumable=bool(reconnect),
            backoff=reconnect if isinstance(reconnect, Backoff) else None,
            retry=retry,
            store=store,
            name=name,
            offline=offline,
            trace=trace,
        )
        self._transport_options = transport_options

    async def _dial(self) -> Transport:
        options: dict[str, Any] = {"open_timeout": self._options.config.open_timeout}
        options |= self._transport_options
        uri = self._uri
        given = [name for name in PER_ATTEMPT if callable(options.get(name))]
        if given or callable(uri):
            async with asyncio.timeout(self._options.config.open_timeout):
                uri = await _now(uri)
                for name in given:
                    options[name] = await _now(options[name])
        uri = check_uri_now(uri)
        if IN_BROWSER:
            from reliable_ws.adapters import pyodide

            return await pyodide.dial(uri, **options)
        check_headers_now(options.get("additional_headers"))
        headers = self._cookies.add_to(uri, options.get("additional_headers"))
        library = opener(self._transport)
        transport: Transport = await library.dial(uri, **options | {"additional_headers": headers})
        self._cookies.take(uri, library.cookies_set(transport.websocket))
        return transport

    async def _dial_first(self) -> Transport:
        try:
            return await self._dial()
        except Exception as error:
            explain(error)
            raise

    async def _open(self) -> Connection:
        options = self._options
        reopen = self._dial if options.resumable else None
        if options.store is not None and options.name is not None:
            return await open_kept(options, options.store, options.name, self._dial_first, reopen)
        transport = await self._dial_first()
        initiator = Initiator(options, reopen)
        connection = Connection(initiator, options.on_event)
        await initiator.start(transport)
        return connection

    async def __aiter__(self) -> AsyncIterator[Connection]:
        """Begin a new session whenever the body of the loop comes to its end.

        Attempts that fail for a passing reason (no network, HTTP 408, 425, 429 or 5xx, a busy
        server) are repeated with back-off, and ``Retry-After`` is heeded up to
        ``Backoff.longest``. Each is an event ``attempt_failed`` and, at most every 5 seconds, a log
        line of level INFO, or WARNING once there were five in a row. Any other failure is raised:
        at once before the first session, with the fifth time after it. ``retry=`` decides
        otherwise. A session that the server ends soon after it began, or that is soon lost, also
        counts as a failed attempt: one that lives for less than ``Backoff.stable`` seconds. A
        greeting that is cut off is a failure of the network. A greeting that is not answered is one
        only if the server has answered one before.
        """
        loop = asyncio.get_running_loop()
        backoff = self._options.backoff
        attempt = 0
        failures = FailedAttempts(Stage.FIRST, self._options.retry, "connect()")
        while True:
            # Open a session; try again as long as the reason may pass.
            try:
                connection = await self._open()
            except Exception as error:
                failed = failures.failed(error, loop.time())
                self._tell(failed)
                if failures.is_final(failed):
                    raise
                chance = random.random()  # noqa: S311
                await asyncio.sleep(backoff.delay(attempt, chance, failed.retry_after))
                attempt += 1
                continue
            # Run the body of the loop.
            failures.succeeded(Stage.NEXT)
            began = loop.time()
            try:
                yield connection
            except GeneratorExit:  # the loop was left: an exception would reach nobody
                try:
                    await connection.__aexit__(None, None, None)
                except DeliveryError as error:
                    logger.warning(
                        "%r ended with undelivered messages: %s", connection, error.report
                    )
                raise
            # Close, or log what a session that is over has not delivered.
            report = connection.report
            if report.ending is None:
                await connection.close()
            elif report.confirmed < report.sent:  # most likely a call in the body has raised it
                logger.warning("%r ended with undelivered messages: %s", connection, report)
            # A session that the peer ended soon, or that was soon lost, is a failed attempt.
            if is_ended_by_peer(connection._session) and loop.time() - began < backoff.stable:
                await asyncio.sleep(backoff.delay(attempt, random.random()))  # noqa: S311
                attempt += 1
            else:
                attempt = 0

    def _tell(self, failed: FailedAttempt) -> None:
        """Call ``on_event`` for an attempt to begin a session."""
        on_event = self._options.on_event
        if on_event is not None:
            reason, status = failed.reason, failed.status
            event = ConnectionEvent("attempt_failed", None, status, reason, attempt=failed)
            asyncio.get_running_loop().call_soon(call_on_event, on_event, event)


async def _now(option: Any) -> Any:
    """Return what an option is for this attempt: a function is called, what it returns awaited."""
    if callable(option):
        option = option()
        if inspect.isawaitable(option):
            option = await option
    return option


def unix_connect(path: Any = None, uri: str | None = None, **options: Any) -> connect:
    """Open a session with a server that listens at a Unix socket: as :func:`connect`.

    Args:
        path: The path of the socket. ``None``: pass a connected one as ``sock=``.
        uri: What the server is told. Default: ``ws://localhost/``, or ``wss://localhost/`` where
            ``ssl=`` is given.
        options: As for :func:`connect`.

    Raises:
        OSError: The first attempt failed. Further exceptions are those of :func:`connect`.
        TypeError: An argument has the wrong type, or there is no option of this name.
    """
    if uri is None:
        uri = unix_uri(options.get("ssl"))
    return connect(uri, unix=True, path=path, **options)
