"""The side to which WebSockets come: drives a session, and runs the application's handler."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from reliable_ws.adapters.blocking import adapt
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.ownership import take_over
from reliable_ws.driver.status import ConnectionEvent, logger
from reliable_ws.protocol.errors import ConnectionClosed, DeliveryError, NotReliablePeer
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.report import Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import SyncTransport

from .connection import Connection
from .driver import Driver

__all__ = ["Acceptor", "Handler"]

Handler = Callable[[Connection], object]


class Home(Protocol):
    """What an acceptor asks of the ``Sessions`` to which it belongs."""

    _lock: threading.Lock

    def accept(self, transport: SyncTransport, principal: Hashable) -> Connection:
        """Greet on a transport and return the connection of its session. Without lock."""
        raise NotImplementedError

    def _retire(self, acceptor: Acceptor) -> None:
        """Keep no more of a session that has ended than that it has."""

    def _evict_soon(self) -> None:
        """Look at what detached sessions hold."""


class Acceptor(Driver):
    """Drives a session from the side to which its WebSockets come."""

    def __init__(
        self,
        home: Home,
        session: Session,
        principal: Hashable,
        *,
        resumable: bool,
        methods: Methods | None,
        on_event: Callable[[ConnectionEvent], object] | None,
    ) -> None:
        super().__init__(session, home._lock, resumable=resumable, methods=methods)
        self._home = home
        self._principal = principal  # who the application found the peer to be
        self.connection = Connection(self, on_event)
        self.handling: threading.Thread | None = None
        "The thread that runs the application's handler."

    def _on_ended(self, ending: Ending) -> None:
        self._home._retire(self)
        super()._on_ended(ending)

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> list[Event]:
        following = super()._on_detached(code, reason, retry)
        self._home._evict_soon()
        return following

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, on which the peer has to greet. Without lock."""
        if self.session.ended:
            raise self.session.error()
        other = self._home.accept(take_over(websocket, adapt), self._principal)
        if other is not self.connection:
            other.abort()
            raise NotReliablePeer("the peer began another session on this WebSocket")

    def run(self, handler: Handler) -> None:
        """Run the handler, then close; what it had sent is still delivered."""
        code = 1000
        try:
            handler(self.connection)
        except ConnectionClosed as error:
            # A client that is gone is no bug.
            logger.warning("a handler ended with %s: %s", type(error).__name__, error)
            code = 1011
        except BaseException:  # noqa: BLE001 - it ends its own session, and nothing else
            logger.exception("a handler raised")
            code = 1011
        try:
            self.connection.close(code)
        except DeliveryError as error:
            logger.warning("a session ended with undelivered messages: %s", error.report)
