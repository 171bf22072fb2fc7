"""``wrap``: reliability over a WebSocket that is open already, of any library that blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

from reliable_ws.adapters import adapt_blocking as adapt
from reliable_ws.adapters import role_of
from reliable_ws.backoff import Backoff
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import SessionOptions
from reliable_ws.driver.ownership import release, take_over
from reliable_ws.driver.status import ConnectionEvent
from reliable_ws.driver.validation import check_reopening, check_shared, role_for
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.session import Role

from .connection import Connection
from .initiator import Initiator
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
    principal: Hashable = None,
    methods: Methods | None = None,
    on_event: Callable[[ConnectionEvent], object] | None = None,
    payload_codec: PayloadCodec | None = None,
) -> Connection:
    """Take over an open WebSocket and greet the peer.

    ``with wrap(ws) as conn``, or ``conn = wrap(ws)`` and later ``conn.close()``.
    The peer has to wrap its end too. From then on nobody else may use the WebSocket; it is
    closed with the connection. ``role`` is which side says Hello: ``"initiator"`` for the
    client, ``"acceptor"`` for the server; inferred where the library tells, else required.

    What happens when the WebSocket is lost: without more, the session ends at once with
    ``SessionLost``. An initiator goes on by itself with ``reopen``, a function that returns a new
    open WebSocket. Either side waits ``resume_within`` seconds for ``conn.resume(ws)``. An
    acceptor resumes across wrapped connections that share ``sessions``: then a WebSocket of a
    session that lives gives the same connection again.

    Raises ``TypeError`` for an object that no adapter knows, ``ValueError`` for a WebSocket that
    cannot be taken over, or is wrapped already, or a missing role, ``NotReliablePeer`` if the peer
    does not greet within ``config.open_timeout``.
    """
    check_shared(
        sessions,
        Sessions,
        methods=methods,
        config=config,
        on_event=on_event,
        payload_codec=payload_codec,
        resume_within=resume_within,
    )
    check_reopening(reopen, reconnect, awaited=False)
    config = config or Config()
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
    )
    transport = take_over(websocket, adapt)
    try:
        role = role_for(websocket, role or role_of(transport), reopen=reopen, sessions=sessions)
    except ValueError:
        release(transport)
        raise
    if role == "acceptor":
        if sessions is None:
            sessions = Sessions(
                methods=methods, config=config, on_event=on_event, payload_codec=payload_codec
            )
        return sessions.accept(transport, principal, resumable=options.resumable)
    driver = Initiator(options, reopen)
    connection = Connection(driver, on_event)
    driver.start(transport)
    return connection
