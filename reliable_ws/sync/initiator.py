"""The side that opens the WebSockets: one after the other, in a thread, until its session ends."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from reliable_ws.adapters.blocking import adapt
from reliable_ws.backoff import Backoff
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.ownership import take_over
from reliable_ws.driver.reconnect import OPENS_BY_ITSELF, patience, unmet, why_not_met
from reliable_ws.driver.status import logger
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import NotReliablePeer
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import SyncTransport, TransportClosed

from .driver import Driver
from .timers import start

__all__ = ["Initiator"]

Open = Callable[[], SyncTransport]


class Initiator(Driver):
    """Drives a session from the side that opens its WebSockets."""

    def __init__(
        self,
        config: Config,
        codec: PayloadCodec | None,
        *,
        reopen: Open | None,
        backoff: Backoff | None,
        resumable: bool,
        methods: Methods | None,
    ) -> None:
        now = time.monotonic()
        session = Session(
            "initiator", secrets.token_bytes(16), secrets.token_bytes(32), now, config, codec
        )
        super().__init__(session, threading.Lock(), resumable=resumable, methods=methods)
        self._reopen = reopen
        self._backoff = backoff or Backoff()
        self._unwelcome: Exception | None = None  # why the last WebSocket was left

    def start(self, transport: SyncTransport) -> None:
        """Greet on the first WebSocket; return after Welcome, raise if there is none."""
        self._spawn(self._keep, transport)
        with self.lock:
            try:
                self.change.wait_for(lambda: self.met)
            except BaseException:
                self.abort()
                raise
            error = why_not_met(self.session, self._unwelcome)
            if error is not None:
                self.abort()
        if error is not None:
            raise error from self._unwelcome

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> list[Event]:
        is_silent = code == Code.SILENT
        self._unwelcome = TimeoutError(reason) if is_silent else TransportClosed(code, reason)
        return super()._on_detached(code, reason, retry)

    def _ending_for(self, code: int | None, reason: str) -> Ending | None:
        return unmet(self.session, code, reason) or super()._ending_for(code, reason)

    def _spawn(self, work: Callable[[SyncTransport], None], transport: SyncTransport) -> None:
        """Work in a thread; a bug there ends the session: waiters must not wait for ever."""

        def guarded() -> None:
            try:
                work(transport)
            except Exception:  # noqa: BLE001 - logged
                logger.exception("reliable_ws failed")
                with self.lock:
                    self.end(Ending(End.LOST, 1006, "internal error"))

        start(guarded)

    def _keep(self, transport: SyncTransport) -> None:
        """Carry the session over one transport after the other until it ends."""
        attempt = 0
        while True:
            began = time.monotonic()
            self._carry(transport)
            if self._reopen is None or self.session.ended:
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
        with self.lock:
            if self.session.ended:
                transport.abort()
                return
            link = self.session.dial(time.monotonic(), transport.max_frame)
            link_io = self.attach(transport, link)
        link_io.read()

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
        with self.lock:
            delay = self._backoff.delay(attempt, random.random(), self.retry)  # noqa: S311
            self.retry = None
            due = time.monotonic() + delay
            while not self.session.ended:
                now = time.monotonic()
                due = min(due, now + patience(self.session, now))
                if now >= due:
                    return False
                self.change.wait(due - now)
            return True

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, greeting on it first. Without lock."""
        if self._reopen is not None:
            raise RuntimeError(OPENS_BY_ITSELF)
        transport = take_over(websocket, adapt)
        with self.lock:
            if self.session.ended:
                raise self.session.error()
            self.met = False
        self._spawn(self._carry, transport)
        with self.lock:
            self.change.wait_for(lambda: self.met)
            if self.session.ended:
                raise self.session.error()
            if not self.session.attached:
                raise NotReliablePeer("no Welcome on this WebSocket")
