"""``connect``: a session that opens its WebSockets by itself, in a thread."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from reliable_ws.backoff import Backoff
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import NotReliablePeer
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.shared.dialing import OPENS_BY_ITSELF, patience, why_not_met
from reliable_ws.shared.facts import ConnectionEvent, logger
from reliable_ws.transport import SyncTransport

from .clock import start
from .connection import Connection

__all__ = ["Initiator", "connect"]

Open = Callable[[], SyncTransport]


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
        on_event: Callable[[ConnectionEvent], object] | None,
    ) -> None:
        now = time.monotonic()
        session = Session(
            "initiator", secrets.token_bytes(16), secrets.token_bytes(32), now, config, codec
        )
        super().__init__(session, threading.Lock(), resumable=resumable, on_event=on_event)
        self._reopen = reopen
        self._backoff = backoff or Backoff()

    def start(self, transport: SyncTransport) -> None:
        """Greet on the first WebSocket; return after Welcome, raise if there is none."""
        self._spawn(self._keep, transport)
        with self._lock:
            try:
                self._change.wait_for(lambda: self._met)
            except BaseException:
                self._abort(Code.ABORTED, "")
                raise
            error = why_not_met(self._session)
            if error is not None:
                self._abort(Code.ABORTED, "")
        if error is not None:
            raise error

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> None:
        if code in (Code.BUSY, Code.NO_HELLO) and not self._session.incarnation:
            # "not now" to a first Hello: start() does not try again
            self._session.end(Ending(End.REFUSED, code, reason))
        super()._on_detached(code, reason, retry)

    def _spawn(self, work: Callable[[SyncTransport], None], transport: SyncTransport) -> None:
        """Work in a thread; a bug there ends the session: waiters must not wait for ever."""

        def guarded() -> None:
            try:
                work(transport)
            except Exception:  # noqa: BLE001 - logged
                logger.exception("reliable_ws failed")
                with self._lock:
                    self._lose("internal error")

        start(guarded)

    def _keep(self, transport: SyncTransport) -> None:
        """Carry the session over one transport after the other until it ends."""
        attempt = 0
        while True:
            began = time.monotonic()
            self._carry(transport)
            if self._reopen is None or self._session.ended:
                return
            if time.monotonic() - began >= self._backoff.stable:
                attempt = 0
            another = self._open_another(self._reopen, attempt)
            if another is None:
                return
            transport = another
            attempt += 1

    def _carry(self, transport: SyncTransport) -> None:
        """Carry the session over this transport until the transport is gone."""
        with self._lock:
            if self._session.ended:
                transport.abort()
                return
            link = self._session.dial(time.monotonic(), transport.max_frame)
            carrier = self.attach(transport, link)
        carrier.read()

    def _open_another(self, reopen: Open, attempt: int) -> SyncTransport | None:
        """Open a WebSocket, with back-off, as long as the session lives."""
        while not self._pause(attempt):
            try:
                return reopen()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next may succeed
                logger.debug("opening a WebSocket failed: %r", error)
                attempt += 1
        return None

    def _pause(self, attempt: int) -> bool:
        """Wait before an attempt; whether the session has ended meanwhile.

        Closing leaves no time for a long pause: one that has begun is cut short.
        """
        with self._lock:
            delay = self._backoff.delay(attempt, random.random(), self._retry)  # noqa: S311
            self._retry = None
            due = time.monotonic() + delay
            while not self._session.ended:
                now = time.monotonic()
                due = min(due, now + patience(self._session, now))
                if now >= due:
                    return False
                self._change.wait(due - now)
            return True

    def _close(self, code: int, reason: str, timeout: float | None) -> None:
        super()._close(code, reason, timeout)
        self._change.notify_all()

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, greeting on it first."""
        if self._reopen is not None:
            raise RuntimeError(OPENS_BY_ITSELF)
        from reliable_ws.adapters.blocking import adapt

        transport = adapt(websocket)
        with self._lock:
            if self._session.ended:
                raise self._session.error()
            self._met = False
        self._spawn(self._carry, transport)
        with self._lock:
            self._change.wait_for(lambda: self._met)
            if self._session.ended:
                raise self._session.error()
            if not self._session.attached:
                raise NotReliablePeer("no Welcome on this WebSocket")


def connect(
    uri: str,
    *,
    config: Config | None = None,
    reconnect: bool | Backoff = True,
    on_event: Callable[[ConnectionEvent], object] | None = None,
    payload_codec: PayloadCodec | None = None,
    **transport_options: Any,
) -> Connection:
    """Open a session with a server, and keep it over any number of WebSockets.

    ``with connect(uri) as conn``, or ``conn = connect(uri)`` and later ``conn.close()``. Returns
    after the greeting; a first attempt that fails raises what the WebSocket library raises,
    ``NotReliablePeer`` if the server does not speak the protocol, or ``ConnectionClosed`` if it
    refuses. After that a lost WebSocket is replaced, with jittered back-off, for
    ``config.session_ttl`` seconds since the last contact.

    ``reconnect``: ``True``, ``False`` (a lost WebSocket ends the session) or a
    :class:`~reliable_ws.Backoff`. ``on_event`` is called with a ``ConnectionEvent``, in a thread
    of its own. ``payload_codec`` packs messages that are neither ``str`` nor ``bytes`` (default:
    msgpack). Everything else goes to websockets' ``sync.client.connect``; ``additional_headers``
    and ``proxy`` work on every supported release, ``compression`` is off unless given.
    """
    from reliable_ws.adapters import websockets_sync

    config = config or Config()
    options: dict[str, Any] = {"open_timeout": config.open_timeout} | transport_options

    def dial() -> SyncTransport:
        return websockets_sync.dial(uri, **options)

    connection = Initiator(
        config,
        payload_codec,
        reopen=dial if reconnect else None,
        backoff=reconnect if isinstance(reconnect, Backoff) else None,
        resumable=bool(reconnect),
        on_event=on_event,
    )
    connection.start(dial())
    return connection
