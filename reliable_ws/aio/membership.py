"""What the sessions of a server need of a cluster, and what a cluster needs of them.

:class:`~reliable_ws.Cluster` has the other side of this. ``Sessions`` knows no more of a cluster
than what stands here, so that it can do without: nothing of a cluster is imported before one is
made.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, Protocol

from reliable_ws.driver.restored import Restored
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.registry import Arrival, Tombstone
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport

from .sender import Sender
from .session_store import SessionStore
from .store_port import StorePort

__all__ = ["LEVELS", "Clustering", "Host", "Level", "Membership", "Relay", "Served"]

Level = Literal["relay", "park", "log"]
"""What sessions survive: see :class:`~reliable_ws.Cluster`."""

LEVELS: tuple[Level, ...] = ("relay", "park", "log")


class Served(Protocol):
    """One session, and what drives it here."""

    session: Session
    principal: Hashable
    sender: Sender
    store: SessionStore | None

    def dispatch(self, events: list[Event]) -> None:
        """Give each event to the worker that it concerns."""


class Host(Protocol):
    """The sessions of one server, as its cluster sees them."""

    config: Config
    codec: PayloadCodec | None

    def holds(self, session_id: bytes) -> bool:
        """Whether a Hello for this session is answered here."""
        raise NotImplementedError

    @property
    def served(self) -> Sequence[Served]:
        """All living sessions."""
        raise NotImplementedError

    def find(self, session_id: bytes) -> Served | None:
        """Return a living session."""
        raise NotImplementedError

    def ended(self, session_id: bytes) -> Session | None:
        """Return a session that had a store and has ended here, while it is remembered."""
        raise NotImplementedError

    def adopt(self, session: Session, principal: Hashable, restored: Restored) -> None:
        """Take in a session that another process had. It waits for its peer."""

    def remember(self, session_id: bytes, tombstone: Tombstone) -> None:
        """Take in what another process knew of a session that has ended."""

    async def serve(self, transport: Transport, principal: Hashable) -> None:
        """Serve a WebSocket that another process has, of a session that is here."""


class Relay(Protocol):
    """The way of one WebSocket to the process that has its session."""

    async def carry(self, transport: Transport) -> None:
        """Pass on everything, both ways, until one of the two ends is gone."""


class Membership(Protocol):
    """The part of one server's sessions in a cluster."""

    @property
    def moves(self) -> bool:
        """Whether sessions go on in another process when this one drains."""
        raise NotImplementedError

    @property
    def port(self) -> StorePort | None:
        """The way to the engine as a store, where that keeps every change."""
        raise NotImplementedError

    async def start(self) -> None:
        """Take part from now on. Again: no effect. It does not wait for an engine that is away."""

    async def place(
        self, arrival: Arrival, data: bytes | str, transport: Transport
    ) -> Relay | None:
        """Find out where a session lives, before its Hello is answered.

        ``None``: here, or the arrival was refused. Else pass the WebSocket on.
        """

    def not_made(self, arrival: Arrival) -> None:
        """Note that a Hello for which there was a place was refused."""

    def ended(self, session: Session) -> None:
        """Note that a session has ended here."""

    async def move(self, served: Sequence[Served], within: float, timeout: float) -> None:
        """Leave these sessions to other processes, and ask their peers to come again.

        The peers are spread over ``within`` seconds.
        """

    async def leave(self, within: float) -> None:
        """Take part no more. Clients of sessions that others have are asked to come again.

        They are spread over ``within`` seconds.
        """


class Clustering(Protocol):
    """A cluster, as ``Sessions(cluster=…)`` needs it."""

    @property
    def stats(self) -> object:
        """Counts of this node, for metrics."""
        raise NotImplementedError

    def join(self, host: Host, level: Level) -> Membership:
        """Let the sessions of one server take part."""
        raise NotImplementedError
