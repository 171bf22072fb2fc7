"""``connect``: a session that opens its WebSockets by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reliable_ws.backoff import Backoff
from reliable_ws.driver.cookies import Cookies
from reliable_ws.driver.failures import RetryPolicy, explain
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import PER_ATTEMPT, SessionOptions, TraceOption, unix_uri
from reliable_ws.driver.status import ConnectionEvent
from reliable_ws.driver.validation import (
    check_headers_now,
    check_known,
    check_offline,
    check_options,
    check_store,
    check_uri,
    check_uri_now,
)
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.store import Store
from reliable_ws.transport import SyncTransport

from .connection import Connection
from .initiator import Initiator
from .open_kept import open_kept

__all__ = ["connect", "unix_connect"]


def connect(
    uri: str | Callable[[], str],
    *,
    config: Config | None = None,
    reconnect: bool | Backoff = True,
    retry: RetryPolicy | None = None,
    methods: Methods | None = None,
    on_event: Callable[[ConnectionEvent], object] | None = None,
    payload_codec: PayloadCodec | None = None,
    store: Store | None = None,
    name: str | None = None,
    offline: bool = False,
    trace: TraceOption = None,
    **transport_options: Any,
) -> Connection:
    """Open a session with a server, and keep it over any number of WebSockets.

    ``with connect(uri) as conn``, or ``conn = connect(uri)`` and later ``conn.close()``. The call
    returns after the greeting. Leaving the block closes the session. A lost WebSocket is replaced,
    with jittered back-off, until ``config.session_ttl`` seconds have passed since the last contact.

    Args:
        uri: Where the server is: ``ws://…`` or ``wss://…``, or a function that returns that. It is
            called for each attempt, as are functions for ``additional_headers`` and
            ``subprotocols``, because tokens expire.
        methods: What the peer may request. Default: nothing.
        config: Limits and timeouts. Default: ``Config()``.
        reconnect: ``True``, a :class:`~reliable_ws.Backoff`, or ``False``: then a lost WebSocket
            ends the session.
        retry: Called with each :class:`~reliable_ws.FailedAttempt` of a session that reconnects:
            ``True`` goes on, ``False`` gives up, ``None`` does as by default: HTTP 401, 403 and
            407, a redirect away from WebSockets and a certificate that is not trusted are final
            with the fifth time. Everything else is repeated as long as the session lives.
        on_event: Called with each ``ConnectionEvent``, in a thread of its own.
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
        transport_options: All other keywords go to websockets' ``sync.client.connect``.
            ``additional_headers`` and ``proxy`` work on every supported release. ``compression`` is
            off unless you give it. Cookies that the server sets in a handshake are sent in the
            handshakes that follow.

    Raises:
        OSError: The first attempt failed, or the file of the trace cannot be written. Other
            exceptions of the WebSocket library come out as they are, with a note where they do not
            say what was wrong.
        NotReliablePeer: The server does not speak this protocol.
        SessionLost: The network failed during the greeting.
        ServerBusy: The server takes no new session now: ``retry_after`` says when to come again.
        ConnectionClosed: The server refused the session.
        StoreError: The store cannot be opened. The subclass and the message say why.
        ValueError: The session of this name is in use in this process.
        TypeError: An argument has the wrong type, or there is no option of this name.
    """
    from reliable_ws.adapters.websockets import sync as websockets
    from reliable_ws.adapters.websockets.options import cookies_set

    check_uri(uri)
    check_store(store, name, named=True)
    check_options(reconnect=reconnect)
    check_offline(offline, store, reconnects=bool(reconnect))
    check_known("connect()", transport_options, websockets.connect_options())
    options = SessionOptions.of(
        awaited=False,
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
    timeout: dict[str, Any] = {"open_timeout": options.config.open_timeout}

    cookies = Cookies()

    def dial() -> SyncTransport:
        options = timeout | transport_options
        for option in PER_ATTEMPT:
            if callable(options.get(option)):
                options[option] = options[option]()
        now = check_uri_now(uri() if callable(uri) else uri)
        check_headers_now(options.get("additional_headers"))
        headers = cookies.add_to(now, options.get("additional_headers"))
        transport = websockets.dial(now, **options | {"additional_headers": headers})
        cookies.take(now, cookies_set(transport.websocket))
        return transport

    def dial_first() -> SyncTransport:
        try:
            return dial()
        except Exception as error:
            explain(error)
            raise

    reopen = dial if reconnect else None
    if store is not None and name is not None:
        return open_kept(options, store, name, dial_first, reopen)
    driver = Initiator(options, reopen)
    connection = Connection(driver, on_event)
    driver.start(dial_first())
    return connection


def unix_connect(path: Any = None, uri: str | None = None, **options: Any) -> Connection:
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
