"""The side that waits for its WebSockets: drives a session, and runs the application's handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol

from reliable_ws.adapters import adapt
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.ownership import take_over
from reliable_ws.driver.status import ConnectionEvent, logger, tell_left_open
from reliable_ws.protocol.errors import ConnectionClosed, DeliveryError, NotReliablePeer
from reliable_ws.protocol.report import Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport

from .connection import Connection
from .driver import Driver
from .waiters import is_cancelled

__all__ = ["Acceptor", "Handler"]

Handler = Callable[[Connection], Awaitable[object]]


class Home(Protocol):
    """What an acceptor asks of the ``Sessions`` to which it belongs."""

    @property
    def draining(self) -> bool:
        """Whether they are on their way out."""
        raise NotImplementedError

    async def accept(self, transport: Transport, principal: Hashable) -> Connection:
        """Greet on a transport and return the connection of its session."""
        raise NotImplementedError

    def _retire(self, acceptor: Acceptor) -> None:
        """Keep no more of a session that has ended than that it has."""

    def _evict_soon(self) -> None:
        """Look at what detached sessions hold."""


class Acceptor(Driver):
    """Drives a session from the side that waits for its WebSockets."""

    __slots__ = ("_home", "_principal", "connection", "handling")

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
        super().__init__(session, resumable=resumable, methods=methods)
        self._home = home
        self._principal = principal  # who the application found the peer to be
        self.connection = Connection(self, on_event)
        self.handling: asyncio.Task[None] | None = None
        "The task that runs the application's handler."

    def _on_ended(self, ending: Ending) -> None:
        self._home._retire(self)
        super()._on_ended(ending)

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> None:
        super()._on_detached(code, reason, retry)
        self._home._evict_soon()

    def served(self, serving: asyncio.Task[None]) -> None:
        """Tell what ended a task that read in the background."""
        if serving.cancelled():  # by the end of the event loop, nobody else
            tell_left_open(self.session)
        elif (error := serving.exception()) is not None:
            logger.error("reliable_ws failed", exc_info=error)

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket, on which the peer has to greet."""
        if self.session.ended:
            raise self.session.error()
        other = await self._home.accept(take_over(websocket, adapt), self._principal)
        if other is not self.connection:
            other.abort()
            raise NotReliablePeer("the peer began another session on this WebSocket")

    async def run(self, handler: Handler) -> None:
        """Run the handler, then close; what it had sent is still delivered."""
        code = 1000
        try:
            await handler(self.connection)
        except ConnectionClosed as error:
            # A client that is gone is no bug.
            logger.warning("a handler ended with %s: %s", type(error).__name__, error)
            code = 1011
        except BaseException as error:  # it ends its own session, and nothing else
            if not _is_from_outside(error):
                logger.exception("a handler raised")
                code = 1011
            elif self._home.draining and isinstance(error, asyncio.CancelledError):
                code = 1001
            else:  # the event loop ends, or has: wait for nobody
                if self.loop.is_running():
                    tell_left_open(self.session)
                    self.abort(1001, "going away")
                raise
        try:
            await self.connection.close(code)
        except DeliveryError as error:
            logger.warning("a session ended with undelivered messages: %s", error.report)


def _is_from_outside(error: BaseException) -> bool:
    """Whether it is meant for this task, or for all, and not only for what it waited for."""
    if isinstance(error, asyncio.CancelledError):
        return is_cancelled()
    return isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit)
