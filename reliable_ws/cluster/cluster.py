"""``Cluster``: several processes that serve the same sessions."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from reliable_ws.aio.groups import GroupHost
from reliable_ws.aio.membership import Host, Level, Served
from reliable_ws.aio.waiters import is_cancelled
from reliable_ws.driver.status import logger
from reliable_ws.driver.validation import NUMBER_OF_SECONDS, check_options, expect, is_number
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.session import Session
from reliable_ws.transport import Transport

from .durability import DURABILITIES, Durability
from .engine import Engine, EngineAway, Entry, check_engine
from .groups import Groups, SharedGroup
from .links import CarriedLinks, cancel_all
from .log import MISSING, OTHER
from .member import Member
from .records import unpack_who
from .relay import Address, Listener, NotReachable, open_inner, this_machine
from .ticket import Ticket, write_ticket

__all__ = ["Cluster", "ClusterEvent", "ClusterStats"]

RETRY = 0.25
"""Seconds between two attempts to reach an engine that is away."""

MAX_FRAME = Config().max_frame
"""What is taken from other nodes by one that has no sessions."""

CHUNK = 100
"""Sessions that are told to the engine in one step, when all are told."""


class ClusterStats(NamedTuple):
    """Counts of one node, since it started."""

    relayed: int
    "WebSockets that are passed on to other nodes now."
    served: int
    "WebSockets that other nodes pass on to this one now."
    claimed: int
    "Sessions that this node has taken over from others."
    moved: int
    "Sessions that it has left to others."
    lost: int
    "Sessions that others have taken from it, while it was out of reach."
    engine_away: float
    "Seconds for which the engine has been away now; 0 while it answers."


class ClusterEvent(NamedTuple):
    """What has happened between a node and the engine: ``on_event`` is called with it."""

    name: Literal["engine_away", "engine_back", "engine_changed"]
    """The engine cannot be asked; it answers again; it was restarted, or is another one, so that
    all sessions are told to it again."""
    node: str
    "The name of this process."
    reason: str
    "For people."


class Cluster:
    """Several processes that serve the same sessions, with Redis or Valkey between them.

    Give it to ``serve``, ``Sessions`` or ``ASGIApp`` in each process. A session's WebSockets may
    then reach any of them. The engine says which process, the *owner*, has a session. A WebSocket
    that reaches another process is passed on to the owner. With ``level=`` each of these says what
    its sessions survive:

    - ``"relay"``: that a WebSocket reaches another process.
    - ``"park"``: also that their process is drained. ``drain()`` leaves them in the engine, and
      their handlers start anew in other processes, with ``conn.restored``.
    - ``"log"``: also that their process dies, or is out of reach. The engine has each message
      before it is sent, and each confirmation before it is told.

    Processes of one machine find each other by themselves. It needs ``pip install
    reliable-ws[redis]``, and asyncio.

    Args:
        engine: The URL of the engine (``redis://…``, ``rediss://…``, ``unix://…``), or an open
            ``redis.asyncio.Redis``, for example of a ``Sentinel``. Redis Cluster cannot be used.
        node: The name of this process, for log lines. Default: host name and process id.
        advertise: Where nodes on other machines can reach this process: ``"ws://10.0.0.7:9000"``,
            or without a port, which the system chooses then. It listens there. ``None``: they
            cannot, and the engine carries what is passed on.
        listen: The address to listen on for other machines. Default: the host of ``advertise``.
        secret: What the nodes sign with when they pass WebSockets on: the same in each. Default:
            one that is drawn at random, and is kept in the engine.
        lease: Seconds after which a node that the engine does not hear is taken for dead.
        takeover_timeout: Seconds for which a publication waits for members whose process is gone,
            until another process has taken over their sessions. Then their outcome is *unknown*.
        durability: What the engine's answer has to mean. ``"memory"``: the engine has it.
            ``"fsync"``: its disk has it as well (``appendfsync always``). ``"replicated"``: a
            replica has it as well, which each step waits for. A node does not start with an engine
            that does less.
        engine_timeout: Seconds that one step of the engine, and one inner WebSocket's opening, may
            take.
        on_event: A plain function. It is called with each :class:`ClusterEvent`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``engine`` is no URL of Redis, or a client that decodes what it gets;
            ``advertise`` is no such address, or is missing beside ``listen``; ``secret`` is empty;
            there is no such ``durability``; or a time is not above 0.
    """

    def __init__(
        self,
        engine: Any,
        *,
        node: str | None = None,
        advertise: str | None = None,
        listen: str | None = None,
        secret: str | bytes | None = None,
        lease: float = 10.0,
        takeover_timeout: float = 30.0,
        durability: Durability = "memory",
        engine_timeout: float = 2.0,
        on_event: Callable[[ClusterEvent], object] | None = None,
    ) -> None:
        check_engine(engine)
        check_options(on_event=on_event)
        for name, seconds in (
            ("lease", lease),
            ("takeover_timeout", takeover_timeout),
            ("engine_timeout", engine_timeout),
        ):
            expect(f"{name}=", seconds, NUMBER_OF_SECONDS, fits=is_number(seconds))
            if not seconds > 0:
                raise ValueError(f"{name}= must be above 0, not {seconds!r}")
        for name, words in (("node", node), ("advertise", advertise), ("listen", listen)):
            expect(f"{name}=", words, "a str", fits=words is None or isinstance(words, str))
        expect("secret=", secret, "a str or bytes", fits=isinstance(secret, str | bytes | None))
        if secret is not None and not secret:
            raise ValueError("secret= must not be empty: without it one is drawn")
        if listen is not None and advertise is None:
            raise ValueError("listen= needs advertise=: others have to know where this process is")
        if durability not in DURABILITIES:
            raise ValueError(f"durability= must be one of {DURABILITIES}, not {durability!r}")
        self._engine_at = engine
        self._name = node
        self._advertise = None if advertise is None else _host_and_port(advertise)
        self._listen = listen
        self._secret = secret.encode() if isinstance(secret, str) else secret
        self.lease = lease
        self.takeover_timeout = takeover_timeout
        self.durability: Durability = durability
        self.engine_timeout = engine_timeout
        self._on_event = on_event
        self.id = b""
        "This process, for the engine. Drawn when it starts."
        self.run = b""
        "Which engine the node has seen last."
        self._members: list[Member] = []
        self._groups = Groups(self)
        self._starting: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._restating: asyncio.Task[None] | None = None
        self._engine: Engine | None = None
        self._listener: Listener | None = None
        self._links: CarriedLinks | None = None
        self._address: Address | None = None
        self._shared_secret = secrets.token_bytes(32)
        self._away_since: float | None = None
        # What the engine's clock shows beyond our monotonic one; until it was asked, our own does.
        self._clock_ahead = time.time() - time.monotonic()
        self._back = asyncio.Event()
        self._hurry = asyncio.Event()  # the engine is missed: look for it now
        self._served = 0
        self.claimed = self.moved = self.lost = 0
        # Whether sessions are being left to others: they may be on their way to the engine.
        self.is_leaving = False

    def __repr__(self) -> str:
        """Its name, and how it stands with the engine."""
        away = "" if self._away_since is None else ", engine away"
        return f"<reliable_ws.Cluster node {self.name}{away}>"

    @property
    def name(self) -> str:
        """The name of this process."""
        return self._name or f"{socket.gethostname()}-{os.getpid()}"

    @property
    def stats(self) -> ClusterStats:
        """Counts of this node."""
        away = 0.0 if self._away_since is None else time.monotonic() - self._away_since
        relayed = sum(len(member.relays) for member in self._members)
        return ClusterStats(relayed, self._served, self.claimed, self.moved, self.lost, away)

    def join(self, host: Host, level: Level) -> Member:
        """Let the sessions of one server take part. ``Sessions`` calls it."""
        member = Member(self, host, level)
        self._members.append(member)
        return member

    def share(self, host: GroupHost, name: str) -> SharedGroup:
        """Let a group take part. ``Group`` calls it.

        Raises:
            ValueError: This process has a group of this name already.
        """
        return self._groups.share(host, name)

    def find(self, session: bytes) -> Served | None:
        """Return a session that lives here."""
        for member in self._members:
            served = member.host.find(session)
            if served is not None:
                return served
        return None

    def ended(self, session: bytes) -> Session | None:
        """Return a session that has ended here, while its last outcomes are remembered."""
        for member in self._members:
            ended = member.host.ended(session)
            if ended is not None:
                return ended
        return None

    def has_taken_over(self, session: bytes, places: bytes | None) -> None:
        """Note that a session goes on here that another node had: its publisher may ask for it.

        ``places``: how far it was in its groups, as that node has packed it.
        """
        self.claimed += 1
        self._groups.moved_in(session, places)
        self._groups.start()

    def places_of(self, session: bytes) -> bytes:
        """Return how far a session that moves is in its groups, packed for the next node."""
        return self._groups.moving(session)

    @property
    def can_take_over(self) -> bool:
        """Whether sessions go on in other nodes when theirs is gone."""
        return not self._members or any(member.moves for member in self._members)

    # ------------------------------------------------------------------ start and end

    async def start(self) -> None:
        """Take part from now on. Again: no effect. It does not wait for an engine that is away.

        Raises:
            OSError: It cannot be listened for other nodes.
            ValueError: The engine does not do what ``durability=`` says.
        """
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        starting = self._starting
        if not starting.done() or starting.exception() is not None:
            await asyncio.shield(starting)

    async def _start(self) -> None:
        self.id = secrets.token_bytes(12)
        self.is_leaving = False
        if isinstance(self._engine_at, str):
            self._engine = Engine.at(self._engine_at, self.id, self.lease, self.engine_timeout)
        else:
            self._engine = Engine(
                self._engine_at,
                owns=False,
                node=self.id,
                lease=self.lease,
                timeout=self.engine_timeout,
            )
        self.engine.is_replicated = self.durability == "replicated"
        with suppress(EngineAway):
            fault = await self.engine.fault(self.durability)
            if fault is not None:
                await self.engine.close()
                raise ValueError(f"durability={self.durability!r}: {fault}")
        self._listener = Listener(
            self.id,
            lambda: self._key,
            self._serve,
            self.wall,
            timeout=self.engine_timeout,
            max_frame=max((member.max_frame for member in self._members), default=MAX_FRAME),
        )
        local = await self._listener.open_local()
        uri = None
        if self._advertise is not None:
            host, port = self._advertise
            port = await self._listener.open_for_others(self._listen or host, port)
            uri = f"ws://{f'[{host}]' if ':' in host else host}:{port}/"
        self._address = Address(self.name, this_machine(), local, uri)
        self._links = CarriedLinks(self.engine, self.id, lambda: self._key, self._serve, self.wall)
        with suppress(EngineAway):
            await self.settle()
        self._renewing = asyncio.get_running_loop().create_task(self._renew())
        if self._groups.is_used:
            self._groups.start()

    async def leave(self, member: Member) -> None:
        """Take part no more, once all members have left."""
        if member in self._members:
            self._members.remove(member)
        if not self._members:
            await self.close()

    async def close(self) -> None:
        """Take part no more. A process that has sessions does it by itself, when it has drained.

        For a process that only publishes to groups. Cancelling leaves the engine to find out.
        """
        if self._starting is None:
            return
        await self._groups.leave()
        self.is_leaving = True
        starting, self._starting = self._starting, None
        await cancel_all(
            task for task in (self._renewing, self._restating, starting) if task is not None
        )
        if self._links is not None:
            await self._links.close()
        if self._listener is not None:
            await self._listener.close()
        with suppress(EngineAway):
            await self.engine.release()
        await self.engine.close()

    # ------------------------------------------------------------------ the engine

    @property
    def engine(self) -> Engine:
        """The engine, once the node has started."""
        if self._engine is None:
            raise RuntimeError("the cluster has not started")
        return self._engine

    @property
    def _key(self) -> bytes:
        return self._secret or self._shared_secret

    @property
    def is_away(self) -> bool:
        """Whether the engine did not answer last time."""
        return self._away_since is not None

    def wall(self) -> float:
        """Return the engine's time, in seconds since 1970: the nodes' own clocks may differ."""
        return time.monotonic() + self._clock_ahead

    async def settle(self) -> bool:
        """Renew the lease; return whether the engine has lost what it had a short while ago.

        Raises:
            EngineAway: It cannot be asked.
        """
        address = self._address
        packed = b"" if address is None else address.pack()
        try:
            run, is_young, secret, wall = await self.engine.settle(packed, self._shared_secret)
        except EngineAway as error:
            self.note_away(error)
            raise
        self._shared_secret = secret
        self._clock_ahead = wall - time.monotonic()
        before, self.run = self.run, run
        if self._away_since is not None:
            away = time.monotonic() - self._away_since
            logger.warning("cluster node %s: the engine is back after %.1f s", self.name, away)
            self._away_since = None
            self._tell("engine_back", f"after {away:.1f} s")
        self._back.set()
        if before != run:
            await self._check_engine()
        if before not in {b"", run}:
            logger.warning(
                "cluster node %s: the engine was restarted, or is another one: all sessions are "
                "told to it again",
                self.name,
            )
            self._restate_soon()
            self._groups.engine_changed()
            self._tell("engine_changed", "it was restarted, or is another one")
        return is_young

    def _tell(
        self, name: Literal["engine_away", "engine_back", "engine_changed"], reason: str
    ) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(ClusterEvent(name, self.name, reason))
        except Exception:  # noqa: BLE001 - the application's, and not the cluster's
            logger.exception("cluster node %s: on_event raised", self.name)

    async def _check_engine(self) -> None:
        """Tell if an engine that was away, or is another one now, keeps less than it has to."""
        with suppress(EngineAway):
            fault = await self.engine.fault(self.durability)
            if fault is not None:
                logger.error(
                    "cluster node %s: durability=%r does not hold now: %s",
                    self.name,
                    self.durability,
                    fault,
                )

    def note_away(self, error: EngineAway) -> None:
        """Note that the engine cannot be asked."""
        self._back.clear()
        self._hurry.set()
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.warning(
                "cluster node %s: the engine cannot be asked (%s): links go on, and new WebSockets "
                "are told to come again",
                self.name,
                error,
            )
            self._tell("engine_away", str(error))

    async def wait_for_engine(self) -> None:
        """Return when the engine answers again."""
        self._back.clear()
        self._hurry.set()
        await self._back.wait()

    async def _renew(self) -> None:
        """Keep the lease, and tell all sessions again from time to time."""
        again = time.monotonic() + self._refresh
        while not is_cancelled():  # a client of an engine may lose a cancellation
            with suppress(TimeoutError):
                async with asyncio.timeout(self.lease / 3):
                    await self._hurry.wait()
                    await asyncio.sleep(RETRY)
            self._hurry.clear()
            with suppress(EngineAway):
                await self.settle()
            if time.monotonic() >= again:
                again = time.monotonic() + self._refresh
                self._restate_soon()

    @property
    def _refresh(self) -> float:
        return min((member.life for member in self._members), default=3600.0) / 3

    def _restate_soon(self) -> None:
        if self._restating is None or self._restating.done():
            self._restating = asyncio.get_running_loop().create_task(self._restate_all())

    async def _restate_all(self) -> None:
        for member in list(self._members):
            entries = [one.session.id for one in member.host.served]
            for at in range(0, len(entries), CHUNK):
                await self.insist(lambda: member.restate(entries[at : at + CHUNK]))  # noqa: B023
                await asyncio.sleep(0)

    async def insist(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Do a step of the engine; again when it is back, if it is away."""
        while True:
            try:
                return await step()
            except EngineAway as error:
                self.note_away(error)
                await self.wait_for_engine()

    async def append(self, entries: list[Entry]) -> list[int]:
        """Keep what changed (:meth:`.engine.Engine.append`)."""
        try:
            said = await self.engine.append(entries, self.run)
            if OTHER in said:
                await self.settle()  # and from now on it is the one that we know
                return [MISSING] * len(said)
            return said
        except EngineAway as error:
            self.note_away(error)
            raise

    # ------------------------------------------------------------------ other nodes

    async def reach(self, address: bytes, ticket: Ticket, hello: bytes) -> Transport:
        """Return an inner WebSocket to another node, on which a Hello has gone.

        Raises:
            NotReachable: There is none now.
        """
        there = Address.unpack(address)
        inner: Transport | None = None
        try:
            if there.way_from(self._machine) is not None or self._links is None:
                inner = await open_inner(there, self._machine, self.engine_timeout)
                await inner.send(write_ticket(ticket, self._key, self.wall()))
            else:
                inner = await self._links.open(ticket)
            await inner.send(hello)
        except ConnectionError as error:
            if inner is not None:
                inner.abort()
            raise NotReachable(f"{there.name} cannot be reached: {error}") from error
        return inner

    @property
    def _machine(self) -> str:
        return "" if self._address is None else self._address.machine

    async def _serve(self, transport: Transport, ticket: Ticket) -> None:
        """Serve a WebSocket that another node passes on."""
        for member in self._members:
            if member.host.holds(ticket.session):
                self._served += 1
                try:
                    await member.host.serve(transport, unpack_who(ticket.who))
                finally:
                    self._served -= 1
                return
        # It is just being made here, or left to others; or nothing is known of it any more, and the
        # engine forgets it.
        if not ticket.is_new and not self.is_leaving:
            with suppress(EngineAway):
                await self.engine.forget(ticket.session)
        await transport.close(4503, "come again")


def _host_and_port(advertise: str) -> tuple[str, int]:
    """Return host and port of an address that is advertised; 0: the system chooses."""
    uri = advertise if "://" in advertise else f"ws://{advertise}"
    with suppress(ValueError):  # brackets, or a port that is none
        parts = urlsplit(uri)
        if parts.hostname and parts.scheme == "ws" and parts.path in {"", "/"}:
            return parts.hostname, parts.port or 0
    raise ValueError(f"advertise= must be like ws://10.0.0.7:9000, not {advertise!r}")
