"""``wrap``: reliability over a WebSocket that is open already, of any library that blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

from reliable_ws.adapters import adapt_blocking as adapt
from reliable_ws.adapters import role_of
from reliable_ws.backoff import Backoff
from reliable_ws.driver.failures import RetryPolicy
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import SessionOptions, TraceOption
from reliable_ws.driver.ownership import release, take_over
from reliable_ws.driver.status import ConnectionEvent
from reliable_ws.driver.validation import (
    ACCEPTORS_STORE,
    NEEDS_REOPEN,
    check_reopening,
    check_shared,
    check_store,
    role_for,
)
from reliable_ws.protocol.config import DEFAULT_CONFIG, Config
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.session import Role
from reliable_ws.store import Store
from reliable_ws.transport import SyncTransport

from .connection import Connection
from .initiator import Initiator
from .open_kept import open_kept
from .sessions import Sessions

__all__ = ["wrap"]


def wrap(
    websocket: Any,
    *,
    role: Role | None = None,
    config: Config | None = None,
    sessions: Sessions | None = None,
    reopen: Callable[[], Any] | None = None,
    resume_within: float | None = None,
    reconnect: Backoff | None = None,
    retry: RetryPolicy | None = None,
    principal: Hashable = None,
    methods: Methods | None = None,
    on_event: Callable[[ConnectionEvent], object] | None = None,
    payload_codec: PayloadCodec | None = None,
    store: Store | None = None,
    name: str | None = None,
    trace: TraceOption = None,
) -> Connection:
    """Take over an open WebSocket, and greet the peer.

    ``with wrap(ws) as conn``, or ``conn = wrap(ws)`` and later ``conn.close()``. The peer has to
    wrap its end too. From then on nothing else may use the WebSocket. It is closed with the
    connection.

    When the WebSocket is lost, the session ends at once with ``SessionLost``. Give ``reopen``,
    ``resume_within`` or ``sessions`` to continue instead.

    Args:
        websocket: An open WebSocket of a supported library, or a transport of your own.
        role: ``"initiator"`` for the client, which says Hello, or ``"acceptor"`` for the server.
            Default: what the library tells.
        methods: What the peer may request. Default: nothing.
        config: Limits and timeouts. Default: ``Config()``.
        sessions: For the acceptor: the sessions that wrapped connections share. Only the first
            WebSocket of a session gives its connection. A later one carries on that connection:
            the call waits until this WebSocket is gone, and raises ``AlreadyServed``.
            :meth:`Sessions.handle` has no second handler. They bring their own ``methods``,
            ``config``, ``on_event``, ``payload_codec`` and ``trace``.
        reopen: For the initiator: a function that returns a new open WebSocket.
            If it returns one that belongs to a connection, the session is lost. The ``ValueError``
            is the cause of the ``SessionLost``.
        resume_within: Seconds that the session waits for ``conn.resume(ws)``, on either side.
        reconnect: The back-off between two calls of ``reopen``. Default: ``Backoff()``.
        retry: As in :func:`connect`, for calls of ``reopen``.
        principal: For the acceptor: who the peer is. Only the same principal can resume a session.
        on_event: Called with each ``ConnectionEvent``, in a thread of its own.
        payload_codec: Packs messages that are neither ``str`` nor ``bytes``. Default: msgpack.
        store: For the initiator, with ``name``, as in :func:`connect`. An acceptor gives the store
            to its :class:`Sessions`.
        name: The name of the session in the store.
        trace: Writes what every WebSocket carries, without payloads: the path of a file, or a
            :class:`~reliable_ws.WireTrace`. Default: nothing is written.

    Raises:
        StoreError: The store cannot be opened.
        OSError: The file of the trace cannot be written.
        TypeError: No adapter knows the object, or an argument has the wrong type.
        ValueError: The WebSocket is not open, is being read by something else or is wrapped
            already; the role is missing; or an option does not fit the role or ``sessions``.
        ImportError: The WebSocket's library is too old.
        NotReliablePeer: The peer did not greet within ``config.open_timeout``.
        SessionLost: The network failed during the greeting.
        ServerBusy: The peer takes no new session now: ``retry_after`` says when to come again.
        ConnectionClosed: The peer refused the session.
        AlreadyServed: The WebSocket carried on a session of ``sessions`` that has its handler.
    """
    # Refuse what does not fit, before the WebSocket is touched.
    check_store(store, name, named=True)
    check_shared(
        sessions,
        Sessions,
        methods=methods,
        config=config,
        on_event=on_event,
        payload_codec=payload_codec,
        resume_within=resume_within,
        trace=trace,
    )
    check_reopening(reopen, reconnect, awaited=False)
    config = config or DEFAULT_CONFIG
    if resume_within is not None:
        config = dataclasses.replace(config, session_ttl=resume_within)
    options = SessionOptions.of(
        awaited=False,
        methods=methods,
        config=config,
        on_event=on_event,
        payload_codec=payload_codec,
        resumable=resume_within is not None or sessions is not None or reopen is not None,
        backoff=reconnect,
        retry=retry,
        store=store,
        name=name,
        trace=trace,
    )
    # Take the WebSocket over. It is given back if its side or the store does not fit.
    transport = take_over(websocket, adapt)
    try:
        role = role_for(websocket, role or role_of(transport), reopen=reopen, sessions=sessions)
    except ValueError:
        release(transport)
        raise
    if role == "acceptor" and store is not None:
        release(transport)
        raise ValueError(ACCEPTORS_STORE)
    # Wait for the peer's Hello,
    if role == "acceptor":
        if sessions is None:
            sessions = Sessions(
                methods=methods,
                config=config,
                on_event=on_event,
                payload_codec=payload_codec,
                trace=options.trace,
            )
        return sessions.accept(transport, principal, resumable=options.resumable)
    # or say Hello: for the session that the store has kept, or for a new one.
    if store is not None and name is not None:
        first = FirstWebSocket(transport, reopen)
        return open_kept(options, store, name, first.take, reopen)
    driver = Initiator(options, reopen)
    connection = Connection(driver, on_event)
    driver.start(transport)
    return connection


class FirstWebSocket:
    """The WebSocket that was wrapped, for the first session that is to be opened on one."""

    def __init__(self, transport: SyncTransport, reopen: Callable[[], Any] | None) -> None:
        self._transport: SyncTransport | None = transport
        self._reopen = reopen

    def take(self) -> SyncTransport:
        """Return it; a second time, open another one."""
        transport, self._transport = self._transport, None
        if transport is not None:
            return transport
        if self._reopen is None:
            raise ValueError(NEEDS_REOPEN)
        return take_over(self._reopen(), adapt)
