"""The machine under a connection: what happens to its session is told to whom it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from reliable_ws.driver.fork import end_quietly
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.reconnect import NO_OTHER
from reliable_ws.driver.rpc_server import time_to_close
from reliable_ws.driver.status import Tell, tell_end, tell_nobody
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.events import (
    Arrived,
    Cancelled,
    Confirmed,
    Detached,
    Eased,
    Ended,
    Event,
    Faulted,
    Granted,
    Itemized,
    Opened,
    PeerFinished,
    Replied,
    Requested,
    Settled,
)
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport

from .link_io import LinkIO
from .pump import Pump
from .receiver import Receiver
from .rpc_client import RpcClient
from .rpc_server import RpcServer
from .sender import Sender
from .waiters import Signal

__all__ = ["Driver"]


class Driver:
    """One session, its four workers (sender, receiver, RPC client, RPC server), and its end.

    Where WebSockets come from is for subclasses to know.
    """

    __slots__ = (
        "_close_by",
        "_draining",
        "_resumable",
        "detached",
        "ended",
        "loop",
        "opened",
        "pump",
        "receiver",
        "retry",
        "rpc_client",
        "rpc_server",
        "sender",
        "session",
        "tasks",
        "tell",
    )

    def __init__(self, session: Session, *, resumable: bool, methods: Methods | None) -> None:
        self.session = session
        self.pump = Pump(session, self.dispatch)
        self.loop = self.pump.loop
        self.sender = Sender(self.pump)
        self.receiver = Receiver(self.pump)
        self.rpc_client: RpcClient | None = None
        "Whoever asks the peer, once anybody does."
        self.rpc_server = RpcServer(self.pump, methods)
        self.tell: Tell = tell_nobody
        "The connection's ear."
        self.opened = Signal()
        self.detached = Signal()
        self.ended = Signal()
        self.retry: float | None = None
        "Seconds that the peer asked us to wait before the next WebSocket."
        self.tasks: list[asyncio.Task[Any]] = []
        "What works for this session in the background."
        self._resumable = resumable
        self._draining = False
        self._close_by: float = NEVER

    def start_asking(self) -> RpcClient:
        """Return who asks the peer."""
        self.rpc_client = RpcClient(self.pump)
        return self.rpc_client

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Refer to a task until it is done: the event loop does not."""
        self.tasks.append(task)
        task.add_done_callback(self.tasks.remove)

    # ------------------------------------------------------------------ transports

    def attach(self, transport: Transport, link: Link) -> LinkIO:
        """Carry the session over this transport from now on; read with ``link_io.read()``."""
        return self.pump.attach(transport, link)

    async def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket; return when the session is open on it."""
        raise NotImplementedError

    def resume_failed(self, why: str) -> None:
        """There is no way to open another WebSocket."""
        self.end(Ending(End.LOST, 1006, why))

    # ------------------------------------------------------------------ what happened

    def dispatch(self, events: list[Event]) -> None:
        """Tell everybody whom it concerns what happened."""
        asked = False
        for event in events:
            if type(event) is Arrived:
                self.receiver.line.call(event.messages)
            elif type(event) is Confirmed:
                self.sender.confirmed(event.number)
            elif (answer := ANSWERS.get(type(event))) is not None:
                answer(self.rpc_client, event)
            elif (order := ORDERS.get(type(event))) is not None:
                order(self.rpc_server, event)
                asked = True
            else:
                self._on_rare(event)
        rpc_client = self.rpc_client
        if rpc_client is not None and rpc_client.line.waiting:
            rpc_client.admit()
        if asked and not self.rpc_server.busy:  # whoever began has ended, and answered
            self.pump.flush()
        else:
            self.pump.stepped(eventful=bool(events))

    def _on_rare(self, event: Event) -> None:
        """Deal with what happens a few times in a session's life."""
        match event:
            case Opened(resumed, replayed):
                self.detached.clear()
                self.opened.set()
                self.tell("resumed" if resumed else "opened", None, "", replayed)
            case Settled():
                self._all_known()
                self.rpc_server.abort()  # nobody hears the answers
            case Detached(code, reason, retry):
                self._on_detached(code, reason, retry)
            case Ended(ending):
                self._on_ended(ending)
            case PeerFinished() if self.rpc_client is not None:
                self.rpc_client.settle()
            case Eased():
                self.rpc_server.eased()
        self.receiver.call_if_over()  # else they find it out when nothing is left to take
        self.pump.rearm()

    def _all_known(self) -> None:
        self.sender.settled()
        if self.rpc_client is not None:
            self.rpc_client.settle()

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> None:
        self.retry = retry
        self.detached.set()
        self.tell("detached", code, reason, 0)
        ending = self._ending_for(code, reason)
        if ending is not None and not self.session.ended:
            self.end(ending)

    def _ending_for(self, code: int | None, reason: str) -> Ending | None:
        """Return how the session ends with this end of its WebSocket; ``None``: it does not."""
        del code, reason  # whatever they are
        return None if self._resumable else Ending(End.LOST, 1006, NO_OTHER)

    def _on_ended(self, ending: Ending) -> None:
        self._all_known()
        self.receiver.line.call_all()
        self.rpc_server.abort()
        self.pump.flush()  # the last word goes before anybody hears of the end
        if ending.kind is End.EXPIRED and self.pump.link_io is not None:
            self.pump.link_io.abort()  # nobody there would answer a closing handshake
        self.ended.set()
        self.opened.set()
        self.detached.set()
        tell_end(self.tell, ending)

    # ------------------------------------------------------------------ the end

    def finish(self, code: int, reason: str) -> None:
        """Send nothing after what was sent; turn new requests away."""
        self.rpc_server.turn_away()
        self.dispatch(self.session.finish(self.loop.time(), code, reason))
        self.sender.try_again()

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin to close, and wait for nothing."""
        if self.rpc_server.busy and not (self.session.closing or self.session.ended):
            self._drain(code, reason, timeout)
        else:
            self._close(code, reason, timeout)

    def _drain(self, code: int, reason: str, timeout: float | None) -> None:
        """Let the handlers of requests end, then close; in the background."""
        limit, rest = time_to_close(self.session.config, timeout)
        self._close_by = min(self._close_by, self.loop.time() + limit)
        self.rpc_server.hurry(self._close_by - rest)
        if self._draining:
            return
        self._draining = True

        async def work() -> None:
            await self.rpc_server.drain()
            self._close(code, reason, max(0.0, self._close_by - self.loop.time()))

        self.keep(self.loop.create_task(work()))

    def _close(self, code: int, reason: str, timeout: float | None) -> None:
        self.rpc_server.turn_away()
        self.dispatch(self.session.close(self.loop.time(), code, reason, timeout))
        self.receiver.call_if_over()
        self.pump.rearm()
        self.sender.try_again()  # who waits to send learns that it is too late
        if self.rpc_client is not None:
            self.rpc_client.settle()

    async def close(self, code: int, reason: str, timeout: float | None) -> None:
        """Close, and return when the session is over and its transport gone."""
        by = None if timeout is None else self.loop.time() + timeout
        self.rpc_server.release(asyncio.current_task())
        self.start_closing(code, reason, timeout=timeout)
        await self.ended.wait()
        link_io = self.pump.link_io
        if link_io is not None:
            try:
                async with asyncio.timeout_at(by):
                    await link_io.closed()
            except TimeoutError:
                link_io.abort()

    def abort(self, code: int = 4499, reason: str = "") -> None:
        """End at once, waiting for nothing."""
        self.dispatch(self.session.abort(self.loop.time(), code, reason))
        if self.pump.link_io is not None:
            self.pump.link_io.flush()
            self.pump.link_io.abort()

    def orphan(self) -> None:
        """Take no part any more: this process is a child of the session's."""
        self.pump.link_io = None
        end_quietly(self.session)
        self.ended.set()

    def end(self, ending: Ending) -> None:
        """End the session like this."""
        self.dispatch(self.session.end(self.loop.time(), ending))


ANSWERS: dict[type[Event], Callable[[Any, Any], None]] = {
    Replied: RpcClient.replied,
    Faulted: RpcClient.faulted,
    Itemized: RpcClient.itemized,
}
"""What comes for our requests."""

ORDERS: dict[type[Event], Callable[[RpcServer, Any], None]] = {
    Requested: RpcServer.requested,
    Granted: RpcServer.granted,
    Cancelled: RpcServer.cancelled,
}
"""What comes for the peer's."""
