"""The machine under a connection: what happens to its session is told to whom it concerns."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from reliable_ws.driver.fork import end_quietly, mind_forks
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.reconnect import NO_OTHER
from reliable_ws.driver.rpc_server import time_to_close
from reliable_ws.driver.status import Tell, tell_end, tell_left_open, tell_nobody
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
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.report import End, Ending
from reliable_ws.protocol.session import Session
from reliable_ws.transport import SyncTransport

from .link_io import LinkIO
from .pump import Pump
from .receiver import Receiver
from .rpc_client import RpcClient
from .rpc_server import RpcServer
from .sender import Sender
from .timers import start
from .waiters import Change, until

__all__ = ["Driver"]


class Driver:
    """One session, its four workers (sender, receiver, RPC client, RPC server), and its end.

    Where WebSockets come from is for subclasses to know. Methods are called with the lock held,
    unless they say otherwise.
    """

    def __init__(
        self, session: Session, lock: threading.Lock, *, resumable: bool, methods: Methods | None
    ) -> None:
        self.session = session
        self.lock = lock
        self.pump = Pump(session, lock, self.dispatch)
        self.sender = Sender(self.pump)
        self.receiver = Receiver(self.pump)
        self.rpc_client = RpcClient(self.pump)
        self.rpc_server = RpcServer(self.pump, methods)
        self.tell: Tell = tell_nobody
        "The connection's ear."
        self.change = Change(lock)
        "Opened, detached, closing, or over."
        self.met = False
        "Whether it was opened, or detached, since the last WebSocket was begun with."
        self.retry: float | None = None
        "Seconds that the peer asked us to wait before the next WebSocket."
        self._resumable = resumable
        mind_forks(self)
        _drivers.add(self)

    # ------------------------------------------------------------------ transports

    def attach(self, transport: SyncTransport, link: Link) -> LinkIO:
        """Carry the session over this transport from now on; read with ``link_io.read()``."""
        return self.pump.attach(transport, link)

    def resume(self, websocket: Any) -> None:
        """Go on over this open WebSocket; return when the session is open on it. Without lock."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what happened

    def dispatch(self, events: list[Event]) -> None:
        """Tell everybody whom it concerns what happened. The last thing in a step."""
        for event in events:  # it grows: what follows from one is put behind the others
            if type(event) is Arrived:
                self.receiver.line.call()
            elif type(event) is Confirmed:
                self.sender.confirmed(event.number)
            elif (deal := CALLS.get(type(event))) is not None:
                deal(self, event)
            else:
                events += self._on_rare(event)
        self.rpc_client.admit()
        self.pump.stepped()

    def _on_rare(self, event: Event) -> list[Event]:
        """Deal with what happens a few times in a session's life; return what follows."""
        following: list[Event] = []
        match event:
            case Opened(resumed, replayed):
                self.met = True
                self.tell("resumed" if resumed else "opened", None, "", replayed)
            case Settled():
                self._all_known()
                self.rpc_server.abort()  # nobody hears the answers
            case Detached(code, reason, retry):
                following = self._on_detached(code, reason, retry)
            case Ended(ending):
                self._on_ended(ending)
            case PeerFinished():
                self.rpc_client.settle()
                self.receiver.line.call()
            case Eased():
                self.rpc_server.eased()
        self.change.notify_all()
        return following

    def _all_known(self) -> None:
        self.sender.settled()
        self.receiver.line.call()
        self.rpc_client.settle()

    def _on_detached(self, code: int | None, reason: str, retry: float | None) -> list[Event]:
        self.met = True
        self.retry = retry
        self.tell("detached", code, reason, 0)
        ending = self._ending_for(code, reason)
        return [] if ending is None else self.session.end(time.monotonic(), ending)

    def _ending_for(self, code: int | None, reason: str) -> Ending | None:
        """Return how the session ends with this end of its WebSocket; ``None``: it does not."""
        del code, reason  # whatever they are
        return None if self._resumable else Ending(End.LOST, 1006, NO_OTHER)

    def _on_ended(self, ending: Ending) -> None:
        self.met = True
        self._all_known()
        self.rpc_server.abort()
        self.pump.silence()
        if ending.kind is End.EXPIRED and self.pump.link_io is not None:
            self.pump.link_io.transport.abort()  # nobody there would answer a closing handshake
        tell_end(self.tell, ending)

    # ------------------------------------------------------------------ the end

    def finish(self, code: int, reason: str) -> None:
        """Send nothing after what was sent; turn new requests away."""
        self.rpc_server.turn_away()
        self.dispatch(self.session.finish(time.monotonic(), code, reason))
        self.sender.line.call()

    def start_closing(
        self, code: int = 1000, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Begin to close, and wait for nothing."""
        if not self._owes_answers():
            self._close(code, reason, until(timeout))
            return

        def close() -> None:
            with self.lock:
                self._drain_and_close(code, reason, timeout)

        start(close)

    def _owes_answers(self) -> bool:
        """Whether handlers of requests may end before the session does."""
        self.rpc_server.release()
        return self.rpc_server.busy and not self.session.closing

    def _drain_and_close(self, code: int, reason: str, timeout: float | None) -> None:
        """Let the handlers of requests end, in a part of the time there is, then close."""
        limit, rest = time_to_close(self.session.config, timeout)
        by = until(limit)
        if self._owes_answers():
            self.rpc_server.drain(by - rest)
        self._close(code, reason, by)

    def _close(self, code: int, reason: str, by: float) -> None:
        self.rpc_server.turn_away()
        now = time.monotonic()
        left = max(0.0, by - now)
        self.dispatch(self.session.close(now, code, reason, left))
        self.sender.line.call()  # who waits to send or to receive learns that it is too late
        self.receiver.line.call()
        self.rpc_client.settle()
        self.change.notify_all()

    def close(self, code: int, reason: str, timeout: float | None) -> None:
        """Close, and return when the session is over and its transport gone."""
        by = until(timeout)
        try:
            self._drain_and_close(code, reason, timeout)
            self.change.wait_for(lambda: self.session.ended)
            link_io = self.pump.link_io
            if link_io is not None and not link_io.wait_over(by):
                link_io.transport.abort()
        except KeyboardInterrupt:  # nobody waits any more
            self.abort()
            raise

    def abort(self, code: int = Code.ABORTED, reason: str = "") -> None:
        """End at once, waiting for nothing."""
        self.dispatch(self.session.abort(time.monotonic(), code, reason))
        if self.pump.link_io is not None:
            self.pump.link_io.transport.abort()

    def orphan(self) -> None:
        """Take no part any more: this process is a child of the session's."""
        # A thread that is not here may hold it, or have been about to: locked() need not tell.
        self.lock._at_fork_reinit()  # type: ignore[attr-defined]  # the standard library's way
        self.pump.link_io = None
        end_quietly(self.session)
        with self.lock:
            self.rpc_server.abort()  # what runs there ends nowhere

    def end(self, ending: Ending) -> None:
        """End the session like this."""
        self.dispatch(self.session.end(time.monotonic(), ending))


_drivers: weakref.WeakSet[Driver] = weakref.WeakSet()


def _at_exit() -> None:
    for driver in list(_drivers):
        with driver.lock:
            if not driver.session.ended:  # else somebody has been told
                tell_left_open(driver.session)


atexit.register(_at_exit)


CALLS: dict[type[Event], Callable[[Driver, Any], None]] = {
    Replied: lambda driver, event: driver.rpc_client.replied(event),
    Faulted: lambda driver, event: driver.rpc_client.faulted(event),
    Itemized: lambda driver, event: driver.rpc_client.itemized(event),
    Requested: lambda driver, event: driver.rpc_server.requested(event),
    Granted: lambda driver, event: driver.rpc_server.granted(event),
    Cancelled: lambda driver, event: driver.rpc_server.cancelled(event),
}
"""Who deals with what calls bring."""
