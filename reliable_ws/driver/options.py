"""What the application wants of its sessions, checked once and handed on as one object."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from reliable_ws.backoff import DEFAULT_BACKOFF, Backoff
from reliable_ws.protocol.config import DEFAULT_CONFIG, Config
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.session import Session
from reliable_ws.store import Store
from reliable_ws.wire_trace import WireTrace, wire_trace_of

from .failures import RetryPolicy
from .methods import Methods
from .restored import about_initiator, config_with_store
from .status import ConnectionEvent
from .validation import check_options

__all__ = ["PER_ATTEMPT", "SessionOptions", "TraceOption", "unix_uri"]

TraceOption: TypeAlias = WireTrace | str | os.PathLike[str] | None
"""What ``trace=`` may be."""

PER_ATTEMPT = ("additional_headers", "subprotocols")
"""Options of a WebSocket that may be functions: called for each attempt, since tokens expire."""


def unix_uri(ssl: object) -> str:
    """Return the default URI of a server at a Unix socket, for ``ssl=`` of ``unix_connect``."""
    return "ws://localhost/" if ssl is None else "wss://localhost/"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Options of a session, at either side."""

    config: Config = field(default_factory=Config)
    methods: Methods | None = None
    on_event: Callable[[ConnectionEvent], object] | None = None
    codec: PayloadCodec | None = None
    resumable: bool = True
    "Whether the session outlives its WebSocket."
    backoff: Backoff = field(default_factory=Backoff)
    "Pauses between the initiator's attempts to open another WebSocket."
    retry: RetryPolicy | None = None
    "Says of a failed attempt whether another follows."
    store: Store | None = None
    "Keeps the sessions."
    name: str | None = None
    "Which session of the store this is, at the initiator."
    offline: bool = False
    "Whether the application gets the connection before the server is reached."
    trace: WireTrace | None = None
    "Where to write what travels."

    @classmethod
    def of(
        cls,
        *,
        awaited: bool,
        methods: Methods | None,
        config: Config | None,
        on_event: Callable[[ConnectionEvent], object] | None,
        payload_codec: PayloadCodec | None,
        resumable: bool = True,
        backoff: Backoff | None = None,
        retry: RetryPolicy | None = None,
        store: Store | None = None,
        name: str | None = None,
        offline: bool = False,
        trace: TraceOption = None,
    ) -> SessionOptions:
        """Return what a caller has passed, with defaults for what was not.

        ``awaited``: whether handlers run in an event loop, else in threads.

        Raises:
            OSError: The file of the trace cannot be written.
            TypeError: an option is of the wrong kind, or a handler cannot be run here.
        """
        check_options(
            methods=methods,
            config=config,
            on_event=on_event,
            payload_codec=payload_codec,
            retry=retry,
            store=store,
            trace=trace,
        )
        if methods is not None:
            if awaited:
                methods.check_loop()
            else:
                methods.check_threads()
        config = config or DEFAULT_CONFIG
        if store is not None:
            config = config_with_store(config)
        return cls(
            config=config,
            methods=methods,
            on_event=on_event,
            codec=payload_codec,
            resumable=resumable,
            backoff=backoff or DEFAULT_BACKOFF,
            retry=retry,
            store=store,
            name=name,
            offline=offline,
            trace=wire_trace_of(trace),
        )

    def new_session(self, session_id: bytes, key: bytes, now: float) -> Session:
        """Return a session of the initiator that begins. Id and key are random bytes."""
        session = Session("initiator", session_id, key, now, self.config, self.codec)
        if self.store is not None:
            session.keep_in_store(about_initiator(self.name or ""))
        return session
