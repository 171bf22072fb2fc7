"""``connect``: a session that opens its WebSockets by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reliable_ws.backoff import Backoff
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import SessionOptions
from reliable_ws.driver.status import ConnectionEvent
from reliable_ws.driver.validation import check_options, check_uri
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.transport import SyncTransport

from .connection import Connection
from .initiator import Initiator

__all__ = ["connect"]


def connect(
    uri: str,
    *,
    config: Config | None = None,
    reconnect: bool | Backoff = True,
    methods: Methods | None = None,
    on_event: Callable[[ConnectionEvent], object] | None = None,
    payload_codec: PayloadCodec | None = None,
    **transport_options: Any,
) -> Connection:
    """Open a session with a server, and keep it over any number of WebSockets.

    ``with connect(uri) as conn``, or ``conn = connect(uri)`` and later ``conn.close()``. Returns
    after the greeting; a first attempt that fails raises what the WebSocket library raises,
    ``NotReliablePeer`` if the server does not speak the protocol, ``SessionLost`` if the network is
    lost meanwhile, ``ConnectionClosed`` if the server refuses. After that a lost WebSocket is
    replaced, with jittered back-off, for ``config.session_ttl`` seconds since the last contact.

    ``reconnect``: ``True``, ``False`` (a lost WebSocket ends the session) or a
    :class:`~reliable_ws.Backoff`. ``on_event`` is called with a ``ConnectionEvent``, in a thread
    of its own. ``payload_codec`` packs messages that are neither ``str`` nor ``bytes`` (default:
    msgpack). Everything else goes to websockets' ``sync.client.connect``; ``additional_headers``
    and ``proxy`` work on every supported release, ``compression`` is off unless given.
    """
    from reliable_ws.adapters.websockets import sync as websockets

    check_uri(uri)
    check_options(reconnect=reconnect)
    options = SessionOptions.of(
        awaited=False,
        methods=methods,
        config=config,
        on_event=on_event,
        payload_codec=payload_codec,
        resumable=bool(reconnect),
        backoff=reconnect if isinstance(reconnect, Backoff) else None,
    )
    timeout: dict[str, Any] = {"open_timeout": options.config.open_timeout}

    def dial() -> SyncTransport:
        return websockets.dial(uri, **timeout | transport_options)

    driver = Initiator(options, dial if reconnect else None)
    connection = Connection(driver, on_event)
    driver.start(dial())
    return connection
